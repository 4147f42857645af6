"""Whether learning helps: the model as it is now, run and measured on the images that check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.evaluation.evaluate import ModelSource, iter_evaluate
from napari_eomt.evaluation.truth import Truth, open_truth
from napari_eomt.evaluation.undecided import DecidedTruth, n_undecided
from napari_eomt.inference.trunk_cache import open_trunk_cache
from napari_eomt.models.load import load_segmenter
from napari_eomt.settings import load_settings
from napari_eomt.training.check_samples import MAX_SAMPLES, CheckSample

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from napari_eomt.evaluation.evaluate import Source
    from napari_eomt.evaluation.predictions import Predicted
    from napari_eomt.evaluation.report import Report
    from napari_eomt.formats.dataset import Dataset
    from napari_eomt.formats.panoptic_file import PanopticFile
    from napari_eomt.inference.progress import Progress
    from napari_eomt.training.params import TrainParams

MAX_CHECKED = 200
"""Of more images so many check, evenly spread: a check should be short beside the steps."""


class Checker:
    """Runs models as a user would, and measures them.

    Parameters
    ----------
    dataset : Dataset or PanopticFile
    keys : sequence of str
        Of the images that check.
    params : TrainParams
        Resolved.
    device : str

    Raises
    ------
    DataError
        If the dataset cannot be read.
    """

    def __init__(
        self,
        dataset: Dataset | PanopticFile,
        keys: Sequence[str],
        params: TrainParams,
        device: str,
    ) -> None:
        self._params, self._device = params, device
        self._truth: Truth = open_truth(dataset)
        wanted = [int(key) for key in keys]
        self.notes: list[str] = []
        if len(wanted) > MAX_CHECKED:
            places = np.linspace(0, len(wanted) - 1, MAX_CHECKED).astype(int)
            self.notes.append(f"Of {len(wanted)} images that check {MAX_CHECKED} are looked at.")
            wanted = [wanted[k] for k in places]
        self._truth.image_ids = tuple(wanted)
        n_ignored = n_undecided(self._truth) if params.undecided == "ignore" else 0
        if n_ignored:  # as in learning
            self._truth = DecidedTruth(self._truth)
            self.notes.append(
                f"{n_ignored} of {len(wanted)} images that check have undecided objects: there "
                "nothing is right or wrong."
            )
        # Of a trunk that learns, no check would find what one before has kept.
        is_frozen = params.frozen_blocks in ("trunk", "all") and not params.lora_rank
        self._trunks = (
            open_trunk_cache(load_settings().trunk_bytes, memory_bytes=0, may_replace=False)
            if is_frozen
            else None
        )
        self.samples: dict[str, CheckSample] = {}
        """What the last check has found on its first images, by their keys."""

    def iter_check(self, folder: Path) -> Generator[Progress, None, Report]:
        """Measure the model in a folder; each step is progress and a place to stop.

        Raises
        ------
        EomtError
            If the model or an image cannot be used.
        """
        segmenter = load_segmenter(folder, self._device, self._params.precision)
        params = self._params.look()
        model = ModelSource(segmenter, self._truth, params, self._trunks)
        self.samples = {}
        source = _Sampled(model, self.samples)
        return (
            yield from iter_evaluate(
                self._truth, source, task=model.task, name=folder.name, params=params
            )
        )


class _Sampled:
    """Keeps what a source says of the first images."""

    def __init__(self, source: Source, samples: dict[str, CheckSample]) -> None:
        self._source, self._samples = source, samples

    def of(self, image_id: int) -> Predicted:
        """Ask the source."""
        found = self._source.of(image_id)
        if len(self._samples) < MAX_SAMPLES:
            self._samples[str(image_id)] = CheckSample.of(found.segmentation)
        return found


def score_of(report: Report, metric: str) -> float | None:
    """Return the measure that states are compared by; None if there is nothing to tell."""
    value: float | None = getattr(report.total, metric)
    return value
