"""A frame before and after linking: which tracks are given, and its pixels in their ids."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_eomt.errors import DataError
from napari_eomt.structures.id_maps import id_dtype
from napari_eomt.structures.segments import Segmentation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_eomt.inference.track_memory import Seen, TrackMemory
    from napari_eomt.structures.segments import IdMap

MAX_ID = int(np.iinfo(np.uint32).max)
"""Label images hold no higher ones."""


@dataclass(frozen=True)
class Link:
    """How a segment of a frame came by its track.

    Parameters
    ----------
    track_id : int
    event : {"born", "continued", "returned", "split", "given"}
        "split" is a child of `parent_id`; "given" had its track before.
    iou : float
        Of its mask with the track's, where that was expected; 0 for a new track.
    doubt : float
        From 0, where nothing else comes into question, to 1. A new one is doubtful as far as it
        overlaps with a track that went elsewhere.
    score : float or None
        What the model gave it in this frame; the segment's own is the track's mean so far.
    n_missed : int
        Frames just before without it.
    parent_id : int or None
    """

    track_id: int
    event: Literal["born", "continued", "returned", "split", "given"]
    iou: float = 0.0
    doubt: float = 0.0
    score: float | None = None
    n_missed: int = 0
    parent_id: int | None = None


def given_tracks(
    seen: Sequence[Seen], frame: int, known: Mapping[int, int] | None = None
) -> dict[int, int]:
    """Return the tracks of the segments that keep theirs, by their positions.

    Those are locked segments that have one, and those whose track is known, by their ids.

    Raises
    ------
    DataError
        If two have the same, or one has a track id that label images do not hold.
    """
    given: dict[int, int] = {}
    for j, one in enumerate(seen):
        track_id = one.segment.track_id if one.segment.is_locked else None
        track_id = (known or {}).get(one.segment.id, track_id)
        if track_id is None:
            continue
        if not 1 <= track_id <= MAX_ID:
            raise DataError(
                f"Frame {frame}: segment {one.segment.id} has the track {track_id}; track ids "
                f"run from 1 to {MAX_ID}. Give it another."
            )
        if track_id in given.values():
            raise DataError(
                f"Frame {frame}: two segments have the track {track_id}, segment "
                f"{one.segment.id} and one before. Join them, or give one another track."
            )
        given[j] = track_id
    return given


def in_track_ids(
    segmentation: Segmentation, track_of: Mapping[int, TrackMemory], seen: Sequence[Seen]
) -> Segmentation:
    """Return the frame in the ids of its tracks; what has none is void.

    Parameters
    ----------
    segmentation : Segmentation
    track_of : dict of int to TrackMemory
        By the positions of the segments in `seen`, after this frame.
    seen : sequence of Seen
    """
    ids = {seen[j].segment.id: track.track_id for j, track in track_of.items()}
    dtype = id_dtype(max(ids.values(), default=0))
    # By the ids of this frame: those of tracks may be far higher than there are segments.
    own = np.array([0, *sorted(ids)], np.int64)
    new = np.array([0, *(ids[int(i)] for i in own[1:])], dtype)
    place = np.searchsorted(own, segmentation.id_map)
    place[place == len(own)] = 0
    id_map: IdMap = np.where(own[place] == segmentation.id_map, new[place], 0).astype(dtype)
    segments = []
    for j, track in track_of.items():
        one = seen[j]
        i = track.track_id
        segment = replace(one.segment, id=i, track_id=i, area=one.area, bbox=one.box)
        if track.parent_id is not None:
            segment = replace(segment, parent_track_id=track.parent_id)
        if not segment.is_locked:
            segment = replace(segment, category_id=track.category_id, score=track.score)
        segments.append(segment)
    return Segmentation(id_map, tuple(sorted(segments, key=lambda segment: segment.id)))
