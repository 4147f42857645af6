"""Which query answers for which object: Hungarian matching of all blocks and images at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from napari_eomt.training.points import iter_shared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.training.predictions import Prediction
    from napari_eomt.training.targets import ImageTargets

# Of the mask values at the matching points: 10 MB for an image and 200 queries.
_MAX_BYTES = 256 * 2**20
# Of the mask values of an image that a CPU works on at a time: they stay in its cache, and the
# costs of 100 queries at 12,544 points take half of the time.
_CPU_BYTES = 2**20
_MOSTLY = 0.5
LOWEST = -80.0
TINY = math.exp(LOWEST)  # of a smaller sigmoid float32 knows no logarithm


@dataclass(frozen=True)
class CostWeights:
    """How much each part of the matching cost weighs."""

    classes: float = 2.0
    mask: float = 5.0
    dice: float = 5.0


@dataclass(frozen=True, eq=False)
class Matches:
    """Pairs of a query and an object, in each prediction and image.

    In the order of predictions, then images, then queries.

    Parameters
    ----------
    prediction, image, query, target : (M,) int64
        On the CPU.
    is_excused : (L, B, Q) bool or None
        Queries whose masks lie mostly where nobody has said what there is.
    """

    prediction: torch.Tensor
    image: torch.Tensor
    query: torch.Tensor
    target: torch.Tensor
    is_excused: torch.Tensor | None

    def __len__(self) -> int:
        return len(self.query)

    def __getitem__(self, part: slice) -> Matches:
        """Some of the pairs; what is said of all queries is left out."""
        pairs = (self.prediction, self.image, self.query, self.target)
        prediction, image, query, target = (index[part] for index in pairs)
        return Matches(prediction, image, query, target, is_excused=None)


@torch.no_grad()
def match(
    predictions: Sequence[Prediction],
    targets: Sequence[ImageTargets],
    points: torch.Tensor,
    weights: CostWeights | None = None,
) -> Matches:
    """Assign to each object the query that fits it best, of each prediction by itself.

    Of an image with more objects than queries, those that fit worst get none: they are not
    trained on in this step.

    Parameters
    ----------
    predictions : sequence of L Prediction
    targets : sequence of B ImageTargets
    points : (B, P, 2) float32
        Where masks are compared: the same points for all queries, objects and predictions of an
        image, so that its objects need to be read only once.
    weights : CostWeights, optional

    Returns
    -------
    Matches
    """
    arrays, is_excused = matching_costs(predictions, targets, points, weights)
    pairs: list[np.ndarray] = []
    for prediction in range(len(predictions)):
        for image in range(len(targets)):
            query, row = linear_sum_assignment(arrays[image][prediction].T)
            where = np.broadcast_to([[prediction], [image]], (2, len(query)))
            pairs.append(np.concatenate((where, query[None], row[None])))
    return as_matches(pairs, is_excused)


def as_matches(pairs: Sequence[np.ndarray], is_excused: torch.Tensor | None) -> Matches:
    """Put pairs of several images together, (4, m) each: prediction, image, query, object."""
    columns = torch.from_numpy(np.concatenate(pairs, axis=1).astype(np.int64))
    prediction_of, image_of, query_of, target_of = columns
    return Matches(prediction_of, image_of, query_of, target_of, is_excused)


@torch.no_grad()
def matching_costs(
    predictions: Sequence[Prediction],
    targets: Sequence[ImageTargets],
    points: torch.Tensor,
    weights: CostWeights | None = None,
) -> tuple[list[np.ndarray], torch.Tensor | None]:
    """Return what each pair of a query and an object costs; see `match`.

    Returns
    -------
    costs : list of B (L, n, Q) float32 arrays
    is_excused : (L, B, Q) bool tensor or None
        See `Matches`.
    """
    weights = weights or CostWeights()
    n_images, n_points = points.shape[:2]
    n_queries = predictions[0].queries.shape[1]
    # A CPU works best on what stays in its cache; a GPU on as much as there is.
    per_image = n_points * n_queries * 4
    step = 1 if points.device.type == "cpu" else max(1, _MAX_BYTES // per_image)
    costs: list[torch.Tensor] = []
    excused: list[torch.Tensor | None] = []
    for start in range(0, n_images, step):
        part = slice(start, start + step)
        truth = _read_targets(targets[part], points[part])
        found = [_costs(p, targets[part], points[part], part, truth, weights) for p in predictions]
        costs.append(torch.stack([cost for cost, _ in found]))
        excused.append(None if truth.ignored is None else torch.stack([e for _, e in found]))
    arrays = [array for cost in costs for array in cost.transpose(0, 1).cpu().numpy()]
    arrays = [array[:, : len(target)] for array, target in zip(arrays, targets, strict=True)]
    is_excused = None
    if any(one is not None for one in excused):
        sizes = [min(step, n_images - start) for start in range(0, n_images, step)]
        is_excused = torch.cat(
            [
                points.new_zeros(len(predictions), size, n_queries, dtype=torch.bool)
                if one is None
                else one
                for one, size in zip(excused, sizes, strict=True)
            ],
            dim=1,
        )
    return arrays, is_excused


@dataclass(frozen=True, eq=False)
class _Truth:
    """The objects of some images at the matching points.

    Parameters
    ----------
    values : (b, n, P) float32
        0 where ignored, and beyond the number of an image's objects.
    valid : (b, P) float32
        0 where ignored, else 1.
    ignored : (b, P) float32 or None
    """

    values: torch.Tensor
    valid: torch.Tensor
    ignored: torch.Tensor | None


def _costs(
    prediction: Prediction,
    targets: Sequence[ImageTargets],
    points: torch.Tensor,
    part: slice,
    truth: _Truth,
    weights: CostWeights,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the costs (b, n, Q) of some images, and which queries are excused (b, Q)."""
    maps = prediction.mask_values(part)
    n_points, n_queries = points.shape[1], maps.shape[-1]
    step = n_points if points.device.type != "cpu" else max(1, _CPU_BYTES // (4 * n_queries))
    surplus, area = points.new_zeros(2, len(maps), 1, n_queries)
    overlap, shared = points.new_zeros(2, len(maps), truth.values.shape[1], n_queries)
    inside = None if truth.ignored is None else torch.zeros_like(area)
    # -log σ(x) = softplus(x) - x and -log(1 - σ(x)) = softplus(x): with the objects' values y,
    # the cross entropy is the sum of softplus(x) less y·x, one product instead of two.
    for at, logits in iter_shared(maps, points, prediction.size, step):  # (b, p, Q)
        values, valid = truth.values[:, :, at], truth.valid[:, None, at]
        probability = logits.sigmoid()
        overlap += values @ logits
        shared += values @ probability
        area += valid @ probability
        if inside is not None and truth.ignored is not None:
            inside += truth.ignored[:, None, at] @ probability
        # softplus(x) = x - log σ(x), in a third of the time of torch's.
        low = logits.clamp_(min=LOWEST)
        surplus += valid @ low.sub_(probability.clamp_(min=TINY).log_())
    n_valid = truth.valid.sum(-1)[:, None, None].clamp(min=1)
    mask_cost = (surplus - overlap) / n_valid
    object_area = truth.values.sum(-1)[:, :, None]
    dice_cost = 1 - (2 * shared + 1) / (area + object_area + 1)
    classes = prediction.class_logits[part].float().softmax(-1)
    labels = torch.nn.utils.rnn.pad_sequence([t.labels for t in targets], batch_first=True)
    index = labels[:, None].expand(-1, classes.shape[1], -1)
    class_cost = -classes.gather(-1, index).transpose(1, 2)
    cost = weights.mask * mask_cost + weights.dice * dice_cost + weights.classes * class_cost
    # A diverging prediction is matched only where there is no other, and scipy takes no NaN.
    largest = torch.finfo(cost.dtype).max
    cost = torch.nan_to_num(cost, nan=largest, posinf=largest, neginf=largest)
    if inside is None:
        return cost, torch.zeros_like(area[:, 0], dtype=torch.bool)
    return cost, (inside > _MOSTLY * (inside + area))[:, 0]


def _read_targets(targets: Sequence[ImageTargets], points: torch.Tensor) -> _Truth:
    n_objects = max(len(target) for target in targets)
    values = points.new_zeros(len(targets), n_objects, points.shape[1])
    ignored = points.new_zeros(len(targets), points.shape[1], dtype=torch.bool)
    for i, target in enumerate(targets):
        if len(target):
            values[i, : len(target)] = target.at(points[i])
        where = target.is_ignored_at(points[i])
        if where is not None:
            ignored[i] = where
    if all(target.ignore is None for target in targets):
        return _Truth(values, torch.ones_like(ignored, dtype=values.dtype), None)
    values.masked_fill_(ignored[:, None], 0)
    return _Truth(values, (~ignored).to(values.dtype), ignored.to(values.dtype))
