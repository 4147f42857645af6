"""The pixels of a dataset's image, which may be a slice of a stack: its `frame` says which.

A frame counts from 0 over all axes that are stepped through, the last of them fastest. It means a
slice where the file has several frames, or where several images are of one file. In other datasets
it says where in a video an image lies that is a file of its own: there it selects nothing.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from napari_eomt.errors import DataError
from napari_eomt.formats.coco_checks import MAX_PIXELS
from napari_eomt.formats.image_files import (
    MAX_BYTES,
    TIFF,
    check_image,
    read_image,
    reading,
    wrong_size,
)
from napari_eomt.tiff_stack import StackHeader, read_frame, read_header

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from napari_eomt.formats.coco_checks import Record


@dataclass(frozen=True)
class Slice:
    """A frame of a file that has several.

    Parameters
    ----------
    path : Path
    frame : int
        From 0.
    """

    path: Path
    frame: int

    def __str__(self) -> str:
        return f"{self.path}, frame {self.frame}"


ImagePlace: TypeAlias = "Path | Slice"
"""Where the pixels of an image are."""


def image_name(record: Record, *, is_shared: bool = False) -> str:
    """Return what people call an image: "stack.tif, frame 3" where others are of the same file.

    Parameters
    ----------
    record : dict
    is_shared : bool
        See `CocoFile.is_shared`.
    """
    name = str(record.get("file_name") or f"image {record['id']}")
    frame = record.get("frame")
    return f"{name}, frame {frame}" if is_shared and frame is not None else name


def read_record(path: Path, record: Record, *, is_shared: bool = False) -> npt.NDArray[Any]:
    """Read an image of a dataset; of a stack only the slice that it is.

    Parameters
    ----------
    path : Path
        Its file.
    record : dict
        With ``id``, ``height`` and ``width``; its ``frame``, if it has one, counts from 0.
    is_shared : bool
        Whether other images of the dataset are of the same file; see `CocoFile.is_shared`.

    Returns
    -------
    (H, W) or (H, W, C)

    Raises
    ------
    DataError
        If it cannot be read, has another size than the record says, or there is no such frame.
    """
    frame = _checked(path, record, is_shared)
    if frame is None:
        return read_image(path, (record["height"], record["width"]))
    header = _header(path)
    with reading(path):
        return read_frame(path, header, frame)


def check_record(path: Path, record: Record, *, is_shared: bool = False) -> None:
    """Check by its header what `read_record` would read: pixels may still be damaged.

    Raises
    ------
    DataError
        As `read_record` does.
    """
    if _checked(path, record, is_shared) is None:
        check_image(path, (record["height"], record["width"]))


def place_of(path: Path, record: Record, *, is_shared: bool = False) -> ImagePlace:
    """Return where the pixels of an image are; the first frame of a file is where the file is.

    Parameters
    ----------
    path : Path
        Its file, which is not asked where the dataset says enough.
    record : dict
    is_shared : bool
    """
    frame = record.get("frame")
    if type(frame) is not int or frame <= 0:
        return path
    if is_shared:
        return Slice(path, frame)
    try:
        return Slice(path, frame) if frame < _n_frames(path) else path
    except DataError:
        return path  # which is told when it is read


def _checked(path: Path, record: Record, is_shared: bool) -> int | None:
    """Return which frame of a stack is to be read; None for a file that is read as one image."""
    frame = record.get("frame")
    if not is_shared and frame is None:
        return None
    n, what = _n_frames(path), f"Image {record['id']}"
    if n == 1 and not is_shared:
        return None  # its frame is a place in a video
    if frame is None:
        raise DataError(
            f"{what} is of {path.name}, as others are, and does not say which frame of it. Give "
            "it a 'frame', counted from 0; or write each image to a file of its own."
        )
    if type(frame) is not int or frame < 0:
        raise DataError(
            f"{what}: frame is {reprlib.repr(frame)}; a whole number from 0 was expected, the "
            f"number of a frame of {path.name}. Correct the dataset."
        )
    if frame >= n:
        there = f"has {n} frames, 0 to {n - 1}" if n > 1 else "is a single image, and no stack"
        raise DataError(
            f"{what}: there is no frame {frame} in {path.name}, which {there}. Correct the "
            "dataset, or put the stack back that was annotated."
        )
    if n == 1:
        return None
    header, size = _header(path), (record["height"], record["width"])
    if header.size != size:
        raise wrong_size(f"{path.name}, frame {frame},", header.size, size)
    if header.size[0] * header.size[1] > MAX_PIXELS or header.unpacked_bytes > MAX_BYTES:
        raise DataError(
            f"A frame of {path.name} has {size[0]} × {size[1]} pixels and unpacks to "
            f"{header.unpacked_bytes / 2**30:.0f} GiB; up to {MAX_PIXELS} pixels and "
            f"{MAX_BYTES / 2**30:.0f} GiB are read. Write each frame to a page of its own, or cut "
            "it into tiles."
        )
    return frame


def _n_frames(path: Path) -> int:
    return _header(path).n_frames if path.suffix.lower() in TIFF else 1


def _header(path: Path) -> StackHeader:
    with reading(path):
        stat = path.stat()
        return _header_at(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _header_at(path: Path, mtime_ns: int, n_bytes: int) -> StackHeader:
    """Look into a file once: thousands of images may be slices of it."""
    return read_header(path)
