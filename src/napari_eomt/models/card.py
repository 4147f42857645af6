"""What a model is, read from its folder without loading it (and without torch)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_eomt.errors import ModelError
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Task

Architecture: TypeAlias = Literal["eomt", "eomt_dinov3", "videomt"]
"""What transformers calls `model_type`."""

ARCHITECTURES: dict[Architecture, str] = {
    "eomt": "EoMT (DINOv2)",
    "eomt_dinov3": "EoMT-DINOv3",
    "videomt": "VidEoMT (DINOv2)",
}
"""Each architecture that can be loaded, and its name."""

DTypeName: TypeAlias = Literal["auto", "fp32", "bf16", "fp16"]
"""Precision to compute in; auto is bf16 (else fp16) on CUDA and fp32 elsewhere."""

MOST_LOOKS = 5
"""At each view a model can look so often; see `inference.looks`."""

SIDECAR = "napari_eomt.json"
"""Optional file in a model's folder: what transformers' files have no place for."""

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"


class Thresholds(BaseModel):
    """Thresholds that a model's maker recommends to start with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score_threshold: float | None = Field(default=None, ge=0, le=1)
    mask_threshold: float | None = Field(default=None, gt=0, lt=1)
    overlap_threshold: float | None = Field(default=None, ge=0, le=1)


class Sidecar(BaseModel):
    """What a model's maker can say beyond transformers' files. Every field is optional."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = ""
    description: str = ""
    licence: str = ""
    tasks: tuple[Task, ...] = Field(default=(), description="Tasks that the model serves.")
    category_ids: tuple[int, ...] = Field(
        default=(), description="Category id of each label; by default label + 1."
    )
    stuff: tuple[int, ...] = Field(default=(), description="Labels of stuff categories.")
    object_size: float | None = Field(
        default=None,
        gt=0,
        description="√area, in px of the input, of the objects that the model finds best.",
    )
    typical_size: float | None = Field(
        default=None,
        gt=0,
        description="√area, in px of the image, of the objects that the model was taught, if "
        "they were alike: what an automatic object size is without measuring.",
    )
    percentiles: tuple[float, float] | None = Field(
        default=None, description="Contrast stretch that the model was trained with."
    )
    tile_overlap: int | None = Field(default=None, ge=0, description="In px of the input.")
    looks: int = Field(
        default=1, ge=1, le=MOST_LOOKS, description="How often to look at each view."
    )
    thresholds: Thresholds = Field(default=Thresholds(), description="To start with.")


class ModelCard(BaseModel):
    """What a model is.

    Sizes are in pixels; `n_parameters` and `n_bytes` are counted from the weights' header. `folder`
    is None for a model that is known but not on this machine. `width` and `depth` are of the
    transformer: features a token, and blocks; 0 where unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    folder: Path | None
    architecture: Architecture
    title: str
    description: str
    licence: str
    tasks: tuple[Task, ...]
    categories: tuple[Category, ...]
    input_size: int
    patch_size: int
    n_queries: int
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    object_size: float | None
    typical_size: float | None = None
    percentiles: tuple[float, float] | None
    tile_overlap: int
    looks: int = 1
    n_parameters: int
    n_bytes: int
    width: int = 0
    depth: int = 0
    thresholds: Thresholds = Thresholds()

    @property
    def is_video(self) -> bool:
        """Whether the model follows objects from frame to frame."""
        return self.architecture == "videomt"


def read_card(folder: Path, name: str | None = None) -> ModelCard:
    """Read what the model in `folder` is.

    Parameters
    ----------
    folder : Path
        In transformers' layout: ``config.json``, ``model.safetensors`` and, if the input is not
        normalised as ImageNet's, ``preprocessor_config.json``.
    name : str, optional
        By default the folder's name.

    Raises
    ------
    ModelError
        If the folder is not a model, or one of an architecture that is not supported.
    """
    if not folder.is_dir():
        raise ModelError(
            f"{folder} is not a folder. Choose a folder that holds config.json and "
            "model.safetensors, or a bundled model by its name."
        )
    config = _read_json(folder / "config.json")
    architecture = config.get("model_type")
    if architecture not in ARCHITECTURES:
        raise ModelError(
            f"{folder.name}: config.json says model_type {architecture!r}, expected one of "
            f"{sorted(ARCHITECTURES)}. Choose the folder of an EoMT model."
        )
    weights = weight_files(folder)
    try:
        sidecar_file = folder / SIDECAR
        sidecar = Sidecar(**_read_json(sidecar_file)) if sidecar_file.is_file() else Sidecar()
        processor_file = folder / "preprocessor_config.json"
        processor = _read_json(processor_file) if processor_file.is_file() else {}
        names = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
        # JSON keys are strings; labels must run from 0 without a gap, as the logits do.
        labels = {int(k): str(v) for k, v in names.items()}
        if sorted(labels) != list(range(len(labels))):
            raise ModelError(
                f"{folder.name}: the labels of id2label in config.json are {sorted(labels)}, "
                f"expected 0 to {len(labels) - 1}. Number them as the class logits are."
            )
        ids = sidecar.category_ids or tuple(k + 1 for k in range(len(labels)))
        if len(ids) != len(labels) or len(set(ids)) != len(ids):
            raise ModelError(
                f"{folder.name}: {SIDECAR} has {len(ids)} category_ids, expected "
                f"{len(labels)} different ones, one for each label of config.json."
            )
        image_size = config.get("image_size", 640)
        return ModelCard(
            name=name or folder.name,
            folder=folder,
            architecture=architecture,
            title=sidecar.title or folder.name,
            description=sidecar.description,
            licence=sidecar.licence,
            tasks=sidecar.tasks or _tasks(processor, sidecar),
            categories=tuple(
                Category(ids[k], labels[k], is_thing=k not in sidecar.stuff) for k in sorted(labels)
            ),
            input_size=image_size,
            patch_size=config.get("patch_size", 16),
            n_queries=config.get("num_queries", 200),
            image_mean=tuple(processor.get("image_mean", (0.485, 0.456, 0.406))),
            image_std=tuple(processor.get("image_std", (0.229, 0.224, 0.225))),
            object_size=sidecar.object_size,
            typical_size=sidecar.typical_size,
            percentiles=sidecar.percentiles,
            tile_overlap=_or(sidecar.tile_overlap, int(image_size) // 4),
            looks=sidecar.looks,
            n_parameters=sum(map(_count_parameters, weights)),
            n_bytes=sum(file.stat().st_size for file in weights),
            width=config.get("hidden_size", 0),
            depth=config.get("num_hidden_layers", 0),
            thresholds=sidecar.thresholds,
        )
    except (ValidationError, TypeError, ValueError, AttributeError) as error:
        first = str(error).strip().replace("\n", " ")
        raise ModelError(
            f"{folder.name}: its configuration does not describe a model ({first}). "
            "Save the model again with save_pretrained()."
        ) from error


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a model's folder: one, or the shards of an index.

    Raises
    ------
    ModelError
        If there are none, or a shard is missing or would lie outside of the folder.
    """
    weights, index = folder / WEIGHTS, folder / WEIGHTS_INDEX
    if weights.is_file():
        return [weights]
    if not index.is_file():
        raise ModelError(
            f"{folder.name}: {WEIGHTS} is missing. Save the model with save_pretrained(), which "
            "writes it."
        )
    shards = _read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise ModelError(
            f"{folder.name}: {WEIGHTS_INDEX} has no weight_map. Copy or download it again."
        )
    names = sorted({str(name) for name in shards.values()})
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise ModelError(
                f"{folder.name}: {WEIGHTS_INDEX} names the file {name!r}, which is not in the "
                "folder. Copy or download the whole folder again."
            )
    return [folder / name for name in names]


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _tasks(processor: dict[str, Any], sidecar: Sidecar) -> tuple[Task, ...]:
    # A semantic model is trained on windows of the image, the others on the padded whole.
    if processor.get("do_split_image"):
        return ("semantic",)
    if sidecar.stuff:
        return ("panoptic", "instance", "semantic")
    return ("instance", "panoptic")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{path.parent.name}: {path.name} is missing, so this is not a model's folder. "
            "Choose one that holds config.json and model.safetensors."
        ) from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error}).") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: expected a JSON object, found {type(content).__name__}.")
    return content


def read_header(weights: Path) -> dict[str, Any]:
    """Read the names, shapes and places of the tensors of a safetensors file, and check them.

    Raises
    ------
    ModelError
        If the file is damaged.
    """
    try:
        with weights.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            size = weights.stat().st_size
            if not 0 < length <= size - 8:
                raise ValueError(f"its header claims {length} of {size} bytes")
            header: dict[str, Any] = json.loads(file.read(length))
        header.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if end + 8 + length != size:
            raise ValueError(f"it should be {end + 8 + length} bytes long but is {size}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{weights.parent.name}: {weights.name} is damaged ({error}). "
            "Copy or download it again."
        ) from error
    return header


def _count_parameters(weights: Path) -> int:
    return sum(math.prod(entry["shape"]) for entry in read_header(weights).values())
