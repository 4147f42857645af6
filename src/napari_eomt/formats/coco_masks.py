"""The masks of COCO's annotations, and all those of an image painted into one id map."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pycocotools.mask as coco_mask

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

_MAX_STEPS = 1 << 23  # pycocotools takes 24 bytes for each

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
        if not isinstance(value, list):
            return from_coco(value, size)
        return _drawn(value, size) if _is_tame(value, size) else polygons_to_rle(value, size)
    except ValueError as error:
        raise DataError(
            f"annotation {record.get('id')} of image {record.get('image_id')}: segmentation: "
            f"{error}"
        ) from error


def masks_of(records: Sequence[Record], size: Size) -> dict[int, Rle]:
    """Return the masks of an image's annotations by their places, of those that have one.

    All at once they are read four times as quickly as by `mask_of`; counts are as they were, not
    canonical.

    Raises
    ------
    DataError
        If one is no mask.
    """
    return _measured(records, size)[0]


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
    masks, n_pixels = _measured(records, size)
    sizes = dict(zip(masks, n_pixels, strict=True))

    def level(k: int) -> tuple[bool, bool, int]:
        return _is_ours(records[k]), not records[k].get("iscrowd"), -sizes[k]

    id_map: IdMap = np.zeros(size, id_dtype(len(records)))
    paint(((k + 1, masks[k]) for k in sorted(masks, key=level)), id_map)
    return Painted(tuple(records), id_map, areas(id_map, len(records) + 1)[1:])


def segmentation_of(rle: Rle, form: Literal["rle", "polygons"]) -> Any:
    """Return a mask as COCO has it: compressed run lengths, or polygons that draw it exactly."""
    return rle.as_coco() if form == "rle" else mask_to_polygons(rle)


def _is_tame(polygons: list[Any], size: Size) -> bool:
    """Whether pycocotools can draw the polygons as they are: nearly all that there are.

    Asking takes a twentieth of the time that `polygons_to_rle` takes to check and clip.
    """
    far = 2 * max(size)
    n_points = 0
    for polygon in polygons:
        if (
            not isinstance(polygon, list)
            or len(polygon) < 6
            or len(polygon) % 2
            or not set(map(type, polygon)) <= {int, float}
            or not -far < min(polygon) <= max(polygon) < far
            or not math.isfinite(sum(polygon))  # not a number compares with nothing
        ):
            return False
        n_points += len(polygon) // 2
    # Of each point's way to the next pycocotools makes five steps a pixel.
    return n_points * 10 * far <= _MAX_STEPS and size[0] * size[1] < 2**31


def _drawn(polygons: list[list[float]], size: Size) -> Rle:
    parts = coco_mask.frPyObjects(polygons, *size)
    return Rle(size, (parts[0] if len(parts) == 1 else coco_mask.merge(parts))["counts"])


def _measured(records: Sequence[Record], size: Size) -> tuple[dict[int, Rle], list[int]]:
    """Return the masks by their places, and the pixels of each."""
    masks = {k: mask for k, r in enumerate(records) if (mask := _as_is(r, size)) is not None}
    try:
        return masks, rle_areas(list(masks.values())).tolist()
    except ValueError:
        for record in records:
            mask_of(record, size)  # says which it is
        raise


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
