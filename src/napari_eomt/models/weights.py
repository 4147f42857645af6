"""Weights read from a file, without running any code that the file may hold."""

from __future__ import annotations

import pickle
import re
import struct
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from napari_eomt.errors import ModelError
from napari_eomt.models.card import WEIGHTS, WEIGHTS_INDEX, weight_files

if TYPE_CHECKING:
    from pathlib import Path

TORCH_WEIGHTS = "pytorch_model.bin"
"""What a folder's weights are called when they are not safetensors."""

SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".ckpt")
"""Of files of weights; they say nothing about the format, which is read from the content."""

# Lightning keeps the weights under the first, detectron2 (VidEoMT) under the second.
_NESTS = ("state_dict", "model")
_N_NESTS = 3
_LFS = b"version https://git-lfs"
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
# What torch's unpickler raises on bytes that are no pickle, or not the whole of one.
_DAMAGED = (
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ImportError,
    OverflowError,
    OSError,
    struct.error,
    pickle.PickleError,
    SafetensorError,
)
# Of the restricted unpickler: a function or class that is not torch's, or what only these need.
_REFUSED = re.compile(r"GLOBAL [\w.]+|[Uu]nsupported operand \d+|Can only [\w ]+")
_AGAIN = "Copy or download it again."


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint.

    Nothing that the file holds is run: pickles are read by torch's restricted unpickler, which
    knows tensors and plain values only. Large files are mapped into memory, not copied, where
    their format allows it.

    Parameters
    ----------
    path : Path
        A file in safetensors' or torch's format (zip or legacy), whatever its suffix; the index
        of sharded safetensors; or a folder that holds one of these. Of a training checkpoint,
        the weights alone are returned.

    Returns
    -------
    dict of str to torch.Tensor
        By name, on the CPU, in the file's order and dtype.

    Raises
    ------
    ModelError
        If there is no such file, it is damaged or something else, or it holds more than weights
        and would have to run code to be read.
    """
    if path.is_dir():
        return _load_folder(path)
    if path.name == WEIGHTS_INDEX:
        return _load_shards(path.parent)
    start = _start(path)
    # Safetensors starts with the length of a JSON header, in 8 bytes of which the first may be any.
    if start[8:9] == b"{":
        return _load_safetensors(path)
    if start.startswith((_ZIP, _PICKLE)):
        return _tensors(path, _unnested(path, _load_torch(path, start)))
    raise ModelError(f"{path.name}: {_what(start)}")


def find_weights(folder: Path) -> Path:
    """Return the file of weights in a folder; for sharded ones, their index.

    Raises
    ------
    ModelError
        If there is none, or several and none has a usual name.
    """
    for name in (WEIGHTS, WEIGHTS_INDEX, TORCH_WEIGHTS):
        if (folder / name).is_file():
            return folder / name
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    except OSError as error:
        raise ModelError(
            f"{folder.name}: the folder cannot be read ({error.strerror or error}). "
            "Check who may read it."
        ) from error
    if len(found) == 1:
        return found[0]
    names = f"the files {', '.join(path.name for path in found[:4])}" if found else "none"
    raise ModelError(
        f"{folder.name}: expected a folder with one file of weights ({WEIGHTS} or "
        f"{TORCH_WEIGHTS}), found {names}. Name the file itself."
    )


def _load_folder(folder: Path) -> dict[str, torch.Tensor]:
    return load_weights(find_weights(folder))


def _load_shards(folder: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for shard in weight_files(folder):
        tensors.update(_load_safetensors(shard))
    return tensors


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(512)
    except FileNotFoundError as error:
        raise ModelError(
            f"There is no file {path}. Name a checkpoint ({', '.join(SUFFIXES)}) or its folder."
        ) from error
    except OSError as error:
        raise ModelError(
            f"{path.name}: cannot be read ({error.strerror or error}). Check who may read the "
            "file, and the disk."
        ) from error


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path, device="cpu")
    except _DAMAGED as error:
        raise ModelError(
            f"{path.name}: the safetensors file is damaged or cut short ({_first(error)}). {_AGAIN}"
        ) from error


def _load_torch(path: Path, start: bytes) -> Any:
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            # What torch would warn of, unusual pickles and programs, is refused below.
            warnings.simplefilter("ignore", UserWarning)
            # Only the zip format can be mapped, and by its path alone; but torch takes a path's
            # suffix for the format.
            is_mapped = start.startswith(_ZIP) and path.suffix != ".safetensors"
            source: Any = str(path) if is_mapped else file
            return torch.load(source, map_location="cpu", weights_only=True, mmap=is_mapped)
    except pickle.UnpicklingError as error:
        found = _REFUSED.search(str(error))
        if found is None:
            raise ModelError(
                f"{path.name}: the file is damaged or cut short ({_first(error)}). {_AGAIN}"
            ) from error
        raise ModelError(
            f"{path.name}: refused, because reading it could run code ({found[0].rstrip('. ')}); "
            "nothing was run. Expected tensors and plain values only. If you made the file, save "
            "only the model's state_dict() again, best as safetensors; if not, do not trust it."
        ) from error
    except MemoryError as error:
        raise ModelError(
            f"{path.name}: does not fit into memory. Close other programs, or use a machine with "
            "more."
        ) from error
    except _DAMAGED as error:
        if "TorchScript" in str(error):
            raise ModelError(
                f"{path.name}: is a TorchScript program, expected weights. Save the model's "
                "state_dict() instead."
            ) from error
        raise ModelError(
            f"{path.name}: the file is damaged or cut short ({_first(error)}). {_AGAIN}"
        ) from error


def _unnested(path: Path, content: Any) -> Mapping[Any, Any]:
    """Return the weights' own mapping: beside it lie optimiser states and hyper-parameters."""
    for _ in range(_N_NESTS):
        if not isinstance(content, Mapping):
            break
        nest = next((n for n in _NESTS if isinstance(content.get(n), Mapping)), None)
        if nest is None:
            break
        content = content[nest]
    if not isinstance(content, Mapping) or not content:
        kind = "nothing" if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise ModelError(
            f"{path.name}: holds {kind}, expected a model's weights by name. Save the model's "
            "state_dict()."
        )
    return content


def _tensors(path: Path, content: Mapping[Any, Any]) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    others: list[str] = []
    for name, value in content.items():
        if isinstance(name, str) and _is_plain(value):
            tensors[name] = value.detach()
        else:
            others.append(f"{name} ({type(value).__name__})")
    if others:
        raise ModelError(
            f"{path.name}: {len(others)} of its {len(content)} entries are no tensors: "
            f"{', '.join(others[:3])}{' …' if len(others) > 3 else ''}. Expected a model's weights "
            "by name, or these under 'state_dict' or 'model'. Save the model's state_dict()."
        )
    return tensors


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.layout is torch.strided
        and not value.is_quantized
        and not value.is_meta
    )


def _what(start: bytes) -> str:
    """Say what a file is that is no checkpoint, from its first bytes, and what to do."""
    text = start.lstrip().lower()
    if not start:
        return f"the file is empty. {_AGAIN}"
    if start.startswith(_LFS):
        return (
            "is a git-lfs pointer, not the weights themselves. Run `git lfs pull` where it comes "
            "from, or download the file."
        )
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return (
            "is a web page, not weights: the download failed, or asked to log in. Download it "
            "again, with a token where the model asks for one."
        )
    kind = "a text file" if _is_text(start) else "of an unknown format"
    return (
        f"is {kind}, expected weights in safetensors' or torch's format "
        f"({', '.join(SUFFIXES)}). Choose the model's checkpoint."
    )


def _is_text(start: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\r\n\f" for byte in start)


def _first(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
