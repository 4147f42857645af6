"""A track as a strip over the frames: what is so in each frame, and in each pixel of the strip."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_eomt.structures.segments import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_eomt.annotation.session import Key
    from napari_eomt.annotation.track_live import LiveTracks

Lane: TypeAlias = npt.NDArray[np.uint8]
"""The marks of each frame, or of each pixel column, or-ed."""

PRESENT, DECIDED, GAP, REJECTED, DOUBT, START, SPLIT, END = (1 << k for k in range(8))
"""Present; decided by a person (accepted, edited, drawn or locked); absent between two frames;
rejected there; doubtful to be the one of the frame before; first frame; last frame, of a track that
divides, or of another."""

DOUBTFUL = 0.5
"""Identities whose doubt is this or more are marked."""


class Lanes:
    """Makes the lanes that are looked at, and keeps them until their tracks are touched.

    Parameters
    ----------
    tracks : LiveTracks
    doubt : callable
        Given (frame, id), how doubtful its identity is, 0 to 1.
    """

    def __init__(self, tracks: LiveTracks, doubt: Callable[[Key], float]) -> None:
        self._tracks, self._doubt = tracks, doubt
        self._kept: dict[int, Lane] = {}
        self.n_made = 0
        """How many lanes were made, of those that were asked for."""

    def forget(self, numbers: Iterable[int] | None = None) -> None:
        """Make the lanes of these tracks anew when they are asked for; by default all."""
        if numbers is None:
            self._kept.clear()
            return
        for number in numbers:
            self._kept.pop(number, None)

    def lane(self, number: int) -> Lane:
        """Return the marks of a track: (n_frames,) uint8; zeros if there is no such track."""
        if number not in self._kept:
            self._kept[number] = self._made(number)
            self.n_made += 1
        return self._kept[number]

    def _made(self, number: int) -> Lane:
        tracks = self._tracks
        lane: Lane = np.zeros(tracks.document.n_frames, np.uint8)
        members = tracks.index.members.get(number)
        if not members:
            return lane
        frames = list(members)
        first, last = frames[0], frames[-1]
        lane[first:last] |= GAP
        lane[frames] = PRESENT
        for frame, i in members.items():
            segment = tracks.document.segments(frame).get(i)
            # The document may be an edit ahead of the index.
            is_rejected = segment is not None and segment.status is Status.REJECTED
            if segment is not None and segment.is_locked and not is_rejected:
                lane[frame] |= DECIDED
            if self._doubt((frame, i)) >= DOUBTFUL:
                lane[frame] |= DOUBT
        for frame, _ in tracks.rejected.get(number, ()):
            lane[frame] |= REJECTED
        lane[first] |= START
        lane[last] |= SPLIT if tracks.children(number) else END
        return lane


def columns(lane: Lane, start: float, stop: float, width: int) -> Lane:
    """Return the marks of the pixel columns of a strip.

    Parameters
    ----------
    lane : (n_frames,) uint8
    start, stop : float
        The frames at its left and its right edge; frame k lies from k to k + 1.
    width : int
        In pixels.

    Returns
    -------
    (width,) uint8
        The marks of all frames that a column shows, so that none is too small to be seen.
    """
    edges = np.linspace(start, stop, width + 1)
    first = np.clip(np.floor(edges[:-1]).astype(np.intp), 0, max(0, len(lane) - 1))
    last = np.clip(np.ceil(edges[1:]).astype(np.intp), first + 1, len(lane))
    if not width or not len(lane):
        return np.zeros(width, np.uint8)
    bounds = np.stack((first, last), 1).ravel()
    # Of pairs (first, last) the even ones are meant; a last one at the end needs no bound.
    padded = np.append(lane, np.uint8(0))
    found: Lane = np.bitwise_or.reduceat(padded, bounds)[::2]
    return found


def place_of(frame: float, start: float, stop: float, width: float) -> float:
    """Return how far from the left edge of a strip a frame begins, in pixels."""
    return (frame - start) / max(stop - start, 1e-9) * width


def frame_at(place: float, start: float, stop: float, width: float, n_frames: int) -> int:
    """Return the frame that lies at a pixel of a strip."""
    frame = int(np.floor(start + place / max(width, 1e-9) * (stop - start)))
    return min(max(frame, 0), n_frames - 1)
