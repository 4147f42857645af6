"""A working copy of a part of a frame, from which an edit is made."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_eomt.annotation.edits import Edit, PixelChange, SegmentChange
from napari_eomt.structures.id_maps import measure
from napari_eomt.structures.segments import Segment, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_eomt.annotation.document import Document
    from napari_eomt.structures.segments import Box

Mask: TypeAlias = npt.NDArray[np.bool_]


class Canvas:
    """A part of a frame's id map that can be painted in; `edit` says what that changes.

    The part is made large enough for every segment that it touches, so that areas and boxes are
    counted in it and nowhere else: an edit costs what its objects cover, not what the image does.

    Parameters
    ----------
    document : Document
    frame : int
    box : (y0, x0, y1, x1)
        What will be painted, in pixels; what lies outside of the image is left out.
    """

    def __init__(self, document: Document, frame: int, box: Box) -> None:
        self.document, self.frame = document, frame
        self._segments = document.segments(frame)
        id_map = document.id_map(frame)
        y0, x0, y1, x1 = inside(box, document.image_shape)
        touched = np.unique(id_map[y0:y1, x0:x1])
        boxes = [self._segments[int(i)].bbox for i in touched if int(i) in self._segments]
        self.box = around([(y0, x0, y1, x1), *boxes])
        self._before = id_map[self.slices]
        # Wide enough for whatever new ids come.
        self.pixels = self._before.astype(np.uint32)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the part in the frame."""
        y0, x0, y1, x1 = self.box
        return slice(y0, y1), slice(x0, x1)

    @property
    def origin(self) -> tuple[int, int]:
        """(y, x) of the first pixel in the frame."""
        return self.box[0], self.box[1]

    def mask(self, segment_id: int) -> Mask:
        """Return where a segment is: (h, w) of the part."""
        return np.asarray(self.pixels == segment_id)

    def free(self, yields: Iterable[int] = ()) -> Mask:
        """Return where a new segment may be painted: not where locked ones are.

        Parameters
        ----------
        yields : iterable of int
            Ids that give way although they are locked.
        """
        locked = [i for i, s in self._segments.items() if s.is_locked and i not in set(yields)]
        present = np.intersect1d(np.unique(self.pixels), locked) if locked else locked
        free: Mask = ~np.isin(self.pixels, present)
        return free

    def place(self, mask: Mask, origin: tuple[int, int]) -> Mask:
        """Return a mask of another part of the frame as one of this part."""
        placed: Mask = np.zeros(self.pixels.shape, np.bool_)
        y, x = origin[0] - self.box[0], origin[1] - self.box[1]
        y0, x0 = max(0, y), max(0, x)
        y1 = min(self.box[2] - self.box[0], y + len(mask))
        x1 = min(self.box[3] - self.box[1], x + mask.shape[1])
        if y1 > y0 and x1 > x0:
            placed[y0:y1, x0:x1] = mask[y0 - y : y1 - y, x0 - x : x1 - x]
        return placed

    def edit(self, name: str, described: Mapping[int, Segment] | None = None) -> Edit:
        """Return what the painting changes.

        Parameters
        ----------
        name : str
            Of the step.
        described : mapping of int to Segment, optional
            What segments are like now, but for their area and box, which are measured: new ones,
            and those that change in more than their pixels. Of others that lose or win pixels
            the status becomes edited, as after a stroke; those without a pixel left are gone.
        """
        described = described or {}
        change = PixelChange.between(self.frame, self._before, self.pixels, self.origin)
        touched = set(described)
        if change is not None:
            is_changed = self._before != self.pixels
            touched |= set(np.unique(self._before[is_changed]).tolist())
            touched |= set(np.unique(self.pixels[is_changed]).tolist())
        touched.discard(0)
        found = measure(self.pixels, sorted(touched), self.origin)
        changes = []
        for i in sorted(touched):
            before = self._segments.get(i)
            after = described.get(i) or (None if before is None else edited(before))
            if i in found and after is not None:
                area, box = found[i]
                after = replace(after, area=area, bbox=box)
            elif after is not None and after.status is not Status.REJECTED:
                after = None
            if before != after:
                changes.append(SegmentChange(self.frame, before, after))
        return Edit(name, () if change is None else (change,), tuple(changes))


def edited(segment: Segment) -> Segment:
    """Return a segment as it is after a person has changed its pixels."""
    if segment.status in (Status.DRAWN, Status.EDITED):
        return segment
    return replace(segment, status=Status.EDITED)


def inside(box: Box, shape: tuple[int, int]) -> Box:
    """Return the part of a box that lies in an image."""
    (height, width), (y0, x0, y1, x1) = shape, box
    y0, x0 = min(max(0, y0), height), min(max(0, x0), width)
    return y0, x0, max(y0, min(height, y1)), max(x0, min(width, x1))


def around(boxes: Iterable[Box]) -> Box:
    """Return the smallest box around boxes; empty ones do not count."""
    filled = [box for box in boxes if box[2] > box[0] and box[3] > box[1]]
    if not filled:
        return 0, 0, 0, 0
    y0, x0, y1, x1 = zip(*filled, strict=True)
    return min(y0), min(x0), max(y1), max(x1)
