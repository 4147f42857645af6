"""The model that a training leads to, as any other model's folder."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError

from napari_eomt.errors import OutputError
from napari_eomt.folder_swap import swapping
from napari_eomt.models.transformers_folder import save_folder
from napari_eomt.training.video_choice import n_videos

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_eomt.models.card import Sidecar
    from napari_eomt.structures.segments import Task
    from napari_eomt.training.params import TrainParams
    from napari_eomt.training.start import Learner
    from napari_eomt.training.survey import Survey

_ALIKE = 2.0
"""The typical object of one image is at most so many times as large as that of another: a model
still finds what is half or twice its own size."""

_PROBABILITIES = "attn_mask_probs"


def result_sidecar(
    learner: Learner,
    params: TrainParams,
    survey: Survey,
    *,
    name: str,
    keys: Sequence[str],
) -> Sidecar:
    """Return what is to be said of the model that has learnt.

    Parameters
    ----------
    learner : Learner
    params : TrainParams
        Resolved.
    survey : Survey
        Of the images that learn.
    name : str
        Of the run.
    keys : sequence of str
        Of the images that learn, or of the frames of videos.
    """
    card, before = learner.card, learner.sidecar()
    size = card.object_size
    # Images that were brought to the model's object size teach it no other.
    is_tiled = params.tiling == "tiles" or (params.tiling == "auto" and size is not None)
    if is_tiled and (params.object_size == "as_is" or size is None):
        size = survey.object_size or size
    n = n_videos(keys)
    what = "video" if n else "image"
    n = n or len(keys)
    images = f"1 {what}" if n == 1 else f"{n} {what}s"
    return before.model_copy(
        update={
            "title": f"{name}",
            "description": f"Learnt from {images}, starting from {card.title}.",
            "tasks": tasks_after(params.task or card.tasks[0], card.tasks),
            "object_size": size,
            "typical_size": _typical_size(params, survey) if is_tiled else None,
            "percentiles": params.percentiles or card.percentiles,
            "tile_overlap": card.tile_overlap
            if params.tile_overlap is None
            else params.tile_overlap,
        }
    )


def _typical_size(params: TrainParams, survey: Survey) -> float | None:
    """Return the size of the objects that were learnt, in pixels of their images, if it is one.

    Whoever teaches a model objects that it did not know cannot expect it to measure images well
    in which it finds nothing at the other sizes; and will mostly show it more of the same.
    """
    if params.object_size == "as_is":
        return survey.object_size  # at which images are taken as they are, too
    if params.object_size != "auto":
        return params.object_size
    sizes = [size for size in survey.object_sizes.values() if size]
    if not sizes or max(sizes) > _ALIKE * min(sizes):
        return None
    return survey.object_size


def tasks_after(learnt: Task, tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    """Return the tasks that a model serves after learning one, that one first.

    Whoever learns objects one by one forgets stuff, and regions tell no objects apart.
    """
    if learnt == "semantic":
        return ("semantic",)
    left = [task for task in tasks if task != learnt]
    if learnt == "instance":
        left = [task for task in left if task != "semantic"]
    return (learnt, *left)


def result_tensors(
    learner: Learner, averaged: Mapping[str, torch.Tensor] | None = None
) -> dict[str, torch.Tensor]:
    """Return the weights of the model that has learnt, on the CPU, ready for inference.

    Parameters
    ----------
    learner : Learner
    averaged : mapping of str to torch.Tensor, optional
        That stand for the weights of these names.
    """
    model = learner.network.model
    tensors = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    tensors |= dict(averaged or {})
    if learner.has_lora:
        from napari_eomt.training.lora import merged

        tensors = merged(model, tensors)
    # Queries are held to their masks in training alone.
    tensors[_PROBABILITIES] = torch.zeros_like(tensors[_PROBABILITIES])
    return {name: tensor.cpu() for name, tensor in tensors.items()}


def save_result(
    folder: Path,
    learner: Learner,
    sidecar: Sidecar,
    averaged: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write the model that has learnt, whole or not at all, in transformers' layout.

    Raises
    ------
    OutputError
        If it cannot be written; what was there before still is.
    """
    model = learner.network.model
    config = copy.deepcopy(learner.config)
    config.architectures = [type(model).__name__]
    config.dtype = "float32"
    try:
        with swapping(folder) as temporary:
            tensors = result_tensors(learner, averaged)
            save_folder(temporary, tensors, config, learner.processor, sidecar)
    except Exception as error:
        if not is_disk_error(error):
            raise
        raise OutputError(
            f"{folder}: the model cannot be written ({reason_of(error)}). Free the disk; "
            "`--resume` goes on from the last state."
        ) from error


def is_disk_error(error: BaseException) -> bool:
    """Whether an error says that something could not be written.

    safetensors and torch.save turn the system's errors into their own.
    """
    if isinstance(error, OSError | SafetensorError):
        return True
    # torch.save: "enforce fail at inline_container.cc … unexpected pos 576 vs 534".
    words = ("PytorchStreamWriter", "inline_container")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def reason_of(error: BaseException) -> str:
    """Say in one line why something could not be written."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if is_disk_error(error) and isinstance(error, RuntimeError):
        return "not all of it could be written: is the disk full?"
    return (str(error).strip().splitlines() or [repr(error)])[0]
