"""One step of training: predictions, loss, gradients, new weights."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from napari_eomt.training.losses import compute_losses, mean_over_ranks
from napari_eomt.training.parameter_groups import trainable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.optim import Optimizer

    from napari_eomt.training.loss_params import LossParams
    from napari_eomt.training.targets import ImageTargets

CLIP_NORM = 0.01  # of the published recipe, whose losses are sums over all predictions


@dataclass(frozen=True, eq=False)
class Batch:
    """Some views and what there is in them, on the network's device.

    Parameters
    ----------
    targets : sequence of B ImageTargets
    pixels : (B, 3, S, S) float, optional
    tokens : (B, P + G², C) float, optional
        Instead of the pixels: what a frozen trunk has made of them.
    visible : sequence of (n, T) bool, optional
        Of clips, on the CPU: where each of a clip's objects can be seen. Pixels are then
        (B, T, 3, S, S), tokens (B, T, P + G², C), and there are targets of each frame, clip by
        clip, which all have the clip's objects.
    """

    targets: Sequence[ImageTargets]
    pixels: torch.Tensor | None = None
    tokens: torch.Tensor | None = None
    visible: Sequence[torch.Tensor] | None = None


@dataclass(frozen=True)
class StepReport:
    """What a step did.

    Parameters
    ----------
    loss : float
        The weighted sum over all predictions.
    mask, dice, classes : float
        Parts of it, unweighted, of the network's answer alone.
    gradient_norm : float
        Before it was clipped.
    is_skipped : bool
        Whether the weights stayed as they were, because a gradient was not finite.
    """

    loss: float
    mask: float
    dice: float
    classes: float
    gradient_norm: float
    is_skipped: bool


def train_step(
    network: nn.Module,
    batches: Sequence[Batch],
    optimizer: Optimizer,
    params: LossParams,
    *,
    n_queries: int,
    precision: torch.dtype = torch.float32,
    scaler: torch.amp.GradScaler | None = None,
    clip_norm: float = CLIP_NORM,
    generator: torch.Generator | None = None,
) -> StepReport:
    """Take one step; rates and masking are those that were set before.

    Parameters
    ----------
    network : TrainingNetwork
        Or one wrapped for several devices.
    batches : sequence of Batch
        Parts of the step's batch, one after the other where it does not fit into memory. Mask
        terms are then divided by the mean number of masks of a part, so that every object weighs
        the same; the cross entropy is a mean within each part, as it is within each rank.
    optimizer : Optimizer
    params : LossParams
    n_queries : int
        Of the network: more objects of an image cannot be matched.
    precision : torch.dtype
        float32, or the half precision to run the network in. The weights stay as they are.
    scaler : GradScaler, optional
        For float16.
    clip_norm : float
        Longer gradients are shortened to this; 0 leaves them.
    generator : torch.Generator, optional
        Of points and freed queries; on the network's device.

    Returns
    -------
    StepReport

    Raises
    ------
    ValueError
        If there is no batch.
    """
    if not batches:
        raise ValueError("A step wants at least one batch.")
    parameters = trainable(network)
    device = parameters[0].device
    counts = [min(len(t), n_queries) for batch in batches for t in batch.targets]
    n_masks = mean_over_ranks(sum(counts) / len(batches), device)
    optimizer.zero_grad(set_to_none=True)
    parts = torch.zeros(4, device=device)
    for i, batch in enumerate(batches):
        # Ranks exchange their gradients once, after the last part.
        with _unsynced(network, is_last=i == len(batches) - 1):
            with torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32):
                predictions = network(batch.pixels, generator, tokens=batch.tokens)
            losses = compute_losses(
                predictions,
                batch.targets,
                params,
                n_masks=n_masks,
                visible=batch.visible,
                generator=generator,
            )
            total = losses.total / len(batches)
            torch.autograd.backward(total if scaler is None else scaler.scale(total))
        answer = (losses.mask[-1], losses.dice[-1], losses.classes[-1])
        parts += torch.stack((losses.total.detach(), *answer)) / len(batches)
    if scaler is not None:
        scaler.unscale_(optimizer)
    norm = clip_grad_norm_(parameters, clip_norm if clip_norm > 0 else torch.inf)
    loss, mask, dice, classes, length = torch.cat((parts, norm[None])).tolist()
    is_finite = bool(torch.isfinite(norm))
    if scaler is not None:
        scaler.step(optimizer)  # skips by itself what is not finite
        scaler.update()
    elif is_finite:
        optimizer.step()
    return StepReport(loss, mask, dice, classes, length, is_skipped=not is_finite)


def _unsynced(network: Any, *, is_last: bool) -> AbstractContextManager[None]:
    if is_last or not hasattr(network, "no_sync"):
        return nullcontext()
    context: AbstractContextManager[None] = network.no_sync()
    return context
