"""From what was counted image by image to the figures of a report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_eomt.evaluation.average_precision import average_precision
from napari_eomt.evaluation.edits import Edits
from napari_eomt.evaluation.measures import sum_panoptic, sum_rows, sum_semantic
from napari_eomt.evaluation.panoptic import mean_quality
from napari_eomt.evaluation.report import (
    CategoryScores,
    CocoScores,
    ImageScores,
    Report,
    Scores,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_eomt.evaluation.coco_average_precision import CocoQuality
    from napari_eomt.evaluation.measures import Measured, Rules


def make_report(
    images: Sequence[Measured],
    rules: Rules,
    *,
    dataset: str = "",
    prediction: str = "",
    params: Mapping[str, Any] | None = None,
    coco: CocoQuality | None = None,
    notes: Sequence[str] = (),
) -> Report:
    """Sum up what was counted in images.

    Parameters
    ----------
    images : sequence of Measured
    rules : Rules
        By which all of them were counted.
    dataset, prediction : str
        What people call them.
    params : dict, optional
        With which was predicted.
    coco : CocoQuality, optional
    notes : sequence of str
    """
    kinds = sorted({image.kind for image in images})
    return Report(
        dataset=dataset,
        prediction=prediction,
        task=rules.task,
        void=rules.void,
        params=dict(params or {}),
        total=_scores(images, rules),
        coco=None if coco is None else _coco(coco),
        by_kind={
            kind or "other": _scores([i for i in images if i.kind == kind], rules)
            for kind in kinds
            if kinds != [""]
        },
        by_category=_by_category(images, rules, coco),
        images=[_image(image, rules) for image in images],
        notes=list(notes),
    )


def _scores(images: Sequence[Measured], rules: Rules) -> Scores:
    found: dict[str, Any] = {}
    semantic = sum_semantic(images)
    if semantic is not None:
        found["miou"] = _known(semantic.miou)
        found["miou_absent_as_zero"] = _known(semantic.miou_absent_as_zero)
    if rules.counts_objects and images:
        at50 = sum_rows([image.objects for image in images])[0]
        ap = average_precision([image.objects for image in images])
        counts = sum_panoptic(images)
        quality = mean_quality(counts)
        things = [k for k, c in enumerate(rules.counted) if c.is_thing]
        stuff = [k for k, c in enumerate(rules.counted) if not c.is_thing]
        edits = sum((image.edits for image in images), Edits())
        found |= {
            "ap50": ap[0],
            "ap": float(np.mean(ap)),
            "precision": at50.precision,
            "recall": at50.recall,
            "f1": at50.f1,
            "pq": _known(quality.pq),
            "sq": _known(quality.sq),
            "rq": _known(quality.rq),
            "pq_things": _known(mean_quality(counts, things).pq),
            "pq_stuff": _known(mean_quality(counts, stuff).pq),
            "edits": vars(edits),
            "n_edits": edits.n_actions,
        }
    return Scores(
        n_images=len(images),
        n_truth=sum(image.n_truth for image in images),
        n_found=sum(image.n_found for image in images),
        **found,
    )


def _by_category(
    images: Sequence[Measured], rules: Rules, coco: CocoQuality | None
) -> list[CategoryScores]:
    semantic = sum_semantic(images)
    iou = np.full(len(rules.counted), np.nan) if semantic is None else semantic.iou
    panoptic = sum_panoptic(images)
    scores = []
    for k, category in enumerate(rules.counted):
        rows = [image.by_category[k] for image in images if k in image.by_category]
        found: dict[str, Any] = {"iou": _known(float(iou[k]))}
        at50 = sum_rows(rows)[0]
        n_truth, n_found = at50.tp + at50.fn, at50.tp + at50.fp
        if rows:
            ap = average_precision(rows)
            found |= {"ap50": ap[0], "ap": float(np.mean(ap)), "f1": at50.f1}
            found |= {"precision": at50.precision, "recall": at50.recall}
        if k in panoptic:
            counts = panoptic[k]
            quality = counts.quality
            found |= {"pq": quality.pq, "sq": quality.sq, "rq": quality.rq}
            n_truth, n_found = counts.tp + counts.fn, counts.tp + counts.fp
        if coco is not None:
            found["coco_ap"] = _known(coco.ap_by_category.get(category.id, math.nan))
        scores.append(
            CategoryScores(
                id=category.id, name=category.name, n_truth=n_truth, n_found=n_found, **found
            )
        )
    return scores


def _image(image: Measured, rules: Rules) -> ImageScores:
    scores = _scores([image], rules)
    names = set(ImageScores.model_fields) & set(Scores.model_fields)
    return ImageScores(
        name=image.name, kind=image.kind, **{name: getattr(scores, name) for name in names}
    )


def _coco(quality: CocoQuality) -> CocoScores:
    values = {name: getattr(quality, name) for name in CocoScores.model_fields}
    return CocoScores(**{k: _known(v) if isinstance(v, float) else v for k, v in values.items()})


def _known(value: float) -> float | None:
    """Return None for NaN, which JSON does not have."""
    return None if math.isnan(value) else float(value)
