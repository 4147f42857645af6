"""Segments and the segmentation of one frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from napari_eomt.structures.runs import Runs

IdMap: TypeAlias = npt.NDArray[np.integer[Any]]
"""(H, W) integer image of segment ids; 0 is void."""

Box: TypeAlias = tuple[int, int, int, int]
"""(y0, x0, y1, x1), half-open, in pixels."""

Task: TypeAlias = Literal["instance", "semantic", "panoptic"]
TASKS: tuple[Task, ...] = ("instance", "semantic", "panoptic")


class Status(str, Enum):
    """What a person has decided about a segment."""

    PROPOSED = "proposed"
    ACCEPTED = "accepted"
    EDITED = "edited"
    DRAWN = "drawn"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Segment:
    """One region with an id: an object, or an area of stuff.

    Parameters
    ----------
    id : int
        Value of the segment's pixels in the id map; from 1.
    category_id : int
        Which category; any int, as the data set counts.
    score : float or None
        The model's confidence, 0 to 1; None where nobody gave one.
    is_thing : bool
        Countable object (True) or stuff (False).
    is_crowd : bool
        Many things marked as one.
    status : Status
        Proposed by a model, or decided by a person.
    source : str
        Who made it: the model's name, or empty.
    track_id : int or None
        The same thing over time.
    area : int
        Pixels.
    bbox : (y0, x0, y1, x1)
        Half-open, in pixels.
    locked : bool
        A person wants it left alone, whatever its status.
    note : str
        What a person wrote about it.
    mask : Runs or None
        Where it was, for a rejected segment, whose pixels are void.
    annotation_id : int or None
        Id of the annotation that it was read from, in the document's origin.
    parent_track_id : int or None
        The track that this one came from, by division; the same in all frames of a track.
    """

    id: int
    category_id: int
    score: float | None = None
    is_thing: bool = True
    is_crowd: bool = False
    status: Status = Status.PROPOSED
    source: str = ""
    track_id: int | None = None
    area: int = 0
    bbox: Box = (0, 0, 0, 0)
    locked: bool = False
    note: str = ""
    mask: Runs | None = None
    annotation_id: int | None = None
    parent_track_id: int | None = None

    @property
    def is_locked(self) -> bool:
        """Whether a person has decided about it, so that no model may change it."""
        return self.locked or self.status is not Status.PROPOSED


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One frame's result.

    Parameters
    ----------
    id_map : (H, W) uint16, or uint32 past 65,535 ids
        Segment ids; 0 is void.
    segments : tuple of Segment
        One for each id in the map, in the order of their ids.
    """

    id_map: IdMap
    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        if self.id_map.ndim != 2:
            raise ValueError(f"An id map has two axes, (H, W); this one is {self.id_map.shape}.")

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        height, width = self.id_map.shape
        return height, width

    def by_id(self) -> dict[int, Segment]:
        """Return the segments by their ids."""
        return {segment.id: segment for segment in self.segments}

    def shifted(self, by: int) -> Segmentation:
        """Return the same segmentation with `by` added to every id."""
        if by == 0:
            return self
        highest = max((segment.id for segment in self.segments), default=0) + by
        wide = self.id_map.astype(np.uint16 if highest <= 65_535 else np.uint32)
        # 0 stays void.
        id_map = np.where(wide > 0, wide + wide.dtype.type(by), 0).astype(wide.dtype)
        return Segmentation(id_map, tuple(replace(s, id=s.id + by) for s in self.segments))
