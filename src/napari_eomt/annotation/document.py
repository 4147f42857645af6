"""What is known about an image or a stack: its id maps, its segments, and who decided them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from napari_eomt.structures.id_maps import areas, boxes, id_dtype, renumber
from napari_eomt.structures.segments import Box, IdMap, Segment, Segmentation, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from napari_eomt.structures.categories import Category

VISIBLE_PART = 0.5
"""A proposal of which locked segments leave less than this is the same thing proposed again."""


@dataclass(frozen=True)
class Measure:
    """What the pixels of one id say."""

    area: int
    bbox: Box


class Document:
    """The segments of an image, frame by frame, and the id maps that they lie in.

    Ids are unique over all frames, so that one table of features serves a whole stack. The id
    maps are one array, which a viewer may show and paint in; it tells with `repainted` what
    changed there.

    Parameters
    ----------
    frame_shape : tuple of int
        How many frames there are along each axis that is stepped through; () for one image.
    image_shape : (H, W)
        In pixels.
    categories : iterable of Category
    """

    repainted_by_hand = Signal(int)
    """A person has changed pixels of this frame."""

    def __init__(
        self,
        frame_shape: tuple[int, ...],
        image_shape: tuple[int, int],
        categories: Iterable[Category],
    ) -> None:
        self.frame_shape = frame_shape
        self.image_shape = image_shape
        self.categories = {category.id: category for category in categories}
        # Zeroed pages cost nothing until they are written, however long the stack.
        self.id_maps: npt.NDArray[np.integer] = np.zeros((*frame_shape, *image_shape), np.uint16)
        self._segments: dict[int, dict[int, Segment]] = {}
        self._next_id = 1

    @property
    def n_frames(self) -> int:
        """How many frames there are."""
        return int(np.prod(self.frame_shape, dtype=np.int64))

    def id_map(self, frame: int) -> IdMap:
        """Return the id map of a frame, not a copy."""
        view: IdMap = (
            self.id_maps[np.unravel_index(frame, self.frame_shape or (1,))]
            if (self.frame_shape)
            else self.id_maps
        )
        return view

    def segments(self, frame: int) -> Mapping[int, Segment]:
        """Return the segments of a frame by id."""
        return self._segments.get(frame, {})

    def iter_segments(self) -> Iterator[tuple[int, Segment]]:
        """Yield every segment with its frame."""
        for frame in sorted(self._segments):
            for segment in self._segments[frame].values():
                yield frame, segment

    def segmentation(self, frame: int) -> Segmentation:
        """Return a copy of a frame's result."""
        segments = tuple(sorted(self.segments(frame).values(), key=lambda s: s.id))
        return Segmentation(self.id_map(frame).copy(), segments)

    def n_locked(self, frames: Iterable[int]) -> int:
        """Count the segments that a person has decided about."""
        return sum(s.is_locked for frame in frames for s in self.segments(frame).values())

    def add_categories(self, categories: Iterable[Category]) -> None:
        """Take up the categories that are not known yet; known ids stay as they are."""
        for category in categories:
            self.categories.setdefault(category.id, category)

    def propose(self, frame: int, proposed: Segmentation) -> None:
        """Replace what is merely proposed in a frame; locked segments keep their pixels.

        New segments take the ids of those that they replace, lowest first, then new ones.

        Raises
        ------
        ValueError
            If the segmentation is of another size.
        """
        if proposed.shape != self.image_shape:
            raise ValueError(f"The proposal is {proposed.shape}; the image is {self.image_shape}.")
        current = self.segments(frame)
        locked = {i: segment for i, segment in current.items() if segment.is_locked}
        # A person may have drawn an id on in another frame: there it is the same thing.
        elsewhere = {
            i
            for other, segments in self._segments.items()
            if other != frame
            for i, segment in segments.items()
            if segment.is_locked
        }
        free = sorted(set(current) - set(locked) - elsewhere)
        id_map = self.id_map(frame)
        is_locked = np.isin(id_map, list(locked)) if locked else np.zeros((), np.bool_)
        n = int(proposed.id_map.max(initial=0)) + 1
        shown = np.where(is_locked, 0, proposed.id_map) if locked else proposed.id_map
        visible = areas(shown, n)
        kept = [s for s in proposed.segments if visible[s.id] >= max(1, VISIBLE_PART * s.area)]
        table = np.zeros(n, np.int64)
        ids = [*free[: len(kept)], *range(self._next_id, self._next_id + len(kept) - len(free))]
        for segment, new_id in zip(kept, ids, strict=True):
            table[segment.id] = new_id
        self._hold(max(ids, default=0))
        fresh = renumber(shown, table)
        # Void of the proposal leaves locked segments alone, and nothing else.
        target = self.id_map(frame)
        target[...] = np.where(is_locked, target, fresh) if locked else fresh
        where = boxes(fresh) if locked else {}
        segments = dict(locked)
        for segment, new_id in zip(kept, ids, strict=True):
            segments[new_id] = replace(
                segment,
                id=new_id,
                area=int(visible[segment.id]),
                bbox=where.get(new_id, segment.bbox),
            )
        self._segments[frame] = segments

    def restore(self, frame: int, before: Segmentation) -> None:
        """Put a frame back to what `segmentation` returned earlier."""
        self._hold(int(before.id_map.max(initial=0)))
        self.id_map(frame)[...] = before.id_map
        self._segments[frame] = before.by_id()

    def repainted(self, frame: int, ids: Iterable[int], category_id: int) -> bool:
        """Take up that a person changed pixels of these ids in the id map.

        Known segments become edited (drawn ones stay drawn), unknown ids drawn segments of the
        given category, and segments without a pixel left are gone.

        Returns
        -------
        bool
            Whether a segment changed.
        """
        touched = [i for i in ids if i > 0]
        if not touched:
            return False
        segments = dict(self.segments(frame))
        for i, measure in measure_ids(self.id_map(frame), touched).items():
            old = segments.pop(i, None)
            if measure is None:
                continue
            if old is None:
                category = self.categories[category_id]
                old = Segment(i, category_id, is_thing=category.is_thing, status=Status.DRAWN)
                self._next_id = max(self._next_id, i + 1)
            elif old.status is not Status.DRAWN:
                old = replace(old, status=Status.EDITED)
            segments[i] = replace(old, area=measure.area, bbox=measure.bbox)
        self._segments[frame] = dict(sorted(segments.items()))
        self.repainted_by_hand.emit(frame)
        return True

    def _hold(self, max_id: int) -> None:
        """Make the id maps wide enough for an id."""
        self._next_id = max(self._next_id, max_id + 1)
        if max_id > np.iinfo(self.id_maps.dtype).max:
            self.id_maps = self.id_maps.astype(id_dtype(max_id))


def measure_ids(id_map: IdMap, ids: Iterable[int]) -> dict[int, Measure | None]:
    """Measure single ids; None where an id has no pixel."""
    found: dict[int, Measure | None] = {}
    for i in ids:
        mask = id_map == i
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        found[i] = (
            Measure(
                int(np.count_nonzero(mask)),
                (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1),
            )
            if len(rows)
            else None
        )
    return found
