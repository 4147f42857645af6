"""Panoptic quality, as panopticapi defines it.

A true and a predicted segment of one category match where their IoU is above one half. Per
category SQ is the mean IoU of the matches, RQ is TP / (TP + FP/2 + FN/2), and PQ their product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_eomt.evaluation.overlap import Overlap, Void


@dataclass(frozen=True)
class PanopticCounts:
    """Segments of a category that match, are wrong, and are missed.

    Parameters
    ----------
    tp, fp, fn : int
    iou : float
        Sum over the matches.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    iou: float = 0.0

    def __add__(self, other: PanopticCounts) -> PanopticCounts:
        """Return the counts of both."""
        return PanopticCounts(
            self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.iou + other.iou
        )

    @property
    def n(self) -> int:
        """How many segments were counted: of a category without any there is no quality."""
        return self.tp + self.fp + self.fn

    @property
    def quality(self) -> PanopticQuality:
        """PQ, SQ and RQ; zeros where there was nothing."""
        half = self.tp + 0.5 * self.fp + 0.5 * self.fn
        return PanopticQuality(
            self.iou / half if half else 0.0,
            self.iou / self.tp if self.tp else 0.0,
            self.tp / half if half else 0.0,
        )


@dataclass(frozen=True)
class PanopticQuality:
    """How good a panoptic segmentation is, from 0 to 1.

    Parameters
    ----------
    pq : float
        Panoptic quality.
    sq : float
        Segmentation quality: how well matched segments are drawn.
    rq : float
        Recognition quality: how many are matched.
    n_categories : int
        Over how many categories the mean was taken.
    """

    pq: float
    sq: float
    rq: float
    n_categories: int = 1


def panoptic_counts(overlap: Overlap, *, void: Void = "unlabelled") -> dict[int, PanopticCounts]:
    """Count the segments of an image that match, are wrong, and are missed.

    Parameters
    ----------
    overlap : Overlap
    void : {"unlabelled", "background"}
        "unlabelled" is panopticapi's rule: what a segment has on void is not held against it, and
        one that mostly lies there is not counted. "background" holds it against it.

    Returns
    -------
    dict of int to PanopticCounts
        By the position of the category; those without a segment are not in it.
    """
    of_pred, of_truth = overlap.pred_category, overlap.truth_category
    areas = overlap.pred_areas
    on_void = overlap.pred_void if void == "unlabelled" else np.zeros_like(areas)
    union = areas[overlap.pred] + overlap.truth_areas[overlap.truth] - overlap.common
    iou = overlap.common / (union - on_void[overlap.pred])
    category = of_truth[overlap.truth]
    is_match = (category >= 0) & (category == of_pred[overlap.pred]) & (iou > 0.5)
    is_match &= ~overlap.truth_is_crowd[overlap.truth]
    is_missed = ~overlap.truth_is_crowd & (of_truth >= 0)
    is_missed[overlap.truth[is_match]] = False
    is_wrong = of_pred >= 0
    is_wrong[overlap.pred[is_match]] = False
    is_wrong &= ~((on_void + _on_crowd(overlap)) / areas > 0.5)
    n = max(of_pred.max(initial=-1), of_truth.max(initial=-1)) + 1
    sums = [
        np.bincount(where, weights, minlength=n).tolist()
        for where, weights in (
            (category[is_match], None),
            (of_pred[is_wrong], None),
            (of_truth[is_missed], None),
            (category[is_match], iou[is_match]),
        )
    ]
    counts = {k: PanopticCounts(*row) for k, row in enumerate(zip(*sums, strict=True))}
    return {k: found for k, found in counts.items() if found.n}


def mean_quality(
    counts: Mapping[int, PanopticCounts], categories: Iterable[int] | None = None
) -> PanopticQuality:
    """Return the mean over categories, of those that have a segment in truth or prediction.

    Parameters
    ----------
    counts : dict of int to PanopticCounts
    categories : iterable of int, optional
        Only these: things, or stuff.

    Returns
    -------
    PanopticQuality
        NaN of no category.
    """
    chosen = counts if categories is None else [k for k in categories if k in counts]
    found = [counts[k].quality for k in chosen if counts[k].n]
    if not found:
        return PanopticQuality(float("nan"), float("nan"), float("nan"), 0)
    n = len(found)
    return PanopticQuality(
        sum(q.pq for q in found) / n, sum(q.sq for q in found) / n, sum(q.rq for q in found) / n, n
    )


def _on_crowd(overlap: Overlap) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the pixels of each predicted segment on the crowd of its category: (P,).

    There is one to a category; of several, panopticapi takes the last. What nobody has decided
    about is of any category.
    """
    n = int(overlap.truth_category.max(initial=-1)) + 1
    last = np.full(n + 1, -1, np.int64)
    crowds = np.flatnonzero(overlap.truth_is_crowd & ~overlap.truth_is_undecided)
    last[overlap.truth_category[crowds]] = crowds
    last[n] = -1  # of no category that is counted
    own = np.full(len(overlap.pred_ids), -1, np.int64)
    is_known = (overlap.pred_category >= 0) & (overlap.pred_category < n)
    own[is_known] = last[overlap.pred_category[is_known]]
    is_own = own[overlap.pred] == overlap.truth
    return overlap.sum_by_pred(is_own | overlap.truth_is_undecided[overlap.truth])
