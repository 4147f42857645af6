"""The published loss, of all predictions of a step at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import distributed
from torch.nn import functional

from napari_eomt.training.matching import LOWEST, TINY, CostWeights, Matches, match
from napari_eomt.training.points import (
    draw_points,
    draw_uncertain_points,
    read_own,
    shifted_points,
    spread_own,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.training.predictions import Prediction
    from napari_eomt.training.targets import ImageTargets

MIN_POINTS = 2_048
"""Of an automatic number: small objects want to be met."""

# Points that are compared at a time, on a CPU and elsewhere: of 8 and 128 pairs with the published
# number of points, 2.4 and 38 MB of candidates.
_POINTS_AT_ONCE = (8 * 12_544, 128 * 12_544)


@dataclass(frozen=True)
class LossParams:
    """Weights and numbers of points of the loss; by default the published ones.

    Parameters
    ----------
    class_weight, mask_weight, dice_weight : float
        Of the loss's three terms, and of the matching cost's.
    no_object_weight : float
        Of queries without an object in the cross entropy; those with one weigh 1.
    n_points : int
        Where masks are compared. A 4 × 4 px object in 640 × 640 px is missed by all of 12,544
        matching points six times in ten: small objects want more points, or larger objects.
    oversampling : float
        Candidates for each loss point.
    uncertain_share : float
        Share of the loss points that are taken where the prediction is least certain.
    """

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1
    n_points: int = 12_544
    oversampling: float = 3.0
    uncertain_share: float = 0.75

    @classmethod
    def from_config(cls, config: Any, points: int | Literal["auto"] = "auto") -> LossParams:
        """Take the parameters that a model of transformers was configured with.

        Parameters
        ----------
        config : EomtConfig or EomtDinov3Config
        points : int or "auto"
            Where masks are compared. auto: as configured, but no more than one for every second
            cell of the model's masks, as published for 160 × 160 cells, or `MIN_POINTS`.
        """
        n_points = int(config.train_num_points)
        if points == "auto":
            side = config.image_size // config.patch_size * 2**config.num_upscale_blocks
            n_points = min(n_points, max(MIN_POINTS, side * side // 2))
        else:
            n_points = points
        return cls(
            class_weight=config.class_weight,
            mask_weight=config.mask_weight,
            dice_weight=config.dice_weight,
            no_object_weight=config.no_object_weight,
            n_points=n_points,
            oversampling=config.oversample_ratio,
            uncertain_share=config.importance_sample_ratio,
        )


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
        matches = match(predictions, targets, points, costs)
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


def pair_losses(
    logits: torch.Tensor,
    targets: Sequence[ImageTargets],
    matches: Matches,
    params: LossParams,
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw points for each pair, and compare its mask with its object there.

    A few pairs at a time, forward and backward: what lies in between is 25 values for every point,
    which a CPU's cache then holds and a GPU need not keep.

    Parameters
    ----------
    logits : (M, h, w) float32
    targets : sequence of B ImageTargets
    matches : Matches
    params : LossParams
    generator : torch.Generator, optional

    Returns
    -------
    weighted, mask, dice : (M,) float32
        The weighted sum of both losses of each pair, to differentiate; each by itself, detached.
    """
    losses: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = _PairLosses.apply(  # type: ignore[no-untyped-call]
        logits, targets, matches, params, generator
    )
    return losses


class _PairLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: torch.Tensor,
        targets: Sequence[ImageTargets],
        matches: Matches,
        params: LossParams,
        generator: torch.Generator | None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        device = logits.device
        n_uncertain = int(params.uncertain_share * params.n_points)
        n_candidates = int(params.oversampling * params.n_points)
        # A pair's points are random, and independent of the other pairs' but for a shift round the
        # square: drawing every coordinate anew takes longer on a CPU than to read the mask there.
        pool = draw_points((n_candidates + params.n_points - n_uncertain,), device, generator)
        shifts = draw_points((len(logits),), device, generator)
        losses = logits.new_zeros(3, len(logits))
        gradient = torch.empty_like(logits)
        n_pairs = max(1, _POINTS_AT_ONCE[device.type != "cpu"] // params.n_points)
        for part in _parts_of_one_image(matches, n_pairs):
            pairs = matches[part]
            shifted = shifted_points(pool, shifts[part])
            candidates, anywhere = shifted[:, :n_candidates], shifted[:, n_candidates:]
            maps = logits[part].detach()
            excluded = ignored_at(candidates, targets, pairs)
            uncertain, found_values = draw_uncertain_points(maps, candidates, n_uncertain, excluded)
            points = torch.cat((uncertain, anywhere), 1)
            values = torch.cat((found_values, read_own(maps, anywhere)), 1)
            weighted, mask, dice, slope = _losses_and_slope(
                values, *_truth_at(points, targets, pairs), params
            )
            gradient[part] = spread_own(slope, maps, points)
            losses[:, part] = torch.stack((weighted, mask, dice))
        ctx.save_for_backward(gradient)
        weighted, mask, dice = losses.unbind()
        ctx.mark_non_differentiable(mask, dice)
        return weighted, mask, dice

    @staticmethod
    def backward(ctx: Any, weighted: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
        # Each mask touches the loss of its own pair alone.
        (gradient,) = ctx.saved_tensors
        return gradient * weighted[:, None, None], None, None, None, None


def mask_losses(
    logits: torch.Tensor,
    targets: Sequence[ImageTargets],
    matches: Matches,
    points: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compare matched masks with their objects at points; ignored points do not count.

    Parameters
    ----------
    logits : (M, h, w) float32
    targets : sequence of B ImageTargets
    matches : Matches
    points : (M, P, 2) float32

    Returns
    -------
    mask, dice : (M,) float32
        Mean cross entropy, and dice loss, of each pair; 0 where all of its points are ignored.
    """
    values = read_own(logits, points)
    truth, valid = _truth_at(points, targets, matches)
    entropy = functional.binary_cross_entropy_with_logits(values, truth, reduction="none")
    probability = values.sigmoid()
    if valid is None:
        mask = entropy.mean(1)
    else:
        mask = (entropy * valid).sum(1) / valid.sum(1).clamp(min=1)
        probability, truth = probability * valid, truth * valid
    shared = (probability * truth).sum(1)
    dice = 1 - (2 * shared + 1) / (probability.sum(1) + truth.sum(1) + 1)
    return mask, dice


def _losses_and_slope(
    values: torch.Tensor, truth: torch.Tensor, valid: torch.Tensor | None, params: LossParams
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compare logits (M, P) with objects as `mask_losses` does, and differentiate.

    Returns
    -------
    weighted, mask, dice : (M,) float32
    slope : (M, P) float32
        Derivative of each pair's weighted loss with respect to its logits.
    """
    probability = values.sigmoid()
    # log(1 + exp(x)) = x - log σ(x); see `matching`.
    low = values.clamp(min=LOWEST)
    entropy = low.sub_(probability.clamp(min=TINY).log_()).addcmul_(values, truth, value=-1)
    n_points: torch.Tensor | int = values.shape[1]
    slope = probability - truth
    spread = probability.square().neg_().add_(probability)
    if valid is not None:
        n_points = valid.sum(1, keepdim=True).clamp(min=1)
        entropy, slope, spread = entropy * valid, slope * valid, spread * valid
        probability, truth = probability * valid, truth * valid
    mask = (entropy.sum(1, keepdim=True) / n_points)[:, 0]
    shared = 2 * (probability * truth).sum(1, keepdim=True) + 1
    total = probability.sum(1, keepdim=True) + truth.sum(1, keepdim=True) + 1
    dice = (1 - shared / total)[:, 0]
    slope *= params.mask_weight / n_points
    rate = (truth * (-2 / total)).add_(shared / total.square())
    slope.addcmul_(spread, rate, value=params.dice_weight)
    weighted = params.mask_weight * mask + params.dice_weight * dice
    return weighted, mask, dice, slope


def _truth_at(
    points: torch.Tensor, targets: Sequence[ImageTargets], matches: Matches
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Read each pair's object at its points, and where its image counts: 1 or 0; None if all."""
    is_ignored = ignored_at(points, targets, matches)
    valid = None if is_ignored is None else (~is_ignored).float()
    return _objects_at(points, targets, matches), valid


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


def _objects_at(
    points: torch.Tensor, targets: Sequence[ImageTargets], matches: Matches
) -> torch.Tensor:
    """Read each pair's object at the pair's points, (M, P) float32."""
    values = points.new_zeros(points.shape[:2])
    for part in _parts_of_one_image(matches, len(points)):
        target = targets[int(matches.image[part][0])]
        values[part] = target.at_own(matches.target[part].to(points.device), points[part])
    return values


def _parts_of_one_image(matches: Matches, at_most: int) -> list[slice]:
    """Cut the pairs into runs of one image each, of a bounded length."""
    lengths = torch.unique_consecutive(matches.image, return_counts=True)[1].tolist()
    parts, start = [], 0
    for length in lengths:
        end = start + length
        parts += [slice(at, min(at + at_most, end)) for at in range(start, end, at_most)]
        start = end
    return parts


def ignored_at(
    points: torch.Tensor, targets: Sequence[ImageTargets], matches: Matches
) -> torch.Tensor | None:
    """Tell of each pair's points whether its image ignores them; None if no image does."""
    if all(target.ignore is None for target in targets):
        return None
    ignored = torch.zeros(points.shape[:2], dtype=torch.bool, device=points.device)
    for part in _parts_of_one_image(matches, max(1, len(points))):
        there = targets[int(matches.image[part][0])].is_ignored_at(points[part])
        if there is not None:
            ignored[part] = there
    return ignored
