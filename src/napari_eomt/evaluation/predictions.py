"""Predictions that are there, in files: COCO results, COCO, panoptic, or label images."""

from __future__ import annotations

import math
import reprlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_eomt.errors import DataError
from napari_eomt.evaluation.coco_average_precision import Detection
from napari_eomt.evaluation.truth import is_panoptic, painted
from napari_eomt.formats.coco_categories import read_category
from napari_eomt.formats.coco_file import load_coco
from napari_eomt.formats.coco_masks import mask_of
from napari_eomt.formats.coco_panoptic import load_panoptic, read_panoptic
from napari_eomt.formats.id_images import read_id_image
from napari_eomt.formats.id_tables import find_table, read_table
from napari_eomt.formats.json_file import read_json
from napari_eomt.structures.id_maps import areas, boxes, id_dtype, renumber
from napari_eomt.structures.rle import areas as rle_areas
from napari_eomt.structures.rle import encode, paint
from napari_eomt.structures.segments import Segment, Segmentation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.annotation.document import Document
    from napari_eomt.evaluation.truth import Truth
    from napari_eomt.formats.coco_checks import Record
    from napari_eomt.formats.coco_file import CocoFile
    from napari_eomt.formats.panoptic_file import PanopticFile
    from napari_eomt.structures.categories import Category
    from napari_eomt.structures.segments import IdMap


@dataclass(frozen=True, eq=False)
class Predicted:
    """What is predicted for an image.

    Parameters
    ----------
    segmentation : Segmentation
    detections : tuple of Detection, or None
        Objects with their scores, which may overlap; None where scores are not known.
    categories : tuple of Category, or None
        What its ids mean; None if they are the truth's.
    """

    segmentation: Segmentation
    detections: tuple[Detection, ...] | None
    categories: tuple[Category, ...] | None


class Predictions(ABC):
    """Predictions for the images of a dataset.

    Parameters
    ----------
    path : Path
    truth : Truth
        Of which they are.
    """

    def __init__(self, path: Path, truth: Truth) -> None:
        self.path, self._truth = path, truth

    @abstractmethod
    def of(self, image_id: int) -> Predicted:
        """Return what is predicted for an image of the truth.

        Raises
        ------
        DataError
            If it cannot be read, or there is none.
        """


class Results(Predictions):
    """COCO's results: a list of scored masks, as evaluation servers take them.

    An image without one is one in which nothing was found. For figures that take each pixel once,
    masks of the score or more are painted, the best on top; those of which then only the part
    `overlap_threshold` or less can be seen are left out.
    """

    def __init__(
        self,
        path: Path,
        truth: Truth,
        rows: Sequence[Any],
        score_threshold: float,
        overlap_threshold: float,
    ) -> None:
        super().__init__(path, truth)
        self._score, self._overlap = score_threshold, overlap_threshold
        self._rows: dict[int, list[Record]] = {}
        known = {category.id for category in truth.categories}
        images = set(truth.file.image_by_id)
        for k, row in enumerate(rows):
            which = f"{path.name}: result number {k + 1}"
            if not isinstance(row, dict):
                raise DataError(f"{which} is {reprlib.repr(row)}; an object was expected.")
            for name, allowed in (("image_id", images), ("category_id", known)):
                if type(row.get(name)) is not int or row[name] not in allowed:
                    raise DataError(
                        f"{which}: {name} is {reprlib.repr(row.get(name))}, which the dataset "
                        "does not have. Are they results for this dataset?"
                    )
            score = row.get("score")
            if type(score) not in (int, float) or not math.isfinite(score):  # type: ignore[arg-type]
                raise DataError(f"{which}: score is {reprlib.repr(score)}; a number was expected.")
            self._rows.setdefault(row["image_id"], []).append(row)

    def of(self, image_id: int) -> Predicted:
        """Return the results of an image, and the picture that they make."""
        found = []
        size = self._truth.size(image_id)
        for row in self._rows.get(image_id, []):
            mask = mask_of(row, size)
            if mask is not None:
                found.append(Detection(image_id, row["category_id"], float(row["score"]), mask))
        return Predicted(self._painted(found, size), tuple(found), None)

    def _painted(self, found: Sequence[Detection], size: tuple[int, int]) -> Segmentation:
        kept = [d for d in found if d.score >= self._score]
        # The best last; of equals the first is the better.
        kept = sorted(kept, key=lambda d: d.score)
        id_map: IdMap = np.zeros(size, id_dtype(len(kept)))
        paint(((k, d.mask) for k, d in enumerate(kept, 1)), id_map)
        visible = areas(id_map, len(kept) + 1)[1:]
        whole = rle_areas([d.mask for d in kept])
        shown = (visible > 0) & (visible > self._overlap * whole)
        numbers = np.where(shown, np.cumsum(shown), 0)
        id_map = renumber(id_map, np.append(0, numbers))
        where = boxes(id_map)
        things = {category.id: category.is_thing for category in self._truth.categories}
        segments = [
            Segment(
                i,
                d.category_id,
                d.score,
                is_thing=things[d.category_id],
                area=int(area),
                bbox=where[i],
            )
            for d, i, area in zip(kept, numbers.tolist(), visible, strict=True)
            if i
        ]
        return Segmentation(id_map, tuple(segments))


class CocoPredictions(Predictions):
    """A COCO file of instances, of the same images by their names, or else their ids.

    Slices of one file are the same image if they are the same frame of it.
    """

    def __init__(self, path: Path, truth: Truth, file: CocoFile) -> None:
        super().__init__(path, truth)
        self._file = file
        self._ids = _image_ids(path, file, truth)
        self._categories = tuple(read_category(record) for record in file.categories)

    def of(self, image_id: int) -> Predicted:
        """Return the annotations of an image, and the picture that they make."""
        own = _own_id(self._ids, image_id, self.path, self._truth)
        record, size = self._file.image_by_id[own], self._truth.size(image_id)
        if (record["height"], record["width"]) != size:
            raise DataError(
                f"{self.path.name}: image {own} is {record['height']} × {record['width']}, in the "
                f"dataset {size[0]} × {size[1]}. Predict the annotated image."
            )
        records = self._file.annotations_of(own)
        segmentation = painted(records, size, self._file)
        scores = {r["id"]: _score(r) for r in records}
        masks = [(r, mask) for r in records if (mask := mask_of(r, size)) is not None]
        detections = tuple(
            Detection(image_id, r["category_id"], score, mask)
            for r, mask in masks
            if (score := scores[r["id"]]) is not None
        )
        is_scored = len(detections) == len(masks)
        return Predicted(segmentation, detections if is_scored else None, self._categories)


class PanopticPredictions(Predictions):
    """A COCO panoptic file with its PNGs."""

    def __init__(self, path: Path, truth: Truth, panoptic: PanopticFile) -> None:
        super().__init__(path, truth)
        self._panoptic = panoptic
        self._ids = _image_ids(path, panoptic.file, truth)
        self._categories = tuple(read_category(record) for record in panoptic.file.categories)

    def of(self, image_id: int) -> Predicted:
        """Return the segments of an image's PNG."""
        own = _own_id(self._ids, image_id, self.path, self._truth)
        if self._panoptic.annotation_of(own) is None:
            raise DataError(f"{self.path.name}: image {own} has no PNG. Predict it, or remove it.")
        found = read_panoptic(self._panoptic, [own]).segmentation(0)
        return Predicted(found, detections_of(image_id, found), self._categories)


class LabelImages(Predictions):
    """A folder of label images, NAME.tif of each image NAME, as `predict` writes them.

    That of a stack has a frame for each frame of it, of which the dataset may have some.
    """

    def __init__(self, path: Path, truth: Truth) -> None:
        super().__init__(path, truth)
        # A table lists the categories that its image has; only all together tell what is missing.
        found: dict[int, Category] = {}
        for image_id in truth.image_ids:
            table = find_table(self._path(image_id))
            if table is not None:
                for category in read_table(table).categories:
                    found.setdefault(category.id, category)
        self._categories = tuple(found.values()) or None
        # Of a stack, whose slices come one after another.
        self._last: tuple[Path, Document] | None = None

    def of(self, image_id: int) -> Predicted:
        """Return the label image of an image."""
        path = self._path(image_id)
        if not path.is_file():
            raise DataError(
                f"{self._truth.name(image_id)}: there is no {path.name} in {self.path}. Predict "
                "all images, or choose another folder."
            )
        if self._last is None or self._last[0] != path:
            self._last = path, read_id_image(path)
        document, frame = self._last[1], self._frame(image_id)
        if frame is None and document.n_frames != 1:
            raise DataError(
                f"{path.name} has {document.n_frames} frames; the dataset has an image for each. "
                "Predict them one by one."
            )
        if frame is not None and not 0 <= frame < document.n_frames:
            raise DataError(
                f"{self._truth.name(image_id)}: {path.name} has {document.n_frames} frames, from "
                "0. Predict the whole stack."
            )
        found = document.segmentation(frame or 0)
        categories = self._categories or tuple(document.categories.values())
        return Predicted(found, detections_of(image_id, found), categories)

    def _path(self, image_id: int) -> Path:
        record = self._truth.file.image_by_id[image_id]
        is_slice = self._frame(image_id) is not None
        name = record["file_name"] if is_slice else self._truth.name(image_id)
        return self.path / f"{PurePosixPath(name).stem}.tif"

    def _frame(self, image_id: int) -> int | None:
        """Return which frame of its file an image is, if others are of the same."""
        record = self._truth.file.image_by_id[image_id]
        frame = record.get("frame") if self._truth.file.is_shared(record) else None
        return frame if type(frame) is int else None


def open_predictions(
    path: Path, truth: Truth, *, score_threshold: float, overlap_threshold: float
) -> Predictions:
    """Open predictions in files.

    Parameters
    ----------
    path : Path
        A folder of label images; or a JSON: COCO's results, COCO, or COCO panoptic.
    truth : Truth
        The dataset that they are of.
    score_threshold, overlap_threshold : float
        Which of COCO's results are painted; see `Results`.

    Raises
    ------
    DataError
        If they cannot be read, or are of other images.
    """
    if path.is_dir():
        return LabelImages(path, truth)
    if not path.is_file():
        raise DataError(
            f"There is no {path}. A folder of label images, or a JSON of COCO was expected."
        )
    if is_panoptic(path):
        return PanopticPredictions(path, truth, load_panoptic(path))
    raw = read_json(path)
    if isinstance(raw, list):
        return Results(path, truth, raw, score_threshold, overlap_threshold)
    return CocoPredictions(path, truth, load_coco(path))


def detections_of(image_id: int, found: Segmentation) -> tuple[Detection, ...] | None:
    """Return the segments of a picture as detections; None if one has no score."""
    if any(segment.score is None for segment in found.segments):
        return None
    masks = encode(found.id_map)
    return tuple(
        Detection(image_id, s.category_id, s.score, masks[s.id])
        for s in found.segments
        if s.score is not None and s.id in masks
    )


def _score(record: Record) -> float | None:
    for where in (record, record.get("attributes") or {}):
        if type(where.get("score")) in (int, float):
            return float(where["score"])
    return None


def _image_ids(path: Path, file: CocoFile, truth: Truth) -> dict[int, int]:
    """Return for each image of the truth that of the predictions."""
    names: dict[tuple[str, str], int] = {}
    for record in file.images:
        if stem := _stem(record):
            if record.get("frame") is not None:
                names[stem, f"frame {record['frame']}"] = record["id"]
            if not file.is_shared(record):
                names[stem, ""] = record["id"]
    ids: dict[int, int] = {}
    for i in truth.image_ids:
        known = truth.file.image_by_id[i]
        which = f"frame {known.get('frame')}" if truth.file.is_shared(known) else ""
        if (_stem(known), which) in names:
            ids[i] = names[_stem(known), which]
    if not ids:
        ids = {i: i for i in truth.image_ids if i in file.image_by_id}
    if not ids:
        raise DataError(
            f"{path.name} has none of the images of {truth.path.name}. Are they predictions for "
            "this dataset?"
        )
    return ids


def _own_id(ids: dict[int, int], image_id: int, path: Path, truth: Truth) -> int:
    if image_id not in ids:
        raise DataError(
            f"{truth.name(image_id)}: {path.name} has no prediction for it. Predict all images."
        )
    return ids[image_id]


def _stem(record: Record) -> str:
    name = record.get("file_name")
    return PurePosixPath(name).stem if isinstance(name, str) else ""
