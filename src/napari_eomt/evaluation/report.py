"""The figures of a whole dataset: in all, by type of image, by category and image by image."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from napari_eomt.evaluation.report_file import ReportFile
from napari_eomt.structures.segments import Task


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Scores(_Frozen):
    """Figures of some images, from 0 to 1; None where there is nothing to tell.

    `ap50` and `ap` (mean over IoU 0.5, 0.55, … 0.95) are TP / (TP + FP + FN) averaged over images;
    precision, recall and F1, at IoU 0.5, are of all objects together; IDF1 is of the tracks of
    videos. `edits` are the actions that
    a person would need, by kind.
    """

    n_images: int
    n_truth: int
    n_found: int
    ap50: float | None = None
    ap: float | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    pq: float | None = None
    sq: float | None = None
    rq: float | None = None
    pq_things: float | None = None
    pq_stuff: float | None = None
    miou: float | None = None
    miou_absent_as_zero: float | None = None
    idf1: float | None = None
    edits: dict[str, int] | None = None
    n_edits: int | None = None

    @property
    def edits_per_100(self) -> float | None:
        """Actions for each 100 objects of the truth."""
        return (
            None if not self.n_truth or self.n_edits is None else 100 * self.n_edits / self.n_truth
        )


class CategoryScores(_Frozen):
    """Figures of a category; its AP is over the images that have it, in truth or prediction."""

    id: int
    name: str
    n_truth: int
    n_found: int
    ap50: float | None = None
    ap: float | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    pq: float | None = None
    sq: float | None = None
    rq: float | None = None
    iou: float | None = None
    coco_ap: float | None = None


class ImageScores(_Frozen):
    """Figures of an image."""

    name: str
    kind: str = ""
    n_truth: int
    n_found: int
    ap50: float | None = None
    ap: float | None = None
    f1: float | None = None
    pq: float | None = None
    miou: float | None = None
    n_edits: int | None = None


class CocoScores(_Frozen):
    """COCO's AP and AR of masks, as pycocotools computes them."""

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar1: float | None
    ar10: float | None
    ar: float | None
    ar_small: float | None
    ar_medium: float | None
    ar_large: float | None
    max_detections: int


class Report(ReportFile, _Frozen):
    """How good predictions for a dataset are."""

    called = "report of napari-eomt"
    wanted = "what `napari-eomt evaluate --out` has written"

    format: Literal["napari-eomt report"] = "napari-eomt report"
    dataset: str
    prediction: str
    task: Task
    void: Literal["background", "unlabelled"]
    params: dict[str, Any] = {}
    total: Scores
    coco: CocoScores | None = None
    by_kind: dict[str, Scores] = {}
    by_category: list[CategoryScores] = []
    images: list[ImageScores] = []
    notes: list[str] = []
