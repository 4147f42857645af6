"""Load a model: bundled or published by its name, any other by its folder or checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import (
    EomtDinov3ForUniversalSegmentation,
    EomtForUniversalSegmentation,
    VideomtForUniversalSegmentation,
)
from transformers.utils import logging as transformers_logging

from napari_eomt.errors import ModelError
from napari_eomt.models.card import DTypeName, read_header, weight_files
from napari_eomt.models.eomt import EomtSegmenter
from napari_eomt.models.input_size import check_input_size
from napari_eomt.models.key_maps import has_old_keys
from napari_eomt.models.locate import locate
from napari_eomt.models.original import upgrade_keys
from napari_eomt.models.videomt import VideomtSegmenter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_eomt.models.card import ModelCard
    from napari_eomt.models.hub_watch import Progress
    from napari_eomt.models.segmenter import Segmenter

_CLASSES: dict[str, Any] = {
    "eomt": EomtForUniversalSegmentation,
    "eomt_dinov3": EomtDinov3ForUniversalSegmentation,
    "videomt": VideomtForUniversalSegmentation,
}
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_NOT_NEEDED = {"criterion.empty_weight"}  # the loss's weights, rebuilt from the configuration


def load_segmenter(
    model: str | Path,
    device: str = "auto",
    dtype: DTypeName = "auto",
    *,
    input_size: int | None = None,
    compiled: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> Segmenter:
    """Load a model; a published one that is not on this computer is downloaded first.

    Parameters
    ----------
    model : str or Path
        Name of a bundled or published model (`napari-eomt models` lists them), a repository of
        the hub such as "tue-mps/coco_panoptic_eomt_large_640", a folder in transformers' layout,
        or a checkpoint file of the original repositories.
    device : str
        As torch names them ("cpu", "cuda", "cuda:1", "mps"); "auto" takes the best there is.
    dtype : {"auto", "fp32", "bf16", "fp16"}
        Precision; "auto" is bf16 (else fp16) on CUDA and fp32 elsewhere.
    input_size : int, optional
        Side of the square that the model sees, in pixels, a multiple of its patch: smaller is
        faster, larger shows it more detail. By default what it was trained at.
    compiled : bool
        Compile the model for this machine (torch.compile). The first runs take a minute longer.
    on_progress, is_cancelled : callable, optional
        For a download; see `store.fetch`.

    Returns
    -------
    Segmenter

    Raises
    ------
    ModelError
        If there is no such model, its weights are incomplete or damaged, it cannot be
        downloaded, there is no such device, or it cannot run at this input size.
    """
    torch_device = resolve_device(device)
    torch_dtype = resolve_dtype(dtype, torch_device)
    card = locate(model, on_progress=on_progress, is_cancelled=is_cancelled)
    if input_size is not None:
        check_input_size(card, input_size)
    network = load_network(card)
    try:
        face = VideomtSegmenter if card.is_video else EomtSegmenter
        segmenter = face(card, network, torch_device, torch_dtype)
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{card.name}: its {card.n_parameters / 1e6:.0f} M parameters do not fit into the "
            f"memory of {torch_device}. Choose device 'cpu' or a smaller model."
        ) from error
    segmenter.set_input_size(input_size)
    if compiled:
        segmenter.compile()
    return segmenter


def load_network(card: ModelCard) -> Any:
    """Load transformers' module of a model that is on this computer, on the CPU, in fp32.

    Raises
    ------
    ModelError
        If the weights are damaged, or lack a tensor, or have one too many.
    """
    # Every message that matters is an error below; a bar on stderr is nobody's in a window.
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    network_class = _CLASSES[card.architecture]
    options = {"local_files_only": True, "output_loading_info": True, "dtype": torch.float32}
    try:
        upgraded = _upgraded(card)
        if upgraded is None:
            network, info = network_class.from_pretrained(
                card.folder, use_safetensors=True, **options
            )
        else:
            config = network_class.config_class.from_pretrained(card.folder)
            network, info = network_class.from_pretrained(
                None, config=config, state_dict=upgraded, **options
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
    return network


def _upgraded(card: ModelCard) -> dict[str, torch.Tensor] | None:
    """Return the weights under today's names, if an older transformers has saved them.

    transformers renames those of a giant's MLPs for DINOv2 but not for EoMT, fills them at random,
    and only warns.
    """
    if card.folder is None:
        return None
    files = weight_files(card.folder)
    if not any(has_old_keys(read_header(file)) for file in files):
        return None
    return upgrade_keys({k: v for file in files for k, v in load_file(file).items()})


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
