"""How doubtful it is that a thing is the same one as in the frame before: from its masks alone.

For documents whose identities no model has vouched for, or a person has changed: a run tells its
own doubts. A step from one frame to the next in which a track is present is judged by four parts,
each from 0, sure, to 1; what is moved or grown steadily costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.structures.segments import Status

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import numpy.typing as npt

    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.session import Key
    from napari_eomt.annotation.tracks import TrackIndex
    from napari_eomt.structures.segments import Box

FREE_STEP = 0.5
"""Steps up to this part of a thing's size, the root of its area, are no jump."""

FREE_GROWTH = 1.5
"""Areas whose ratio is up to this are no change."""

HALF_GAP = 4
"""Frames without the thing after which the doubt is a half."""


@dataclass(frozen=True)
class IdentityDoubt:
    """What speaks against a step of a track; every part from 0, nothing, to 1.

    Parameters
    ----------
    switch : float
        That another thing is where it was, or it is where another was; of the first frame of a
        track, that another track ends just there.
    jump : float
        How far it is from where its last steps let expect it, beyond half its size.
    change : float
        How much its area has changed.
    gap : float
        How long it was away.
    """

    switch: float = 0.0
    jump: float = 0.0
    change: float = 0.0
    gap: float = 0.0

    @property
    def score(self) -> float:
        """All parts in one, 0 to 1: the doubt is small only if each part is."""
        rest = (1 - self.switch) * (1 - self.jump) * (1 - self.change) * (1 - self.gap)
        return 1 - rest

    @property
    def reason(self) -> str:
        """What speaks most against it, in words for people."""
        parts = {
            "another object is where it was": self.switch,
            "it jumped": self.jump,
            "its size changed": self.change,
            "it was away": self.gap,
        }
        return max(parts, key=lambda part: parts[part])


def identity_doubts(
    document: Document,
    index: TrackIndex,
    wanted: Mapping[int, Collection[int] | None] | None = None,
) -> dict[Key, IdentityDoubt]:
    """Return how doubtful the steps of tracks are, by the segment at the end of each step.

    Parameters
    ----------
    document : Document
    index : TrackIndex
    wanted : mapping of int to collection of int or None, optional
        Only of these tracks, and of each only the steps that end in these frames (None: all of
        them). Tracks and frames that there are not are passed over.

    Returns
    -------
    dict of (frame, id) to IdentityDoubt
        Of things, not of areas of stuff. First frames of tracks are in it where another track
        has ended in its place.
    """
    found: dict[Key, IdentityDoubt] = {}
    for number in index.members if wanted is None else wanted:
        frames = None if wanted is None else wanted[number]
        found.update(_of_track(document, index, index.keys(number), frames))
    return found


@dataclass(frozen=True, eq=False)
class _Mask:
    """A segment's pixels within its box."""

    key: Key
    box: Box
    mask: npt.NDArray[np.bool_]
    area: int
    y: float
    x: float


def _of_track(
    document: Document, index: TrackIndex, keys: list[Key], frames: Collection[int] | None
) -> dict[Key, IdentityDoubt]:
    found: dict[Key, IdentityDoubt] = {}
    keys = [key for key in keys if _is_thing(document, key)]
    masks: dict[Key, _Mask | None] = {}

    def mask(at: int) -> _Mask | None:
        if keys[at] not in masks:
            masks[keys[at]] = _mask(document, keys[at])
        return masks[keys[at]]

    for at, key in enumerate(keys):
        if frames is not None and key[0] not in frames:
            continue
        after = mask(at)
        if after is None:
            continue
        if at == 0:
            born = _birth(document, index, after) if key[0] > 0 else 0.0
            if born > 0:
                found[key] = IdentityDoubt(switch=born)
            continue
        # Of one step before alone, a jump would be expected again in the next frame.
        before, *earlier = (mask(k) if k >= 0 else None for k in range(at - 1, at - 4, -1))
        if before is not None:
            steps = [_velocity(a, b) for a, b in pairwise((before, *earlier))]
            found[key] = _step(document, before, after, steps)
    return found


def _velocity(after: _Mask | None, before: _Mask | None) -> tuple[float, float]:
    """Return how far a thing moves in a frame, (y, x) in pixels; nothing where it is not known."""
    if after is None or before is None:
        return 0.0, 0.0
    n_frames = after.key[0] - before.key[0]
    return (after.y - before.y) / n_frames, (after.x - before.x) / n_frames


def _step(
    document: Document, before: _Mask, after: _Mask, steps: list[tuple[float, float]]
) -> IdentityDoubt:
    n_frames = after.key[0] - before.key[0]
    own, ahead = _shared(document, before, after.key[0], after.key[1])
    _, behind = _shared(document, after, before.key[0], before.key[1])
    rival = max(ahead.values(), default=0.0), max(behind.values(), default=0.0)
    strongest = max(rival)
    moved = after.y - before.y, after.x - before.x
    # It goes on as in one of the two steps before: who turns back in a crowd is doubted.
    distance = min(
        float(np.hypot(moved[0] - n_frames * y, moved[1] - n_frames * x)) for y, x in steps
    )
    size = float(np.sqrt((before.area + after.area) / 2))
    ratio = max(before.area, after.area) / min(before.area, after.area)
    beyond = max(0.0, distance / size - FREE_STEP)
    return IdentityDoubt(
        # Much of another, by what there is of itself: a neighbour that leans over is no switch.
        switch=strongest**2 / (own + strongest) if strongest else 0.0,
        jump=beyond / (1 + beyond),
        change=max(0.0, 1 - FREE_GROWTH / ratio),
        gap=(n_frames - 1) / (n_frames - 1 + HALF_GAP),
    )


def _birth(document: Document, index: TrackIndex, first: _Mask) -> float:
    """Return how much of a track's first mask lies where another track has just ended."""
    frame, i = first.key
    if document.segments(frame)[i].parent_track_id is not None:
        return 0.0
    _, behind = _shared(document, first, frame - 1, 0)
    ended = [
        part
        for other, part in behind.items()
        if next(reversed(index.members[index.numbers[frame - 1, other]])) == frame - 1
    ]
    return max(ended, default=0.0)


def _shared(
    document: Document, mask: _Mask, frame: int, own: int
) -> tuple[float, dict[int, float]]:
    """Return which part of a mask is `own` in another frame, and which part each other thing."""
    y0, x0, y1, x1 = mask.box
    ids, counts = np.unique(document.id_map(frame)[y0:y1, x0:x1][mask.mask], return_counts=True)
    segments = document.segments(frame)
    parts = {i: n / mask.area for i, n in zip(ids.tolist(), counts.tolist(), strict=True) if i}
    kept = parts.pop(own, 0.0)
    return kept, {i: part for i, part in parts.items() if i in segments and segments[i].is_thing}


def _is_thing(document: Document, key: Key) -> bool:
    segment = document.segments(key[0]).get(key[1])
    return segment is not None and segment.is_thing and segment.status is not Status.REJECTED


def _mask(document: Document, key: Key) -> _Mask | None:
    frame, i = key
    box = document.segments(frame)[i].bbox
    y0, x0, y1, x1 = box
    mask = document.id_map(frame)[y0:y1, x0:x1] == i
    y, x = np.nonzero(mask)
    if not len(y):
        return None
    return _Mask(key, box, mask, len(y), float(y0 + y.mean()), float(x0 + x.mean()))
