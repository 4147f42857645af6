"""Results on disk: a label TIFF, and a table of its segments."""

from __future__ import annotations

import csv
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_eomt.structures.id_maps import id_dtype

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from napari_eomt.structures.categories import Category
    from napari_eomt.structures.segments import IdMap, Segmentation

COLUMNS = ("frame", "id", "category_id", "category", "score", "area", "y0", "x0", "y1", "x1")
"""Columns of the table: area in px²; the box in px, half-open; frames counted from 0."""


class ResultWriter:
    """Writes the segmentations of an image's frames, one at a time.

    The label image is a TIFF, uint16 or, once a frame has more than 65,535 ids, uint32; zlib; a
    page a frame, with OME metadata if it is a stack. Ids start at 1 in each frame. The table is
    CSV, a row a segment; see `COLUMNS`.

    Parameters
    ----------
    labels : Path
        File to write.
    table : Path or None
        Another; None is without one.
    shape : (H, W)
        Of every frame, in pixels.
    stack_shape : tuple of int
        Lengths of the axes before these; empty for a single image.
    stack_names : sequence of str
        Their names as far as known; others than T, Z and C cannot be kept.
    categories : sequence of Category
        The model's.
    """

    def __init__(
        self,
        labels: Path,
        table: Path | None,
        shape: tuple[int, int],
        stack_shape: tuple[int, ...],
        stack_names: Sequence[str],
        categories: Sequence[Category],
    ) -> None:
        self._labels, self._shape = labels, shape
        self._stack_shape, self._axes = _stack_axes(stack_shape, stack_names)
        self._names = {category.id: category.name for category in categories}
        self._dtype: type[np.uint16] | type[np.uint32] = np.uint16
        self._n_pages = 0
        self._tiff = self._open(labels)
        self._file = None if table is None else table.open("w", newline="", encoding="utf-8")
        self._rows: Any = None
        if self._file is not None:
            self._rows = csv.writer(self._file, lineterminator="\n")
            self._rows.writerow(COLUMNS)

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._tiff.close()
        finally:
            if self._file is not None:
                self._file.close()

    def add(self, frame: int, segmentation: Segmentation) -> None:
        """Write the next frame, which is number `frame` of the image."""
        id_map = segmentation.id_map
        if id_dtype(int(id_map.max(initial=0))) is np.uint32 and self._dtype is np.uint16:
            self._widen()
        self._page(id_map)
        if self._rows is None:
            return
        for segment in segmentation.segments:
            score = "" if segment.score is None else f"{segment.score:.4f}"
            name = self._names.get(segment.category_id, "")
            self._rows.writerow(
                [frame, segment.id, segment.category_id, name, score, segment.area, *segment.bbox]
            )

    def _open(self, path: Path) -> tifffile.TiffWriter:
        # A TIFF's offsets are 32-bit; a large stack needs BigTIFF, compressed or not.
        n_bytes = prod(self._stack_shape) * prod(self._shape) * np.dtype(self._dtype).itemsize
        return tifffile.TiffWriter(path, bigtiff=n_bytes > 2**32 - 2**25)

    def _page(self, id_map: IdMap) -> None:
        first = self._n_pages == 0 and self._stack_shape
        self._tiff.write(
            id_map.astype(self._dtype, copy=False),
            description=self._ome() if first else None,
            photometric="minisblack",
            compression="zlib",
            metadata=None,
            contiguous=False,
            maxworkers=1,
        )
        self._n_pages += 1

    def _widen(self) -> None:
        """Start again as uint32, with the pages written so far."""
        self._tiff.close()
        narrow = self._labels.with_name(self._labels.name + ".narrow")
        n_pages, self._n_pages, self._dtype = self._n_pages, 0, np.uint32
        if not n_pages:
            self._tiff = self._open(self._labels)
            return
        self._labels.replace(narrow)
        try:
            self._tiff = self._open(self._labels)
            with tifffile.TiffFile(narrow) as tiff:
                for page in tiff.pages:
                    self._page(np.asarray(page.asarray()))
        finally:
            narrow.unlink()

    def _ome(self) -> bytes:
        ome = tifffile.OmeXml()
        ome.addimage(
            self._dtype,
            (*self._stack_shape, *self._shape),
            (prod(self._stack_shape), 1, 1, *self._shape, 1),
            axes=self._axes + "YX",
        )
        return ome.tostring().encode()


def _stack_axes(shape: tuple[int, ...], names: Sequence[str]) -> tuple[tuple[int, ...], str]:
    """Return a shape and axes that OME can express."""
    axes = "".join(names).upper()
    if len(shape) > 3:
        return (prod(shape),), "T"
    if len(axes) == len(shape) and set(axes) <= set("TZC") and len(set(axes)) == len(axes):
        return shape, axes
    return shape, "TZC"[: len(shape)]
