"""Which query answers for which object of a clip: one query for all of its frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from napari_eomt.training.matching import as_matches, matching_costs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.training.matching import CostWeights, Matches
    from napari_eomt.training.predictions import Prediction
    from napari_eomt.training.targets import ImageTargets


@torch.no_grad()
def match_clips(
    predictions: Sequence[Prediction],
    targets: Sequence[ImageTargets],
    visible: Sequence[torch.Tensor],
    points: torch.Tensor,
    weights: CostWeights | None = None,
) -> Matches:
    """Assign to each object of a clip one query, of each prediction by itself.

    As published: an object gets its query in the first frame in which it can be seen, among those
    that no object of a frame before has; and keeps it in all frames of the clip. Where it cannot
    be seen, its query learns that it is there, of its category, and has no pixel. So a query learns
    to wait for what comes later, and to hold on to what is hidden.

    Where more objects come than queries are left, the published costs let two share one; here
    those that fit worst get none, and are not trained on in this step.

    Parameters
    ----------
    predictions : sequence of L Prediction
        Of B · T frames, clip by clip.
    targets : sequence of B · T ImageTargets
        Those of a clip's frames all have the clip's objects, in the same order.
    visible : sequence of B (n, T) bool
        On the CPU. An object that no frame shows gets no query.
    points : (B · T, P, 2) float32
        See `match`.
    weights : CostWeights, optional

    Returns
    -------
    Matches
        Of B · T images.
    """
    costs, is_excused = matching_costs(predictions, targets, points, weights)
    pairs: list[np.ndarray] = []
    for prediction in range(len(predictions)):
        start = 0
        for seen in visible:
            n_frames = seen.shape[1]
            clip = [cost[prediction] for cost in costs[start : start + n_frames]]
            query, row = _assign_clip(clip, seen.numpy())
            for frame in range(start, start + n_frames):
                where = np.broadcast_to([[prediction], [frame]], (2, len(query)))
                pairs.append(np.concatenate((where, query[None], row[None])))
            start += n_frames
    return as_matches(pairs, is_excused)


def _assign_clip(costs: Sequence[np.ndarray], visible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return queries, rising, and the object of each.

    Parameters
    ----------
    costs : sequence of T (n, Q) float32
    visible : (n, T) bool
    """
    first = np.where(visible.any(1), visible.argmax(1), -1)
    free = np.ones(costs[0].shape[1], bool)
    queries: list[int] = []
    objects: list[int] = []
    for frame, cost in enumerate(costs):
        new, left = np.flatnonzero(first == frame), np.flatnonzero(free)
        if not len(new) or not len(left):
            continue
        row, column = linear_sum_assignment(cost[np.ix_(new, left)])
        queries += left[column].tolist()
        objects += new[row].tolist()
        free[left[column]] = False
    order = np.argsort(queries)
    return np.array(queries, np.int64)[order], np.array(objects, np.int64)[order]
