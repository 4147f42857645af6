"""Which segment of a frame continues which track: candidates, and the best assignment of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from napari_eomt.inference.track_assign import best_pairs
from napari_eomt.inference.track_memory import shared_pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.inference.track_memory import Seen, TrackMemory
    from napari_eomt.inference.track_params import TrackParams

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# A track that was seen a frame ago wins over a lost one that fits nearly as well, and a segment of
# the track's category over one of another.
_OF_MISSED, _OF_OTHER_CATEGORY = 0.95, 0.8
# A fast object keeps its size; something half as large or twice is another one.
_MIN_AREA_RATIO = 0.5


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pairs of a track and a segment that may be the same.

    Parameters
    ----------
    track : (N,) int64
    seen : (N,) int64
        Positions of both; each pair is there once.
    iou : (N,) float64
        Of the masks, where the track is expected; 0 for pairs that are only near.
    gain : (N,) float64
        What the pair is worth, above 0 and 1 at most.
    """

    track: Ints
    seen: Ints
    iou: Floats
    gain: Floats


def find_candidates(
    tracks: Sequence[TrackMemory],
    seen: Sequence[Seen],
    id_map: npt.NDArray[np.integer[Any]],
    params: TrackParams,
) -> Candidates:
    """Return the pairs that may be linked. Time goes with the pixels of the tracks.

    Parameters
    ----------
    tracks : sequence of TrackMemory
    seen : sequence of Seen
        Segments of the frame.
    id_map : (H, W) int
        Of the frame.
    params : TrackParams
    """
    place = {one.segment.id: j for j, one in enumerate(seen)}
    found: dict[tuple[int, int], tuple[float, float]] = {}
    for i, track in enumerate(tracks):
        for shift in _shifts(track, params):
            for segment_id, common in shared_pixels(track.seen, shift, id_map).items():
                j = place.get(segment_id)
                if j is None:
                    continue
                iou = common / (track.seen.area + seen[j].area - common)
                worth = _worth(track, seen[j], params)
                if iou >= params.iou_threshold and worth:
                    found[i, j] = max(found.get((i, j), (0.0, 0.0)), (iou, iou * worth))
    if params.max_distance is not None:
        for i, j, nearness in _near(tracks, seen, params.max_distance, params):
            # Below whatever an overlap is worth.
            gain = params.iou_threshold * nearness * _worth(tracks[i], seen[j], params)
            if gain and (i, j) not in found:
                found[i, j] = 0.0, gain
    pairs = sorted(found)
    values = np.array([found[pair] for pair in pairs], np.float64).reshape(-1, 2)
    places = np.array(pairs, np.int64).reshape(-1, 2)
    return Candidates(places[:, 0], places[:, 1], values[:, 0], values[:, 1])


def assign(candidates: Candidates) -> Ints:
    """Choose pairs so that each track and segment is in one at most, and their gains sum highest.

    Returns
    -------
    (M,) int64
        Positions of the chosen pairs, rising.
    """
    return best_pairs(candidates.track, candidates.seen, candidates.gain)


def doubts(candidates: Candidates, chosen: Ints) -> Floats:
    """Return how doubtful each chosen pair is: (M,), 0 to 1.

    A pair is sure when its masks agree and no other pair of its track or segment is worth
    anything: the doubt is 1 − (IoU − the best rival's gain).
    """
    rival = np.zeros(len(candidates.track))
    for ends in (candidates.track, candidates.seen):
        best, second = _two_best(ends, candidates.gain)
        rival = np.maximum(rival, np.where(candidates.gain < best[ends], best[ends], second[ends]))
    return np.clip(1 - (candidates.iou - rival), 0, 1)[chosen]


def _two_best(ends: Ints, gain: Floats) -> tuple[Floats, Floats]:
    """Return the largest and the second largest gain of each end; of two equal ones, both."""
    n = int(ends.max(initial=-1)) + 1
    best, second = np.zeros(n), np.zeros(n)
    for end, value in zip(ends.tolist(), gain.tolist(), strict=True):
        if value > best[end]:
            best[end], second[end] = value, best[end]
        else:
            second[end] = max(second[end], value)
    return best, second


def _shifts(track: TrackMemory, params: TrackParams) -> set[tuple[int, int]]:
    moved, still = track.step(), (0, 0)
    if params.motion == "either":
        return {moved, still}
    return {moved} if params.motion == "steady" else {still}


def _worth(track: TrackMemory, one: Seen, params: TrackParams) -> float:
    """Return a factor of the gain, 0 where the pair cannot be linked."""
    was, now = track.seen.segment, one.segment
    if (was.is_thing, was.is_crowd) != (now.is_thing, now.is_crowd):
        return 0.0
    worth = _OF_MISSED**track.n_missed
    if track.category_id != now.category_id:
        worth *= 0.0 if params.category_rule == "same" else _OF_OTHER_CATEGORY
    return worth


def _near(
    tracks: Sequence[TrackMemory], seen: Sequence[Seen], reach: float, params: TrackParams
) -> list[tuple[int, int, float]]:
    """Return (track, segment, nearness), of similar size; nearness falls from 1 to 0 at reach."""
    if not tracks or not seen:
        return []
    tree = cKDTree([one.centre for one in seen])
    found = []
    for i, track in enumerate(tracks):
        near: dict[int, float] = {}
        for shift in _shifts(track, params):
            y, x = track.seen.centre[0] + shift[0], track.seen.centre[1] + shift[1]
            for j in tree.query_ball_point((y, x), reach):
                distance = math.dist((y, x), seen[j].centre)
                near[j] = min(near.get(j, reach), distance)
        for j, distance in near.items():
            areas = sorted((track.seen.area, seen[j].area))
            ratio = areas[0] / areas[1]
            if ratio >= _MIN_AREA_RATIO:
                found.append((i, j, ratio * (1 - 0.5 * distance / reach)))
    return found
