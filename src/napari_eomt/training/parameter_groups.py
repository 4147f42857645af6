"""Which weights learn how fast."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.optim import AdamW

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn
    from torch.optim import Optimizer

    from napari_eomt.training.network import EomtNetwork
    from napari_eomt.training.schedule import LearningRateSchedule

_BLOCK = re.compile(r"layers\.(\d+)\.")


@dataclass(frozen=True)
class RateParams:
    """Learning rates of the parts of a network; by default the published ones of DINOv2.

    Parameters
    ----------
    learning_rate : float
        Of heads, queries and the last normalisation: 1e-4; 2e-4 for DINOv3.
    layer_decay : float
        A block's rate is the next one's times this; the embeddings learn as the first block.
    has_full_rate_query_blocks : bool
        Whether the blocks that see queries learn as fast as the heads, as for DINOv3 on COCO.
    weight_decay : float
        Of every parameter, those of normalisations and biases included.
    """

    learning_rate: float = 1e-4
    layer_decay: float = 0.8
    has_full_rate_query_blocks: bool = False
    weight_decay: float = 0.05


def parameter_groups(model: EomtNetwork, params: RateParams) -> list[dict[str, Any]]:
    """Sort the weights that learn into groups of one learning rate each.

    Parameters
    ----------
    model : EomtForUniversalSegmentation or EomtDinov3ForUniversalSegmentation
        Only parameters that require gradients are taken.
    params : RateParams

    Returns
    -------
    list of dict
        For an optimiser: "params", "lr", "weight_decay", and of ours "name", "is_backbone" and
        "base_lr", which a schedule multiplies. Backbone first, from the embeddings up.
    """
    n_blocks = model.config.num_hidden_layers
    first_query_block = n_blocks - model.config.num_blocks
    groups: dict[tuple[int, str], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        place, part = _part(name, n_blocks)
        rate = params.learning_rate
        is_full = params.has_full_rate_query_blocks and place >= first_query_block
        if place < n_blocks and not is_full:
            rate *= params.layer_decay ** (n_blocks - 1 - place)
        group = groups.setdefault(
            (place, part),
            {
                "params": [],
                "lr": rate,
                "base_lr": rate,
                "weight_decay": params.weight_decay,
                "name": part,
                "is_backbone": part != "heads",
            },
        )
        group["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


def make_optimizer(
    model: EomtNetwork, params: RateParams, make: Callable[..., Optimizer] = AdamW
) -> Optimizer:
    """Make the published optimiser, AdamW, with the groups of `parameter_groups`."""
    options: dict[str, Any] = {"fused": True} if make is AdamW else {}
    return make(parameter_groups(model, params), **options)


def set_learning_rates(optimizer: Optimizer, schedule: LearningRateSchedule, step: int) -> None:
    """Give each group its learning rate of a step, counted from 0."""
    for group in optimizer.param_groups:
        factor = schedule.factor(step, is_backbone=group["is_backbone"])
        group["lr"] = group["base_lr"] * factor


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that require gradients."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _part(name: str, n_blocks: int) -> tuple[int, str]:
    """Return the block, 0 for the embeddings and `n_blocks` beyond the last, and the group."""
    block = _BLOCK.match(name)
    if block is not None:
        return int(block[1]), f"block {block[1]}"
    if name.startswith("embeddings."):
        return 0, "block 0"
    # The last normalisation belongs to the backbone: it starts with it, at the full rate.
    return n_blocks, "backbone norm" if name.startswith("layernorm.") else "heads"
