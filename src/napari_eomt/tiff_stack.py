"""The frames of a TIFF file, read one by one: what is not asked for stays on the disk."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from PIL import Image

from napari_eomt.errors import DataError
from napari_eomt.structures.axes import guess_axes, take_frame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    import numpy.typing as npt

    from napari_eomt.structures.axes import AxisRoles
    from napari_eomt.structures.frames import Frame

# What tifffile calls axes about which the file says nothing.
_UNKNOWN_AXES = frozenset("Q")


@dataclass(frozen=True)
class StackHeader:
    """What a TIFF file says of its first image, before any pixel is read.

    Parameters
    ----------
    shape : tuple of int
    roles : AxisRoles
        Which axis is what, as `open_source` reads it.
    page_bytes, frame_bytes : int
        Of what is unpacked at once, and of a frame.
    """

    shape: tuple[int, ...]
    roles: AxisRoles
    page_bytes: int
    frame_bytes: int

    @property
    def n_frames(self) -> int:
        """How many frames there are, over all axes that are stepped through."""
        return self.roles.n_frames(self.shape)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of a frame, in pixels."""
        return self.roles.frame_shape(self.shape)


class TiffStack:
    """The first image of a TIFF file, open; a context manager.

    Whatever a decoder raises is not turned into another error here.

    Parameters
    ----------
    path : Path

    Raises
    ------
    DataError
        If it has no image, ends before the last page, or its axes make no frames.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _whole(path):
            self._tiff = tifffile.TiffFile(path)
            try:
                if not self._tiff.series:
                    raise DataError(f"{path.name} is a TIFF file without an image.")
                self._series = self._tiff.series[0]
                shape = tuple(int(n) for n in self._series.shape)
                roles = file_axes(shape, tuple(self._series.axes))
            except BaseException:
                self._tiff.close()
                raise
        size = self._series.dtype.itemsize if self._series.dtype is not None else 1
        n_frames, n_pages = roles.n_frames(shape), len(self._series.pages)
        self._lead = _lead(shape, n_pages)
        whole = prod(shape) * size
        is_plain = self._series.dataoffset is not None
        page_bytes = 0 if is_plain else whole if self._lead is None else whole // n_pages
        self.header = StackHeader(shape, roles, page_bytes, whole // n_frames)

    def frame(self, index: int) -> Frame:
        """Return a frame, in memory, in this machine's byte order.

        Raises
        ------
        DataError
            If there is no such frame.
        """
        array: Any = self
        if self._series.dataoffset is not None:
            array = tifffile.memmap(self._path, mode="r").reshape(self.shape)
        found = take_frame(array, self.header.roles, index)
        return np.array(found, found.dtype.newbyteorder("="), order="C")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all frames."""
        return self.header.shape

    def __getitem__(self, index: tuple[Any, ...]) -> npt.NDArray[Any]:
        if self._lead is None:  # pages that are not a grid
            whole: npt.NDArray[Any] = np.asarray(self._series.asarray()).reshape(self.shape)
            return _sliced(whole, index)
        lead, inner = index[: self._lead], index[self._lead :]
        grid = np.arange(len(self._series.pages)).reshape(self.shape[: self._lead])
        chosen = np.asarray(grid[lead])
        pages = np.stack([self._page(int(k)) for k in chosen.ravel()])
        pages = pages.reshape(*chosen.shape, *self.shape[self._lead :])
        return _sliced(pages, (slice(None),) * chosen.ndim + inner)

    def _page(self, k: int) -> npt.NDArray[Any]:
        page = self._series.pages[k]
        inner = self.shape[self._lead or 0 :]
        if page is None:  # an OME-TIFF whose acquisition was stopped
            return np.zeros(inner, self._series.dtype)
        try:
            pixels: npt.NDArray[Any] = np.asarray(page.asarray())
        except ValueError as error:
            # tifffile leaves LZW, JPEG and others to an optional package; Pillow knows most.
            if "imagecodecs" not in str(error):
                raise
            with Image.open(self._path) as picture:
                picture.seek(page.index)
                pixels = np.asarray(picture)
        return pixels.reshape(inner)

    def __enter__(self) -> TiffStack:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tiff.close()


def file_axes(shape: tuple[int, ...], names: tuple[str, ...]) -> AxisRoles:
    """Say which axis of a file's array is what: by its names, if it knows them.

    Raises
    ------
    DataError
        If there are too few axes.
    """
    upper = [name.upper() for name in names]
    is_known = not _UNKNOWN_AXES.issuperset(set(upper) - {"Y", "X"})
    if is_known and len(set(upper)) == len(upper) and {"Y", "X"} <= set(upper):
        return guess_axes(shape, names=names)
    return guess_axes(shape)


def _lead(shape: tuple[int, ...], n_pages: int) -> int | None:
    """Return how many of the first axes count the pages; None if they are not a grid."""
    return next((k for k in range(len(shape)) if prod(shape[:k]) == n_pages), None)


def _sliced(array: npt.NDArray[Any], index: tuple[Any, ...]) -> npt.NDArray[Any]:
    sliced: npt.NDArray[Any] = array[index]
    return sliced


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Raise an error where tifffile only logs that the file ends too early."""
    messages: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    listener = Listener(logging.ERROR)
    logger = logging.getLogger("tifffile")
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)
    if any("invalid page offset" in message for message in messages):
        raise DataError(
            f"{path.name} is cut off: it ends before the last of its pages. Copy or download it "
            "again."
        )
