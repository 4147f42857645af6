"""All that a model proposes of an image, with scores: what average precision is a curve of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_eomt.inference.decision import FLOOR_PART
from napari_eomt.structures.rle import Rle, encode, encode_mask

if TYPE_CHECKING:
    from napari_eomt.inference.params import PredictParams
    from napari_eomt.inference.proposals import Proposals

MAX_DETECTIONS = 100
"""Of an image seen as a whole: as many as COCO's AP looks at."""


@dataclass(frozen=True)
class ScoredMask:
    """An object that is proposed.

    Parameters
    ----------
    category_id : int
    score : float
    mask : Rle
        At the size of the image.
    """

    category_id: int
    score: float
    mask: Rle


def scored_masks(
    proposals: Proposals, params: PredictParams | None = None, limit: int = MAX_DETECTIONS
) -> list[ScoredMask]:
    """Return what a model proposes of an image, best first.

    In an image that was seen as a whole these are, as in EoMT's own evaluation, the `limit` most
    probable pairs of a query and a category; masks overlap, and a query may be there under several
    categories. The score is the category's probability times the mean probability of the mask. In
    one that was seen in tiles, objects that tiles share have to be made one: there they are the
    objects of a quarter of the score threshold or more, without overlap.

    Parameters
    ----------
    proposals : Proposals
    params : PredictParams, optional
        Of tiles; by default those with which the model was run.
    limit : int
        For an image seen as a whole.
    """
    params = params or proposals.params
    if len(proposals.plan.tiles) > 1:
        # Masks were measured down to here. A floor of 0.05 added a third to the time of evaluating
        # a model on nuclei, and 0.001 to COCO's AP of what is shown.
        floor = params.score_threshold * FLOOR_PART
        found = proposals.segment(params, task="instance", score_threshold=floor)
        masks = encode(found.id_map)
        rows = [
            ScoredMask(s.category_id, s.score or 0.0, masks[s.id])
            for s in found.segments
            if s.id in masks
        ]
    else:
        rows = _of_queries(proposals, limit)
    return sorted(rows, key=lambda row: -row.score)


def _of_queries(proposals: Proposals, limit: int) -> list[ScoredMask]:
    probabilities = proposals.masks.probabilities(0)
    n_categories = probabilities.shape[1]
    best = np.argsort(-probabilities, axis=None, kind="stable")[:limit]
    masks: dict[int, tuple[Rle, float]] = {}
    rows = []
    for place in best.tolist():
        query, label = divmod(place, n_categories)
        if query not in masks:
            masks[query] = _mask(proposals, query)
        mask, mean = masks[query]
        category = proposals.card.categories[label]
        rows.append(ScoredMask(category.id, float(probabilities[query, label]) * mean, mask))
    return [row for row in rows if row.mask.area]


def _mask(proposals: Proposals, query: int) -> tuple[Rle, float]:
    """Return where a mask is more probable than not, and the mean probability there."""
    logits = proposals.masks.logits((0, query), proposals.masks.box(0))
    inside = logits > 0
    total = float(torch.from_numpy(logits[inside]).sigmoid().sum())
    return encode_mask(inside), total / (float(inside.sum()) + 1e-6)
