"""How much memory and time a training will take, before it starts. No torch.

Both follow from the sizes of the network: what a step keeps for its backward pass, and how many
multiplications it makes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_eomt.errors import ModelError
from napari_eomt.training.resolve import n_frozen_blocks

if TYPE_CHECKING:
    from napari_eomt.models.card import ModelCard
    from napari_eomt.training.params import TrainParams

_GFLOPS = {"cpu": 40.0, "mps": 2_000.0, "cuda": 40_000.0}
"""That a device's trainings reach, roughly, a CPU with one thread; the first steps tell better."""

_SHARE = 0.7
"""Of free memory: fragments and others want some, too."""

# Kept by a block for each feature of a token: the inputs of its normalisations, products, the MLP's
# four times wider middle before and after the activation. Measured; see tests/training/test_memory.
_BLOCK_VALUES = 24.0
_CHECKPOINTED_VALUES = 1.5
# Fused attention keeps no map of every pair of tokens, only what it masks them by.
_ATTENTION_MAPS = 0.5
_UPSCALE_VALUES = 7.0
_MASK_VALUES = 6.0
_FIXED_BYTES = 60e6


@dataclass(frozen=True)
class NetworkSize:
    """The sizes of a network that its memory and time follow from.

    Parameters
    ----------
    width, depth, n_heads : int
        Features of a token, blocks, and heads of their attention.
    n_query_blocks, n_queries : int
        Blocks that see queries, and how many.
    grid : int
        Patches along a side of the input.
    n_upscale : int
        Doublings of the grid for the masks.
    n_parameters : int
    n_frames : int
        Of a view: a clip has several.
    """

    width: int
    depth: int
    n_heads: int
    n_query_blocks: int
    n_queries: int
    grid: int
    n_upscale: int
    n_parameters: int
    n_frames: int = 1

    @classmethod
    def of(cls, card: ModelCard) -> NetworkSize:
        """Read the sizes of a model that is on this computer.

        Raises
        ------
        ModelError
            If it is not, or its configuration cannot be read.
        """
        if card.folder is None:
            raise ModelError(f"{card.name} is not on this computer. Download it first.")
        try:
            config: dict[str, Any] = json.loads((card.folder / "config.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"{card.folder}: config.json cannot be read ({error}).") from error
        width = int(config.get("hidden_size", 1024))
        return cls(
            width=width,
            depth=int(config.get("num_hidden_layers", 24)),
            n_heads=int(config.get("num_attention_heads", max(1, width // 64))),
            n_query_blocks=int(config.get("num_blocks", 4)),
            n_queries=card.n_queries,
            grid=card.input_size // card.patch_size,
            n_upscale=int(config.get("num_upscale_blocks", 2)),
            n_parameters=card.n_parameters,
        )


@dataclass(frozen=True)
class Estimate:
    """What a training will take.

    Parameters
    ----------
    micro_batch : int
        Views in memory at a time.
    n_bytes : int
        Memory on the device, at most.
    seconds : float
        In all, without checks.
    """

    micro_batch: int
    n_bytes: int
    seconds: float


def estimate(
    card: ModelCard,
    params: TrainParams,
    *,
    n_views: int,
    device: str = "cpu",
    free_bytes: int = 8 * 2**30,
    seconds_per_step: float | None = None,
) -> Estimate:
    """Estimate memory and time of a training.

    Parameters
    ----------
    card : ModelCard
        Of a model that is on this computer.
    params : TrainParams
        Resolved.
    n_views : int
        In an epoch.
    device : str
        Its kind: cpu, cuda or mps.
    free_bytes : int
        On the device.
    seconds_per_step : float, optional
        That was measured.
    """
    size = size_of(card, params)
    n_bytes = 2 if device == "cuda" and params.precision != "fp32" else 4
    micro = fitting_micro_batch(card, params, params.batch_size, free_bytes, n_bytes)
    steps = int(params.steps)
    if seconds_per_step is not None:
        seconds = steps * seconds_per_step
    else:
        rate = 1e9 * _GFLOPS.get(device, _GFLOPS["cpu"])
        trunk, head = _flops(size, params)
        first = _first_learning(size, params)
        is_kept = is_trunk_kept(size, params)
        n_seen = steps * params.batch_size * size.n_frames
        n_trunk = min(n_views * size.n_frames, n_seen) if is_kept else n_seen
        back = 2.0 if first < size.depth - size.n_query_blocks else 0.0
        seconds = (n_trunk * trunk * (1 + back) + n_seen * head * 3) / rate
    return Estimate(micro, step_bytes(size, params, micro, n_bytes), seconds)


def fitting_micro_batch(
    card: ModelCard, params: TrainParams, n_views: int, free_bytes: int, value_bytes: int = 4
) -> int:
    """Return how many views at a time fit into memory, and divide a step's evenly.

    Parameters
    ----------
    card : ModelCard
    params : TrainParams
    n_views : int
        Of a step.
    free_bytes : int
    value_bytes : int
        Of a number in the network's precision: 4 or 2.
    """
    size = size_of(card, params)
    for micro in sorted((m for m in range(1, n_views + 1) if n_views % m == 0), reverse=True):
        if micro == 1 or step_bytes(size, params, micro, value_bytes) <= _SHARE * free_bytes:
            return micro
    return 1


def size_of(card: ModelCard, params: TrainParams) -> NetworkSize:
    """Return the sizes of a network as it is trained: the views of one of videos are clips.

    Raises
    ------
    ModelError
        If the model is not on this computer, or its configuration cannot be read.
    """
    size = NetworkSize.of(card)
    return replace(size, n_frames=params.clip_length) if card.is_video else size


def step_bytes(
    size: NetworkSize, params: TrainParams, micro_batch: int, value_bytes: int = 4
) -> int:
    """Estimate the memory that a step takes: weights, optimiser, and what is kept to go back.

    Parameters
    ----------
    size : NetworkSize
    params : TrainParams
    micro_batch : int
    value_bytes : int
        Of a number in the network's precision: 4 or 2.
    """
    first = _first_learning(size, params)
    n_learning = n_learning_parameters(size, params)
    # Weights; gradients, and Adam's two moments; an average, and weights in half precision.
    fixed = 4 * size.n_parameters + 12 * n_learning + _FIXED_BYTES
    fixed += 4 * n_learning if params.ema_decay > 0 else 0
    fixed += 2 * size.n_parameters if value_bytes == 2 else 0
    micro_batch *= size.n_frames
    n_patches, prefix = size.grid**2, 5
    per_view = 0.0
    for block in range(size.depth):
        sees_queries = block >= size.depth - size.n_query_blocks
        n_tokens = n_patches + prefix + (size.n_queries if sees_queries else 0)
        if block < first:
            continue  # runs, but keeps nothing
        features = _CHECKPOINTED_VALUES if params.gradient_checkpointing else _BLOCK_VALUES
        per_view += features * n_tokens * size.width
        if not params.gradient_checkpointing:
            per_view += _ATTENTION_MAPS * size.n_heads * n_tokens**2
    # Each prediction is made of features of the mask grid, doubled once or more.
    n_predictions = _n_predictions(size, params)
    cells = sum(n_patches * 4**k for k in range(1, size.n_upscale + 1))
    per_view += n_predictions * _UPSCALE_VALUES * cells * size.width
    last_cells = n_patches * 4**size.n_upscale
    per_view += _MASK_VALUES * last_cells * size.n_queries
    return int(fixed + micro_batch * per_view * value_bytes)


def n_learning_parameters(size: NetworkSize, params: TrainParams) -> int:
    """Estimate how many weights learn."""
    n_block = 12 * size.width**2
    n_frozen = _n_frozen(size, params)
    n = size.n_parameters - min(n_frozen, size.depth) * n_block
    if n_frozen:  # and the embeddings with them
        n -= size.grid**2 * size.width
    if params.lora_rank:
        n += n_frozen * 18 * size.width * params.lora_rank
    return max(n, size.width * size.n_queries)


def is_trunk_kept(size: NetworkSize, params: TrainParams) -> bool:
    """Whether what the trunk makes of a view is computed once; see `trunk_run.keep_trunk`."""
    is_frozen = _first_learning(size, params) >= size.depth - size.n_query_blocks
    return is_frozen and params.views == "grid" and not params.has_color_jitter


def _n_frozen(size: NetworkSize, params: TrainParams) -> int:
    return n_frozen_blocks(params, size.depth, size.n_query_blocks)


def _n_predictions(size: NetworkSize, params: TrainParams) -> int:
    """Return how many of a view are learnt from."""
    return size.n_query_blocks + 1 if params.auxiliary_losses else 1


def _first_learning(size: NetworkSize, params: TrainParams) -> int:
    """Return the first block that gradients go through."""
    n_frozen = _n_frozen(size, params)
    first = n_frozen
    if params.lora_rank:
        n_last = size.depth if params.lora_blocks == "all" else params.lora_blocks
        first = min(n_frozen, max(0, size.depth - n_last))
    # Queries learn, whatever is frozen: gradients reach the blocks that see them.
    return min(first, size.depth - size.n_query_blocks)


def _flops(size: NetworkSize, params: TrainParams) -> tuple[float, float]:
    """Return the operations of a view's way through the trunk, and through the rest."""

    def block(n: int) -> float:
        return 24.0 * n * size.width**2 + 4.0 * n**2 * size.width

    n_patches = size.grid**2
    trunk = (size.depth - size.n_query_blocks) * block(n_patches + 5)
    upscale = sum(
        8.0 * n_patches * 4 ** (k - 1) * size.width**2 for k in range(1, size.n_upscale + 1)
    )
    masks = 2.0 * n_patches * 4**size.n_upscale * size.width * size.n_queries
    head = size.n_query_blocks * block(n_patches + 5 + size.n_queries)
    return trunk, head + _n_predictions(size, params) * (upscale + masks)
