"""How much a person would have to do to make a prediction right."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.evaluation.matching import match

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_eomt.evaluation.matching import Flags, Objects
    from napari_eomt.evaluation.overlap import Ints, Overlap

MATCH_IOU = 0.5
"""From here on a predicted object is the true one, well drawn or not."""

REDRAW_IOU = 0.75
"""Below, a person redraws the outline of an object that was found."""


@dataclass(frozen=True)
class Edits:
    """Actions that would make a prediction right; each field counts as many.

    Parameters
    ----------
    add : int
        Objects to draw.
    delete : int
        Objects that are none.
    redraw : int
        Objects that were found but drawn badly.
    merge : int
        Groups of pieces that are probably one object.
    split : int
        Cuts between objects that probably were taken for one.
    recategorise : int
        Objects of another category.
    """

    add: int = 0
    delete: int = 0
    redraw: int = 0
    merge: int = 0
    split: int = 0
    recategorise: int = 0

    @property
    def n_actions(self) -> int:
        """How many in all."""
        return sum(int(getattr(self, f.name)) for f in fields(self))

    def __add__(self, other: Edits) -> Edits:
        """Return what both take."""
        return Edits(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def edits_needed(overlap: Overlap, objects: Objects, *, redraw_iou: float = REDRAW_IOU) -> Edits:
    """Count what a person would do to make the objects of an image right.

    Objects are matched one to one from an IoU of 0.5 on, whatever their category. A predicted
    object that holds more than half of each of several true ones is split, if together they are
    as large as it (IoU 0.5); pieces of which more than half lies in one true object are merged,
    likewise. What then is left is deleted, or added.

    Parameters
    ----------
    overlap : Overlap
    objects : Objects
    redraw_iou : float
        Objects that match, or would after merging, are redrawn below this IoU.
    """
    pairs = match(overlap, objects, MATCH_IOU, any_category=True)
    state = _State(overlap, objects, pairs, redraw_iou)
    n_split = sum(state.split(place) for place in state.groups_of_truths())
    n_merge = sum(state.merge(place) for place in state.groups_of_pieces())
    is_other = (
        overlap.pred_category[overlap.pred[pairs]] != (overlap.truth_category[overlap.truth[pairs]])
    )
    return Edits(
        add=int(state.is_missed.sum()),
        delete=int((state.is_wrong & ~objects.is_excused).sum()),
        redraw=int(state.is_redrawn.sum()),
        merge=n_merge,
        split=n_split,
        recategorise=int(is_other.sum()),
    )


class _State:
    """What is still to be done, while splits and merges are found."""

    def __init__(self, overlap: Overlap, objects: Objects, pairs: Ints, redraw_iou: float) -> None:
        self._overlap, self._redraw_iou = overlap, redraw_iou
        pred, truth = overlap.pred[pairs], overlap.truth[pairs]
        self.is_wrong, self.is_missed = objects.pred.copy(), objects.truth.copy()
        self.is_wrong[pred], self.is_missed[truth] = False, False
        self.is_redrawn = np.zeros(len(overlap.truth_ids), bool)
        self.is_redrawn[truth] = overlap.iou[pairs] < redraw_iou
        self._is_pair = np.zeros(len(overlap.pred), bool)
        self._is_pair[pairs] = True
        self._both = objects.pred[overlap.pred] & objects.truth[overlap.truth]

    def groups_of_truths(self) -> Iterator[Ints]:
        """Yield the pairs of each predicted object with true ones that mostly lie in it."""
        o = self._overlap
        yield from _groups(o.pred, self._both & (2 * o.common > o.truth_areas[o.truth]))

    def groups_of_pieces(self) -> Iterator[Ints]:
        """Yield the pairs of each true object with predicted ones that mostly lie in it."""
        o = self._overlap
        yield from _groups(o.truth, self._both & (2 * o.common > o.pred_areas[o.pred]))

    def split(self, place: Ints) -> int:
        """Split a predicted object, if that helps; return the number of cuts."""
        o = self._overlap
        place = place[self.is_missed[o.truth[place]] | self._is_pair[place]]
        truths = o.truth[place]
        if self._joined_iou(place, o.pred_areas[o.pred[place[:1]]], o.truth_areas[truths]) == 0:
            return 0
        self.is_wrong[o.pred[place]] = False
        self.is_missed[truths] = self.is_redrawn[truths] = False
        return len(place) - 1

    def merge(self, place: Ints) -> int:
        """Merge the pieces of a true object, if that helps; return whether they were."""
        o = self._overlap
        place = place[self.is_wrong[o.pred[place]] | self._is_pair[place]]
        truth = o.truth[place[:1]]
        iou = self._joined_iou(place, o.truth_areas[truth], o.pred_areas[o.pred[place]])
        # One that others have a claim on, by a match or a cut, is settled.
        if iou == 0 or not (self.is_missed[truth].all() or self._is_pair[place].any()):
            return 0
        self.is_wrong[o.pred[place]] = False
        self.is_missed[truth] = False
        self.is_redrawn[truth] = iou < self._redraw_iou
        return 1

    def _joined_iou(self, place: Ints, whole: Ints, parts: Ints) -> float:
        """Return the IoU of one object with several joined; 0 if they are not worth joining."""
        if len(place) < 2:
            return 0.0
        common = int(self._overlap.common[place].sum())
        iou = common / (int(whole[0]) + int(parts.sum()) - common)
        return iou if iou >= MATCH_IOU else 0.0


def _groups(owner: Ints, is_chosen: Flags) -> Iterator[Ints]:
    """Yield the chosen pairs of each owner that has several."""
    place = np.flatnonzero(is_chosen)
    place = place[np.argsort(owner[place], kind="stable")]
    for group in np.split(place, np.flatnonzero(np.diff(owner[place])) + 1):
        if len(group) > 1:
            yield group
