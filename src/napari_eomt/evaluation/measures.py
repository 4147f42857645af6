"""All that is counted in an image, and the figures of many images together."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.evaluation.average_precision import IOU_THRESHOLDS, Counts, object_counts
from napari_eomt.evaluation.edits import REDRAW_IOU, Edits, edits_needed
from napari_eomt.evaluation.matching import objects_of
from napari_eomt.evaluation.overlap import measure_overlap
from napari_eomt.evaluation.panoptic import PanopticCounts, panoptic_counts
from napari_eomt.evaluation.semantic import SemanticCounts, semantic_counts
from napari_eomt.structures.categories import Category

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_eomt.evaluation.overlap import Void
    from napari_eomt.structures.segments import Segmentation, Task

Row = tuple[Counts, ...]
"""Counts at each IoU."""


@dataclass(frozen=True, eq=False)
class Rules:
    """What is counted, and how.

    Parameters
    ----------
    categories : tuple of Category
        Those of the truth that are counted: all others are nobody's.
    task : {"instance", "semantic", "panoptic"}
        Of the prediction: what it says nothing about is not counted.
    void : {"background", "unlabelled"}
        What the truth's void is.
    pred_categories : dict of int to int, optional
        For each category id of the prediction that of the truth; by default they are the same.
    any_category : bool
        Whether all that is counted is taken for one category.
    redraw_iou : float
        Below, an object that was found is redrawn.
    """

    categories: tuple[Category, ...]
    task: Task = "instance"
    void: Void = "background"
    pred_categories: Mapping[int, int] | None = None
    any_category: bool = False
    redraw_iou: float = REDRAW_IOU

    @property
    def counted(self) -> tuple[Category, ...]:
        """The categories that figures are told of."""
        return (Category(0, "any category"),) if self.any_category else self.categories

    @property
    def counts_objects(self) -> bool:
        """Whether single objects are told from each other."""
        return self.task != "semantic"


@dataclass(frozen=True, eq=False)
class Measured:
    """What was counted in an image.

    Parameters
    ----------
    name : str
        Of the image.
    kind : str
        Its type, as the dataset calls it; empty where it does not.
    n_truth, n_found : int
        Objects; for the semantic task areas.
    objects : tuple of Counts
        Over all categories, at each IoU; empty for the semantic task.
    by_category : dict of int to tuple of Counts
        The same for each category, by its position.
    panoptic : dict of int to PanopticCounts
        Likewise.
    semantic : SemanticCounts
    edits : Edits
    """

    name: str
    kind: str
    n_truth: int
    n_found: int
    objects: Row
    by_category: Mapping[int, Row] = field(default_factory=dict)
    panoptic: Mapping[int, PanopticCounts] = field(default_factory=dict)
    semantic: SemanticCounts | None = None
    edits: Edits = field(default_factory=Edits)


def measure_image(
    name: str, pred: Segmentation, truth: Segmentation, rules: Rules, *, kind: str = ""
) -> Measured:
    """Count all that there is to count in an image.

    Parameters
    ----------
    name : str
    pred, truth : Segmentation
        Of one size.
    rules : Rules
    kind : str
        Type of the image.

    Raises
    ------
    ValueError
        If they do not fit each other.
    """
    overlap = measure_overlap(pred, truth, rules.categories, rules.pred_categories)
    if rules.any_category:
        overlap = overlap.without_categories()
    n = len(rules.counted)
    semantic = semantic_counts(overlap, n, void=rules.void)
    if not rules.counts_objects:
        n_truth, n_found = len(overlap.truth_ids), len(overlap.pred_ids)
        return Measured(name, kind, n_truth, n_found, (), semantic=semantic)
    is_thing = np.array([category.is_thing for category in rules.counted], bool)
    objects = objects_of(overlap, is_thing, void=rules.void)
    present = np.union1d(
        overlap.truth_category[objects.truth], overlap.pred_category[objects.pred]
    ).tolist()
    by_category = {k: object_counts(overlap, objects.of_category(overlap, k)) for k in present}
    return Measured(
        name,
        kind,
        int(objects.truth.sum()),
        int(objects.pred.sum()),
        # Objects are matched within their category: the sum over categories is the whole.
        sum_rows(list(by_category.values())),
        by_category,
        panoptic_counts(overlap, void=rules.void),
        semantic,
        edits_needed(overlap, objects, redraw_iou=rules.redraw_iou),
    )


def sum_rows(rows: Sequence[Row]) -> Row:
    """Return the counts of several at each IoU, added up."""
    none = (Counts(),) * len(IOU_THRESHOLDS)
    return tuple(reduce(add, column) for column in zip(none, *rows, strict=True))


def sum_panoptic(images: Sequence[Measured]) -> dict[int, PanopticCounts]:
    """Return the panoptic counts of several images, added up by category."""
    total: dict[int, PanopticCounts] = {}
    for image in images:
        for k, counts in image.panoptic.items():
            total[k] = total.get(k, PanopticCounts()) + counts
    return total


def sum_semantic(images: Sequence[Measured]) -> SemanticCounts | None:
    """Return the pixels of several images, added up; None of none."""
    counted = [image.semantic for image in images if image.semantic is not None]
    return reduce(add, counted) if counted else None
