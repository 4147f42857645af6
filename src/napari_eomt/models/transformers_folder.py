"""A model's folder in transformers' layout: what stands in its files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import save_file

from napari_eomt.errors import ModelError
from napari_eomt.models.card import ARCHITECTURES, SIDECAR, WEIGHTS, Sidecar
from napari_eomt.models.inferred import NETWORKS
from napari_eomt.models.key_maps import kinds
from napari_eomt.models.original import Translation, upgrade_keys

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch
    from transformers import PreTrainedConfig

    from napari_eomt.models.card import Architecture
    from napari_eomt.models.original import Tensors

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
"""Normalisation of every published model."""

ImageMode: TypeAlias = Literal["pad", "split"]
"""How an image becomes the network's square input: padded whole, or windows of its short side."""


def save_folder(
    folder: Path,
    tensors: Tensors,
    config: PreTrainedConfig,
    processor: dict[str, Any],
    sidecar: Sidecar | None,
) -> None:
    """Write all files of a model into a folder that is there."""
    save_tensors(tensors, folder / WEIGHTS)
    config.save_pretrained(folder)
    _write_json(folder / PROCESSOR, processor)
    if sidecar is not None:
        _write_json(folder / SIDECAR, sidecar.model_dump(mode="json", exclude_defaults=True))


def save_tensors(tensors: Tensors, path: Path) -> None:
    """Write a safetensors file; transformers asks for the note that it is PyTorch's."""
    whole = {key: tensor.contiguous() for key, tensor in tensors.items()}
    save_file(whole, path, metadata={"format": "pt"})
    # safetensors keeps a file to its owner; whoever may read the folder may use the model.
    path.chmod(path.parent.stat().st_mode & 0o666)


def read_config(folder: Path) -> tuple[Architecture, PreTrainedConfig] | None:
    """Read ``config.json``; None if there is none.

    Raises
    ------
    ModelError
        If it is damaged, or of another kind of model.
    """
    if not (folder / CONFIG).is_file():
        return None
    values = read_json(folder / CONFIG)
    architecture = values.get("model_type")
    if architecture not in ARCHITECTURES:
        raise ModelError(
            f"{folder.name}: {CONFIG} says model_type {architecture!r}, expected one of "
            f"{sorted(ARCHITECTURES)}. Choose the folder of an EoMT model."
        )
    try:
        config: PreTrainedConfig = NETWORKS[architecture][0].from_dict(values)
    except (StrictDataclassError, ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"{folder.name}: {CONFIG} does not describe a model "
            f"({(str(error).splitlines() or [repr(error)])[0]}). Copy or download it again."
        ) from error
    return architecture, config


def is_transformers(state: Tensors) -> bool:
    """Return whether weights have the names of transformers' modules, of any version."""
    return "class_predictor.weight" in state or "query.weight" in state


def from_transformers(
    folder: Path, state: Tensors, name: str
) -> tuple[PreTrainedConfig | None, Translation]:
    """Bring weights in transformers' layout up to date, and read the configuration beside them.

    Raises
    ------
    ModelError
        If the configuration is damaged, or of another kind of model.
    """
    tensors = upgrade_keys(state)
    known = read_config(folder)
    architecture: Architecture
    if known is not None:
        architecture = known[0]
    elif any(key.startswith("query_updater.") for key in tensors):
        architecture = "videomt"
    else:
        is_dinov3 = "embeddings.patch_embeddings.weight" in tensors
        architecture = "eomt_dinov3" if is_dinov3 else "eomt"
    translation = Translation(architecture, tensors, kinds(tensors, architecture), ())
    return (None if known is None else known[1]), translation


def name_categories(
    config: PreTrainedConfig, names: Sequence[str] | None, sidecar: Sidecar | None, name: str
) -> None:
    """Write the categories' names into a configuration, and check what else is said of them.

    Raises
    ------
    ModelError
        If there are more or fewer than the network was trained with.
    """
    n_labels = len(config.id2label or ())
    ids = sidecar.category_ids if sidecar is not None else ()
    stuff = set(sidecar.stuff if sidecar is not None else ())
    for what, given in (("names of categories", names or ()), ("ids of categories", ids)):
        if given and len(given) != n_labels:
            raise ModelError(
                f"{name}: was trained with {n_labels} categories, but {len(given)} {what} were "
                "given. Give the list that it was trained with."
            )
    if not stuff <= set(range(n_labels)):
        raise ModelError(
            f"{name}: the stuff labels {sorted(stuff - set(range(n_labels)))} are not among its "
            f"labels, 0 to {n_labels - 1}. Give the list that it was trained with."
        )
    if names:
        config.id2label = dict(enumerate(names))
        config.label2id = {label: k for k, label in enumerate(names)}


def read_processor(folder: Path) -> dict[str, Any]:
    """Read ``preprocessor_config.json``; empty if there is none."""
    return read_json(folder / PROCESSOR) if (folder / PROCESSOR).is_file() else {}


def image_processor(
    architecture: Architecture,
    size: int,
    mode: ImageMode,
    mean: torch.Tensor | None = None,
    std: torch.Tensor | None = None,
) -> dict[str, Any]:
    """Return what ``preprocessor_config.json`` says.

    Parameters
    ----------
    architecture : Architecture
    size : int
        Side of the input, in pixels.
    mode : {"pad", "split"}
    mean, std : (1, 3, 1, 1) float tensor, optional
        Normalisation of images in 0 to 1; by default ImageNet's.
    """
    normalisation = dict(IMAGENET)
    # Those of a delta are 0, the difference of what does not change.
    if mean is not None and std is not None and bool((std > 0).all()):
        normalisation = {"image_mean": _numbers(mean), "image_std": _numbers(std)}
    common = {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "resample": 2,
        "rescale_factor": 1 / 255,
        **normalisation,
    }
    return common | geometry(architecture, size, mode)


def geometry(architecture: Architecture, size: int, mode: ImageMode) -> dict[str, Any]:
    """Return the part of ``preprocessor_config.json`` that depends on size and mode."""
    if architecture == "videomt":
        return {
            "size": {"height": size, "width": size},
            "video_processor_type": "VideomtVideoProcessor",
        }
    return {
        "do_pad": mode == "pad",
        "do_split_image": mode == "split",
        "image_processor_type": "EomtImageProcessor",
        "size": {"shortest_edge": size, "longest_edge": size if mode == "pad" else None},
    }


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    ModelError
        If it is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(
            f"{path}: cannot be read as JSON ({error}). Copy or download it again."
        ) from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: expected a JSON object, found {type(content).__name__}.")
    return content


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _numbers(tensor: torch.Tensor) -> list[float]:
    # The shortest decimals that give the same float32 again: 0.485, not 0.48500001430511475.
    return [float(str(np.float32(value))) for value in tensor.flatten().tolist()]
