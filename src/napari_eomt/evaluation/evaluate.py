"""Evaluate a model, or predictions that are there, on an annotated dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from napari_eomt.errors import DataError
from napari_eomt.evaluation.categories import category_map
from napari_eomt.evaluation.coco_average_precision import (
    MAX_DETECTIONS,
    Detection,
    TrueObject,
    coco_average_precision,
)
from napari_eomt.evaluation.edits import REDRAW_IOU
from napari_eomt.evaluation.measures import Measured, Rules, measure_image
from napari_eomt.evaluation.predictions import Predicted, detections_of, open_predictions
from napari_eomt.evaluation.summary import make_report
from napari_eomt.evaluation.truth import Truth, open_truth
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.progress import Progress, result_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari_eomt.evaluation.report import Report
    from napari_eomt.formats.dataset import Dataset
    from napari_eomt.formats.panoptic_file import PanopticFile
    from napari_eomt.inference.trunk_cache import TrunkCache
    from napari_eomt.models.segmenter import Segmenter
    from napari_eomt.structures.segments import Segmentation, Task


class Source(Protocol):
    """What tells the prediction for an image of a dataset."""

    def of(self, image_id: int) -> Predicted:
        """Return it."""


class ModelSource:
    """A model, run on the images of a dataset.

    Parameters
    ----------
    segmenter : Segmenter
    truth : Truth
    params : PredictParams
    trunks : TrunkCache, optional
        As `iter_predict` takes it.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        truth: Truth,
        params: PredictParams,
        trunks: TrunkCache | None = None,
    ) -> None:
        from napari_eomt.inference.plan import task_of

        self._segmenter, self._truth, self._params = segmenter, truth, params
        self._trunks = trunks
        self.task: Task = task_of(params, segmenter.card)

    def of(self, image_id: int) -> Predicted:
        """Run the model on an image."""
        # Only here: evaluation as such knows no torch.
        from napari_eomt.inference.detections import scored_masks
        from napari_eomt.inference.predict import iter_predict

        pixels = self._truth.image(image_id)
        try:
            prediction = result_of(
                iter_predict(pixels, self._segmenter, self._params, trunks=self._trunks)
            )
        except DataError as error:  # which does not know the image's name
            raise DataError(f"{self._truth.name(image_id)}: {error}") from error
        found, proposals = prediction.segmentation, prediction.proposals
        if proposals is None or self.task != "instance":  # of an image too large to keep them
            detections = detections_of(image_id, found)
        else:
            detections = tuple(
                Detection(image_id, row.category_id, row.score, row.mask)
                for row in scored_masks(proposals)
            )
        return Predicted(found, detections, self._segmenter.card.categories)


class _Given:
    """Segmentations in memory, by image id, their categories the dataset's."""

    def __init__(self, found: Mapping[int, Segmentation], truth: Truth) -> None:
        self._found, self._truth = found, truth

    def of(self, image_id: int) -> Predicted:
        if image_id not in self._found:
            raise DataError(f"{self._truth.name(image_id)}: there is no prediction for it.")
        found = self._found[image_id]
        return Predicted(found, detections_of(image_id, found), None)


def evaluate(
    dataset: Dataset | PanopticFile | Path | str,
    predictions: Segmenter | Mapping[int, Segmentation] | Path | str,
    params: PredictParams | None = None,
    *,
    any_category: bool = False,
    redraw_iou: float = REDRAW_IOU,
    **changes: Any,
) -> Report:
    """Measure how good predictions for a dataset are.

    Parameters
    ----------
    dataset : Dataset, PanopticFile, Path or str
        Annotated images.
    predictions : Segmenter, mapping, Path or str
        A model, which is run on the images; segmentations by image id; or files: a folder of label
        images as `predict` writes them, COCO's results, a COCO file, or a panoptic one.
    params : PredictParams, optional
    any_category : bool
        Whether categories are ignored.
    redraw_iou : float
        IoU below which a person would redraw an object that was found.
    **changes
        Single parameters, such as ``score_threshold=0.3``.

    Returns
    -------
    Report

    Raises
    ------
    DataError
        If something cannot be read, or they do not fit each other.
    """
    truth = open_truth(dataset)
    params = PredictParams(**((params or PredictParams()).model_dump() | changes))
    source, task, name = source_of(predictions, truth, params)
    steps = iter_evaluate(
        truth,
        source,
        task=task,
        name=name,
        params=params,
        any_category=any_category,
        redraw_iou=redraw_iou,
    )
    return result_of(steps)


def source_of(
    predictions: Segmenter | Mapping[int, Segmentation] | Path | str,
    truth: Truth,
    params: PredictParams,
) -> tuple[Source, Task, str]:
    """Return what tells predictions, their task, and what people call them; see `evaluate`."""
    if isinstance(predictions, str | Path):
        path = Path(predictions).expanduser()
        source = open_predictions(
            path,
            truth,
            score_threshold=params.score_threshold,
            overlap_threshold=params.overlap_threshold,
        )
        return source, params.task or _default_task(truth), path.name
    if isinstance(predictions, Mapping):
        return _Given(predictions, truth), params.task or _default_task(truth), "predictions"
    model = ModelSource(predictions, truth, params)
    return model, model.task, predictions.card.name


def iter_evaluate(
    truth: Truth,
    source: Source,
    *,
    task: Task,
    name: str = "",
    params: PredictParams | None = None,
    any_category: bool = False,
    redraw_iou: float = REDRAW_IOU,
    on_error: Callable[[DataError], None] | None = None,
) -> Generator[Progress, None, Report]:
    """Measure predictions image by image; each step is progress and a place to stop.

    Parameters
    ----------
    truth : Truth
    source : Source
    task : {"instance", "semantic", "panoptic"}
        What the predictions are. Instances say nothing about stuff, so it is not counted.
    name : str
        What people call the predictions.
    params : PredictParams, optional
        Noted in the report.
    any_category : bool
    redraw_iou : float
    on_error : callable, optional
        Called for an image that cannot be evaluated, which is then left out; by default the error
        is raised.

    Raises
    ------
    DataError
        If an image or its prediction cannot be used, or none is left.
    """
    counted = tuple(c for c in truth.categories if task != "instance" or c.is_thing)
    if not counted:
        raise DataError(
            f"{truth.path.name} has no category of things, which is what the prediction is of. "
            "Choose the task semantic or panoptic."
        )
    notes = list(truth.notes)
    collected = _Collected(truth, counted, any_category, notes)
    measured: list[Measured] = []
    rules = Rules(counted, task, truth.void, None, any_category, redraw_iou)
    for done, image_id in enumerate(truth.image_ids):
        yield Progress(done, len(truth.image_ids), "image")
        try:
            predicted = source.of(image_id)
            names = collected.names(predicted)
            rules = Rules(counted, task, truth.void, names, any_category, redraw_iou)
            measured.append(_measure(truth, image_id, predicted, rules))
            collected.add(image_id, predicted, names)
        except DataError as error:
            if on_error is None:
                raise
            on_error(error)
            notes.append(f"left out: {error}")
    yield Progress(len(truth.image_ids), len(truth.image_ids), "image")
    if not measured:
        raise DataError(f"No image of {truth.path} could be evaluated.")
    return make_report(
        measured,
        rules,
        dataset=str(truth.path),
        prediction=name,
        params=None if params is None else params.model_dump(mode="json"),
        coco=collected.quality() if task == "instance" else None,
        notes=notes,
    )


class _Collected:
    """What COCO's figures are made of, for they are of all images at once."""

    def __init__(
        self, truth: Truth, counted: tuple[Any, ...], any_category: bool, notes: list[str]
    ) -> None:
        self._truth, self._counted, self._notes = truth, counted, notes
        self._any_category = any_category
        self._image_ids: list[int] = []
        self._objects: list[TrueObject] = []
        self._detections: list[Detection] = []
        self._is_possible = True

    def names(self, predicted: Predicted) -> Mapping[int, int]:
        """Return which category of a prediction is which of the truth; notes are made once."""
        ours = predicted.categories
        if ours is None:
            ours = self._truth.categories
        said: list[str] = []
        found = category_map(ours, self._counted, any_category=self._any_category, notes=said)
        self._notes += [note for note in said if note not in self._notes]
        return found

    def add(self, image_id: int, predicted: Predicted, names: Mapping[int, int]) -> None:
        """Take the objects of an image."""
        objects = self._truth.objects(image_id) if self._is_possible else None
        if objects is None or predicted.detections is None:
            self._is_possible = False
            return
        self._image_ids.append(image_id)
        known = {category.id for category in self._counted}
        self._objects += [o for o in objects if o.category_id in known]
        found: dict[int, list[Detection]] = {}
        for d in predicted.detections:
            if d.category_id in names:
                one = Detection(image_id, names[d.category_id], d.score, d.mask)
                found.setdefault(one.category_id, []).append(one)
        # COCO looks at so many of an image and category; others would only take memory.
        for of_category in found.values():
            of_category.sort(key=lambda d: -d.score)
            self._detections += of_category[:MAX_DETECTIONS]

    def quality(self) -> Any:
        """Return COCO's figures, if there are scores."""
        if not self._is_possible or self._any_category or not self._objects:
            return None
        return coco_average_precision(
            self._image_ids, [c.id for c in self._counted], self._objects, self._detections
        )


def _measure(truth: Truth, image_id: int, predicted: Predicted, rules: Rules) -> Measured:
    name = truth.name(image_id)
    try:
        return measure_image(
            name,
            predicted.segmentation,
            truth.segmentation(image_id),
            rules,
            kind=truth.kind(image_id),
        )
    except ValueError as error:
        raise DataError(f"{name}: {error}") from error


def _default_task(truth: Truth) -> Task:
    return "panoptic" if truth.void == "unlabelled" else "instance"
