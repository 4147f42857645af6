"""The images of a dataset as a source of frames, read one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_eomt.errors import DataError
from napari_eomt.formats.dataset_images import find_image, roots_of
from napari_eomt.formats.slices import read_record
from napari_eomt.inference.sources import FileSource
from napari_eomt.structures.axes import guess_axes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_eomt.formats.coco_checks import Record


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
    is_shared : callable, optional
        Whether other images of the dataset are of the same file; see `CocoFile.is_shared`.

    Raises
    ------
    DataError
        If the first image is not there, or cannot be read.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        records: Sequence[Record],
        *,
        is_stack: bool,
        is_shared: Callable[[Record], bool] = lambda _: False,
    ) -> None:
        self._title = name

        def read(record: Record) -> npt.NDArray[Any]:
            return read_record(image_path(path, record), record, is_shared=is_shared(record))

        first = read(records[0])
        names = (*(("T",) if is_stack else ()), "Y", "X", *(("C",) if first.ndim == 3 else ()))
        array: Any = _Frames(path, records, first, read) if is_stack else first
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


class _Frames:
    """What `take_frame` needs of an array: frames along the first axis, read when asked for."""

    def __init__(
        self,
        path: Path,
        records: Sequence[Record],
        first: npt.NDArray[Any],
        read: Callable[[Record], npt.NDArray[Any]],
    ) -> None:
        self._path, self._records, self._read = path, records, read
        self.shape = (len(records), *first.shape)
        self.ndim, self.dtype = len(self.shape), first.dtype

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        at, *rest = index
        record = self._records[int(at)]
        pixels = self._read(record)
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
