"""What there is to find in an image, as the model is to learn it. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_eomt.errors import DataError
from napari_eomt.structures.id_maps import id_dtype, renumber

if TYPE_CHECKING:
    from napari_eomt.structures.segments import IdMap, Segment, Segmentation, Task
    from napari_eomt.training.labels import LabelMap

_MAX_TABLE = 2**24


@dataclass(frozen=True, eq=False)
class Truth:
    """What there is to find in an image.

    Parameters
    ----------
    rows : (H, W) uint16 or uint32
        At each pixel 1 + the place in `labels` of what is there; 0 where there is nothing.
    labels : (n,) int64
        Label of each object or region.
    ids : (n,) int64
        Its segment's id, or that of the first of those that are one region; 0 of what nobody has
        annotated.
    boxes : (n, 4) int64
        (y0, x0, y1, x1), half-open, in pixels.
    ignore : (H, W) bool or None
        Where nobody has said what there is: crowds, and proposals that nobody has accepted.
    object_size : float or None
        Median √area of the things, in pixels; None if there are none.
    """

    rows: IdMap
    labels: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.int64]
    ignore: npt.NDArray[np.bool_] | None
    object_size: float | None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        height, width = self.rows.shape
        return height, width

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.rows.nbytes + (0 if self.ignore is None else self.ignore.nbytes)


def truth_of(
    segmentation: Segmentation,
    labels: LabelMap,
    task: Task,
    undecided: Literal["ignore", "learn"] = "ignore",
    name: str = "The image",
) -> Truth:
    """Take from a segmentation what is to be learnt.

    By the task: "instance" learns things, one by one, and takes stuff for background; "panoptic"
    things, and all stuff of a category as one region; "semantic" all of a category as one. Void is
    background, as published; for "semantic" it may have a label, see `with_background`. Crowds and
    proposals that nobody has accepted are ignored.

    Parameters
    ----------
    segmentation : Segmentation
    labels : LabelMap
    task : {"instance", "semantic", "panoptic"}
    undecided : {"ignore", "learn"}
        What becomes of proposals that nobody has accepted.
    name : str
        Of the image, for errors.

    Raises
    ------
    DataError
        If a segment has a category that is not in the dataset.
    """
    numbers, dense = _numbered(segmentation)
    table = np.zeros(len(numbers) + 1, np.int64)
    is_ignored = np.zeros(len(numbers) + 1, np.bool_)
    # An id that no segment tells about is nobody's word.
    is_ignored[1:] = True
    n_pixels = np.bincount(dense.ravel(), minlength=len(table))
    regions: dict[int, int] = {}
    of_rows: list[int] = []
    ids: list[int] = []
    sides: list[float] = []
    for segment in segmentation.segments:
        place = int(np.searchsorted(numbers, segment.id)) + 1
        if place > len(numbers) or numbers[place - 1] != segment.id:
            continue  # without a pixel
        label = _label(segment, labels, name)
        is_ignored[place] = segment.is_crowd or (undecided == "ignore" and not segment.is_locked)
        is_thing = labels.categories[label].is_thing
        if is_ignored[place] or (task == "instance" and not is_thing):
            continue
        if is_thing:
            sides.append(float(n_pixels[place]) ** 0.5)
        is_region = task == "semantic" or not is_thing
        if is_region and label in regions:
            table[place] = regions[label]
            continue
        of_rows.append(label)
        ids.append(segment.id)
        table[place] = len(of_rows)
        if is_region:
            regions[label] = len(of_rows)
    if task == "semantic" and labels.background is not None and n_pixels[0]:
        if labels.background not in regions:
            of_rows.append(labels.background)
            ids.append(0)
            regions[labels.background] = len(of_rows)
        table[0] = regions[labels.background]
    rows = renumber(dense, table)
    ignore = is_ignored[dense] if is_ignored[1:].any() else None
    return Truth(
        rows,
        np.array(of_rows, np.int64),
        np.array(ids, np.int64),
        _boxes(rows, len(of_rows)),
        ignore,
        float(np.median(sides)) if sides else None,
    )


def _numbered(segmentation: Segmentation) -> tuple[npt.NDArray[np.int64], IdMap]:
    """Return the ids that have pixels, rising, and a map of 1 + their places; 0 is void."""
    id_map = segmentation.id_map
    if int(id_map.max(initial=0)) <= _MAX_TABLE:
        there = np.bincount(id_map.ravel()) > 0
        numbers = np.flatnonzero(there[1:]) + 1
        table = np.zeros(len(there) or 1, id_dtype(len(numbers)))
        table[numbers] = np.arange(1, len(numbers) + 1)
        return numbers, table[id_map]
    every = np.unique(id_map).astype(np.int64)
    numbers = every[every > 0]
    return numbers, np.searchsorted(numbers, id_map, side="right")


def _label(segment: Segment, labels: LabelMap, name: str) -> int:
    try:
        return labels.label_of[segment.category_id]
    except KeyError:
        raise DataError(
            f"{name}: segment {segment.id} has category {segment.category_id}, not one of "
            f"{sorted(labels.label_of)} of the dataset. Give it one of these."
        ) from None


def _boxes(rows: IdMap, n: int) -> npt.NDArray[np.int64]:
    found = ndimage.find_objects(rows.astype(np.int32), n) if n else []
    boxes = [(y.start, x.start, y.stop, x.stop) for y, x in found]
    return np.array(boxes, np.int64).reshape(n, 4)
