"""The published loss, of all predictions of a step at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import distributed
from torch.nn import functional

from napari_eomt.training.loss_params import LossParams
from napari_eomt.training.matching import CostWeights, Matches, match
from napari_eomt.training.pair_losses import pair_losses
from napari_eomt.training.points import draw_points
from napari_eomt.training.video_matching import match_clips

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.training.predictions import Prediction
    from napari_eomt.training.targets import ImageTargets


@dataclass(frozen=True, eq=False)
class Losses:
    """The loss and its parts.

    Parameters
    ----------
    total : () float32
        To differentiate: the weighted sum over all predictions.
    mask, dice, classes : (L,) float32
        Unweighted and detached, of each prediction; the last is the network's answer.
    """

    total: torch.Tensor
    mask: torch.Tensor
    dice: torch.Tensor
    classes: torch.Tensor


def compute_losses(
    predictions: Sequence[Prediction],
    targets: Sequence[ImageTargets],
    params: LossParams | None = None,
    *,
    n_masks: torch.Tensor | None = None,
    visible: Sequence[torch.Tensor] | None = None,
    generator: torch.Generator | None = None,
) -> Losses:
    """Match the predictions of a batch with its objects, and compare them.

    Values and gradients are transformers' for the same points, in float32 whatever precision the
    network runs in. As in the original, but not in transformers, objects that no query was left
    for do not count in the number of masks that the mask terms are divided by; and the number is
    the mean over the ranks, which transformers divides a second time.

    Parameters
    ----------
    predictions : sequence of L Prediction
    targets : sequence of B ImageTargets
        On the device of the predictions.
    params : LossParams, optional
    n_masks : () float32, optional
        What the mask terms are divided by: by default the number of matched objects, as the mean
        over the ranks. Another where the batch is only a part of a step's.
    visible : sequence of (n, T) bool, optional
        If the images are the frames of clips, clip by clip: where each of a clip's objects can be
        seen. An object then keeps its query; see `match_clips`.
    generator : torch.Generator, optional
        Of the points; on the same device.

    Returns
    -------
    Losses
    """
    params = params or LossParams()
    device = predictions[0].queries.device
    with torch.autocast(device.type, enabled=False):
        points = draw_points((len(targets), params.n_points), device, generator)
        costs = CostWeights(params.class_weight, params.mask_weight, params.dice_weight)
        if visible is None:
            matches = match(predictions, targets, points, costs)
        else:
            matches = match_clips(predictions, targets, visible, points, costs)
        if n_masks is None:
            n_masks = mean_over_ranks(len(matches) / len(predictions), device)
        logits = matched_masks(predictions, matches)
        weighted, mask, dice = pair_losses(logits, targets, matches, params, generator)
        at = matches.prediction.to(device)
        mask, dice = (
            torch.zeros(len(predictions), device=device).index_add(0, at, one) / n_masks
            for one in (mask, dice)
        )
        classes = class_losses(predictions, targets, matches, params.no_object_weight)
        total = weighted.sum() / n_masks + params.class_weight * classes.sum()
        if not len(matches):
            # The mask head gets gradients of zero rather than none: ranks that have objects would
            # wait for it, and its moments would not decay.
            total = total + sum(0 * (p.queries.sum() + p.features.sum()) for p in predictions)
    return Losses(total, mask, dice, classes.detach())


def mean_over_ranks(n_masks: float, device: torch.device) -> torch.Tensor:
    """Return the mean number of masks over all ranks, at least 1."""
    number = torch.tensor(n_masks, dtype=torch.float32, device=device)
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(number)
        number /= distributed.get_world_size()
    return number.clamp(min=1)


def matched_masks(predictions: Sequence[Prediction], matches: Matches) -> torch.Tensor:
    """Return the mask logits of the matched queries, (M, h, w), with their gradients."""
    counts = torch.bincount(matches.prediction, minlength=len(predictions)).tolist()
    images, queries = torch.split(matches.image, counts), torch.split(matches.query, counts)
    return torch.cat(
        [p.chosen_masks(i, q) for p, i, q in zip(predictions, images, queries, strict=True)]
    ).float()


def class_losses(
    predictions: Sequence[Prediction],
    targets: Sequence[ImageTargets],
    matches: Matches,
    no_object_weight: float,
) -> torch.Tensor:
    """Return the weighted cross entropy of each prediction's classes, (L,) float32.

    A query without an object should say "no object", unless its mask lies mostly in an ignored
    region: what it found there may well be an object.
    """
    logits = torch.stack([p.class_logits for p in predictions]).float()  # (L, B, Q, K + 1)
    no_object = logits.shape[-1] - 1
    classes = torch.full(logits.shape[:3], no_object, device=logits.device)
    weights = torch.full(logits.shape[:3], no_object_weight, device=logits.device)
    if matches.is_excused is not None:
        weights.masked_fill_(matches.is_excused, 0)
    if len(matches):
        pairs = (matches.prediction, matches.image, matches.query)
        where = tuple(index.to(logits.device) for index in pairs)
        # Labels of all images in one row, so that one look-up serves all pairs.
        starts = torch.tensor([0, *(len(target) for target in targets)]).cumsum(0)
        labels = torch.cat([target.labels for target in targets])
        classes[where] = labels[(starts[matches.image] + matches.target).to(labels.device)]
        weights[where] = 1.0
    entropy = functional.cross_entropy(logits.permute(0, 3, 1, 2), classes, reduction="none")
    weighted = (entropy * weights).sum((1, 2))
    return weighted / weights.sum((1, 2)).clamp(min=torch.finfo(weights.dtype).tiny)
