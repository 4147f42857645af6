"""Checkpoints of the original repositories to transformers' folders, and back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from safetensors import SafetensorError

from napari_eomt.atomic import replacing
from napari_eomt.errors import ModelError, OutputError
from napari_eomt.models import delta
from napari_eomt.models.folders import check_out, replacing_folder
from napari_eomt.models.inferred import check_complete, infer_config, size_in_name, task_in_name
from napari_eomt.models.key_maps import EMPTY_WEIGHT, MASK_TOKEN
from napari_eomt.models.original import from_original, some
from napari_eomt.models.original import to_original as original_names
from napari_eomt.models.transformers_folder import (
    CONFIG,
    IMAGENET,
    ImageMode,
    from_transformers,
    geometry,
    image_processor,
    is_transformers,
    name_categories,
    read_processor,
    save_folder,
    save_tensors,
)
from napari_eomt.models.weights import load_weights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import PreTrainedConfig

    from napari_eomt.models.card import Architecture, Sidecar
    from napari_eomt.models.original import Tensors, Translation

Layout: TypeAlias = Literal["original", "delta", "transformers"]

_NO_OBJECT_WEIGHT = 0.1
_TOLD = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_queries",
    "num_labels",
    "num_blocks",
    "num_register_tokens",
    "num_upscale_blocks",
    "patch_size",
    "image_size",
    "hidden_act",
    "layer_norm_eps",
)


@dataclass(frozen=True)
class Conversion:
    """What was converted, and what became of its tensors.

    Parameters
    ----------
    path : Path
        Folder or file that was written.
    architecture : Architecture
    layout : Layout
        Of what was read.
    mapped : dict of str to int
        How many tensors of what was read were mapped, by kind.
    dropped : tuple of str
        Names of those that the other layout has no place for.
    n_written : int
        Tensors written.
    n_parameters, n_bytes : int
        Values written, and the size of all files.
    config : dict
        Main numbers of the network, as transformers calls them.
    """

    path: Path
    architecture: Architecture
    layout: Layout
    mapped: dict[str, int]
    dropped: tuple[str, ...]
    n_written: int
    n_parameters: int
    n_bytes: int
    config: dict[str, Any]

    @property
    def n_mapped(self) -> int:
        """Tensors of what was read that were mapped."""
        return sum(self.mapped.values())

    def as_json(self) -> str:
        """Return all of it as JSON."""
        return json.dumps(asdict(self) | {"path": str(self.path), "n_mapped": self.n_mapped})


def to_transformers(
    checkpoint: Path,
    out: Path,
    *,
    base: Path | None = None,
    input_size: int | None = None,
    category_names: Sequence[str] | None = None,
    image_mode: ImageMode | None = None,
    sidecar: Sidecar | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Convert a checkpoint into a folder that transformers and this package load.

    Parameters
    ----------
    checkpoint : Path
        File or folder in the layout of the original repositories, also from a training run; or in
        transformers' own, whose names of an older version are then brought up to date.
    out : Path
        Folder to make; it appears whole or not at all.
    base : Path, optional
        File or folder of the DINOv3 backbone that a delta is added to.
    input_size : int, optional
        In pixels; for DINOv3, if the name of the checkpoint does not tell it.
    category_names : sequence of str, optional
        Of each label, in the order of the logits.
    image_mode : {"pad", "split"}, optional
        Semantic models are trained on windows ("split"), others on the padded image. By default
        "split" if the checkpoint's name says semantic.
    sidecar : Sidecar, optional
        What else to say of the model: tasks, stuff, ids of categories.
    overwrite : bool
        Replace `out` if it is a model's folder.

    Raises
    ------
    ModelError
        If the checkpoint is no such model, damaged, incomplete, or lacks its base.
    OutputError
        If `out` is there already or cannot be written.
    """
    check_out(out, overwrite, keep=[path for path in (checkpoint, base) if path is not None])
    name = checkpoint.name
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    state = load_weights(checkpoint)
    layout: Layout = "original"
    config: PreTrainedConfig | None = None
    processor: dict[str, Any] = {}
    if is_transformers(state):
        layout = "transformers"
        config, translation = from_transformers(folder, state, name)
        processor = read_processor(folder) if config is not None else {}
    else:
        translation = from_original(state, name)
    architecture, tensors = translation.architecture, dict(translation.tensors)
    if base is not None:
        layout, tensors = "delta", _merged(translation, base, name)
    elif delta.is_delta(translation):
        raise delta.needs_base(translation, name)
    if config is None:
        # Where the weights tell the size, what a name seems to say does not count.
        told = size_in_name(checkpoint) if architecture == "eomt_dinov3" else None
        config = infer_config(architecture, tensors, name, input_size or told)
    elif input_size not in (None, config.image_size):
        raise ModelError(
            f"{name}: its configuration says an input of {config.image_size} pixels, not "
            f"{input_size}. Convert it as it is; another size can be chosen when it is used."
        )
    check_complete(architecture, config, tensors, name, as_original=layout != "transformers")
    _check_dtypes(tensors, name)
    dropped = translation.dropped + _add_constants(architecture, config, tensors)
    config.dtype = tensors["query.weight"].dtype
    name_categories(config, category_names, sidecar, name)
    said: ImageMode = "split" if task_in_name(checkpoint) == "semantic" else "pad"
    size, mean, std = config.image_size, translation.pixel_mean, translation.pixel_std
    processor = image_processor(architecture, size, image_mode or said, mean, std) | processor
    if image_mode is not None:
        processor |= geometry(architecture, size, image_mode)
    with replacing_folder(out, overwrite) as temporary:
        save_folder(temporary, tensors, config, processor, sidecar)
        n_bytes = sum(path.stat().st_size for path in temporary.iterdir())
    return Conversion(
        path=out,
        architecture=architecture,
        layout=layout,
        mapped=translation.mapped,
        dropped=dropped,
        n_written=len(tensors),
        n_parameters=_count(tensors),
        n_bytes=n_bytes,
        config=_told(config),
    )


def to_original(folder: Path, out: Path, *, overwrite: bool = False) -> Conversion:
    """Convert a transformers folder into a checkpoint of the original repositories.

    Parameters
    ----------
    folder : Path
        As `to_transformers` writes it. A DINOv3 model is written whole, not as a delta.
    out : Path
        File to write: ``.bin``, ``.pth`` or ``.pt`` in torch's format, or ``.safetensors``.
    overwrite : bool
        Replace `out` if it is there.

    Raises
    ------
    ModelError
        If the folder is no such model, or one that the original code cannot express.
    OutputError
        If `out` is there already or cannot be written.
    """
    if out.suffix not in (".bin", ".pth", ".pt", ".safetensors"):
        raise OutputError(
            f"{out}: an original checkpoint is one file. Give it a name that ends in .bin, .pth or "
            ".safetensors."
        )
    if out.resolve().parent == folder.resolve():
        raise OutputError(f"{out} lies in the folder that is read. Choose another folder.")
    if out.exists() and not overwrite:
        raise OutputError(f"{out} is there already. Choose another name, or overwrite it.")
    config, translation = from_transformers(folder, load_weights(folder), folder.name)
    if config is None:
        raise ModelError(
            f"{folder.name}: {CONFIG} is missing. Choose a model's folder in transformers' layout."
        )
    architecture, tensors = translation.architecture, dict(translation.tensors)
    check_complete(architecture, config, tensors, folder.name, as_original=False)
    _check_dtypes(tensors, folder.name)
    dropped = _add_constants(architecture, config, tensors)
    _check_expressible(architecture, config, tensors, folder.name)
    state = original_names(tensors, architecture, folder.name)
    if architecture != "videomt":
        normalisation = IMAGENET | read_processor(folder)
        for what in ("mean", "std"):
            values = torch.tensor(normalisation[f"image_{what}"])
            state[f"network.encoder.pixel_{what}"] = values.reshape(1, -1, 1, 1)
    content = {"model": state} if architecture == "videomt" else state
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as temporary:
            if out.suffix == ".safetensors":
                save_tensors(state, temporary)
            else:
                torch.save(content, str(temporary))
            n_bytes = temporary.stat().st_size
    # torch's writer tells of a full disk as a RuntimeError, safetensors' as its own.
    except (OSError, RuntimeError, SafetensorError) as error:
        raise OutputError(
            f"{out}: cannot be written ({str(error).splitlines()[0]}). Free the disk, or choose "
            "another folder."
        ) from error
    return Conversion(
        path=out,
        architecture=architecture,
        layout="transformers",
        mapped=translation.mapped,
        dropped=dropped,
        n_written=len(state),
        n_parameters=_count(state),
        n_bytes=n_bytes,
        config=_told(config),
    )


def _merged(translation: Translation, base: Path, name: str) -> dict[str, torch.Tensor]:
    if translation.architecture != "eomt_dinov3":
        raise ModelError(
            f"{name}: is a model of the architecture {translation.architecture}, whose weights are "
            "whole: only EoMT-DINOv3 has deltas. Convert it without a base."
        )
    return delta.merge(translation.tensors, load_weights(base), name, base.name)


def _add_constants(
    architecture: Architecture, config: PreTrainedConfig, tensors: dict[str, torch.Tensor]
) -> tuple[str, ...]:
    """Add, in place, what transformers' module holds and no training changes; name the dropped.

    The loss's weights of the classes: 1, and less for no object. Those stored are taken if they
    can be; in a delta they are 0.
    """
    if architecture == "videomt":
        tensors.setdefault(MASK_TOKEN, torch.zeros_like(tensors["embeddings.cls_token"]))
    n_classes = len(config.id2label or ()) + 1
    stored = tensors.pop(EMPTY_WEIGHT, None)
    if stored is not None and stored.shape == (n_classes,) and bool((stored > 0).all()):
        tensors[EMPTY_WEIGHT] = stored
        config.no_object_weight = round(float(stored[-1]), 6)
        return ()
    weights = torch.ones(n_classes, dtype=tensors["query.weight"].dtype)
    weights[-1] = config.no_object_weight
    tensors[EMPTY_WEIGHT] = weights
    return () if stored is None else (EMPTY_WEIGHT,)


def _check_dtypes(tensors: Tensors, name: str) -> None:
    others = [key for key, tensor in tensors.items() if not tensor.is_floating_point()]
    if others:
        raise ModelError(
            f"{name}: {len(others)} tensors hold no floating-point numbers: {some(others)}. "
            "Quantised weights cannot be converted; use the original ones."
        )


def _check_expressible(
    architecture: Architecture, config: PreTrainedConfig, tensors: Tensors, name: str
) -> None:
    """Check that the original code, which has no configuration file, would build this network."""
    if not config.num_register_tokens:
        raise ModelError(
            f"{name}: it has no register tokens, which the original code's networks always have. "
            "Use the model in transformers' layout."
        )
    built = infer_config(architecture, tensors, name, config.image_size)
    for key in _TOLD:
        ours, theirs = getattr(config, key), getattr(built, key)
        if ours != theirs:
            raise ModelError(
                f"{name}: its {key} is {ours}, but the original code takes {theirs} for these "
                "weights. Use the model in transformers' layout."
            )


def _told(config: PreTrainedConfig) -> dict[str, Any]:
    return {key: getattr(config, key) for key in _TOLD}


def _count(tensors: Tensors) -> int:
    return sum(tensor.numel() for tensor in tensors.values())
