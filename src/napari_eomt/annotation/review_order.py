"""In which order objects are looked through, and how unsure the model was of each."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from napari_eomt.structures.segments import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.session import Key
    from napari_eomt.structures.segments import Segment, Segmentation
    from napari_eomt.structures.uncertainty import Uncertainty

N_BANDS = 8
"""Bands of an image that are read one below the other, each from left to right."""

_SHARE = 0.25  # see `Uncertainty.score`

Rank: TypeAlias = tuple[float, float, int, int]
"""What objects are sorted by; it ends with the key, so that no two are equal."""


class Order(str, Enum):
    """In which order objects are looked through."""

    WORST = "worst"
    """Those that the model is least sure of first."""
    FRAMES = "frames"
    """The frame with the worst object first; within a frame the worst first."""
    READING = "reading"
    """Frame by frame, from left to right in bands one below the other."""
    IDENTITY = "identity"
    """Those first that may least be the ones of the frame before."""
    LARGEST = "largest"
    SMALLEST = "smallest"


def uncertainty_of(segment: Segment, doubt: Uncertainty | None) -> float:
    """Return how unsure the model is, 0 to 1; where it did not say, from its score alone."""
    if doubt is not None:
        return min(1.0, max(0.0, doubt.score))
    if segment.score is None:
        return 1.0  # nobody vouches for it
    return min(1.0, max(0.0, 1 - segment.score))


def uncertainty_shown(segment: Segment, doubt: Uncertainty | None) -> float | None:
    """Return how unsure the model was of an object, where one had a say; None of others.

    Of what is still to be decided it is the number that the review goes by; what a person has
    drawn, or what came decided from elsewhere, has none.
    """
    if segment.status is Status.DRAWN:
        return None
    if doubt is None and segment.score is None and segment.status is not Status.PROPOSED:
        return None
    return uncertainty_of(segment, doubt)


def main_reason(doubt: Uncertainty) -> str:
    """Say what the model is most unsure of, in words for people."""
    reasons = {
        "its category": doubt.entropy,
        "its outline": doubt.softness,
        # As little as they count in the whole: most are harmless.
        "another object in its place": _SHARE * doubt.rival,
        "how it overlaps others": _SHARE * doubt.lost,
    }
    return max(reasons, key=lambda reason: reasons[reason])


def rank(
    order: Order,
    key: Key,
    segment: Segment,
    uncertainty: float,
    image_shape: tuple[int, int],
    worst_of_frame: Mapping[int, float],
    identity: float = 0.0,
) -> Rank:
    """Return what an object is sorted by.

    Parameters
    ----------
    order : Order
    key : (frame, id)
    segment : Segment
    uncertainty : float
        0 to 1.
    image_shape : (H, W)
        In pixels.
    worst_of_frame : mapping of int to float
        The highest uncertainty in each frame, decided objects counted as well: a frame keeps its
        place while one works on it.
    identity : float
        How doubtful it is that the object is the one of the frame before, 0 to 1.
    """
    frame, i = key
    if order is Order.IDENTITY:
        return -identity, -uncertainty, frame, i
    if order is Order.WORST:
        return -uncertainty, 0, frame, i
    if order is Order.FRAMES:
        # The frame's number between the two, or frames that are equally bad would mix.
        return -worst_of_frame.get(frame, 0.0), frame - uncertainty / 2, frame, i
    if order is Order.READING:
        y0, x0, y1, x1 = segment.bbox
        band = int((y0 + y1) / 2 * N_BANDS / max(1, image_shape[0]))
        return frame * N_BANDS + band, (x0 + x1) / 2, frame, i
    return (-segment.area if order is Order.LARGEST else segment.area), 0, frame, i


def carried_over(
    document: Document, frame: int, proposed: Segmentation, doubts: Sequence[Uncertainty | None]
) -> dict[Key, Uncertainty]:
    """Return what a model says of the objects that its proposal has become.

    Parameters
    ----------
    document : Document
        After the proposal was made: `operations.propose` gives ids of its own.
    frame : int
    proposed : Segmentation
    doubts : sequence of (Uncertainty or None)
        One for each of its segments; None where the model says nothing.
    """
    id_map, segments = document.id_map(frame), document.segments(frame)
    found = {}
    for segment, doubt in zip(proposed.segments, doubts, strict=True):
        if doubt is None:
            continue
        y0, x0, y1, x1 = segment.bbox
        is_inside = proposed.id_map[y0:y1, x0:x1] == segment.id
        part = id_map[y0:y1, x0:x1]
        ids = part[is_inside][:1]
        if not len(ids) or not _is_proposed(segments.get(int(ids[0]))):
            ids = np.unique(part[is_inside])  # partly under what a person has decided about
        for i in ids.tolist():
            if _is_proposed(segments.get(i)):
                found[frame, i] = doubt
    return found


def _is_proposed(segment: Segment | None) -> bool:
    return segment is not None and segment.status is Status.PROPOSED
