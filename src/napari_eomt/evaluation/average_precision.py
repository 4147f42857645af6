"""Average precision as the microscopy field counts it, and F1.

AP at an IoU is TP / (TP + FP + FN) of an image, averaged over images: no scores, no curve. Objects
are matched one to one where their IoU is the threshold or more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.evaluation.matching import match

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.evaluation.matching import Objects
    from napari_eomt.evaluation.overlap import Overlap

# Quotients, not sums of 0.05: the IoU of 3 pixels of 5 is then 0.6, not less.
IOU_THRESHOLDS = tuple(k / 20 for k in range(10, 20))
"""0.5, 0.55, … 0.95."""


@dataclass(frozen=True)
class Counts:
    """Objects found, found wrongly, and missed.

    Parameters
    ----------
    tp, fp, fn : int
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Return the counts of both."""
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def ap(self) -> float:
        """TP / (TP + FP + FN); 1 where there was nothing to find and nothing was found."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 1 where there was nothing to find and nothing was found."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def precision(self) -> float:
        """TP / (TP + FP), the part of the predicted objects that are right; 1 of none."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """TP / (TP + FN), the part of the true objects that were found; 1 of none."""
        return _ratio(self.tp, self.tp + self.fn)


def object_counts(
    overlap: Overlap, objects: Objects, iou_thresholds: Sequence[float] = IOU_THRESHOLDS
) -> tuple[Counts, ...]:
    """Count the objects of an image that are found, wrong and missed, at each IoU.

    Parameters
    ----------
    overlap : Overlap
    objects : Objects
        Matched only with those of their category.
    iou_thresholds : sequence of float
    """
    n_truth = int(objects.truth.sum())
    counts = []
    for threshold in iou_thresholds:
        pairs = match(overlap, objects, threshold)
        is_wrong = objects.pred & ~objects.is_excused
        is_wrong[overlap.pred[pairs]] = False
        counts.append(Counts(len(pairs), int(is_wrong.sum()), n_truth - len(pairs)))
    return tuple(counts)


def average_precision(images: Sequence[Sequence[Counts]]) -> tuple[float, ...]:
    """Return AP at each IoU, averaged over images.

    Parameters
    ----------
    images : sequence of sequence of Counts
        Of each image, the counts at each IoU, as `object_counts` returns them.

    Returns
    -------
    tuple of float
        NaN of no image.
    """
    if not images:
        return (float("nan"),) * len(IOU_THRESHOLDS)
    return tuple(np.mean([[counts.ap for counts in row] for row in images], 0).tolist())


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
