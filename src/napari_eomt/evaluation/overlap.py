"""What two segmentations of an image share, counted in one pass; every figure is made of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_eomt.structures.categories import Category
    from napari_eomt.structures.segments import IdMap, Segmentation

Void: TypeAlias = Literal["background", "unlabelled"]
"""What the truth's void is: pixels of which it is known that there is nothing, as in annotations of
objects; or pixels that nobody has labelled, as in panoptic ones, where nothing is wrong."""

Ints = npt.NDArray[np.int64]

# A table of ids up to here costs less than sorting the pixels of a small image.
_MAX_TABLE = 2**22

UNDECIDED = -(2**31)
"""Category id of a crowd that may be of any category: nobody has decided."""


@dataclass(frozen=True, eq=False)
class Overlap:
    """What the segments of a prediction, P, and of the truth, T, share.

    Parameters
    ----------
    pred_ids : (P,) int64
    truth_ids : (T,) int64
        Those in the id maps, rising, without 0.
    pred_areas : (P,) int64
    truth_areas : (T,) int64
        Pixels.
    pred, truth : (N,) int64
        Pairs of segments that share a pixel, as positions in the above, by truth, then pred.
    common : (N,) int64
        The pixels that they share.
    pred_category : (P,) int64
    truth_category : (T,) int64
        Position in the categories that are counted; −1 for none of them.
    truth_is_crowd : (T,) bool
    truth_is_undecided : (T,) bool
        Crowds of the category `UNDECIDED`.
    """

    pred_ids: Ints
    truth_ids: Ints
    pred_areas: Ints
    truth_areas: Ints
    pred: Ints
    truth: Ints
    common: Ints
    pred_category: Ints
    truth_category: Ints
    truth_is_crowd: npt.NDArray[np.bool_]
    truth_is_undecided: npt.NDArray[np.bool_]

    @cached_property
    def iou(self) -> npt.NDArray[np.float64]:
        """IoU of each pair: (N,)."""
        union = self.pred_areas[self.pred] + self.truth_areas[self.truth] - self.common
        return self.common / union

    @cached_property
    def pred_void(self) -> Ints:
        """Pixels of each predicted segment where the truth is void: (P,)."""
        return self.pred_areas - self.sum_by_pred(np.ones(len(self.pred), bool))

    @cached_property
    def pred_crowd(self) -> Ints:
        """Pixels of each predicted segment on crowds, of whatever category: (P,)."""
        return self.sum_by_pred(self.truth_is_crowd[self.truth])

    def sum_by_pred(self, is_counted: npt.NDArray[np.bool_]) -> Ints:
        """Return the shared pixels of some pairs, for each predicted segment: (P,)."""
        pred, common = self.pred[is_counted], self.common[is_counted]
        # Sums of integers in floats are exact up to 2⁵³ pixels.
        return np.bincount(pred, common, minlength=len(self.pred_ids)).astype(np.int64)

    def without_categories(self) -> Overlap:
        """Return the same with one category for all that are counted."""
        return replace(
            self,
            pred_category=np.minimum(self.pred_category, 0),
            truth_category=np.minimum(self.truth_category, 0),
        )


def measure_overlap(
    pred: Segmentation,
    truth: Segmentation,
    categories: Sequence[Category],
    pred_categories: Mapping[int, int] | None = None,
) -> Overlap:
    """Count what each two segments share.

    Time goes with the pixels, not with pairs of segments.

    Parameters
    ----------
    pred, truth : Segmentation
        Of one size.
    categories : sequence of Category
        Those of the truth that are counted.
    pred_categories : dict of int to int, optional
        For each category id of the prediction that of the truth; by default they are the same.

    Raises
    ------
    ValueError
        If the sizes differ, or an id map has an id without a segment.
    """
    if pred.shape != truth.shape:
        raise ValueError(
            f"The segmentations differ in size: the prediction is {pred.shape}, the truth "
            f"{truth.shape}. Resize the prediction to the annotated image first."
        )
    pred_numbers, pred_ids, pred_areas = _numbered(pred.id_map)
    truth_numbers, truth_ids, truth_areas = _numbered(truth.id_map)
    n_pred = len(pred_ids) + 1
    pairs = truth_numbers.ravel() * n_pred + pred_numbers.ravel()
    n_pairs = n_pred * (len(truth_ids) + 1)
    # A table of all pairs while it is no larger than the image; thousands of objects share few.
    if n_pairs <= max(4 * pairs.size, 1 << 16):
        counts = np.bincount(pairs, minlength=n_pairs)
        codes = np.flatnonzero(counts)
        common = counts[codes]
    else:
        codes, common = np.unique(pairs, return_counts=True)
    of_truth, of_pred = np.divmod(codes, n_pred)
    both = (of_truth > 0) & (of_pred > 0)
    place = {category.id: k for k, category in enumerate(categories)}
    names = {i: i for i in place} if pred_categories is None else pred_categories
    pred_place = {i: place[j] for i, j in names.items() if j in place}
    crowds = {segment.id for segment in truth.segments if segment.is_crowd}
    undecided = {s.id for s in truth.segments if s.is_crowd and s.category_id == UNDECIDED}
    return Overlap(
        pred_ids,
        truth_ids,
        pred_areas,
        truth_areas,
        of_pred[both] - 1,
        of_truth[both] - 1,
        common[both].astype(np.int64),
        _categories(pred, pred_ids, pred_place, "prediction"),
        _categories(truth, truth_ids, place, "truth"),
        np.array([i in crowds for i in truth_ids.tolist()], bool),
        np.array([i in undecided for i in truth_ids.tolist()], bool),
    )


def _numbered(id_map: IdMap) -> tuple[Ints, Ints, Ints]:
    """Return the map with ids from 1 without a gap, the ids, and their areas."""
    highest = int(id_map.max(initial=0))
    if id_map.dtype.kind == "i" and int(id_map.min(initial=0)) < 0:
        raise ValueError(f"The id map holds the id {id_map.min()}; ids count from 1, 0 is void.")
    numbers: Ints
    if highest <= max(_MAX_TABLE, id_map.size):
        counts = np.bincount(id_map.ravel().astype(np.int64), minlength=1)
        counts[0] = 0
        ids = np.flatnonzero(counts)
        table = np.zeros(len(counts), np.int64)
        table[ids] = np.arange(1, len(ids) + 1)
        numbers, areas = table[id_map], counts[ids]
    else:
        found, inverse, n = np.unique(
            np.append(id_map.ravel(), id_map.dtype.type(0)),
            return_inverse=True,
            return_counts=True,
        )
        numbers = inverse[:-1].reshape(id_map.shape).astype(np.int64)
        ids, areas = found[1:].astype(np.int64), n[1:]
    return numbers, ids.astype(np.int64), areas.astype(np.int64)


def _categories(segmentation: Segmentation, ids: Ints, place: Mapping[int, Any], what: str) -> Ints:
    """Return the position of the category of each id."""
    known = {segment.id: place.get(segment.category_id, -1) for segment in segmentation.segments}
    missing = [i for i in ids.tolist() if i not in known]
    if missing:
        raise ValueError(
            f"The id map of the {what} holds the id {missing[0]}, of which no segment tells what "
            "it is. Add the segment, or make its pixels void."
        )
    return np.array([known[i] for i in ids.tolist()], np.int64)
