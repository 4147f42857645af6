"""Identity over time: IDF1 (Ristani et al. 2016) and HOTA (Luiten et al. 2020).

Both count as TrackEval does, the reference implementation of HOTA.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.inference.track_assign import best_pairs

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_eomt.evaluation.overlap import Ints
    from napari_eomt.evaluation.video_frames import FrameOverlap

_EPS = float(np.finfo(float).eps)
ALPHAS = np.arange(0.05, 0.99, 0.05)
"""IoU thresholds over which HOTA is averaged: 0.05, 0.10, … 0.95."""


@dataclass(frozen=True)
class IdentityQuality:
    """How well whole tracks agree, when each true one is given one found one.

    Parameters
    ----------
    tp, fp, fn : int
        IDTP, IDFP, IDFN: objects of a frame, summed over frames.
    """

    tp: int
    fp: int
    fn: int

    @property
    def idf1(self) -> float | None:
        """2 IDTP / (2 IDTP + IDFP + IDFN); None of nothing."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def idp(self) -> float | None:
        """IDTP / (IDTP + IDFP)."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def idr(self) -> float | None:
        """IDTP / (IDTP + IDFN)."""
        return _ratio(self.tp, self.tp + self.fn)


class IdentityCounter:
    """Counts in how many frames each two tracks agree; memory goes with pairs of tracks.

    Parameters
    ----------
    iou_threshold : float
        Two objects agree from this IoU on.
    """

    def __init__(self, iou_threshold: float = 0.5) -> None:
        self._threshold = iou_threshold
        self._agree: Counter[tuple[int, int]] = Counter()
        self._n_truth = self._n_pred = 0

    def add(self, frame: FrameOverlap) -> None:
        """Count a frame."""
        self._n_truth += len(frame.truth_ids)
        self._n_pred += len(frame.pred_ids)
        agree = frame.iou >= self._threshold - _EPS
        truth = frame.truth_ids[frame.truth[agree]].tolist()
        self._agree.update(zip(truth, frame.pred_ids[frame.pred[agree]].tolist(), strict=True))

    def quality(self) -> IdentityQuality:
        """Return the quality under the assignment of tracks for which most frames agree."""
        pairs = np.array(list(self._agree), np.int64).reshape(-1, 2)
        counts = np.array(list(self._agree.values()), np.float64)
        tp = int(counts[best_pairs(_numbered(pairs[:, 0]), _numbered(pairs[:, 1]), counts)].sum())
        return IdentityQuality(tp, self._n_pred - tp, self._n_truth - tp)


@dataclass(frozen=True)
class HotaQuality:
    """Higher order tracking accuracy and its parts, means over the thresholds `ALPHAS`.

    Parameters
    ----------
    hota : float
        Mean of √(DetA · AssA).
    det_a : float
        Detection: TP / (TP + FN + FP).
    ass_a : float
        Association: over matched objects, the share of both tracks on which they are matched.
    loc_a : float
        Localisation: mean IoU of matched objects.
    """

    hota: float
    det_a: float
    ass_a: float
    loc_a: float


class HotaCounter:
    """Keeps the pairs of each frame that share pixels, some dozens of bytes an object."""

    def __init__(self) -> None:
        self._frames: list[tuple[Ints, Ints, npt.NDArray[np.float64]]] = []
        self._potential: Counter[tuple[int, int]] = Counter()
        self._n_truth: Counter[int] = Counter()
        self._n_pred: Counter[int] = Counter()

    def add(self, frame: FrameOverlap) -> None:
        """Count a frame."""
        self._n_truth.update(frame.truth_ids.tolist())
        self._n_pred.update(frame.pred_ids.tolist())
        truth, pred = frame.truth_ids[frame.truth], frame.pred_ids[frame.pred]
        of_truth = np.bincount(frame.truth, frame.iou, minlength=len(frame.truth_ids))
        of_pred = np.bincount(frame.pred, frame.iou, minlength=len(frame.pred_ids))
        share = frame.iou / (of_truth[frame.truth] + of_pred[frame.pred] - frame.iou)
        for pair, value in zip(
            zip(truth.tolist(), pred.tolist(), strict=True), share.tolist(), strict=True
        ):
            self._potential[pair] += value
        self._frames.append((truth, pred, frame.iou))

    def quality(self) -> HotaQuality | None:
        """Return the quality; None where there is neither truth nor prediction."""
        n_truth, n_pred = self._n_truth.total(), self._n_pred.total()
        if n_truth + n_pred == 0:
            return None
        aligned = {
            (i, j): value / (self._n_truth[i] + self._n_pred[j] - value)
            for (i, j), value in self._potential.items()
        }
        tp, loc = np.zeros(len(ALPHAS)), np.zeros(len(ALPHAS))
        matched: list[Counter[tuple[int, int]]] = [Counter() for _ in ALPHAS]
        for truth, pred, iou in self._frames:
            pairs = list(zip(truth.tolist(), pred.tolist(), strict=True))
            gains = np.array([aligned[pair] for pair in pairs]) * iou
            chosen = best_pairs(_numbered(truth), _numbered(pred), gains)
            for a, alpha in enumerate(ALPHAS):
                good = chosen[iou[chosen] >= alpha - _EPS]
                tp[a] += len(good)
                loc[a] += iou[good].sum()
                matched[a].update(pairs[k] for k in good.tolist())
        ass = np.array(
            [
                sum(n * n / (self._n_truth[i] + self._n_pred[j] - n) for (i, j), n in row.items())
                for row in matched
            ]
        ) / np.maximum(tp, 1)
        det = tp / (n_truth + n_pred - tp)
        return HotaQuality(
            float(np.sqrt(det * ass).mean()),
            float(det.mean()),
            float(ass.mean()),
            float((np.maximum(loc, 1e-10) / np.maximum(tp, 1e-10)).mean()),
        )


def _numbered(ids: Ints) -> Ints:
    return np.unique(ids, return_inverse=True)[1].astype(np.int64)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
