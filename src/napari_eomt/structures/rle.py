"""COCO's run lengths of masks, many at once: from an id map and back, measured and compared.

Column by column, the first run is zeros, counts compressed exactly as pycocotools compresses them.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pycocotools.mask as coco_mask

from napari_eomt.structures.rle_runs import (
    MaskRuns,
    covered,
    from_counts,
    iter_pixels,
    joined,
    to_strings,
)
from napari_eomt.structures.rle_strings import Ints, concatenated, unpack

if TYPE_CHECKING:
    from napari_eomt.structures.segments import Box, IdMap

MAX_PIXELS = 2**32 - 1
"""pycocotools counts pixels in 32 bits."""

# Beyond, a difference of two counts can take more characters than pycocotools makes room for.
_MAX_COCO_PIXELS = 2**29


@dataclass(frozen=True)
class Rle:
    """A mask as COCO writes it.

    What this module makes is canonical: equal masks have equal counts. What comes from a file
    goes through `from_coco`, which checks it.

    Parameters
    ----------
    size : (H, W)
    counts : bytes
        Compressed run lengths, column by column, the first of zeros.
    """

    size: tuple[int, int]
    counts: bytes

    @property
    def area(self) -> int:
        """Pixels of the mask. For many masks, `areas` is quicker."""
        return int(areas([self])[0])

    @property
    def bbox(self) -> Box:
        """(y0, x0, y1, x1), half-open, in pixels; four zeros for an empty mask."""
        y0, x0, y1, x1 = boxes([self])[0].tolist()
        return y0, x0, y1, x1

    def as_coco(self) -> dict[str, Any]:
        """Return what a COCO file holds: ``{"size": [H, W], "counts": str}``."""
        return {"size": list(self.size), "counts": self.counts.decode("ascii")}


def encode(id_map: IdMap, ids: Iterable[int] | None = None) -> dict[int, Rle]:
    """Encode every segment of an id map, in one pass over it.

    Parameters
    ----------
    id_map : (H, W) int
        0 is void; up to 2⁶⁴ − 1, in any byte order and memory layout.
    ids : iterable of int, optional
        Only these; those without a pixel are not in the answer.

    Returns
    -------
    dict of int to Rle
        In the order of the ids, without 0.

    Raises
    ------
    ValueError
        If the id map is not a 2-D array of integers, or holds a negative id.
    """
    if id_map.ndim != 2 or id_map.dtype.kind not in "ui":
        raise ValueError(
            f"An id map is an (H, W) array of integers; this one is {id_map.dtype} of "
            f"{id_map.shape}."
        )
    flat = id_map.ravel(order="F").astype(id_map.dtype.newbyteorder("="), copy=False)
    edges = np.flatnonzero(flat[1:] != flat[:-1]).astype(np.int64) + 1
    starts = np.concatenate((np.zeros(min(1, flat.size), np.int64), edges))
    stops = np.concatenate((edges, np.full(min(1, flat.size), flat.size, np.int64)))
    values = flat[starts]
    if values.size and values.min() < 0:
        raise ValueError(f"The id map holds the id {values.min()}; ids count from 1, 0 is void.")
    chosen = values != 0
    if ids is not None:
        wanted = {int(i) for i in ids if 0 < int(i) <= int(values.max(initial=0))}
        chosen &= np.isin(values, np.array(sorted(wanted), values.dtype))
    starts, stops, values = starts[chosen], stops[chosen], values[chosen]
    # Stable: the runs of one id stay in the order of their pixels.
    order = np.argsort(values, kind="stable")
    found, n_runs = np.unique(values[order], return_counts=True)
    runs = MaskRuns(concatenated(n_runs), starts[order], stops[order])
    size = (id_map.shape[0], id_map.shape[1])
    return dict(zip(found.tolist(), _pack(size, runs), strict=True))


def encode_mask(mask: npt.NDArray[Any]) -> Rle:
    """Encode one mask: (H, W) bool, or integers of which all but 0 are inside.

    Raises
    ------
    ValueError
        If it is not a 2-D array of booleans or integers.
    """
    if mask.ndim != 2 or mask.dtype.kind not in "bui":
        raise ValueError(
            f"A mask is an (H, W) array of booleans; this one is {mask.dtype} of {mask.shape}."
        )
    size = (mask.shape[0], mask.shape[1])
    return encode((mask != 0).view(np.uint8)).get(1) or empty(size)


def empty(size: tuple[int, int]) -> Rle:
    """Return the mask without a pixel; takes no image of that (H, W)."""
    none = np.zeros(0, np.int64)
    return _pack(size, MaskRuns(np.zeros(2, np.int64), none, none))[0]


def decode(rle: Rle) -> npt.NDArray[np.bool_]:
    """Return the mask: (H, W) bool, its columns contiguous.

    Raises
    ------
    ValueError
        If the counts do not fit the size.
    """
    height, width = rle.size
    flat = np.zeros(height * width, np.int8)
    runs = _unpack([rle])
    # +1 where a run starts, −1 where it ends; a run to the last pixel ends nowhere.
    flat[runs.starts] = 1
    flat[runs.stops[runs.stops < flat.size]] -= 1
    np.cumsum(flat, dtype=np.int8, out=flat)
    mask: npt.NDArray[np.bool_] = flat.view(np.bool_).reshape(width, height).T
    return mask


def decode_box(rle: Rle) -> tuple[npt.NDArray[np.bool_], Box]:
    """Return the part of the mask inside its box, and the box: (h, w) bool, (y0, x0, y1, x1).

    Time and memory go with the box, not with the image.
    """
    y0, x0, y1, x1 = rle.bbox
    mask = np.zeros((y1 - y0, x1 - x0), bool)
    for _, y, x in iter_pixels(_unpack([rle]), rle.size[0]):
        mask[y - y0, x - x0] = True
    return mask, (y0, x0, y1, x1)


def paint(
    rles: Iterable[tuple[int, Rle]], out: IdMap, *, hidden: dict[int, int] | None = None
) -> IdMap:
    """Paint masks into an id map, in place; where they overlap, the later one wins.

    Time and memory go with the runs and the pixels painted, not with masks times image.

    Parameters
    ----------
    rles : iterable of (id, Rle)
        COCO's instances may overlap.
    out : (H, W) int
        What no mask covers stays as it is.
    hidden : dict of int to int, optional
        Filled with the pixels of each id that others, painted later, cover; ids that are wholly
        visible are not added.

    Returns
    -------
    (H, W) int
        `out`.

    Raises
    ------
    ValueError
        If a mask is not as large as `out`, or an id does not fit its type.
    """
    pairs = list(rles)
    ids, masks = [i for i, _ in pairs], [rle for _, rle in pairs]
    limit = np.iinfo(out.dtype)
    for i, rle in pairs:
        if tuple(rle.size) != out.shape:
            raise ValueError(f"The mask of id {i} is {rle.size}, the id map {out.shape}.")
        if not limit.min <= i <= limit.max:
            raise ValueError(f"The id {i} does not fit an id map of {out.dtype}.")
    runs = _unpack(masks)
    values = np.array(ids, out.dtype)[runs.owners]
    for chosen, y, x in iter_pixels(runs, out.shape[0]):
        # Of several values for one pixel numpy keeps the last.
        out[y, x] = values[chosen]
    if hidden is not None:
        lost = np.zeros(len(pairs), np.int64)
        owners = runs.owners
        for chosen, y, x in iter_pixels(runs, out.shape[0]):
            is_lost = out[y, x] != values[chosen]
            lost += np.bincount(owners[chosen[is_lost]], minlength=len(pairs))
        for i, n in zip(ids, lost.tolist(), strict=True):
            if n:
                hidden[i] = hidden.get(i, 0) + n
    return out


def from_coco(value: Any, size: tuple[int, int]) -> Rle:
    """Read what a COCO file holds, trusting nothing in it.

    Parameters
    ----------
    value : dict
        ``{"size": [H, W], "counts": …}`` with compressed counts, str or bytes, or a list of counts.
    size : (H, W)
        Of the image.

    Returns
    -------
    Rle
        Canonical: runs of no pixels are left out, numbers take as few characters as they need.

    Raises
    ------
    ValueError
        If it is not as said, the size is another, or the counts do not add up to the image.
    """
    height, width = size
    if min(size) < 0 or height * width > MAX_PIXELS:
        raise ValueError(
            f"Run lengths cannot be read for an image of {height} × {width}: they count at most "
            f"{MAX_PIXELS} pixels."
        )
    if not isinstance(value, Mapping) or "counts" not in value or "size" not in value:
        raise ValueError(
            f"A mask in run lengths is {{'size': [H, W], 'counts': …}}, not {reprlib.repr(value)}."
        )
    said = value["size"]
    if (
        not isinstance(said, Sequence)
        or len(said) != 2
        or not all(_is_int(n) for n in said)
        or tuple(said) != tuple(size)
    ):
        raise ValueError(
            f"The run lengths are of size {reprlib.repr(said)}; the image is [{height}, {width}]."
        )
    counts = value["counts"]
    if isinstance(counts, str):
        if not counts.isascii():
            raise ValueError("The run lengths hold characters beyond ASCII; they are damaged.")
        counts = counts.encode("ascii")
    if isinstance(counts, bytes):
        numbers = unpack([counts])[0]
    elif isinstance(counts, (list, tuple)):
        for n in counts:
            if not _is_int(n) or not 0 <= n <= MAX_PIXELS:
                raise ValueError(
                    f"The run lengths hold {reprlib.repr(n)}; counts are integers from 0."
                )
        numbers = np.array(counts, np.int64)
    else:
        raise ValueError(
            f"The counts are a {type(counts).__name__}; a string or a list of integers was "
            "expected."
        )
    runs = from_counts(numbers, np.array([0, len(numbers)]), [size])
    return _pack(size, joined(runs))[0]


def areas(rles: Sequence[Rle]) -> Ints:
    """Return the pixels of each mask: (N,) int64."""
    runs = _unpack(rles)
    sums = concatenated(runs.stops - runs.starts)
    return np.diff(sums[runs.offsets])


def boxes(rles: Sequence[Rle]) -> Ints:
    """Return the box of each mask: (N, 4) int64 of y0, x0, y1, x1, half-open; empty: zeros."""
    runs = _unpack(rles)
    found = np.zeros((len(rles), 4), np.int64)
    heights = np.array([rle.size[0] for rle in rles], np.int64)[runs.owners]
    x0, y0 = np.divmod(runs.starts, heights)
    x1, y1 = np.divmod(runs.stops - 1, heights)
    # A run that goes on in the next column touches both ends of the columns.
    y0, y1 = np.where(x0 == x1, y0, 0), np.where(x0 == x1, y1, heights - 1)
    some = np.flatnonzero(np.diff(runs.offsets))
    if some.size:
        first = runs.offsets[some]
        for k, edge in enumerate((y0, x0)):
            found[some, k] = np.minimum.reduceat(edge, first)
        for k, edge in enumerate((y1, x1)):
            found[some, k + 2] = np.maximum.reduceat(edge, first) + 1
    return found


def iou(
    a: Sequence[Rle], b: Sequence[Rle], crowd: Sequence[bool] | None = None
) -> npt.NDArray[np.float64]:
    """Return the IoU of each mask with each: (A, B), by pycocotools.

    Parameters
    ----------
    a, b : sequence of Rle
        Of one size.
    crowd : sequence of bool, optional
        For each of `b` whether it is a crowd, of which any part may be matched: divided by the
        area of `a` alone.

    Raises
    ------
    ValueError
        If the sizes differ, the counts do not fit them, or `crowd` is not as long as `b`.
    """
    if crowd is not None and len(crowd) != len(b):
        raise ValueError(f"There are {len(b)} masks and {len(crowd)} crowd flags.")
    if not a or not b:
        return np.zeros((len(a), len(b)))
    height, width = _one_size([*a, *b])
    _unpack([*a, *b])  # pycocotools believes the counts, and would read past its memory
    flags = np.zeros(len(b), bool) if crowd is None else np.array(crowd, bool)
    if height * width < _MAX_COCO_PIXELS:
        ours, theirs = ([{"size": list(r.size), "counts": r.counts} for r in c] for c in (a, b))
        return np.asarray(coco_mask.iou(ours, theirs, flags.astype(np.uint8)), np.float64)
    common = np.array([[intersection([one, other]).area for other in b] for one in a], np.int64)
    area_a, area_b = areas(a)[:, None], areas(b)[None]
    whole = np.where(flags, area_a, area_a + area_b - common)
    return common / np.maximum(whole, 1)


def union(rles: Sequence[Rle]) -> Rle:
    """Return what is in any of the masks, one or more of one size."""
    size = _one_size(rles)
    return _pack(size, covered(_unpack(rles), 1))[0]


def intersection(rles: Sequence[Rle]) -> Rle:
    """Return what is in all of the masks, one or more of one size."""
    size = _one_size(rles)
    return _pack(size, covered(_unpack(rles), len(rles)))[0]


def _unpack(rles: Sequence[Rle]) -> MaskRuns:
    """Return the runs of the masks; ValueError where counts do not fit their size."""
    counts, offsets = unpack([rle.counts for rle in rles])
    return from_counts(counts, offsets, [rle.size for rle in rles])


def _pack(size: tuple[int, int], runs: MaskRuns) -> list[Rle]:
    """Return the masks of the runs."""
    return [Rle(size, text) for text in to_strings(runs, size[0] * size[1])]


def _one_size(rles: Sequence[Rle]) -> tuple[int, int]:
    """Return the size that all masks have."""
    sizes = sorted({tuple(rle.size) for rle in rles})
    if not sizes:
        raise ValueError("No mask was given; the size of the result is not known.")
    if len(sizes) > 1:
        raise ValueError(f"The masks differ in size: {sizes[0]} and {sizes[1]}.")
    height, width = sizes[0]
    return height, width


def _is_int(value: Any) -> bool:
    """Whether it counts something; True and False do not."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
