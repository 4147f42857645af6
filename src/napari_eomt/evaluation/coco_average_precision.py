"""COCO's average precision and recall of masks, computed by pycocotools itself."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from napari_eomt.structures.rle import areas

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_eomt.structures.rle import Rle

MAX_DETECTIONS = 100
"""Of an image and category, the best scored: COCO's limit."""

_AREAS = ("all", "small", "medium", "large")


@dataclass(frozen=True)
class Detection:
    """A predicted object; those of an image may overlap.

    Parameters
    ----------
    image_id : int
    category_id : int
    score : float
        Not rounded: it sets the order.
    mask : Rle
        At the size of the image.
    """

    image_id: int
    category_id: int
    score: float
    mask: Rle


@dataclass(frozen=True)
class TrueObject:
    """An annotated object; those of an image may overlap.

    Parameters
    ----------
    image_id : int
    category_id : int
    mask : Rle
    is_crowd : bool
    area : float or None
        As the file says, in pixels: it decides whether the object is small, medium or large.
        None is that of the mask.
    """

    image_id: int
    category_id: int
    mask: Rle
    is_crowd: bool = False
    area: float | None = None


@dataclass(frozen=True)
class CocoQuality:
    """COCO's figures, from 0 to 1; NaN where there is no object of the kind.

    Parameters
    ----------
    ap : float
        Mean over categories and the IoUs 0.5, 0.55, … 0.95.
    ap50, ap75 : float
        At one IoU.
    ap_small, ap_medium, ap_large : float
        Of objects under 32² pixels, under 96², and others.
    ar1, ar10, ar : float
        Recall with 1, 10 and `max_detections` of each image and category.
    ar_small, ar_medium, ar_large : float
    ap_by_category : dict of int to float
        By category id.
    max_detections : int
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar1: float
    ar10: float
    ar: float
    ar_small: float
    ar_medium: float
    ar_large: float
    ap_by_category: Mapping[int, float]
    max_detections: int = MAX_DETECTIONS


def best_detections(found: Iterable[Detection], limit: int = MAX_DETECTIONS) -> list[Detection]:
    """Return the best of an image, of whatever category, best first; of equals the first."""
    return sorted(found, key=lambda detection: -detection.score)[:limit]


def coco_average_precision(
    image_ids: Iterable[int],
    category_ids: Sequence[int],
    truth: Iterable[TrueObject],
    detections: Iterable[Detection],
    *,
    max_detections: int = MAX_DETECTIONS,
) -> CocoQuality:
    """Return COCO's figures of masks: those of pycocotools' COCOeval, to the last bit.

    Parameters
    ----------
    image_ids : iterable of int
        All that were predicted, with or without objects.
    category_ids : sequence of int
    truth : iterable of TrueObject
    detections : iterable of Detection
    max_detections : int
        COCO takes 100, which is fewer than some images have objects.
    """
    # Sizes are asked for, but of run lengths not used: these have their own.
    images = [{"id": int(i), "height": 0, "width": 0} for i in image_ids]
    categories = [{"id": int(i)} for i in category_ids]
    objects, found = list(truth), list(detections)
    # Ids from 1: COCOeval takes 0 for no match.
    annotations = [
        {
            "id": k,
            "image_id": o.image_id,
            "category_id": o.category_id,
            "segmentation": {"size": list(o.mask.size), "counts": o.mask.counts},
            "iscrowd": int(o.is_crowd),
            "area": area if o.area is None else o.area,
        }
        for k, (o, area) in enumerate(zip(objects, _areas(objects), strict=True), 1)
    ]
    results = [
        {
            "id": k,
            "image_id": d.image_id,
            "category_id": d.category_id,
            "segmentation": {"size": list(d.mask.size), "counts": d.mask.counts},
            "iscrowd": 0,
            "area": area,
            "score": d.score,
        }
        for k, (d, area) in enumerate(zip(found, _areas(found), strict=True), 1)
    ]
    # It says on stdout what it is doing, which is no place for that.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(
            _index(images, categories, annotations), _index(images, categories, results), "segm"
        )
        evaluation.params.maxDets = [1, 10, max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
    return _quality(evaluation, max_detections)


def _areas(objects: Sequence[TrueObject] | Sequence[Detection]) -> list[int]:
    found: list[int] = areas([o.mask for o in objects]).tolist()
    return found


def _index(images: list[Any], categories: list[Any], annotations: list[Any]) -> Any:
    index = COCO()
    index.dataset = {"images": images, "categories": categories, "annotations": annotations}
    index.createIndex()
    return index


def _quality(evaluation: Any, max_detections: int) -> CocoQuality:
    """Return COCOeval's summary, which it can only make for 100 detections."""
    precision = evaluation.eval["precision"]  # (IoU, recall, category, area, detections)
    recall = evaluation.eval["recall"]  # (IoU, category, area, detections)
    ap = {name: _mean(precision[:, :, :, k, 2]) for k, name in enumerate(_AREAS)}
    ar = {name: _mean(recall[:, :, k, 2]) for k, name in enumerate(_AREAS)}
    return CocoQuality(
        ap=ap["all"],
        ap50=_mean(precision[:1, :, :, 0, 2]),
        ap75=_mean(precision[5:6, :, :, 0, 2]),
        ap_small=ap["small"],
        ap_medium=ap["medium"],
        ap_large=ap["large"],
        ar1=_mean(recall[:, :, 0, 0]),
        ar10=_mean(recall[:, :, 0, 1]),
        ar=ar["all"],
        ar_small=ar["small"],
        ar_medium=ar["medium"],
        ar_large=ar["large"],
        ap_by_category={
            int(i): _mean(precision[:, :, k, 0, 2]) for k, i in enumerate(evaluation.params.catIds)
        },
        max_detections=max_detections,
    )


def _mean(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Return the mean of what is there: −1 stands for no object."""
    there = values[values > -1]
    return float(np.mean(there)) if there.size else float("nan")
