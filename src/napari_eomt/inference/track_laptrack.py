"""Tracks by laptrack, which looks at all frames at once: Jaqaman et al., Nature Methods 2008."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_eomt.errors import DataError
from napari_eomt.inference.track_frames import in_track_ids
from napari_eomt.inference.track_memory import Seen, TrackMemory, look, shared_pixels
from napari_eomt.inference.track_params import TrackParams

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from napari_eomt.structures.segments import Segmentation

Node = tuple[int, int]
"""(frame, position of the segment in it)."""

# What is no candidate: more than any cutoff.
_NEVER = 1e6
# Costs are linked below the cutoff, and a threshold is met by what equals it.
_A_LITTLE = 1e-9


@dataclass(frozen=True, eq=False)
class LinkedFrames:
    """All frames with track ids.

    Parameters
    ----------
    frames : tuple of Segmentation
        As `Linker.link` returns them; category and score are of the whole track.
    parents : dict of int to int
        The track that each child of a division comes from.
    """

    frames: tuple[Segmentation, ...]
    parents: dict[int, int]


def link_with_laptrack(
    segmentations: Iterable[Segmentation],
    params: TrackParams | None = None,
    *,
    first_id: int = 1,
) -> LinkedFrames:
    """Link segments by laptrack: first frame to frame, then the pieces across gaps.

    It knows what comes later, where `Linker` does not, and it holds all frames in memory. Motion
    is not predicted, tracks that were given are not kept, and `birth_score` is not used.

    Parameters
    ----------
    segmentations : iterable of Segmentation
        Frame by frame, of one size.
    params : TrackParams, optional
        The cost of a link is 1 − IoU, cut off by `iou_threshold`; with `max_distance`, the
        distance of centres beyond.
    first_id : int
        Of the first track.

    Raises
    ------
    DataError
        If laptrack is not installed, or frames differ in size.
    """
    params = params or TrackParams()
    try:
        from laptrack import LapTrack
    except ImportError as error:
        raise DataError(
            "Linking by laptrack needs the package laptrack, which is not installed. Install it "
            "with `pip install laptrack`, or link without it."
        ) from error
    frames = list(segmentations)
    for t, one in enumerate(frames):
        if one.shape != frames[0].shape:
            raise DataError(
                f"Frame {t} is {one.shape} px, the frames before are {frames[0].shape}. A video "
                "has frames of one size: track the others by themselves."
            )
    seen = [look(one) for one in frames]
    things = [[j for j, one in enumerate(row) if one.segment.is_thing] for row in seen]
    costs = _Costs(frames, seen, params)
    parents: dict[Node, Node] = {}
    if sum(bool(row) for row in things) > 1:
        cutoff, split_cutoff = costs.cutoff, 1 - params.split_overlap + _A_LITTLE
        # By default laptrack takes what a track's start and end cost from the links it finds: the
        # same cells would be linked otherwise in another clip, and none where all fit perfectly.
        # The cutoff itself links whatever is below it, as `Linker` does.
        ends = ("track_start", "track_end", "segment_start", "segment_end")
        program = LapTrack(
            metric=costs.of_link,
            cutoff=cutoff,
            gap_closing_metric=costs.of_link,
            gap_closing_cutoff=cutoff if params.linked_gap else False,
            gap_closing_max_frame_count=params.linked_gap
            + 1,  # it counts steps, not missing frames
            splitting_metric=costs.of_split,
            splitting_cutoff=split_cutoff if params.splits else False,
            no_splitting_cost=split_cutoff,
            **{f"{end}_cost": cutoff for end in ends},
        )
        tree = program.predict(
            [np.array([(t, j) for j in row], float).reshape(-1, 2) for t, row in enumerate(things)]
        )
        for a, b in tree.edges:
            early, late = sorted((a, b))
            # laptrack counts what it was given, which is things alone.
            parents[late[0], things[late[0]][late[1]]] = early[0], things[early[0]][early[1]]
    return _linked(frames, seen, parents, first_id)


class _Costs:
    """Costs of links between nodes, from the pixels that masks share."""

    def __init__(
        self, frames: Sequence[Segmentation], seen: Sequence[Sequence[Seen]], params: TrackParams
    ) -> None:
        self._frames, self._seen, self._params = frames, seen, params
        self._shared: dict[tuple[int, int, int], dict[int, int]] = {}
        far = params.max_distance is not None
        self.cutoff = (2.0 if far else 1 - params.iou_threshold) + _A_LITTLE

    def of_link(self, a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
        (_, one), (_, other), common = self._pair(a, b)
        was, now = one.segment, other.segment
        if (was.is_thing, was.is_crowd) != (now.is_thing, now.is_crowd):
            return _NEVER
        if self._params.category_rule == "same" and was.category_id != now.category_id:
            return _NEVER
        iou = common / (one.area + other.area - common)
        if iou >= self._params.iou_threshold:
            return 1 - iou
        reach = self._params.max_distance
        return _NEVER if reach is None else 1 + math.dist(one.centre, other.centre) / reach

    def of_split(self, a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
        _, (_, child), common = self._pair(a, b)
        return 1 - common / child.area

    def _pair(
        self, a: npt.NDArray[Any], b: npt.NDArray[Any]
    ) -> tuple[tuple[int, Seen], tuple[int, Seen], int]:
        """Return both, the earlier one first, and the pixels that they share."""
        (t, i), (u, j) = sorted([(int(a[0]), int(a[1])), (int(b[0]), int(b[1]))])
        one, other = self._seen[t][i], self._seen[u][j]
        if (t, i, u) not in self._shared:
            self._shared[t, i, u] = shared_pixels(one, (0, 0), self._frames[u].id_map)
        return (t, one), (u, other), self._shared[t, i, u].get(other.segment.id, 0)


def _linked(
    frames: Sequence[Segmentation],
    seen: Sequence[Sequence[Seen]],
    parents: dict[Node, Node],
    first_id: int,
) -> LinkedFrames:
    """Number the tracks as they begin, and paint them."""
    n_children: dict[Node, int] = {}
    for early in parents.values():
        n_children[early] = n_children.get(early, 0) + 1
    track_of: dict[Node, int] = {}
    memories: dict[int, TrackMemory] = {}
    divided: dict[int, int] = {}
    areas: dict[int, int] = {}
    for t, row in enumerate(seen):
        for j, one in enumerate(row):
            before = parents.get((t, j))
            is_child = before is not None and n_children[before] > 1
            if not one.segment.is_thing:
                category = one.segment.category_id
                i = areas.setdefault(category, first_id + len(memories))
            elif before is None or is_child:
                i = first_id + len(memories)
            else:
                i = track_of[before]
            if before is not None and is_child:
                divided[i] = track_of[before]
            memory = memories.get(i) or TrackMemory(i, one, parent_id=divided.get(i))
            memories[i] = replace(memory.after(one), n_missed=0)
            track_of[t, j] = i
    linked = (
        in_track_ids(one, {j: memories[track_of[t, j]] for j in range(len(seen[t]))}, seen[t])
        for t, one in enumerate(frames)
    )
    return LinkedFrames(tuple(linked), divided)
