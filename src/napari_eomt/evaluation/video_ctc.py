"""The Cell Tracking Challenge's measures: SEG, DET, TRA and LNK.

TRA is by Matula et al., PLoS ONE 2015: the cost of the edits that turn the graph of found tracks
into that of the true ones (AOGM), over the cost of making the true one from nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_eomt.evaluation.video_frames import FrameOverlap

_NONE: Mapping[int, int] = MappingProxyType({})
# Split a vertex, add one, delete one; delete an edge, add one, change what it means.
NS, FN, FP, ED, EA, EC = 5.0, 10.0, 1.0, 1.0, 1.5, 1.0


class _Vertex(NamedTuple):
    """An object of a frame, and the one object of the other side that it is, if there is one."""

    frame: int
    other: int | None


class _Edge(NamedTuple):
    track_id: int
    frame: int
    is_track: bool


@dataclass(frozen=True)
class CtcQuality:
    """Counts of edits, and the measures that follow.

    Parameters
    ----------
    n_objects, n_edges : int
        Of the true graph.
    splits : int
        Found objects that cover several true ones, counted for each one too many (NS).
    misses, extras : int
        True objects that are not covered (FN), found ones that cover none (FP).
    extra_edges, missing_edges, wrong_edges : int
        ED, EA, EC: wrong are those that tell a division from a track's next step amiss.
    jaccard : float
        Sum of the true objects' IoU with what covers them.
    """

    n_objects: int
    n_edges: int
    splits: int
    misses: int
    extras: int
    extra_edges: int
    missing_edges: int
    wrong_edges: int
    jaccard: float

    @property
    def aogm_d(self) -> float:
        """Cost of the edits to vertices."""
        return NS * self.splits + FN * self.misses + FP * self.extras

    @property
    def aogm_a(self) -> float:
        """Cost of the edits to edges."""
        return ED * self.extra_edges + EA * self.missing_edges + EC * self.wrong_edges

    @property
    def seg(self) -> float | None:
        """Mean over true objects of the IoU with the one that covers more than half; else 0."""
        return self.jaccard / self.n_objects if self.n_objects else None

    @property
    def det(self) -> float | None:
        """Detection, 0 to 1; None where there is no true object."""
        return _spared(self.aogm_d, FN * self.n_objects)

    @property
    def tra(self) -> float | None:
        """Tracking, 0 to 1."""
        return _spared(self.aogm_d + self.aogm_a, FN * self.n_objects + EA * self.n_edges)

    @property
    def lnk(self) -> float | None:
        """Linking, 0 to 1: of the edges alone."""
        return _spared(self.aogm_a, EA * self.n_edges)


class CtcCounter:
    """Counts frame by frame; memory goes with the tracks.

    A found object covers a true one when it has more than half of its pixels. Edges lead from a
    track's object to its next one, and from a parent's last object to its children's first; those
    that skip frames have, as in the challenge, the meaning of the latter.

    Parameters
    ----------
    truth_parents, pred_parents : dict of int to int
        The parent's track id of a child's, as in man_track.txt; 0 and what is absent are none.
    """

    def __init__(
        self, truth_parents: Mapping[int, int] = _NONE, pred_parents: Mapping[int, int] = _NONE
    ) -> None:
        self._parents = truth_parents, pred_parents
        self._last: tuple[dict[int, _Vertex], dict[int, _Vertex]] = {}, {}
        self._t = 0
        self._n: Counter[str] = Counter()
        self._jaccard = 0.0

    def add(self, frame: FrameOverlap) -> None:
        """Count a frame."""
        covers = 2 * frame.common > frame.truth_areas[frame.truth]
        self._jaccard += float(frame.iou[covers].sum())
        truth_ids, pred_ids = frame.truth_ids.tolist(), frame.pred_ids.tolist()
        found_of = {
            truth_ids[i]: pred_ids[j]
            for i, j in zip(frame.truth[covers].tolist(), frame.pred[covers].tolist(), strict=True)
        }
        n_covered = Counter(found_of.values())
        # Of several true objects under one, none is it.
        true_of = {j: i for i, j in found_of.items() if n_covered[j] == 1}
        found_of = {i: j for j, i in true_of.items()}
        self._n["objects"] += len(truth_ids)
        self._n["misses"] += len(truth_ids) - n_covered.total()
        self._n["extras"] += len(pred_ids) - len(n_covered)
        self._n["splits"] += n_covered.total() - len(n_covered)
        edges, found_edges = (self._edges(k, ids) for k, ids in enumerate((truth_ids, pred_ids)))
        self._compare(edges, found_edges, found_of)
        for last, ids, others in zip(
            self._last, (truth_ids, pred_ids), (found_of, true_of), strict=True
        ):
            last |= {i: _Vertex(self._t, others.get(i)) for i in ids}
        self._t += 1

    def quality(self) -> CtcQuality:
        """Return the counts."""
        n = self._n
        return CtcQuality(
            n["objects"],
            n["edges"],
            n["splits"],
            n["misses"],
            n["extras"],
            n["extra_edges"],
            n["missing_edges"],
            n["wrong_edges"],
            self._jaccard,
        )

    def _edges(self, side: int, ids: list[int]) -> dict[int, _Edge]:
        """Return the edge that ends in each object of this frame."""
        last, parents = self._last[side], self._parents[side]
        edges = {}
        for i in ids:
            if i in last:
                edges[i] = _Edge(i, last[i].frame, last[i].frame == self._t - 1)
            elif parents.get(i) in last:
                parent = parents[i]
                edges[i] = _Edge(parent, last[parent].frame, False)
        return edges

    def _compare(
        self, edges: dict[int, _Edge], found_edges: dict[int, _Edge], found_of: dict[int, int]
    ) -> None:
        """Compare the edges that end in this frame."""
        n_same = 0
        for i, edge in edges.items():
            start = self._last[0][edge.track_id]
            found = found_edges.get(found_of[i]) if i in found_of else None
            if found is not None and start.other == found.track_id and start.frame == found.frame:
                n_same += 1
                self._n["wrong_edges"] += edge.is_track != found.is_track
        # Those between objects that are true ones, and are no edge of theirs.
        found_ids = set(found_of.values())
        n_between = sum(
            j in found_ids and self._last[1][edge.track_id].other is not None
            for j, edge in found_edges.items()
        )
        self._n["edges"] += len(edges)
        self._n["missing_edges"] += len(edges) - n_same
        self._n["extra_edges"] += n_between - n_same


def _spared(cost: float, most: float) -> float | None:
    return 1 - min(cost, most) / most if most else None
