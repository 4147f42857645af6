"""What is known of a frame before it is tracked: its segments, in little memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.structures.id_maps import id_dtype
from napari_eomt.structures.segments import Segment, Segmentation, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.tracks import TrackIndex
    from napari_eomt.inference.track_params import TrackParams


@dataclass(frozen=True)
class GivenFrame:
    """Segments of a frame with their tracks; a run over a long stack carries one a frame.

    Parameters
    ----------
    shape : (H, W)
        In pixels.
    segments : tuple of Segment
        Without those that were rejected. The `track_id` is the number of the track.
    masks : tuple of bytes
        The bits of each segment's pixels within its box, row by row.
    """

    shape: tuple[int, int]
    segments: tuple[Segment, ...]
    masks: tuple[bytes, ...]

    @classmethod
    def of(
        cls, document: Document, frame: int, index: TrackIndex, *, locked_only: bool = False
    ) -> GivenFrame:
        """Take what a document knows of tracks in a frame; later edits leave it alone.

        Parameters
        ----------
        document : Document
        frame : int
        index : TrackIndex
            Of the document as it is.
        locked_only : bool
            Leave out what is merely proposed.
        """
        id_map, segments, masks = document.id_map(frame), [], []
        for i, segment in sorted(document.segments(frame).items()):
            if segment.status is Status.REJECTED or (locked_only and not segment.is_locked):
                continue
            number = index.numbers[frame, i]
            is_known = segment.is_locked or segment.track_id is not None
            if not is_known and len(index.members[number]) == 1:
                continue  # of a frame that was segmented by itself: to be linked as any other
            y0, x0, y1, x1 = segment.bbox
            inside = id_map[y0:y1, x0:x1] == i
            if inside.any():
                segments.append(_numbered(segment, number))
                masks.append(np.packbits(inside).tobytes())
        return cls(document.image_shape, tuple(segments), tuple(masks))

    def segmentation(self) -> Segmentation:
        """Return them as a segmentation."""
        highest = max((segment.id for segment in self.segments), default=0)
        id_map = np.zeros(self.shape, id_dtype(highest))
        for segment, bits in zip(self.segments, self.masks, strict=True):
            y0, x0, y1, x1 = segment.bbox
            box = np.unpackbits(np.frombuffer(bits, np.uint8), count=(y1 - y0) * (x1 - x0))
            id_map[y0:y1, x0:x1][box.reshape(y1 - y0, x1 - x0) > 0] = segment.id
        return Segmentation(id_map, self.segments)


def given_frames(
    document: Document, frames: Iterable[int], index: TrackIndex, *, locked_only: bool = False
) -> dict[int, GivenFrame]:
    """Return what a document knows of frames, without those of which it knows nothing."""
    found = (
        (f, GivenFrame.of(document, f, index, locked_only=locked_only))
        for f in frames
        if document.segments(f)
    )
    return {frame: given for frame, given in found if given.segments}


FRAMES_BACK = 4
"""What a tracker remembers is kept every so many frames, so that it sees no more of them again."""

MOST_BEFORE = 32
"""Frames before the first one that a tracker is told of, however long the gaps of tracks may be: a
VidEoMT of which nothing is kept sees all of them again."""


def frames_before(start: int, track: TrackParams) -> tuple[int, ...]:
    """Return the frames that a tracker has to know to go on at `start`.

    They tell where tracks move, and which of them are missing and may come back.
    """
    n = min(MOST_BEFORE, max(FRAMES_BACK, track.linked_gap + 2))
    return tuple(range(max(0, start - n), start))


def _numbered(segment: Segment, number: int) -> Segment:
    if segment.track_id == number and segment.mask is None:
        return segment
    return replace(segment, track_id=number, mask=None)
