"""The masks of COCO's annotations, and all those of an image painted into one id map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_eomt.errors import DataError
from napari_eomt.structures.id_maps import areas, id_dtype
from napari_eomt.structures.polygons import mask_to_polygons, polygons_to_rle
from napari_eomt.structures.rle import Rle, from_coco, paint
from napari_eomt.structures.rle import areas as rle_areas

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from napari_eomt.formats.coco_checks import Record, Size
    from napari_eomt.structures.segments import IdMap

MARK = "segment_id"
"""Of our attributes, the one that only annotations have whose mask we have written."""


@dataclass(frozen=True, eq=False)
class Painted:
    """The annotations of an image, and what of each can be seen.

    Parameters
    ----------
    records : tuple of dict
        All of them, in their order.
    id_map : (H, W) int
        At each pixel 1 + the place of the annotation that is on top; 0 is void.
    areas : (N,) int
        Pixels of each that can be seen: 0 for those that have no mask, an empty one, or one that
        others cover.
    """

    records: tuple[Record, ...]
    id_map: IdMap
    areas: npt.NDArray[np.int64]


def mask_of(record: Record, size: Size) -> Rle | None:
    """Return the mask of an annotation; None if it has none.

    Parameters
    ----------
    record : dict
        With polygons, or run lengths, compressed or not; without any it is a box, or keypoints.
    size : (H, W)
        Of its image.

    Raises
    ------
    DataError
        If it is none of these.
    """
    value = record.get("segmentation")
    if value is None or value == []:
        return None
    try:
        return polygons_to_rle(value, size) if isinstance(value, list) else from_coco(value, size)
    except ValueError as error:
        raise DataError(
            f"annotation {record.get('id')} of image {record.get('image_id')}: segmentation: "
            f"{error}"
        ) from error


def paint_annotations(records: Sequence[Record], size: Size) -> Painted:
    """Paint the masks of an image's annotations over each other.

    From bottom to top: crowds; then by area, the largest first, so that small things on large ones
    can be seen; of equal ones the later annotation lies on top. On top of these lie, in the same
    order, those whose mask we have written ourselves: they are what a person saw, and hide nothing
    that was to be seen. So what is written is painted as it was.

    Parameters
    ----------
    records : sequence of dict
        All annotations of an image, checked.
    size : (H, W)

    Raises
    ------
    DataError
        If a mask cannot be drawn.
    """
    masks = {k: mask for k, r in enumerate(records) if (mask := _as_is(r, size)) is not None}
    try:
        sizes = dict(zip(masks, rle_areas(list(masks.values())).tolist(), strict=True))
    except ValueError:
        for record in records:
            mask_of(record, size)  # says which it is
        raise

    def level(k: int) -> tuple[bool, bool, int]:
        return _is_ours(records[k]), not records[k].get("iscrowd"), -sizes[k]

    id_map: IdMap = np.zeros(size, id_dtype(len(records)))
    paint(((k + 1, masks[k]) for k in sorted(masks, key=level)), id_map)
    return Painted(tuple(records), id_map, areas(id_map, len(records) + 1)[1:])


def segmentation_of(rle: Rle, form: Literal["rle", "polygons"]) -> Any:
    """Return a mask as COCO has it: compressed run lengths, or polygons that draw it exactly."""
    return rle.as_coco() if form == "rle" else mask_to_polygons(rle)


def _as_is(record: Record, size: Size) -> Rle | None:
    """Return the mask of an annotation; compressed run lengths as they are, which takes no time."""
    value = record.get("segmentation")
    if isinstance(value, dict) and value.get("size") == list(size):
        counts = value.get("counts")
        if isinstance(counts, bytes):
            return Rle(size, counts)
        if isinstance(counts, str) and counts.isascii():
            return Rle(size, counts.encode("ascii"))
    return mask_of(record, size)


def _is_ours(record: Record) -> bool:
    attributes = record.get("attributes")
    return isinstance(attributes, dict) and type(attributes.get(MARK)) is int
