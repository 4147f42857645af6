"""A frame that a person has corrected, laid over what a model finds in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.annotation.operations import VISIBLE_PART
from napari_eomt.errors import DataError
from napari_eomt.structures.id_maps import measure
from napari_eomt.structures.segments import Segmentation, Status

if TYPE_CHECKING:
    from napari_eomt.structures.segments import IdMap, Segment

SAME_IOU = 0.5
"""What the model finds again, and nobody has locked, is the same thing from here on: of two things
that do not overlap, one at most reaches it."""


@dataclass(frozen=True, eq=False)
class Given:
    """What a model found, with what a person has decided.

    Parameters
    ----------
    segmentation : Segmentation
        Locked segments have their pixels, and new ids; what the model found of them is gone.
    replaced : dict of int to tuple of int
        By the id of a locked segment, those of the model's segments that were the same thing.
    known : dict of int to int
        The tracks of those of the model's segments that the frame had before, by their ids.
    left : Segmentation
        Segments of the frame that have a track and that the model has not found.
    """

    segmentation: Segmentation
    replaced: dict[int, tuple[int, ...]]
    known: dict[int, int]
    left: Segmentation


def lay_over(proposed: Segmentation, given: Segmentation) -> Given:
    """Lay a corrected frame over what a model has found in it.

    Parameters
    ----------
    proposed : Segmentation
    given : Segmentation
        Locked segments keep their pixels and their track. Of the others, those that have a track
        pass it on to what the model finds at their place.

    Raises
    ------
    DataError
        If their sizes differ.
    """
    if proposed.shape != given.shape:
        raise DataError(
            f"The given segments are of {given.shape} px, the frame is {proposed.shape}. Give "
            "those of this frame."
        )
    shown = [s for s in given.segments if s.status is not Status.REJECTED]
    locked = sorted((s for s in shown if s.is_locked), key=lambda s: s.id)
    others = tuple(s for s in shown if not s.is_locked and s.track_id is not None)
    first = max((s.id for s in proposed.segments), default=0) + 1
    own = _numbered(given.id_map, [s.id for s in locked])
    shared = _shared(proposed.id_map, own)
    covered: dict[int, int] = {}
    for (i, _), n in shared.items():
        covered[i] = covered.get(i, 0) + n
    areas = {i: n for i, (n, _) in _measured(proposed).items()}
    kept: list[Segment] = []
    replaced: dict[int, list[int]] = {}
    for one in proposed.segments:
        n = areas.get(one.id, 0)
        if n - covered.get(one.id, 0) >= max(1, VISIBLE_PART * n):
            kept.append(one)
        elif one.id in covered:
            _, k = max((m, -k) for (i, k), m in shared.items() if i == one.id)
            replaced.setdefault(first - k - 1, []).append(one.id)
    numbers = _numbered(proposed.id_map, [s.id for s in kept])
    ids = np.array([0, *(s.id for s in kept)], np.uint32)
    id_map: IdMap = np.where(own > 0, own + np.uint32(first - 1), ids[numbers])
    segments = (*kept, *(replace(s, id=first + k) for k, s in enumerate(locked)))
    composed = Segmentation(id_map, tuple(segments))
    known = _found_again(composed, Segmentation(given.id_map, others), {s.id for s in kept})
    tracks = set(known.values())
    left = tuple(s for s in others if s.track_id not in tracks)
    parts = {k: tuple(ids) for k, ids in replaced.items()}
    return Given(composed, parts, known, Segmentation(given.id_map, left))


def _found_again(found: Segmentation, before: Segmentation, ids: set[int]) -> dict[int, int]:
    """Return the track of each found segment that overlaps with one of before by over a half."""
    numbers = sorted(ids)
    here = _numbered(found.id_map, numbers)
    old = sorted(before.segments, key=lambda s: s.id)
    there = _numbered(before.id_map, [s.id for s in old])
    areas, old_areas = np.bincount(here.ravel()), np.bincount(there.ravel())
    by_id = found.by_id()
    known = {}
    for (k, m), n in _shared(here, there).items():
        one, other = by_id[numbers[k - 1]], old[m - 1]
        is_same_kind = (one.is_thing, one.is_crowd) == (other.is_thing, other.is_crowd)
        if is_same_kind and n > SAME_IOU * (areas[k] + old_areas[m] - n):
            known[one.id] = int(other.track_id or 0)
    return known


def _measured(segmentation: Segmentation) -> dict[int, tuple[int, tuple[int, int, int, int]]]:
    return measure(segmentation.id_map, sorted(s.id for s in segmentation.segments))


def _numbered(id_map: IdMap, ids: list[int]) -> IdMap:
    """Return an id map with 1 + the position of each of these ids, and 0 elsewhere."""
    if not ids:
        return np.zeros(id_map.shape, np.uint32)
    place = np.searchsorted(ids, id_map)
    place[place == len(ids)] = 0
    return np.where(np.asarray(ids)[place] == id_map, place + 1, 0).astype(np.uint32)


def _shared(one: IdMap, other: IdMap) -> dict[tuple[int, int], int]:
    """Count the pixels that two ids share, where neither is 0."""
    both = (one > 0) & (other > 0)
    pairs = np.stack([one[both].astype(np.int64), other[both].astype(np.int64)])
    found, counts = np.unique(pairs, axis=1, return_counts=True)
    return {(int(i), int(k)): int(n) for (i, k), n in zip(found.T, counts, strict=True)}
