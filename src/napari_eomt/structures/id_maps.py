"""Measuring and renumbering id maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.structures.segments import Box, IdMap


def id_dtype(max_id: int) -> type[np.uint16] | type[np.uint32]:
    """Return the smallest dtype of an id map that holds `max_id`.

    napari redraws a 4096² layer in 3 ms as uint16 and in 135 ms as int32.
    """
    return np.uint16 if max_id <= np.iinfo(np.uint16).max else np.uint32


def areas(id_map: IdMap, n_ids: int | None = None) -> npt.NDArray[np.int64]:
    """Count the pixels of every id.

    Parameters
    ----------
    id_map : (H, W) int
    n_ids : int, optional
        Length of the answer; by default the largest id + 1.

    Returns
    -------
    (n_ids,) int64
        At ``[i]`` the pixels of id i.
    """
    counts = np.bincount(id_map.ravel(), minlength=n_ids or 0)
    return counts.astype(np.int64, copy=False)


def boxes(id_map: IdMap) -> dict[int, Box]:
    """Return the bounding box of every id but 0, as (y0, x0, y1, x1), half-open."""
    found: dict[int, Box] = {}
    # find_objects takes one pass over the image, and no unsigned 32-bit input on every platform.
    for i, slices in enumerate(ndimage.find_objects(id_map.astype(np.int32, copy=False)), start=1):
        if slices is not None:
            rows, columns = slices
            found[i] = (rows.start, columns.start, rows.stop, columns.stop)
    return found


def renumber(id_map: IdMap, new_ids: npt.NDArray[np.integer]) -> IdMap:
    """Give every id a new number.

    Parameters
    ----------
    id_map : (H, W) int
    new_ids : (N,) int
        At ``[i]`` the new number of id i; N is larger than the largest id.

    Returns
    -------
    (H, W) uint16 or uint32
    """
    table = new_ids.astype(id_dtype(int(new_ids.max(initial=0))))
    return cast("IdMap", table[id_map])


def measure(
    id_map: IdMap, ids: Sequence[int], origin: tuple[int, int] = (0, 0)
) -> dict[int, tuple[int, Box]]:
    """Measure some ids of an id map, or of a part of one.

    Parameters
    ----------
    id_map : (h, w) int
    ids : sequence of int
        Rising, without 0.
    origin : (y, x)
        Where the first pixel lies in the whole.

    Returns
    -------
    dict of int to (area, box)
        In pixels of the whole; ids without a pixel are not in it.
    """
    if not ids:
        return {}
    # Numbered anew from 1, a part with few ids costs no table as long as the largest one.
    position = np.searchsorted(ids, id_map)
    position[position == len(ids)] = 0
    is_one = np.asarray(ids)[position] == id_map
    numbered = np.where(is_one, position + 1, 0).astype(np.int32)
    counts = np.bincount(numbered.ravel(), minlength=len(ids) + 1)
    y, x = origin
    found: dict[int, tuple[int, Box]] = {}
    for k, slices in enumerate(ndimage.find_objects(numbered, len(ids))):
        if slices is not None:
            rows, columns = slices
            box = (rows.start + y, columns.start + x, rows.stop + y, columns.stop + x)
            found[ids[k]] = int(counts[k + 1]), box
    return found
