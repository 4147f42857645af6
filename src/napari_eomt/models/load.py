"""Load a model from transformers' layout: a bundled one by name, any other by its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from transformers import EomtDinov3ForUniversalSegmentation, EomtForUniversalSegmentation
from transformers.utils import logging as transformers_logging

from napari_eomt.errors import ModelError
from napari_eomt.models.card import DTypeName
from napari_eomt.models.catalog import find_model
from napari_eomt.models.eomt import EomtSegmenter

if TYPE_CHECKING:
    from pathlib import Path

    from napari_eomt.models.segmenter import Segmenter

_CLASSES: dict[str, Any] = {
    "eomt": EomtForUniversalSegmentation,
    "eomt_dinov3": EomtDinov3ForUniversalSegmentation,
}
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_NOT_NEEDED = {"criterion.empty_weight"}  # the loss's weights, rebuilt from the configuration


def load_segmenter(model: str | Path, device: str = "auto", dtype: DTypeName = "auto") -> Segmenter:
    """Load a model.

    Parameters
    ----------
    model : str or Path
        Name of a bundled model, or a folder in transformers' layout.
    device : str
        As torch names them ("cpu", "cuda", "cuda:1", "mps"); "auto" takes the best there is.
    dtype : {"auto", "fp32", "bf16", "fp16"}
        Precision; "auto" is bf16 (else fp16) on CUDA and fp32 elsewhere.

    Returns
    -------
    Segmenter

    Raises
    ------
    ModelError
        If the folder is no such model, its weights are incomplete or damaged, or there is no
        such device.
    """
    card = find_model(model)
    torch_device = resolve_device(device)
    torch_dtype = resolve_dtype(dtype, torch_device)
    # Every message that matters is an error below; a bar on stderr is nobody's in a window.
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        network, info = _CLASSES[card.architecture].from_pretrained(
            card.folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError, KeyError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ModelError(
            f"{card.name}: the weights do not fit the configuration or are damaged ({first}). "
            "Copy the folder again, or save the model again with save_pretrained()."
        ) from error
    missing = set(info["missing_keys"]) - _NOT_NEEDED
    unexpected = set(info["unexpected_keys"]) - _NOT_NEEDED
    # transformers would fill the gaps at random and only warn.
    if missing or unexpected:
        raise ModelError(
            f"{card.name}: model.safetensors lacks {len(missing)} of the network's tensors"
            f"{_examples(missing)} and has {len(unexpected)} that it does not know"
            f"{_examples(unexpected)}. Are config.json and the weights of the same model?"
        )
    try:
        return EomtSegmenter(card, network, torch_device, torch_dtype)
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{card.name}: its {card.n_parameters / 1e6:.0f} M parameters do not fit into the "
            f"memory of {torch_device}. Choose device 'cpu' or a smaller model."
        ) from error


def resolve_device(device: str) -> torch.device:
    """Turn the name of a device, or "auto", into a device that is there.

    Raises
    ------
    ModelError
        If there is no such device.
    """
    if device == "auto":
        return torch.device(PartialState().device)
    try:
        resolved = torch.device(device)
        torch.empty(1, device=resolved)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(
            f"There is no device {device!r} here. Choose 'auto' or one of {available_devices()}."
        ) from error
    return resolved


def resolve_dtype(dtype: DTypeName, device: torch.device) -> torch.dtype:
    """Turn the name of a precision, or "auto", into the dtype to compute in."""
    if dtype not in get_args(DTypeName):
        raise ModelError(f"There is no precision {dtype!r}; choose one of {get_args(DTypeName)}.")
    if dtype != "auto":
        return _DTYPES[dtype]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def available_devices() -> list[str]:
    """Return the names of the devices that are there, the best first."""
    devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [*devices, "cpu"]


def _examples(keys: set[str]) -> str:
    return f" ({', '.join(sorted(keys)[:2])}{' …' if len(keys) > 2 else ''})" if keys else ""
