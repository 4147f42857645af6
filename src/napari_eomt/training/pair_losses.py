"""Each matched mask against its object at points, forward and backward, a few pairs at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from napari_eomt.training.matching import LOWEST, TINY
from napari_eomt.training.points import (
    draw_points,
    draw_uncertain_points,
    read_own,
    shifted_points,
    spread_own,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.training.loss_params import LossParams
    from napari_eomt.training.matching import Matches
    from napari_eomt.training.targets import ImageTargets

# Points that are compared at a time, on a CPU and elsewhere: of 8 and 128 pairs with the published
# number of points, 2.4 and 38 MB of candidates.
_POINTS_AT_ONCE = (8 * 12_544, 128 * 12_544)


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
            excluded = _ignored_at(candidates, targets, pairs)
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


def _losses_and_slope(
    values: torch.Tensor, truth: torch.Tensor, valid: torch.Tensor | None, params: LossParams
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compare logits with objects at points, and differentiate.

    Parameters
    ----------
    values, truth : (M, P) float32
        Logits of the masks, and whether the objects are there: 1 or 0.
    valid : (M, P) float32 or None
        0 where nobody knows: such points do not count. None: all of them do.
    params : LossParams

    Returns
    -------
    weighted, mask, dice : (M,) float32
        The weighted sum of both; mean cross entropy and dice loss, 0 where no point counts.
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
    is_ignored = _ignored_at(points, targets, matches)
    valid = None if is_ignored is None else (~is_ignored).float()
    return _objects_at(points, targets, matches), valid


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


def _ignored_at(
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
