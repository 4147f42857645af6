"""Annotated datasets as evaluation sees them: instances, or panoptic."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_eomt.errors import DataError
from napari_eomt.evaluation.coco_average_precision import TrueObject
from napari_eomt.formats.coco_attributes import read_attributes
from napari_eomt.formats.coco_categories import read_category
from napari_eomt.formats.coco_masks import mask_of, paint_annotations
from napari_eomt.formats.coco_panoptic import load_panoptic, read_panoptic
from napari_eomt.formats.dataset import Dataset, dataset_json, load_dataset
from napari_eomt.formats.dataset_images import image_file, roots_of
from napari_eomt.formats.panoptic_file import PanopticFile
from napari_eomt.formats.slices import image_name, read_record
from napari_eomt.structures.id_maps import boxes, renumber
from napari_eomt.structures.segments import Segment, Segmentation

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_eomt.evaluation.overlap import Void
    from napari_eomt.formats.coco_checks import Record, Size
    from napari_eomt.formats.coco_file import CocoFile


class Truth(ABC):
    """An annotated dataset.

    Parameters
    ----------
    path : Path
        Its JSON.
    file : CocoFile
        Images and categories.
    """

    void: Void

    def __init__(self, path: Path, file: CocoFile) -> None:
        self.path, self.file = path, file
        self.categories = tuple(read_category(record) for record in file.categories)
        self.image_ids: tuple[int, ...] = tuple(file.image_by_id)
        self.notes = [str(problem) for problem in file.problems]
        self._names = Counter(map(self._name_of, file.images))

    def name(self, image_id: int) -> str:
        """Return what the dataset calls an image, by which it is told from the others."""
        name = self._name_of(self.file.image_by_id[image_id])
        return name if self._names[name] == 1 else f"image {image_id}"

    def kind(self, image_id: int) -> str:
        """Return the type of an image, if the dataset tells it: its field `type`."""
        kind = self.file.image_by_id[image_id].get("type")
        return kind if isinstance(kind, str) else ""

    def size(self, image_id: int) -> Size:
        """Return (H, W)."""
        record = self.file.image_by_id[image_id]
        return record["height"], record["width"]

    def image(self, image_id: int) -> npt.NDArray[Any]:
        """Read the pixels of an image: (H, W) or (H, W, C).

        Raises
        ------
        DataError
            If it is not there, cannot be read, is of another size than the dataset says, or is of
            the same file as another, and not another frame of it.
        """
        record = self.file.image_by_id[image_id]
        if self._names[name := self._name_of(record)] > 1:
            raise DataError(
                f"{self.path.name}: {self._names[name]} images are of one file, {name}. Say which "
                "'frame' of it each is, write each to a file of its own, or evaluate predictions "
                "that are there."
            )
        path = image_file(roots_of(self.path), record)
        return read_record(path, record, is_shared=self.file.is_shared(record))

    def _name_of(self, record: Record) -> str:
        return image_name(record, is_shared=self.file.is_shared(record))

    @abstractmethod
    def segmentation(self, image_id: int) -> Segmentation:
        """Return what of the annotations can be seen, one above the other.

        Raises
        ------
        DataError
            If a mask cannot be read.
        """

    def objects(self, image_id: int) -> list[TrueObject] | None:
        """Return the annotated objects, which may overlap; None where there are none such."""
        return None


class InstanceTruth(Truth):
    """A COCO file of instances. Where nothing is annotated, there is nothing."""

    void = "background"

    def segmentation(self, image_id: int) -> Segmentation:
        """Return what can be seen of the objects: small ones lie on large ones."""
        return painted(self.file.annotations_of(image_id), self.size(image_id), self.file)

    def objects(self, image_id: int) -> list[TrueObject]:
        """Return the annotations that have a mask."""
        found = []
        for record in self.file.annotations_of(image_id):
            mask = mask_of(record, self.size(image_id))
            if mask is not None:
                crowd, area = bool(record.get("iscrowd")), record.get("area")
                found.append(TrueObject(image_id, record["category_id"], mask, crowd, area))
        return found


class PanopticTruth(Truth):
    """A COCO panoptic file with its PNGs. Void is what nobody has labelled."""

    void = "unlabelled"

    def __init__(self, panoptic: PanopticFile) -> None:
        super().__init__(panoptic.path, panoptic.file)
        self._panoptic = panoptic
        # An image without a PNG was not annotated; one without segments has an empty PNG.
        self.image_ids = tuple(i for i in self.image_ids if panoptic.annotation_of(i) is not None)

    def segmentation(self, image_id: int) -> Segmentation:
        """Return the segments of the PNG."""
        return read_panoptic(self._panoptic, [image_id]).segmentation(0)


def load_annotated(dataset: Path | str) -> Dataset | PanopticFile:
    """Load what is in a folder with a COCO file, or a COCO file of instances or panoptic.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    path = dataset_json(Path(dataset))
    is_panoptic_file = path.is_file() and is_panoptic(path)
    return load_panoptic(path) if is_panoptic_file else load_dataset(path)


def open_truth(dataset: Dataset | PanopticFile | Path | str) -> Truth:
    """Open an annotated dataset.

    Parameters
    ----------
    dataset : Dataset, PanopticFile, Path or str
        Or a path: of a folder with a COCO file, or of a COCO file of instances or panoptic.

    Raises
    ------
    DataError
        If it cannot be read, or has no image.
    """
    if isinstance(dataset, Path | str):
        dataset = load_annotated(dataset)
    truth: Truth
    if isinstance(dataset, PanopticFile):
        truth = PanopticTruth(dataset)
    else:
        truth = InstanceTruth(dataset.path, dataset.file)
    if not truth.image_ids:
        raise DataError(f"{truth.path} has no annotated image. Annotate some first.")
    return truth


def is_panoptic(path: Path) -> bool:
    """Whether a JSON file is COCO panoptic's: its annotations list segments of a PNG.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    marker, step = b'"segments_info"', 1 << 22
    try:
        with path.open("rb") as file:
            tail = b""
            while block := file.read(step):
                if marker in tail + block:
                    return True
                tail = block[-len(marker) :]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    return False


def painted(records: Sequence[Record], size: Size, file: CocoFile) -> Segmentation:
    """Return what can be seen of COCO's annotations of an image, numbered in their order."""
    found = paint_annotations(records, size)
    shown = found.areas > 0
    numbers = np.where(shown, np.cumsum(shown), 0)
    id_map = renumber(found.id_map, np.append(0, numbers))
    where = boxes(id_map)
    segments = []
    for record, i, area in zip(found.records, numbers.tolist(), found.areas.tolist(), strict=True):
        if i:
            category = read_category(file.category_by_id[record["category_id"]])
            segment = Segment(
                i,
                category.id,
                is_thing=category.is_thing,
                is_crowd=bool(record.get("iscrowd")),
                area=area,
                bbox=where[i],
                annotation_id=record["id"],
            )
            segments.append(read_attributes(segment, record))
    return Segmentation(id_map, tuple(segments))
