"""Truth in which proposals that nobody has accepted are neither right nor wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_eomt.evaluation.coco_average_precision import TrueObject
from napari_eomt.evaluation.overlap import UNDECIDED
from napari_eomt.evaluation.truth import Truth
from napari_eomt.formats.coco_attributes import read_attributes
from napari_eomt.formats.coco_masks import mask_of
from napari_eomt.structures.rle import union
from napari_eomt.structures.segments import Segment, Segmentation

if TYPE_CHECKING:
    from napari_eomt.formats.coco_checks import Record


class DecidedTruth(Truth):
    """Another truth, but that what lies on undecided objects is ignored, whatever it is said to be.

    Parameters
    ----------
    truth : Truth
    """

    def __init__(self, truth: Truth) -> None:
        super().__init__(truth.path, truth.file)
        self._truth = truth
        self.void, self.image_ids = truth.void, truth.image_ids

    def segmentation(self, image_id: int) -> Segmentation:
        """Return it with the undecided as crowds."""
        found = self._truth.segmentation(image_id)
        segments = (
            s if s.is_locked else replace(s, is_crowd=True, category_id=UNDECIDED)
            for s in found.segments
        )
        return Segmentation(found.id_map, tuple(segments))

    def objects(self, image_id: int) -> list[TrueObject] | None:
        """Return those that were decided, and for each category a crowd of the others."""
        if self._truth.objects(image_id) is None:
            return None
        found, undecided = [], []
        for record in self.file.annotations_of(image_id):
            mask = mask_of(record, self.size(image_id))
            if mask is None:
                continue
            if not is_decided(record):
                undecided.append(mask)
                continue
            is_crowd, area = bool(record.get("iscrowd")), record.get("area")
            found.append(TrueObject(image_id, record["category_id"], mask, is_crowd, area))
        if undecided:
            crowd = union(undecided)
            found += [TrueObject(image_id, c.id, crowd, is_crowd=True) for c in self.categories]
        return found


def n_undecided(truth: Truth) -> int:
    """Return how many of the images have an undecided object."""
    return sum(
        any(not is_decided(record) for record in _records(truth, image_id))
        for image_id in truth.image_ids
    )


def is_decided(record: Record) -> bool:
    """Whether somebody has decided about an annotation, as far as it says."""
    return read_attributes(Segment(1, 0), record).is_locked


def _records(truth: Truth, image_id: int) -> list[Record]:
    records = truth.file.annotations_of(image_id)
    return [row for record in records for row in record.get("segments_info", [record])]
