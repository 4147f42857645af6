"""The frames of a TIFF file, read one by one: what is not asked for stays on the disk."""

from __future__ import annotations

import logging
from contextlib import closing, contextmanager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from PIL import Image

from napari_eomt.errors import DataError
from napari_eomt.structures.axes import guess_axes, take_frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

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
    dtype : dtype
        In the file's byte order.
    n_pages : int
        That are unpacked one by one.
    offset : int or None
        Bytes before the pixels, where these lie in one piece as they are; else None.
    """

    shape: tuple[int, ...]
    roles: AxisRoles
    dtype: np.dtype[Any]
    n_pages: int
    offset: int | None

    @property
    def n_frames(self) -> int:
        """How many frames there are, over all axes that are stepped through."""
        return self.roles.n_frames(self.shape)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of a frame, in pixels."""
        return self.roles.frame_shape(self.shape)

    @property
    def unpacked_bytes(self) -> int:
        """Memory that is taken at once to read a frame."""
        n_bytes = prod(self.shape) * self.dtype.itemsize
        of_frame = n_bytes // self.n_frames
        if self.offset is not None:
            return of_frame
        is_grid = _lead(self.shape, self.n_pages) is not None
        return max(of_frame, n_bytes // self.n_pages if is_grid else n_bytes)


def read_header(path: Path) -> StackHeader:
    """Look into a TIFF file; whatever a decoder raises is not turned into another error.

    Raises
    ------
    DataError
        If it has no image, ends before the last page, or its axes make no frames.
    """
    try:
        with open_whole(path) as tiff:
            series = tiff.series[0]
            shape, names = tuple(int(n) for n in series.shape), tuple(series.axes)
            dtype = np.dtype(series.dtype).newbyteorder(tiff.byteorder)
            n_pages, offset = len(series.pages), series.dataoffset
    except DataError as error:
        raise DataError(f"{path.name} {error}") from error
    return StackHeader(shape, file_axes(shape, names), dtype, n_pages, offset)


def read_frame(path: Path, header: StackHeader, index: int) -> Frame:
    """Return a frame of a TIFF file, in memory, in this machine's byte order.

    Parameters
    ----------
    path : Path
    header : StackHeader
        The file's, as it is now.
    index : int
        From 0; the last of the frame axes runs fastest.

    Raises
    ------
    DataError
        If there is no such frame.
    """
    shape, dtype = header.shape, header.dtype
    if header.offset is not None:
        plain = np.memmap(path, dtype, "r", header.offset, shape)
        found = take_frame(plain, header.roles, index)
    else:
        with closing(TiffPages(path, shape)) as pages:
            found = take_frame(pages, header.roles, index)
    return np.array(found, found.dtype.newbyteorder("="), order="C")


@contextmanager
def open_whole(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF file that has an image, of whose pages none is missing.

    Raises
    ------
    DataError
        If it has none, or ends before the last page, which tifffile only logs. What is wrong is
        said without the file's name: callers put it in front, as they name files.
    """
    messages: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    listener = Listener(logging.ERROR)
    logger = logging.getLogger("tifffile")
    logger.addHandler(listener)
    try:
        with tifffile.TiffFile(path) as tiff:
            if not tiff.series:
                raise DataError("is a TIFF file without an image.")
            yield tiff
    finally:
        logger.removeHandler(listener)
    if any("invalid page offset" in message for message in messages):
        raise DataError(
            "is cut off: it ends before the last of its pages. Copy or download it again."
        )


class TiffPages:
    """The first image of a TIFF file as an array, read page by page.

    What Pillow unpacks keeps to its limit of pixels at the time, `Image.MAX_IMAGE_PIXELS`: who
    reads knows how far the file is to be trusted.

    Parameters
    ----------
    path : Path
    shape : tuple of int
        Of the image.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._path = path
        self._tiff = tifffile.TiffFile(path)
        self._series = self._tiff.series[0]
        self._lead = _lead(shape, len(self._series.pages))

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
            # As they are stored, as tifffile gives them: colours of a palette stay numbers.
            with Image.open(self._path) as picture:
                picture.seek(page.index)
                pixels = np.asarray(picture)
        return pixels.reshape(inner)

    def close(self) -> None:
        """Close the file."""
        self._tiff.close()


def file_axes(shape: tuple[int, ...], names: tuple[str, ...]) -> AxisRoles:
    """Say which axis of a file's array is what: by its names, if it knows them.

    Raises
    ------
    DataError
        If there are too few axes.
    """
    return guess_axes(shape, names=known_axes(names) or None)


def known_axes(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a file's axes if they tell which is what, else none.

    They do not if Y or X is missing, one is there twice, or all others are unknown.
    """
    upper = {name.upper() for name in names}
    others = upper - {"Y", "X"}
    is_known = not others or not others <= _UNKNOWN_AXES
    return tuple(names) if is_known and len(upper) == len(names) and {"Y", "X"} <= upper else ()


def _lead(shape: tuple[int, ...], n_pages: int) -> int | None:
    """Return how many of the first axes count the pages; None if they are not a grid."""
    return next((k for k in range(len(shape)) if prod(shape[:k]) == n_pages), None)


def _sliced(array: npt.NDArray[Any], index: tuple[Any, ...]) -> npt.NDArray[Any]:
    sliced: npt.NDArray[Any] = array[index]
    return sliced
