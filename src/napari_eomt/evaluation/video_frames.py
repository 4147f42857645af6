"""What true and found tracks share, frame by frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_eomt.errors import DataError
from napari_eomt.evaluation.overlap import measure_overlap
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy.typing as npt

    from napari_eomt.evaluation.overlap import Ints

_OBJECT = Category(1, "object")
_END = object()


@dataclass(frozen=True, eq=False)
class FrameOverlap:
    """What the true and the found objects of a frame share.

    Parameters
    ----------
    truth_ids : (T,) int64
    pred_ids : (P,) int64
        Track ids, rising.
    truth_areas : (T,) int64
        Pixels.
    truth, pred : (N,) int64
        Pairs that share a pixel, as positions in the above.
    common : (N,) int64
        The pixels that they share.
    iou : (N,) float64
    """

    truth_ids: Ints
    pred_ids: Ints
    truth_areas: Ints
    truth: Ints
    pred: Ints
    common: Ints
    iou: npt.NDArray[np.float64]


def iter_overlaps(
    truth: Any, pred: Any, ignored: Collection[int] = frozenset()
) -> Iterator[FrameOverlap]:
    """Yield what each frame's objects share; one frame of each is in memory.

    Parameters
    ----------
    truth, pred : (T, Y, X) int array-like, or iterable of (Y, X) int or of Segmentation
        Track ids; 0 is void.
    ignored : collection of int
        True tracks that nobody vouches for. They do not count, nor does what is found there:
        objects of which more than half lies on them.

    Raises
    ------
    DataError
        If the two have different numbers of frames, or frames of different sizes, or something
        else than whole numbers.
    """
    ones, others = _iter_frames(truth), _iter_frames(pred)
    n = 0
    while True:
        one, other = next(ones, _END), next(others, _END)
        if one is _END and other is _END:
            return
        if one is _END or other is _END:
            short, long = ("truth", "prediction") if one is _END else ("prediction", "truth")
            raise DataError(
                f"The {short} has {n} frames, the {long} more. Compare the same frames of both."
            )
        yield _overlap(_labels(one, n, "truth"), _labels(other, n, "prediction"), n, ignored)
        n += 1


def _iter_frames(frames: Any) -> Iterator[Any]:
    # An array on disk is read a frame at a time; iterating some libraries' arrays reads it whole.
    if hasattr(frames, "shape") and hasattr(frames, "__getitem__"):
        if len(frames.shape) != 3:
            raise DataError(
                f"Tracks are an image of track ids with the axes (T, Y, X); this one is "
                f"{tuple(frames.shape)}. Choose one channel, and one plane."
            )
        return (frames[t] for t in range(frames.shape[0]))
    if not isinstance(frames, Iterable):
        raise TypeError(f"Frames are an array or an iterable of frames, not {type(frames)}.")
    return iter(frames)


def _labels(frame: Any, t: int, what: str) -> npt.NDArray[np.integer[Any]]:
    labels = np.asarray(frame.id_map if isinstance(frame, Segmentation) else frame)
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise DataError(
            f"Frame {t} of the {what} is {labels.shape} {labels.dtype}; (Y, X) whole numbers, the "
            "track ids, were expected. Convert it to labels first."
        )
    return labels


def _overlap(
    truth: npt.NDArray[np.integer[Any]],
    pred: npt.NDArray[np.integer[Any]],
    t: int,
    ignored: Collection[int],
) -> FrameOverlap:
    if truth.shape != pred.shape:
        raise DataError(
            f"Frame {t} of the truth is {truth.shape} px, of the prediction {pred.shape}. Resize "
            "the prediction to the annotated frames first."
        )
    both = []
    for labels, crowds in ((truth, ignored), (pred, ())):
        ids = np.unique(labels)
        if len(ids) and ids[0] < 0:
            raise DataError(f"Frame {t} holds the id {ids[0]}; ids count from 1, 0 is void.")
        segments = [Segment(i, 1, is_crowd=i in crowds) for i in ids.tolist() if i]
        both.append(Segmentation(labels, tuple(segments)))
    found = measure_overlap(both[1], both[0], [_OBJECT])
    is_true = ~found.truth_is_crowd
    is_found = 2 * found.pred_crowd <= found.pred_areas
    is_kept = is_true[found.truth] & is_found[found.pred]
    # Positions after what is left out has gone.
    truth_place, pred_place = np.cumsum(is_true) - 1, np.cumsum(is_found) - 1
    return FrameOverlap(
        found.truth_ids[is_true],
        found.pred_ids[is_found],
        found.truth_areas[is_true],
        truth_place[found.truth[is_kept]],
        pred_place[found.pred[is_kept]],
        found.common[is_kept],
        found.iou[is_kept],
    )
