"""The images of a dataset as a source of frames, read one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_eomt.errors import DataError
from napari_eomt.formats.dataset_images import find_image, roots_of
from napari_eomt.formats.image_files import read_image
from napari_eomt.inference.sources import FileSource, open_source
from napari_eomt.structures.axes import guess_axes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_eomt.formats.coco_checks import Record

_TIFF = (".tif", ".tiff")


class DatasetFrames(FileSource):
    """Some images of a dataset as the frames of one; see `FileSource`.

    Parameters
    ----------
    path : Path
        Of the dataset's file.
    name : str
        What people call it.
    records : sequence of dict
        Of images of one size, with ``file_name``, ``height`` and ``width``.
    is_stack : bool
        Whether there is an axis of frames; if not, there is one record.

    Raises
    ------
    DataError
        If the first image is not there, or cannot be read.
    """

    def __init__(self, path: Path, name: str, records: Sequence[Record], *, is_stack: bool) -> None:
        self._title = name
        first = read_frame(path, records[0])
        names = (*(("T",) if is_stack else ()), "Y", "X", *(("C",) if first.ndim == 3 else ()))
        array: Any = _Frames(path, records, first) if is_stack else first
        where = path if is_stack else image_path(path, records[0])
        super().__init__(where, array, guess_axes(array.shape, names=names), names)

    @property
    def name(self) -> str:
        """What people call it."""
        return self._title


def image_path(path: Path, record: Record) -> Path:
    """Return the file of an image, or of a video's frame.

    Parameters
    ----------
    path : Path
        Of the dataset's file.
    record : dict

    Raises
    ------
    DataError
        If it is not there.
    """
    folder = path.parent
    # YouTube-VIS keeps its frames in JPEGImages, beside its JSON or in a folder of its name.
    videos = (folder / "JPEGImages", folder / path.stem / "JPEGImages")
    roots = (*roots_of(path), *videos)
    found = find_image(roots, record)
    if found is None:
        where = ", ".join(dict.fromkeys(str(root) for root in roots if root.is_dir()))
        raise DataError(
            f"{path.name}: image {record['id']}: there is no file {record.get('file_name')!r} in "
            f"{where}. Put the images where the file says."
        )
    return found


def read_frame(path: Path, record: Record) -> npt.NDArray[Any]:
    """Read an image: (H, W) or (H, W, C).

    Parameters
    ----------
    path : Path
        Of the dataset's file.
    record : dict
        Its ``frame``, if it says one, counts in a TIFF of several.

    Raises
    ------
    DataError
        If it is not there, cannot be read, or has another size than the record says.
    """
    file = image_path(path, record)
    size = (record["height"], record["width"])
    frame = record.get("frame")
    if type(frame) is int and file.suffix.lower() in _TIFF:
        with open_source(file) as source:
            if 0 <= frame < source.n_frames > 1:
                pixels = source.frame(frame)
                if pixels.shape[:2] != size:
                    raise DataError(
                        f"{file.name} has frames of {pixels.shape[0]} × {pixels.shape[1]} pixels, "
                        f"{path.name} says {size[0]} × {size[1]}. Correct the dataset."
                    )
                return np.asarray(pixels)
    return read_image(file, size)


class _Frames:
    """What `take_frame` needs of an array: frames along the first axis, read when asked for."""

    def __init__(self, path: Path, records: Sequence[Record], first: npt.NDArray[Any]) -> None:
        self._path, self._records = path, records
        self.shape = (len(records), *first.shape)
        self.ndim, self.dtype = len(self.shape), first.dtype

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        at, *rest = index
        record = self._records[int(at)]
        pixels = read_frame(self._path, record)
        if pixels.shape != self.shape[1:] or pixels.dtype != self.dtype:
            alike = _like(pixels, self.shape[1:], self.dtype)
            if alike is None:
                raise DataError(
                    f"{self._path.name}: image {record['id']} is not of the kind of the first: the "
                    "images of a stack have the same channels and type. Open them one by one."
                )
            pixels = alike
        found: npt.NDArray[Any] = pixels[tuple(rest)]
        return found


def _like(
    pixels: npt.NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> npt.NDArray[Any] | None:
    """Return pixels in another kind of image, if nothing is lost by that."""
    if pixels.dtype != dtype:
        return None
    if pixels.ndim == 2 and len(shape) == 3 and shape[2] in (3, 4):
        colour = np.repeat(pixels[..., None], shape[2], axis=2)
        if shape[2] == 4:
            colour[..., 3] = np.iinfo(dtype).max if dtype.kind == "u" else 1
        return colour
    if pixels.ndim == 3 and len(shape) == 2 and (pixels == pixels[..., :1]).all():
        return pixels[..., 0]
    return None
