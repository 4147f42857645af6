"""One matrix product for queries, keys and values where transformers makes three."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.models.eomt_dinov3.modeling_eomt_dinov3 import (
    EomtDinov3Attention,
    apply_rotary_pos_emb,
)


class FusedAttention(nn.Module):
    """`EomtDinov3Attention` for inference, with q, k and v from one product.

    Equal up to the rounding of the product. Keys have no bias in DINOv3; theirs is zero here.

    Parameters
    ----------
    attention : EomtDinov3Attention
        Its weights are taken over; those of q, k and v are copied together.

    References
    ----------
    The VidEoMT model zoo measures its DINOv3 models so (https://github.com/tue-mps/videomt).
    """

    def __init__(self, attention: EomtDinov3Attention) -> None:
        super().__init__()
        self.num_heads = int(attention.num_heads)
        self.head_dim = int(attention.head_dim)
        self.scaling = float(attention.scaling)
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        weights: list[torch.Tensor] = [part.weight for part in parts]
        weight = torch.cat(weights)
        self.qkv = nn.Linear(weight.shape[1], weight.shape[0], bias=True, device="meta")
        self.qkv.weight = nn.Parameter(weight, requires_grad=False)
        biases: list[torch.Tensor] = [
            torch.zeros_like(part.weight[:, 0]) if part.bias is None else part.bias
            for part in parts
        ]
        self.qkv.bias = nn.Parameter(torch.cat(biases), requires_grad=False)
        self.o_proj = attention.o_proj

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        **_: Any,
    ) -> tuple[torch.Tensor, None]:
        """Attend; arguments and result as of `EomtDinov3Attention.forward`."""
        n_views, n_tokens = hidden_states.shape[:2]
        qkv = self.qkv(hidden_states).view(n_views, n_tokens, 3, self.num_heads, self.head_dim)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        if position_embeddings is not None:
            query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
        attended = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, scale=self.scaling
        )
        output: torch.Tensor = self.o_proj(attended.transpose(1, 2).reshape(n_views, n_tokens, -1))
        return output, None


def fuse_attention(model: nn.Module) -> int:
    """Replace every `EomtDinov3Attention` of a model, in place; return how many there were."""
    parents = [
        (parent, name)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, EomtDinov3Attention)
    ]
    for parent, name in parents:
        setattr(parent, name, FusedAttention(getattr(parent, name)))
    return len(parents)
