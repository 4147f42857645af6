"""Deciding about what a model said of each view: thresholds in, segments out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_eomt.inference.instance import HELD_BYTES, InstanceView
from napari_eomt.inference.plan import task_of
from napari_eomt.inference.postprocess import (
    QuerySegments,
    SemanticView,
    panoptic_segments,
    semantic_map,
)
from napari_eomt.inference.stitch import Stitcher, StitchMemory
from napari_eomt.inference.uncertainty import Doubts
from napari_eomt.structures.categories import stuff_labels
from napari_eomt.structures.id_maps import areas, boxes, renumber
from napari_eomt.structures.segments import Segment, Segmentation

if TYPE_CHECKING:
    from collections.abc import Hashable

    import numpy.typing as npt

    from napari_eomt.inference.params import PredictParams
    from napari_eomt.inference.plan import Plan
    from napari_eomt.inference.uncertainty import DoubtMemory
    from napari_eomt.models.card import ModelCard
    from napari_eomt.models.segmenter import QueryOutput
    from napari_eomt.structures.candidates import QueryId
    from napari_eomt.structures.segments import Task
    from napari_eomt.structures.tiles import Tile
    from napari_eomt.structures.uncertainty import Uncertainty

FULL_PART = 0.8
"""A tile whose segments use more than this part of the queries may have missed some."""

FLOOR_PART = 0.25
"""Masks are measured down to this part of the score threshold, for when it is lowered."""

MEMORY_BYTES = 2**28
"""What is remembered of a decision at most (256 MiB): of 2048² in tiles it takes 60 MB."""


@dataclass(frozen=True, eq=False)
class View:
    """What the model said about one view of the canvas.

    Parameters
    ----------
    tile : Tile
        Where, on the canvas.
    class_logits : (Q, K + 1) float32
    mask_logits : (Q, h, w) float16
        Half the memory of float32; every result is decided from these, so that a threshold moved
        there and back gives the same segments.
    """

    tile: Tile
    class_logits: torch.Tensor
    mask_logits: torch.Tensor

    @classmethod
    def of(cls, tile: Tile, output: QueryOutput) -> View:
        """Keep the output for a batch of one."""
        limit = torch.finfo(torch.float16).max
        return cls(
            tile,
            output.class_logits[0].clone(),
            output.mask_logits[0].clamp(-limit, limit).to(torch.float16),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.class_logits.nbytes + self.mask_logits.nbytes


@dataclass(frozen=True, eq=False)
class Decision:
    """What was decided.

    Parameters
    ----------
    segmentation : Segmentation
    n_full_tiles : int
        How many of the tiles came near the number of the model's queries.
    queries : tuple of (view, query)
        Of each segment, in the order of the segments: of one that tiles made together the best
        one's, of fused stuff the first. Empty for the semantic task, where all queries speak.
    uncertainty : tuple of Uncertainty
        Of each segment, likewise.
    members : tuple of tuple of (view, query)
        Of each segment all queries that it was made of, its own first; of stuff that one alone.
    """

    segmentation: Segmentation
    n_full_tiles: int
    queries: tuple[QueryId, ...] = ()
    uncertainty: tuple[Uncertainty, ...] = ()
    members: tuple[tuple[QueryId, ...], ...] = ()


class DecisionMemory:
    """What was measured for a decision, so that the next one costs what it changes.

    For proposals that stay the same, and one task and mask threshold at a time.

    Parameters
    ----------
    max_bytes : int
        Of the masks and maps; what is beyond is measured again each time.
    """

    def __init__(self, max_bytes: int = MEMORY_BYTES) -> None:
        self.max_bytes = max_bytes
        self.key: tuple[Task, float] | None = None
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self.nbytes = 0
        self.views: dict[int, InstanceView] = {}
        # Of each view: from what it was decided, what, and the same with queries of all views.
        self.found: dict[int, tuple[Hashable, QuerySegments, QuerySegments]] = {}
        self.doubts: DoubtMemory = {}
        self.stitching = StitchMemory()

    def start(self, key: tuple[Task, float]) -> None:
        """Make ready for a decision with this task and mask threshold."""
        if key != self.key:
            self.key = key
            self.clear()


class Decider:
    """Turns views into segments, one view at a time, in the order of the plan.

    Parameters
    ----------
    plan : Plan
    card : ModelCard
    params : PredictParams
    memory : DecisionMemory, optional
        Of earlier decisions about the same views; this one adds to it.
    """

    def __init__(
        self,
        plan: Plan,
        card: ModelCard,
        params: PredictParams,
        memory: DecisionMemory | None = None,
    ) -> None:
        self._plan, self._card, self._params = plan, card, params
        self._task = task_of(params, card)
        self._stuff = stuff_labels(card.categories)
        self._n_full = self._n_added = 0
        self._memory = memory
        if memory:
            memory.start((self._task, params.mask_threshold))
        self._doubts = Doubts(
            card.input_size,
            params.mask_threshold,
            is_instance=self._task == "instance",
            memory=memory.doubts if memory else None,
        )
        self._whole: QuerySegments | None = None
        self._views: list[View] = []
        self._stitcher: Stitcher | None = None
        if self._task != "semantic" and len(plan.tiles) > 1:
            regions = tuple(plan.region(tile) for tile in plan.tiles)
            fused = self._stuff if self._task == "panoptic" else frozenset()
            known = memory.stitching if memory else None
            self._stitcher = Stitcher(plan.shape, regions, fused, known)

    def add(self, view: View) -> None:
        """Take the next view."""
        if self._task == "semantic":
            # Windows are averaged before anything is decided, so all are needed.
            self._views.append(view)
            return
        index, self._n_added = self._n_added, self._n_added + 1
        region = self._plan.region(view.tile)
        # Seams cut objects: what is too small is known only when they are whole again.
        min_area = 0 if self._stitcher else self._params.min_area
        found = self._segments(index, view, (region.height, region.width), min_area)
        self._n_full += len(found.labels) > FULL_PART * len(view.class_logits)
        self._doubts.add(index, view, region, found)
        found = self._of_all_views(index, found)
        if self._stitcher:
            self._stitcher.add(region, found)
        else:
            self._whole = found

    def result(self) -> Decision:
        """Return the segments of the whole image."""
        if self._task == "semantic":
            return Decision(self._semantic(), 0)
        found = self._stitcher.result() if self._stitcher else self._whole
        if found is None:
            raise ValueError("The plan has one view; none was added.")
        if self._stitcher and self._params.min_area:
            found = _only(found, found.areas >= self._params.min_area)
        if self._params.categories is not None:
            found = _only(found, self._is_wanted()[found.labels])
        queries = tuple(divmod(q, self._card.n_queries) for q in found.queries.tolist())
        uncertainty = self._doubts.result(queries)
        members = tuple((query,) for query in queries)
        if found.members is not None:
            parts = ([divmod(q, self._card.n_queries) for q in one] for one in found.members)
            members = tuple(
                (query, *(part for part in others if part != query))
                for query, others in zip(queries, parts, strict=True)
            )
        segmentation = self._segmentation(found)
        return Decision(segmentation, self._n_full, queries, uncertainty, members)

    def _is_wanted(self) -> npt.NDArray[np.bool_]:
        """Whether segments of each label are kept."""
        wanted = self._params.categories
        return np.array([wanted is None or c.id in wanted for c in self._card.categories], bool)

    def _of_all_views(self, index: int, found: QuerySegments) -> QuerySegments:
        """Number queries over all views, so that one tells its view when they are merged."""
        known = self._memory.found.get(index) if self._memory else None
        if known is not None and known[1] is found:
            return known[2]
        return replace(found, queries=found.queries + index * self._card.n_queries)

    def _segments(
        self, index: int, view: View, shape: tuple[int, int], min_area: int
    ) -> QuerySegments:
        if self._task == "panoptic":
            return self._panoptic(index, view, shape, min_area)
        params = self._params
        masks = self._masks(index, view, shape)
        found = masks.segments(
            score_threshold=params.score_threshold,
            min_area=min_area,
            overlap=params.overlap,
            overlap_threshold=params.overlap_threshold,
        )
        if self._memory and index in self._memory.views:
            self._remember(index, None, found)
        return found

    def _masks(self, index: int, view: View, shape: tuple[int, int]) -> InstanceView:
        """Return the view's masks, measured once if they may be remembered."""
        memory, threshold = self._memory, self._params.score_threshold
        known = memory.views.get(index) if memory else None
        if known is not None and known.floor <= threshold:
            return known
        room = memory.max_bytes - memory.nbytes if memory else 0
        is_kept = memory is not None and room > 0
        masks = InstanceView(
            view.class_logits,
            view.mask_logits,
            input_size=self._card.input_size,
            content=(view.tile.height, view.tile.width),
            shape=shape,
            floor=threshold * FLOOR_PART if is_kept else threshold,
            mask_threshold=self._params.mask_threshold,
            max_bytes=max(room, HELD_BYTES),
        )
        if memory is not None:
            memory.nbytes -= known.nbytes if known else 0
            memory.views.pop(index, None)
            if memory.nbytes + masks.nbytes <= memory.max_bytes:
                memory.views[index] = masks
                memory.nbytes += masks.nbytes
        return masks

    def _panoptic(
        self, index: int, view: View, shape: tuple[int, int], min_area: int
    ) -> QuerySegments:
        params, memory = self._params, self._memory
        probabilities, classes = view.class_logits.float().softmax(-1).max(-1)
        is_kept = (classes < view.class_logits.shape[1] - 1) & (
            probabilities > params.score_threshold
        )
        decided_by = (is_kept.cpu().numpy().tobytes(), params.overlap_threshold, min_area)
        known = memory.found.get(index) if memory else None
        if known is not None and known[0] == decided_by:
            return known[1]
        found = panoptic_segments(
            view.class_logits,
            view.mask_logits,
            input_size=self._card.input_size,
            content=(view.tile.height, view.tile.width),
            shape=shape,
            stuff=self._stuff,
            score_threshold=params.score_threshold,
            mask_threshold=params.mask_threshold,
            overlap_threshold=params.overlap_threshold,
            min_area=min_area,
        )
        self._remember(index, decided_by, found)
        return found

    def _remember(self, index: int, decided_by: Hashable, found: QuerySegments) -> None:
        """Remember what was decided about a view."""
        memory = self._memory
        if memory is None:
            return
        known = memory.found.get(index)
        if known is not None and known[1] is found:
            return
        if known is None:
            # The map, and the one of its pieces.
            if memory.nbytes + 2 * found.id_map.nbytes > memory.max_bytes:
                return
            memory.nbytes += 2 * found.id_map.nbytes
        memory.found.pop(index, None)
        memory.found[index] = (decided_by, found, self._of_all_views(index, found))

    def _segmentation(self, found: QuerySegments) -> Segmentation:
        where = (
            dict(enumerate(found.boxes, start=1))
            if found.boxes is not None
            else boxes(found.id_map)
        )
        segments = []
        for i, (label, score) in enumerate(zip(found.labels, found.scores, strict=True), start=1):
            category = self._card.categories[label]
            segments.append(
                Segment(
                    id=i,
                    category_id=category.id,
                    score=float(score),
                    is_thing=category.is_thing,
                    source=self._card.name,
                    area=int(found.areas[i - 1]),
                    bbox=where[i],
                )
            )
        return Segmentation(found.id_map, tuple(segments))

    def _semantic(self) -> Segmentation:
        # When memory ran out midway, the last views come from another device than the first.
        device = self._views[-1].class_logits.device
        labels = semantic_map(
            [
                SemanticView(v.tile, v.class_logits.to(device), v.mask_logits.to(device))
                for v in self._views
            ],
            canvas_shape=self._plan.canvas,
            input_size=self._card.input_size,
            shape=self._plan.shape,
            blend="ramp" if self._plan.kind == "tiles" else "mean",
        )
        counts = areas(labels, len(self._card.categories) + 1)
        is_kept = (counts >= max(1, self._params.min_area)) & np.append(False, self._is_wanted())
        present = np.flatnonzero(is_kept)
        new_ids = np.zeros(len(counts), np.int64)
        new_ids[present] = np.arange(1, len(present) + 1)
        id_map = renumber(labels, new_ids)
        where = boxes(id_map)
        categories = [self._card.categories[k - 1] for k in present]
        return Segmentation(
            id_map,
            tuple(
                Segment(
                    id=i,
                    category_id=category.id,
                    # A region of a category is no countable thing, whatever the category is.
                    is_thing=False,
                    source=self._card.name,
                    area=int(counts[present[i - 1]]),
                    bbox=where[i],
                )
                for i, category in enumerate(categories, start=1)
            ),
        )


def _only(found: QuerySegments, is_kept: npt.NDArray[np.bool_]) -> QuerySegments:
    """Return some of the segments, numbered anew."""
    if is_kept.all():
        return found
    kept = np.flatnonzero(is_kept)
    new_ids = np.zeros(len(found.areas) + 1, np.int64)
    new_ids[kept + 1] = np.arange(1, len(kept) + 1)
    return QuerySegments(
        id_map=renumber(found.id_map, new_ids),
        labels=found.labels[kept],
        scores=found.scores[kept],
        queries=found.queries[kept],
        areas=found.areas[kept],
        boxes=None if found.boxes is None else tuple(found.boxes[i] for i in kept),
        members=None if found.members is None else tuple(found.members[i] for i in kept),
    )
