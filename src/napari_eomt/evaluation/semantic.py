"""Mean IoU of categories, pixel by pixel over all images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_eomt.evaluation.overlap import Ints, Overlap, Void


@dataclass(frozen=True, eq=False)
class SemanticCounts:
    """Pixels of each category.

    Parameters
    ----------
    common, pred, truth : (K,) int64
        Pixels where both say so, where the prediction does, and where the truth does.
    """

    common: Ints
    pred: Ints
    truth: Ints

    def __add__(self, other: SemanticCounts) -> SemanticCounts:
        """Return the counts of both."""
        return SemanticCounts(
            self.common + other.common, self.pred + other.pred, self.truth + other.truth
        )

    @property
    def iou(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """IoU of each category: (K,); NaN of those in neither truth nor prediction."""
        union = self.pred + self.truth - self.common
        return np.where(union > 0, self.common / np.maximum(union, 1), np.nan)

    @property
    def miou(self) -> float:
        """Mean IoU of the categories that are in the truth or the prediction; NaN of none."""
        iou = self.iou
        known = iou[~np.isnan(iou)]
        return float(known.mean()) if known.size else float("nan")

    @property
    def miou_absent_as_zero(self) -> float:
        """Mean IoU of all categories, those that are in neither as 0: as EoMT's code reports it."""
        return float(np.nan_to_num(self.iou).mean()) if len(self.common) else float("nan")


def semantic_counts(
    overlap: Overlap, n_categories: int, *, void: Void = "unlabelled"
) -> SemanticCounts:
    """Count the pixels of each category in an image.

    Parameters
    ----------
    overlap : Overlap
    n_categories : int
        K.
    void : {"unlabelled", "background"}
        Whether the truth's void pixels are left out, or are of no category. Crowds are left out.
    """
    is_known = ~overlap.truth_is_crowd
    truth = _sums(overlap.truth_category[is_known], overlap.truth_areas[is_known], n_categories)
    left_out = overlap.pred_crowd + (overlap.pred_void if void == "unlabelled" else 0)
    pred = _sums(overlap.pred_category, overlap.pred_areas - left_out, n_categories)
    category = overlap.truth_category[overlap.truth]
    is_right = (category == overlap.pred_category[overlap.pred]) & is_known[overlap.truth]
    return SemanticCounts(
        _sums(category[is_right], overlap.common[is_right], n_categories), pred, truth
    )


def _sums(category: Ints, pixels: Ints, n: int) -> Ints:
    is_counted = category >= 0
    sums = np.bincount(category[is_counted], pixels[is_counted], minlength=n)
    return sums.astype(np.int64)
