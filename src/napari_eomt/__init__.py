"""Segment, correct and learn: EoMT models for annotating images in napari.

The public names below are loaded when first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from napari_eomt.errors import DataError, EomtError, ModelError, WorkerError
    from napari_eomt.evaluation.evaluate import evaluate
    from napari_eomt.formats.dataset import Dataset, load_dataset
    from napari_eomt.inference.params import PredictParams
    from napari_eomt.inference.predict import predict, propose
    from napari_eomt.inference.proposals import Proposals
    from napari_eomt.inference.track_params import TrackParams
    from napari_eomt.inference.video import VideoTracker, iter_video
    from napari_eomt.models.catalog import bundled_models
    from napari_eomt.models.load import load_segmenter
    from napari_eomt.structures.segments import Segment, Segmentation
    from napari_eomt.training.params import TrainParams
    from napari_eomt.training.runs import Run, list_runs, load_run
    from napari_eomt.training.train import train

_HOMES = {
    "DataError": "errors",
    "Dataset": "formats.dataset",
    "EomtError": "errors",
    "ModelError": "errors",
    "PredictParams": "inference.params",
    "Proposals": "inference.proposals",
    "Run": "training.runs",
    "Segment": "structures.segments",
    "Segmentation": "structures.segments",
    "TrackParams": "inference.track_params",
    "TrainParams": "training.params",
    "VideoTracker": "inference.video",
    "WorkerError": "errors",
    "bundled_models": "models.catalog",
    "evaluate": "evaluation.evaluate",
    "iter_video": "inference.video",
    "list_runs": "training.runs",
    "load_dataset": "formats.dataset",
    "load_run": "training.runs",
    "load_segmenter": "models.load",
    "predict": "inference.predict",
    "propose": "inference.predict",
    "train": "training.train",
}

__all__ = [
    "DataError",
    "Dataset",
    "EomtError",
    "ModelError",
    "PredictParams",
    "Proposals",
    "Run",
    "Segment",
    "Segmentation",
    "TrackParams",
    "TrainParams",
    "VideoTracker",
    "WorkerError",
    "bundled_models",
    "evaluate",
    "iter_video",
    "list_runs",
    "load_dataset",
    "load_run",
    "load_segmenter",
    "predict",
    "propose",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
