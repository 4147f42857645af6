"""CLEAR MOT: misses, false objects and identity switches (Bernardin and Stiefelhagen 2008).

Counted as TrackEval does: an object that was matched in the frame before keeps its match as long
as that is good enough; a switch is a match with another track than the last one that it had.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.inference.track_assign import best_pairs

if TYPE_CHECKING:
    from napari_eomt.evaluation.video_frames import FrameOverlap

_EPS = float(np.finfo(float).eps)
# More than all IoUs of a frame together may sum to, as in TrackEval.
_KEEP = 1000.0
_MOSTLY_TRACKED, _MOSTLY_LOST = 0.8, 0.2


@dataclass(frozen=True)
class ClearQuality:
    """Counts over all frames.

    Parameters
    ----------
    tp, fp, fn : int
        Objects matched, found where there is none, missed.
    switches : int
        Matches with another track than the object had before.
    fragments : int
        Times that a true track is matched again after a frame without.
    mostly_tracked, partly_tracked, mostly_lost : int
        True tracks matched in more than 80 %, in 20 to 80 %, and in less of their frames.
    iou : float
        Sum over the matches.
    """

    tp: int
    fp: int
    fn: int
    switches: int
    fragments: int
    mostly_tracked: int
    partly_tracked: int
    mostly_lost: int
    iou: float

    @property
    def mota(self) -> float | None:
        """1 − (FP + FN + switches) / true objects; below 0 where errors are more. None of none."""
        n = self.tp + self.fn
        return (self.tp - self.fp - self.switches) / n if n else None

    @property
    def motp(self) -> float | None:
        """Mean IoU of the matches."""
        return self.iou / self.tp if self.tp else None


class ClearCounter:
    """Counts frame by frame; memory goes with the tracks.

    Parameters
    ----------
    iou_threshold : float
        Two objects may be matched from this IoU on.
    """

    def __init__(self, iou_threshold: float = 0.5) -> None:
        self._threshold = iou_threshold
        self._tp = self._fp = self._fn = self._switches = 0
        self._iou = 0.0
        self._last: dict[int, int] = {}
        self._before: dict[int, int] = {}
        self._n_frames: Counter[int] = Counter()
        self._n_matched: Counter[int] = Counter()
        self._n_starts: Counter[int] = Counter()

    def add(self, frame: FrameOverlap) -> None:
        """Count a frame."""
        n_truth, n_pred = len(frame.truth_ids), len(frame.pred_ids)
        self._n_frames.update(frame.truth_ids.tolist())
        if not n_truth or not n_pred:
            # As in TrackEval, a frame without objects of one side breaks no match.
            self._fp += n_pred
            self._fn += n_truth
            return
        good = np.flatnonzero(frame.iou >= self._threshold - _EPS)
        truth = frame.truth_ids[frame.truth[good]]
        pred = frame.pred_ids[frame.pred[good]]
        held = np.array(
            [self._before.get(i) == j for i, j in zip(truth.tolist(), pred.tolist(), strict=True)],
            bool,
        )
        gains = frame.iou[good] + _KEEP * held
        chosen = best_pairs(frame.truth[good], frame.pred[good], gains)
        now = dict(zip(truth[chosen].tolist(), pred[chosen].tolist(), strict=True))
        self._switches += sum(self._last.get(i, j) != j for i, j in now.items())
        self._n_starts.update(i for i in now if i not in self._before)
        self._n_matched.update(now.keys())  # a dict would add its values
        self._last |= now
        self._before = now
        self._tp += len(now)
        self._fp += n_pred - len(now)
        self._fn += n_truth - len(now)
        self._iou += float(frame.iou[good[chosen]].sum())

    def quality(self) -> ClearQuality:
        """Return the counts."""
        shares = [self._n_matched[i] / n for i, n in self._n_frames.items()]
        mostly = sum(share > _MOSTLY_TRACKED for share in shares)
        lost = sum(share < _MOSTLY_LOST for share in shares)
        return ClearQuality(
            self._tp,
            self._fp,
            self._fn,
            self._switches,
            sum(n - 1 for n in self._n_starts.values()),
            mostly,
            len(shares) - mostly - lost,
            lost,
            self._iou,
        )
