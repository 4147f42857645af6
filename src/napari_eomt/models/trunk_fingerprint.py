"""Telling trunks apart: the embeddings and the blocks of a model that see no queries."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

_SETTINGS = ("patch_size", "num_attention_heads", "layer_norm_eps", "hidden_act", "rope_parameters")
_FUSED = "attention.qkv."
_SPLIT = ("attention.q_proj.", "attention.k_proj.", "attention.v_proj.")


def trunk_parts(model: Any) -> list[torch.nn.Module]:
    """Return the embeddings of transformers' module, and its blocks that see no queries."""
    config = model.config
    n_blocks = int(config.num_hidden_layers) - int(config.num_blocks)
    return [model.embeddings, *model.layers[:n_blocks]]


def run_as(device: torch.device, dtype: torch.dtype, *, is_autocast: bool = False) -> str:
    """Say how a trunk runs, for `trunk_fingerprint`.

    Parameters
    ----------
    device : torch.device
        Its kind matters: a CPU's and a GPU's float32 differ in the last bits, or in more.
    dtype : torch.dtype
        Of the computation.
    is_autocast : bool
        Whether the weights are float32 nevertheless.
    """
    how = " from float32" if is_autocast and dtype != torch.float32 else ""
    return f"{device.type} {dtype}{how}"


def trunk_fingerprint(
    model: Any,
    input_size: tuple[int, int],
    how: str,
    normalisation: tuple[tuple[float, ...], tuple[float, ...]],
) -> str:
    """Name a trunk: two of one name make the same of the same pixels, but for rounding.

    A model that has learnt with a frozen trunk has that of the model that it began from. Whether
    the attention is fused makes no difference.

    Parameters
    ----------
    model : EoMT, EoMT-DINOv3 or VidEoMT
        transformers' module.
    input_size : (H, W)
        In pixels.
    how : str
        Of `run_as`.
    normalisation : (mean, std)
        Of 8-bit pixels, divided by 255.

    Returns
    -------
    str
        64 hexadecimal digits, of the weights and of all settings that they are used with.
    """
    settings: list[object] = [type(model).__name__, list(input_size), how, normalisation]
    settings += [getattr(model.config, name, None) for name in _SETTINGS]
    digest = hashlib.sha256(json.dumps(settings, default=str).encode())
    for i, part in enumerate(trunk_parts(model)):
        for name, tensor in sorted(_tensors(part), key=lambda pair: pair[0]):
            digest.update(f"{i} {name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
            content = tensor.detach().cpu().contiguous().view(torch.uint8).numpy()
            digest.update(content.data)
    return digest.hexdigest()


def _tensors(part: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    for name, tensor in part.state_dict().items():
        if _FUSED in name:
            start, kind = name.split(_FUSED)
            named = zip((f"{start}{split}{kind}" for split in _SPLIT), tensor.chunk(3), strict=True)
        else:
            named = zip([name], [tensor], strict=True)
        for one, values in named:
            # A bias of zeros is none: fused, DINOv3's keys have one.
            if not one.endswith("_proj.bias") or bool(values.any()):
                yield one, values
