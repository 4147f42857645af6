"""Which predicted object is which true one: one to one, by IoU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from napari_eomt.evaluation.overlap import Ints, Overlap, Void

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Objects:
    """Which segments are counted as objects.

    Parameters
    ----------
    pred : (P,) bool
    truth : (T,) bool
        Without crowds.
    is_excused : (P,) bool
        Predicted ones of which more than half lies on crowds, or where nobody has labelled
        anything: unmatched, they are not wrong.
    """

    pred: Flags
    truth: Flags
    is_excused: Flags

    def of_category(self, overlap: Overlap, category: int) -> Objects:
        """Return those of one category, by its position."""
        return Objects(
            self.pred & (overlap.pred_category == category),
            self.truth & (overlap.truth_category == category),
            self.is_excused,
        )


def objects_of(overlap: Overlap, is_thing: Flags, *, void: Void = "background") -> Objects:
    """Return which segments are objects.

    Parameters
    ----------
    overlap : Overlap
    is_thing : (K,) bool
        Of each category, whether it is countable.
    void : {"background", "unlabelled"}
        Whether the truth's void is known to hold no object.
    """
    # One more, for −1: a category that is not counted.
    counted = np.append(is_thing, False)
    unknown = overlap.pred_void if void == "unlabelled" else 0
    return Objects(
        counted[overlap.pred_category],
        counted[overlap.truth_category] & ~overlap.truth_is_crowd,
        2 * (overlap.pred_crowd + unknown) > overlap.pred_areas,
    )


def match(
    overlap: Overlap, objects: Objects, iou_threshold: float, *, any_category: bool = False
) -> Ints:
    """Match objects whose IoU is the threshold or more.

    Above one half an object has one match at most. At one half and below, as many as possible are
    matched, and of all ways to do so the one with the largest sum of IoU is taken.

    Parameters
    ----------
    overlap : Overlap
    objects : Objects
    iou_threshold : float
        Above 0.
    any_category : bool
        Whether objects of different categories may be matched.

    Returns
    -------
    (M,) int64
        Positions of the matched pairs in `overlap`, rising.
    """
    if not 0 < iou_threshold <= 1:
        raise ValueError(f"The IoU threshold is {iou_threshold}; it is above 0, and 1 at most.")
    may = objects.pred[overlap.pred] & objects.truth[overlap.truth]
    may &= overlap.iou >= iou_threshold
    if not any_category:
        may &= overlap.pred_category[overlap.pred] == overlap.truth_category[overlap.truth]
    pairs = np.flatnonzero(may)
    pred, truth = overlap.pred[pairs], overlap.truth[pairs]
    is_alone = (np.bincount(pred)[pred] == 1) & (np.bincount(truth)[truth] == 1)
    kept = [pairs[is_alone]]
    rivals = pairs[~is_alone]
    if rivals.size:
        kept += [_assigned(overlap, group) for group in _groups(overlap, rivals)]
    return np.sort(np.concatenate(kept))


def _groups(overlap: Overlap, pairs: Ints) -> list[Ints]:
    """Return pairs in groups that share no object, so that each is small."""
    n_pred, n_truth = len(overlap.pred_ids), len(overlap.truth_ids)
    n = n_pred + n_truth
    links = (np.ones(len(pairs)), (overlap.pred[pairs], n_pred + overlap.truth[pairs]))
    _, numbers = connected_components(coo_array(links, shape=(n, n)), directed=False)
    of_pair = numbers[overlap.pred[pairs]]
    order = np.argsort(of_pair, kind="stable")
    edges = np.flatnonzero(np.diff(of_pair[order])) + 1
    return np.split(pairs[order], edges)


def _assigned(overlap: Overlap, pairs: Ints) -> Ints:
    preds, row = np.unique(overlap.pred[pairs], return_inverse=True)
    truths, column = np.unique(overlap.truth[pairs], return_inverse=True)
    gain = np.zeros((len(preds), len(truths)))
    # A match more outweighs whatever IoU there is to win.
    gain[row, column] = 1 + overlap.iou[pairs] / (2 * min(gain.shape))
    place = np.full(gain.shape, -1, np.int64)
    place[row, column] = pairs
    chosen = place[linear_sum_assignment(gain, maximize=True)]
    found: Ints = chosen[chosen >= 0]
    return found
