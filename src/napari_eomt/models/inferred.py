"""The configuration of a network, inferred from its weights; and whether the weights are whole."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    EomtConfig,
    EomtDinov3Config,
    EomtDinov3ForUniversalSegmentation,
    EomtForUniversalSegmentation,
    VideomtConfig,
    VideomtForUniversalSegmentation,
)

from napari_eomt.errors import ModelError
from napari_eomt.models.key_maps import EMPTY_WEIGHT, MASK_TOKEN, POSITIONS, original_name
from napari_eomt.models.original import missing_error, some
from napari_eomt.structures.segments import TASKS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from transformers import PreTrainedConfig

    from napari_eomt.models.card import Architecture
    from napari_eomt.models.original import Tensors
    from napari_eomt.structures.segments import Task

NETWORKS: dict[Architecture, tuple[Any, Any]] = {
    "eomt": (EomtConfig, EomtForUniversalSegmentation),
    "eomt_dinov3": (EomtDinov3Config, EomtDinov3ForUniversalSegmentation),
    "videomt": (VideomtConfig, VideomtForUniversalSegmentation),
}
"""transformers' classes of each architecture: configuration and module."""

HEAD_SIZE = 64
"""Features of an attention head in every published model; weights do not tell it."""

_MIN_SIZE, _MAX_SIZE = 64, 4096
_N_FOLDERS = 4


def infer_config(
    architecture: Architecture, tensors: Tensors, name: str, input_size: int | None = None
) -> PreTrainedConfig:
    """Infer the configuration that weights were trained with.

    Parameters
    ----------
    architecture : Architecture
    tensors : mapping of str to torch.Tensor
        Under transformers' names; their values are not looked at.
    name : str
        Of the checkpoint, for messages.
    input_size : int, optional
        Side of the input in pixels. Needed for DINOv3, whose weights do not tell it; otherwise it
        must be what the weights say.

    Raises
    ------
    ModelError
        If a tensor that tells it is missing, or makes no sense.
    """
    is_dinov3, is_swiglu = architecture == "eomt_dinov3", _is_swiglu(tensors)
    projection = _check_telling(architecture, tensors, name)
    width, patch_size = tensors["embeddings.cls_token"].shape[-1], tensors[projection].shape[-1]
    if width % HEAD_SIZE:
        raise ModelError(
            f"{name}: its backbone is {width} wide, expected a multiple of {HEAD_SIZE} (the size "
            "of an attention head in every published model). Convert the model where it was "
            "trained."
        )
    registers = tensors.get("embeddings.register_tokens")
    values: dict[str, Any] = {
        "hidden_size": width,
        "num_hidden_layers": _count(architecture, tensors, "layers.{}.norm1.weight", name),
        "num_attention_heads": width // HEAD_SIZE,
        "num_register_tokens": 0 if registers is None else registers.shape[1],
        "patch_size": patch_size,
        "num_queries": tensors["query.weight"].shape[0],
        "num_labels": tensors["class_predictor.weight"].shape[0] - 1,
        "num_blocks": tensors["attn_mask_probs"].shape[0],
        "num_upscale_blocks": _count(
            architecture, tensors, "upscale_block.block.{}.conv1.weight", name
        ),
        "hidden_act": "gelu",
    }
    if values["num_labels"] < 1 or values["num_blocks"] > values["num_hidden_layers"]:
        raise ModelError(
            f"{name}: {values['num_labels']} categories, and queries in {values['num_blocks']} of "
            f"{values['num_hidden_layers']} blocks, make no segmenter. Copy or download the "
            "checkpoint again."
        )
    hidden = tensors[_first_of_mlp(is_dinov3, is_swiglu)].shape[0]
    if is_dinov3:
        # As DINOv3's own configuration has it; the default of EoMT-DINOv3's is another epsilon.
        values |= {"intermediate_size": hidden, "layer_norm_eps": 1e-5}
        values["rope_parameters"] = {"rope_type": "default", "rope_theta": 100.0}
        values["image_size"] = input_size
    else:
        values |= {"mlp_ratio": _mlp_ratio(width, hidden, is_swiglu, name), "layer_norm_eps": 1e-6}
        values["use_swiglu_ffn"] = is_swiglu
        values["image_size"] = _size_of_positions(tensors, patch_size, name, input_size)
    if values["image_size"] is None:
        raise ModelError(
            f"{name}: a DINOv3 checkpoint does not tell the size of its input, and its name has "
            "none either. Give the input size in pixels, such as 640."
        )
    if values["image_size"] <= 0 or values["image_size"] % patch_size:
        raise ModelError(
            f"{name}: an input of {values['image_size']} pixels is no multiple of its patches of "
            f"{patch_size}. Give the size that it was trained with."
        )
    config: PreTrainedConfig = NETWORKS[architecture][0](**values)
    config.architectures = [NETWORKS[architecture][1].__name__]
    return config


def check_complete(
    architecture: Architecture,
    config: PreTrainedConfig,
    tensors: Tensors,
    name: str,
    as_original: bool,
) -> None:
    """Compare weights with the network of a configuration: names and shapes, nothing left over.

    Raises
    ------
    ModelError
        If one is missing, surplus or of another shape; in the names of the layout that was read,
        which `as_original` tells.
    """
    expected = expected_shapes(architecture, config)
    is_swiglu = _is_swiglu(expected)

    def called(keys: Iterable[str]) -> list[str]:
        if not as_original:
            return list(keys)
        # Of fused tensors, several parts have one name.
        return list(dict.fromkeys(original_name(k, architecture, is_swiglu) for k in keys))

    missing = [k for k in expected if k not in tensors and k not in (EMPTY_WEIGHT, MASK_TOKEN)]
    if missing:
        raise missing_error(name, called(missing))
    surplus = [key for key in tensors if key not in expected]
    if surplus:
        raise ModelError(
            f"{name}: has {len(called(surplus))} tensors that the network has no place for: "
            f"{some(called(surplus))}. Is it the checkpoint of a changed network?"
        )
    expected.pop(EMPTY_WEIGHT)  # one that does not fit is made anew
    wrong = [k for k, shape in expected.items() if k in tensors and tensors[k].shape != shape]
    if wrong:
        raise ModelError(
            f"{name}: {len(called(wrong))} tensors are of another shape than the others imply: "
            f"{called(wrong[:1])[0]} is {tuple(tensors[wrong[0]].shape)} for "
            f"{tuple(expected[wrong[0]])}. Copy or download the checkpoint again."
        )


def expected_shapes(
    architecture: Architecture, config: PreTrainedConfig
) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every tensor of transformers' module, without making it."""
    with torch.device("meta"):
        network = NETWORKS[architecture][1](config)
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}


def size_in_name(path: Path) -> int | None:
    """Return the input size that the name of a checkpoint or of its folders tells.

    Such as 640 for ``coco_panoptic_eomt_large_640_dinov3/pytorch_model.bin``; the nearest name
    counts, and of folders only one that speaks of EoMT. None if there is none, or several.
    """
    for part in _names(path):
        numbers = {int(n) for n in re.findall(r"(?<![^_\W])(\d{2,4})(?![^_\W])", part)}
        sizes = {n for n in numbers if _MIN_SIZE <= n <= _MAX_SIZE and n % 16 == 0}
        if sizes:
            return sizes.pop() if len(sizes) == 1 else None
    return None


def task_in_name(path: Path) -> Task | None:
    """Return the task that the name of a checkpoint or of its folders tells, as in `size_in_name`.

    Such as semantic for ``ade20k_semantic_eomt_large_512/pytorch_model.bin``.
    """
    for part in _names(path):
        tasks = [task for task in TASKS if task in part.lower()]
        if tasks:
            return tasks[0] if len(tasks) == 1 else None
    return None


def _names(path: Path) -> list[str]:
    """Return the names that may tell of a checkpoint: its own, and of folders of EoMT."""
    folders = [folder.name for folder in path.absolute().parents][:_N_FOLDERS]
    return [path.stem, *(name for name in folders if "eomt" in name.lower())]


def _check_telling(architecture: Architecture, tensors: Tensors, name: str) -> str:
    """Check the tensors whose shapes tell the network; return the name of the patches' weights."""
    is_dinov3, is_swiglu = architecture == "eomt_dinov3", _is_swiglu(tensors)
    projection = "embeddings.patch_embeddings" + ("" if is_dinov3 else ".projection") + ".weight"
    n_axes = {
        "embeddings.cls_token": 3,
        "embeddings.register_tokens": 3,
        projection: 4,
        **({} if is_dinov3 else {POSITIONS: 2}),
        "query.weight": 2,
        "class_predictor.weight": 2,
        "attn_mask_probs": 1,
        _first_of_mlp(is_dinov3, is_swiglu): 2,
    }
    missing = [key for key in n_axes if key not in tensors and "register" not in key]
    if missing:
        raise missing_error(name, [original_name(k, architecture, is_swiglu) for k in missing])
    for key, n in n_axes.items():
        shape = tuple(tensors[key].shape) if key in tensors else (1,) * n
        if len(shape) != n or 0 in shape:
            raise ModelError(
                f"{name}: {original_name(key, architecture, is_swiglu)} has the shape {shape}, "
                f"expected {n} sides. Copy or download the checkpoint again."
            )
    return projection


def _is_swiglu(tensors: Iterable[str]) -> bool:
    return any(".gate_proj." in key for key in tensors)


def _first_of_mlp(is_dinov3: bool, is_swiglu: bool) -> str:
    first = "up_proj" if is_dinov3 else "gate_proj" if is_swiglu else "fc1"
    return f"layers.0.mlp.{first}.weight"


def _count(architecture: Architecture, tensors: Tensors, key: str, name: str) -> int:
    """Count what is numbered from 0; a gap, which one huge number leaves too, is an error."""
    pattern = re.compile(re.escape(key.partition("{}")[0]) + r"(\d+)\.")
    numbers = {int(match[1]) for known in tensors if (match := pattern.match(known))}
    gaps = [key.format(k) for k in range(len(numbers)) if k not in numbers]
    if gaps:
        is_swiglu = _is_swiglu(tensors)
        raise missing_error(name, [original_name(k, architecture, is_swiglu) for k in gaps])
    return len(numbers)


def _size_of_positions(tensors: Tensors, patch_size: int, name: str, input_size: int | None) -> int:
    n_positions = tensors[POSITIONS].shape[0]
    grid = math.isqrt(n_positions)
    if grid**2 != n_positions:
        raise ModelError(
            f"{name}: its position table has {n_positions} rows, which make no square. Only models "
            "for square inputs can be converted."
        )
    if input_size not in (None, grid * patch_size):
        raise ModelError(
            f"{name}: its position table is for an input of {grid * patch_size} pixels, not "
            f"{input_size}. Convert it as it is; another size can be chosen when it is used."
        )
    return grid * patch_size


def _mlp_ratio(width: int, hidden: int, is_swiglu: bool, name: str) -> int:
    for ratio in range(1, 17):
        # SwiGLU keeps two thirds, rounded up to a multiple of 8, as transformers' module does.
        size = (int(width * ratio * 2 / 3) + 7) // 8 * 8 if is_swiglu else width * ratio
        if size == hidden:
            return ratio
    raise ModelError(
        f"{name}: its MLPs are {hidden} wide for a backbone of {width}, which transformers' module "
        "cannot express. Is it the checkpoint of a changed network?"
    )
