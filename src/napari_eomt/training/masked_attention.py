"""Attention in which only the queries' rows are masked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from transformers import AttentionInterface

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NAME = "eomt_masked_queries"

# With no more tokens, attention in bfloat16 takes a CPU half of the time in plain products that
# torch's fused one takes; with more, their weights leave its cache (1,605 in 16 heads: 82 MB).
_MOST_WRITTEN_OUT = 1_200


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend, with a mask for the first rows alone; an attention function of transformers.

    transformers makes a float32 mask of every head and token: 209 MB for a block and an image of
    ViT-L at 640 px, kept for the backward pass. All rows but those of the queries are open: here
    these take the way without a mask, and the queries' mask is one of bools for all heads, 0.4 MB.

    Parameters
    ----------
    module : Module
        Not looked at.
    query, key, value : (B, heads, N, D) float
    attention_mask : (B, 1, Q, N) bool or None
        Which tokens each of the first Q may look at; the others look at all.
    scaling : float, optional
    dropout : float

    Returns
    -------
    (B, N, heads, D) float, None
    """
    way: Callable[..., torch.Tensor] = functional.scaled_dot_product_attention
    is_bf16_on_cpu = query.device.type == "cpu" and query.dtype == torch.bfloat16
    if is_bf16_on_cpu and key.shape[-2] <= _MOST_WRITTEN_OUT:
        way = _written_out
    options: dict[str, Any] = {"dropout_p": dropout, "scale": scaling}
    if attention_mask is None:
        attended = way(query, key, value, **options)
    else:
        masked, free = query.tensor_split([attention_mask.shape[-2]], dim=2)
        rows = (
            way(masked, key, value, attn_mask=attention_mask, **options),
            way(free, key, value, **options),
        )
        attended = torch.cat(rows, dim=2)
    return attended.transpose(1, 2), None


def _written_out(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float,
    scale: float | None,
) -> torch.Tensor:
    """Do what torch's fused attention does, in its products."""
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    # Autocast would widen the softmax's result; inside, torch adds up in float32 anyway.
    with torch.autocast("cpu", enabled=False):
        weights = (query * scale) @ key.transpose(-1, -2)
        if attn_mask is not None:
            weights = weights.masked_fill(~attn_mask, -torch.inf)
        weights = weights.softmax(-1)
        return (functional.dropout(weights, dropout_p) if dropout_p else weights) @ value


AttentionInterface.register(NAME, attend)


@torch.no_grad()
def query_mask(
    mask_values: torch.Tensor,
    size: tuple[int, int],
    grid: tuple[int, int],
    n_prefix: int,
    probability: float,
    generator: torch.Generator | None = None,
) -> torch.Tensor | None:
    """Tell which tokens each query may look at: its own mask's, until it is freed.

    Parameters
    ----------
    mask_values : (B, h · w, Q) float
        Mask logits of the queries, before the block.
    size, grid : (int, int)
        (h, w) of the mask logits, and of the patches.
    n_prefix : int
        Number of CLS and register tokens; these and the queries are open to all.
    probability : float
        With which a query is masked, each query of each image by itself.
    generator : torch.Generator, optional

    Returns
    -------
    (B, 1, Q, Q + n_prefix + patches) bool, or None if the probability is 0
    """
    if probability <= 0:
        return None
    n_images, _, n_queries = mask_values.shape
    maps = mask_values.view(n_images, *size, n_queries).permute(0, 3, 1, 2)
    small = functional.interpolate(maps, size=grid, mode="bilinear")
    is_open = small.flatten(2) > 0
    if probability < 1:
        shape = (n_images, n_queries)
        drawn = torch.rand(shape, device=maps.device, generator=generator)
        is_open |= (drawn > probability)[:, :, None]
    others = is_open.new_ones(n_images, n_queries, n_queries + n_prefix)
    return torch.cat((others, is_open), -1)[:, None]


def checked_probabilities(probabilities: Sequence[float], n_blocks: int) -> tuple[float, ...]:
    """Return the probabilities of masking as floats, one for each block that sees queries.

    Raises
    ------
    ValueError
        If there are more or fewer, or one is not from 0 to 1.
    """
    values = tuple(float(value) for value in probabilities)
    if len(values) != n_blocks or not all(0 <= value <= 1 for value in values):
        raise ValueError(
            f"The probabilities of masking are {values}; expected {n_blocks}, one for each block "
            "that sees queries, from 0 to 1."
        )
    return values
