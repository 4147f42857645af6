"""The precision to learn in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_eomt.models.load import resolve_dtype

if TYPE_CHECKING:
    from napari_eomt.models.card import DTypeName

# As torch calls the instructions that multiply bfloat16 and add up in float32.
_BF16 = ("avx512_bf16", "amx_bf16")


def resolve_precision(precision: DTypeName, device: torch.device) -> torch.dtype:
    """Turn the name of a precision, or "auto", into the dtype to run a network in that learns.

    As `resolve_dtype`, but that "auto" is bfloat16 on a CPU that multiplies it by itself: products
    of matrices, most of a step, take half the time, and the weights stay in float32. Prediction
    on a CPU stays in float32, where its masks are what they are on every other CPU.

    Raises
    ------
    ModelError
        If there is no such precision.
    """
    if precision == "auto" and device.type == "cpu" and multiplies_bf16():
        return torch.bfloat16
    return resolve_dtype(precision, device)


def resolve_trunk_precision(precision: torch.dtype, device: torch.device) -> torch.dtype:
    """Return what a frozen trunk runs in where the network learns in a precision.

    On a CPU always as prediction does there: what either has kept serves the other.
    """
    return torch.float32 if device.type == "cpu" else precision


def multiplies_bf16() -> bool:
    """Tell whether this computer's CPU multiplies bfloat16; no, where torch cannot tell."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in _BF16)
