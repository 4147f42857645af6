"""What is known about an image or a stack: its id maps, its segments, and who decided them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_eomt.structures.id_maps import id_dtype
from napari_eomt.structures.segments import IdMap, Segment, Segmentation, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from napari_eomt.annotation.edits import Edit
    from napari_eomt.structures.categories import Category


class FrameState(str, Enum):
    """How far a frame has come."""

    NEW = "new"
    PROPOSED = "proposed"
    REVIEWED = "reviewed"
    EXPORTED = "exported"


@dataclass(frozen=True)
class Origin:
    """The dataset that a document was read from, to be written back with nothing lost.

    Parameters
    ----------
    path : str
        Of its JSON.
    image_ids : tuple of int
        Of the image of each frame.
    video_id : int or None
        Of the video whose frames they are, if it is one.
    next_annotation_id : int or None
        The first that no annotation had then: those from there on are somebody else's, added
        since.
    """

    path: str
    image_ids: tuple[int, ...] = ()
    video_id: int | None = None
    next_annotation_id: int | None = None


class Document:
    """The segments of an image, frame by frame, and the id maps that they lie in.

    Changed by edits alone (`apply`); `operations` makes them and a `Session` remembers them. Ids
    are unique over all frames, so that one table of features serves a whole stack, and never
    reused. The id maps are one array, which a viewer may show and paint in.

    Parameters
    ----------
    frame_shape : tuple of int
        How many frames there are along each axis that is stepped through; () for one image.
    image_shape : (H, W)
        In pixels.
    categories : iterable of Category
    origin : Origin, optional
        The dataset that it was read from.
    """

    def __init__(
        self,
        frame_shape: tuple[int, ...],
        image_shape: tuple[int, int],
        categories: Iterable[Category],
        origin: Origin | None = None,
    ) -> None:
        self.frame_shape = frame_shape
        self.image_shape = image_shape
        self.origin = origin
        # Zeroed pages cost nothing until they are written, however long the stack.
        self.id_maps: npt.NDArray[np.integer] = np.zeros((*frame_shape, *image_shape), np.uint16)
        self.next_id = 1
        self._categories = {category.id: category for category in categories}
        self._segments: dict[int, dict[int, Segment]] = {}
        self._states: dict[int, FrameState] = {}

    @property
    def n_frames(self) -> int:
        """How many frames there are."""
        return int(np.prod(self.frame_shape, dtype=np.int64))

    @property
    def categories(self) -> Mapping[int, Category]:
        """The categories by id, in their order."""
        return self._categories

    def id_map(self, frame: int) -> IdMap:
        """Return the id map of a frame, not a copy."""
        if not self.frame_shape:
            return self.id_maps
        view: IdMap = self.id_maps[np.unravel_index(frame, self.frame_shape)]
        return view

    def segments(self, frame: int) -> Mapping[int, Segment]:
        """Return the segments of a frame by id; rejected ones have no pixels."""
        return self._segments.get(frame, {})

    def iter_segments(self) -> Iterator[tuple[int, Segment]]:
        """Yield every segment with its frame."""
        for frame in sorted(self._segments):
            for segment in self._segments[frame].values():
                yield frame, segment

    def frames_of(self, segment_id: int) -> list[int]:
        """Return the frames that have a segment of this id."""
        return sorted(f for f, segments in self._segments.items() if segment_id in segments)

    def state(self, frame: int) -> FrameState:
        """Return how far a frame has come."""
        return self._states.get(frame, FrameState.NEW)

    def segmentation(self, frame: int) -> Segmentation:
        """Return a copy of a frame's result, without what was rejected."""
        shown = (s for s in self.segments(frame).values() if s.status is not Status.REJECTED)
        return Segmentation(
            self.id_map(frame).copy(), tuple(sorted(shown, key=lambda segment: segment.id))
        )

    def n_locked(self, frames: Iterable[int]) -> int:
        """Count the segments with pixels that a person has decided about."""
        return sum(
            s.is_locked and s.status is not Status.REJECTED
            for frame in frames
            for s in self.segments(frame).values()
        )

    def copy(self) -> Document:
        """Return a copy that later edits leave alone: to be written while the work goes on."""
        categories = self._categories.values()
        twin = Document(self.frame_shape, self.image_shape, categories, self.origin)
        twin.id_maps, twin.next_id = self.id_maps.copy(), self.next_id
        twin._segments = {frame: dict(here) for frame, here in self._segments.items()}
        twin._states = dict(self._states)
        return twin

    def apply(self, edit: Edit, *, pixels: bool = True) -> None:
        """Make the changes of an edit.

        Parameters
        ----------
        edit : Edit
        pixels : bool
            Whether those of pixels are still to be made; a viewer paints by itself.
        """
        for change in edit.categories:
            if change.before is not None and change.after is not None:
                self._categories[change.after.id] = change.after
                continue
            rows = list(self._categories.values())
            if change.after is not None:
                rows.insert(len(rows) if change.position is None else change.position, change.after)
            self._categories = {
                c.id: c for c in rows if change.before is None or c.id != change.before.id
            }
        highest = max((c.after.id for c in edit.segments if c.after is not None), default=0)
        self.hold(highest)
        if pixels:
            for pixel_change in edit.pixels:
                pixel_change.apply(self.id_map(pixel_change.frame))
        for segment_change in edit.segments:
            segments = self._segments.setdefault(segment_change.frame, {})
            if segment_change.after is None:
                segments.pop(segment_change.id)
            else:
                segments[segment_change.id] = segment_change.after
        for state_change in edit.states:
            self._states[state_change.frame] = state_change.after

    def hold(self, max_id: int) -> None:
        """Make the id maps wide enough for an id, and never give it out again."""
        self.next_id = max(self.next_id, max_id + 1)
        if max_id > np.iinfo(self.id_maps.dtype).max:
            self.id_maps = self.id_maps.astype(id_dtype(max_id))
