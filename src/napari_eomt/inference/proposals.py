"""A forward pass kept: from it any thresholds and any task, without another one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from napari_eomt.inference.finder import Finder
from napari_eomt.inference.params import PredictParams, same_proposals
from napari_eomt.inference.plan import Plan, make_plan, task_of
from napari_eomt.inference.postprocess import (
    QuerySegments,
    SemanticView,
    instance_segments,
    panoptic_segments,
    semantic_map,
)
from napari_eomt.inference.query_masks import QueryMasks
from napari_eomt.inference.stitch import Stitcher
from napari_eomt.inference.uncertainty import Doubts
from napari_eomt.structures.categories import stuff_labels
from napari_eomt.structures.id_maps import areas, boxes, renumber
from napari_eomt.structures.segments import Segment, Segmentation

if TYPE_CHECKING:
    from napari_eomt.models.card import ModelCard
    from napari_eomt.models.segmenter import QueryOutput
    from napari_eomt.structures.candidates import QueryId
    from napari_eomt.structures.segments import Task
    from napari_eomt.structures.tiles import Tile
    from napari_eomt.structures.uncertainty import Uncertainty

FULL_PART = 0.8
"""A tile whose segments use more than this part of the queries may have missed some."""

_SHOWN_PIXELS = 2**20


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
    """

    segmentation: Segmentation
    n_full_tiles: int
    queries: tuple[QueryId, ...] = ()
    uncertainty: tuple[Uncertainty, ...] = ()


class Decider:
    """Turns views into segments, one view at a time, in the order of the plan.

    Parameters
    ----------
    plan : Plan
    card : ModelCard
    params : PredictParams
    """

    def __init__(self, plan: Plan, card: ModelCard, params: PredictParams) -> None:
        self._plan, self._card, self._params = plan, card, params
        self._task = task_of(params, card)
        self._stuff = stuff_labels(card.categories)
        self._n_full = self._n_added = 0
        self._doubts = Doubts(
            card.input_size, params.mask_threshold, is_instance=self._task == "instance"
        )
        self._whole: QuerySegments | None = None
        self._views: list[View] = []
        self._stitcher: Stitcher | None = None
        if self._task != "semantic" and len(plan.tiles) > 1:
            regions = tuple(plan.region(tile) for tile in plan.tiles)
            fused = self._stuff if self._task == "panoptic" else frozenset()
            self._stitcher = Stitcher(plan.shape, regions, fused)

    def add(self, view: View) -> None:
        """Take the next view."""
        if self._task == "semantic":
            # Windows are averaged before anything is decided, so all are needed.
            self._views.append(view)
            return
        region = self._plan.region(view.tile)
        # Seams cut objects: what is too small is known only when they are whole again.
        min_area = 0 if self._stitcher else self._params.min_area
        found = self._segments(view, (region.height, region.width), min_area)
        self._n_full += len(found.labels) > FULL_PART * len(view.class_logits)
        self._doubts.add(self._n_added, view, region, found)
        # So that a segment's query tells its view, too, when the views are merged.
        found = replace(found, queries=found.queries + self._n_added * self._card.n_queries)
        self._n_added += 1
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
            found = _at_least(found, self._params.min_area)
        queries = tuple(divmod(q, self._card.n_queries) for q in found.queries.tolist())
        uncertainty = self._doubts.result(queries)
        return Decision(self._segmentation(found), self._n_full, queries, uncertainty)

    def _segments(self, view: View, shape: tuple[int, int], min_area: int) -> QuerySegments:
        content = (view.tile.height, view.tile.width)
        params, size = self._params, self._card.input_size
        if self._task == "panoptic":
            return panoptic_segments(
                view.class_logits,
                view.mask_logits,
                input_size=size,
                content=content,
                shape=shape,
                stuff=self._stuff,
                score_threshold=params.score_threshold,
                mask_threshold=params.mask_threshold,
                overlap_threshold=params.overlap_threshold,
                min_area=min_area,
            )
        return instance_segments(
            view.class_logits,
            view.mask_logits,
            input_size=size,
            content=content,
            shape=shape,
            score_threshold=params.score_threshold,
            mask_threshold=params.mask_threshold,
            min_area=min_area,
            overlap=params.overlap,
            overlap_threshold=params.overlap_threshold,
        )

    def _segmentation(self, found: QuerySegments) -> Segmentation:
        where = boxes(found.id_map)
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
        present = np.flatnonzero(counts >= max(1, self._params.min_area))
        present = present[present > 0]
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


class Proposals:
    """Everything that the model proposed for an image.

    Parameters
    ----------
    plan : Plan
        How the image was looked at.
    card : ModelCard
        Of the model.
    params : PredictParams
        With which it was run.
    views : list of View
        One for each of the plan's tiles, in their order.
    object_size : float or None
        Side of a typical object, in pixels of the image, that set the zoom.
    """

    def __init__(
        self,
        plan: Plan,
        card: ModelCard,
        params: PredictParams,
        views: list[View],
        object_size: float | None,
    ) -> None:
        self.plan = plan
        self.card = card
        self.params = params
        self.views = views
        self.object_size = object_size
        self._shown: tuple[PredictParams, npt.NDArray[np.bool_], int] | None = None
        self._finder: tuple[tuple[Task, float], Finder] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of memory that they take; what is remembered of them takes 1 % more."""
        return sum(view.nbytes for view in self.views)

    @cached_property
    def masks(self) -> QueryMasks:
        """The masks of single queries; what was measured once is remembered."""
        return QueryMasks(self.plan, self.card.input_size, self.views)

    def finder(self, params: PredictParams) -> Finder:
        """Return what looks at single queries with the task and mask threshold of `params`."""
        key = (task_of(params, self.card), params.mask_threshold)
        if self._finder is None or self._finder[0] != key:
            self._finder = (key, Finder(self.masks, self.card, *key))
        return self._finder[1]

    def fits(self, params: PredictParams) -> bool:
        """Whether running the model with these parameters would give the same proposals."""
        return (
            same_proposals(self.params, params)
            and make_plan(self.plan.shape, self.card, params, self.object_size) == self.plan
        )

    def decide(self, params: PredictParams) -> Decision:
        """Decide about the proposals anew, without running the model."""
        decider = Decider(self.plan, self.card, params)
        for view in self.views:
            decider.add(view)
        decision = decider.result()
        self.remember(params, decision)
        return decision

    def remember(self, params: PredictParams, decision: Decision) -> None:
        """Remember what was decided last, for `shown`."""
        id_map = decision.segmentation.id_map
        # As coarse as the model's grid at most; 1 MB of 4096².
        step = max(1, ceil(sqrt(id_map.size / _SHOWN_PIXELS)))
        self._shown = (params, id_map[::step, ::step] > 0, step)

    def shown(self, params: PredictParams) -> tuple[npt.NDArray[np.bool_], int]:
        """Return what a decision covers with segments, on every n-th row and column, and n."""
        if self._shown is None or self._shown[0] != params:
            self.decide(params)
        assert self._shown is not None  # noqa: S101 - just remembered
        return self._shown[1:]

    def segment(self, params: PredictParams | None = None, **changes: Any) -> Segmentation:
        """Decide about the proposals anew, without running the model.

        Parameters
        ----------
        params : PredictParams, optional
            By default those with which the model was run.
        **changes
            Single parameters to change, such as ``score_threshold=0.3``.
        """
        return self.decide(changed(params or self.params, changes)).segmentation


def changed(params: PredictParams, changes: dict[str, Any]) -> PredictParams:
    """Return the parameters with some of them changed, checked."""
    return PredictParams(**{**params.model_dump(), **changes})


def _at_least(found: QuerySegments, min_area: int) -> QuerySegments:
    kept = np.flatnonzero(found.areas >= min_area)
    new_ids = np.zeros(len(found.areas) + 1, np.int64)
    new_ids[kept + 1] = np.arange(1, len(kept) + 1)
    return QuerySegments(
        id_map=renumber(found.id_map, new_ids),
        labels=found.labels[kept],
        scores=found.scores[kept],
        queries=found.queries[kept],
        areas=found.areas[kept],
    )
