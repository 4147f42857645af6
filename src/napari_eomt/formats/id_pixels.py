"""The pixels of label images: TIFF and PNG, read without trusting them."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from PIL.PngImagePlugin import PngImageFile

from napari_eomt.errors import DataError
from napari_eomt.formats.coco_checks import MAX_PIXELS

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = (".tif", ".tiff", ".png")
"""Of label images."""

_MAX_ID = 2**32 - 1
# How many times smaller compressions of TIFF can make a file: none, LZW, deflate, PackBits.
_PACKS = {1: 1, 5: 3000, 8: 1100, 32946: 1100, 32773: 100}
_DAMAGE = (
    tifffile.TiffFileError,
    struct.error,
    zlib.error,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What the libraries raise for damaged files."""


def read_id_pixels(path: Path) -> np.ndarray[Any, np.dtype[Any]]:
    """Read ids: (…, H, W) uint16 or uint32.

    Raises
    ------
    DataError
        If the file cannot be read, or does not hold ids.
    """
    try:
        array = _read_png(path) if path.suffix.lower() == ".png" else _read_tiff(path)
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except MemoryError as error:
        raise DataError(f"{path.name} does not fit into memory. Split it.") from error
    except _DAMAGE as error:
        first = (str(error).splitlines() or ["unknown"])[0]
        raise DataError(f"{path.name} is damaged ({first}). Take it from a copy.") from error
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    if low < 0 or high > _MAX_ID:
        raise DataError(
            f"{path.name} holds ids from {low} to {high}; ids count from 1 to {_MAX_ID}, 0 is "
            "void. Number them anew."
        )
    return array.astype(np.uint16 if high < 2**16 else np.uint32, copy=False)


def _read_tiff(path: Path) -> np.ndarray[Any, np.dtype[Any]]:
    with tifffile.TiffFile(path) as tiff:
        if not tiff.series:
            raise DataError(f"{path.name} has no image. Choose a label image.")
        series = tiff.series[0]
        axes, shape, dtype = series.axes, series.shape, series.dtype
        if dtype is None or dtype.kind not in "uib" or "S" in axes or axes[-2:] != "YX":
            raise DataError(
                f"{path.name} holds {dtype} of the axes {axes}, {shape}; a label image is of "
                "integers, with the axes YX last and no colour. Choose another file."
            )
        if shape[-2] * shape[-1] > MAX_PIXELS:
            raise DataError(
                f"{path.name} is {shape[-2]} × {shape[-1]}; images of up to {MAX_PIXELS} pixels "
                "are read. Cut it into tiles."
            )
        n_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        # What says that these pack more than they can would take memory for nothing.
        packs = _PACKS.get(int(series.keyframe.compression))
        if packs is not None and n_bytes > 2**20 + packs * path.stat().st_size:
            raise DataError(
                f"{path.name} says that it is {shape}, but has {path.stat().st_size} bytes: it is "
                "cut off. Take it from a copy."
            )
        return np.asarray(series.asarray(maxworkers=1))


def _read_png(path: Path) -> np.ndarray[Any, np.dtype[Any]]:
    with PngImageFile(path) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise DataError(
                f"{path.name} is {height} × {width}; images of up to {MAX_PIXELS} pixels are read."
            )
        if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
            raise DataError(
                f"{path.name} is a PNG of {image.mode}; label images are grey or have a palette. "
                "For panoptic masks in colours, choose their JSON."
            )
        return np.asarray(image)
