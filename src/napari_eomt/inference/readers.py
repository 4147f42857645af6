"""The formats: from a file to an array, read as lazily as the format allows."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import tifffile
import zarr
from imageio.config import known_extensions
from PIL import Image, UnidentifiedImageError

from napari_eomt.errors import DataError
from napari_eomt.tiff_stack import TiffPages, open_whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

TIFF_SUFFIXES = frozenset({".tif", ".tiff", ".lsm", ".stk", ".svs", ".ndpi", ".qptiff"})
IMAGE_SUFFIXES = TIFF_SUFFIXES | {
    ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".npy", ".pbm", ".pgm", ".png", ".ppm", ".webp",
    ".zarr",
}  # fmt: skip
"""What is taken for an image in a folder; a file that is named may have any suffix."""

ReadArray = tuple[Any, tuple[str, ...], tuple[str, ...]]
"""An array-like, the names of its axes (none if the file says nothing), and notes."""


def read_array(path: Path, axes: str | None = None) -> ReadArray:
    """Open an image file as an array that reads what is sliced out of it.

    Whatever a decoder raises is not turned into another error here.

    Parameters
    ----------
    path : Path
    axes : str, optional
        The axes as the user names them, which may count axes of length 1 that a TIFF leaves out.
    """
    if path.is_dir():
        return _read_zarr(path)
    if path.suffix.lower() in TIFF_SUFFIXES:
        return _read_tiff(path, axes)
    if path.suffix.lower() == ".npy":
        return np.load(path, mmap_mode="r", allow_pickle=False), (), ()
    return _read_picture(path)


def _read_zarr(path: Path) -> ReadArray:
    found: Any = zarr.open(str(path), mode="r")
    if isinstance(found, zarr.Array):
        return found, (), ()
    attributes = dict(found.attrs)
    multiscales = attributes.get("ome", attributes).get("multiscales")
    if not multiscales:
        arrays = dict(found.arrays())
        if len(arrays) == 1:
            return next(iter(arrays.values())), (), ()
        inside = sorted([*arrays, *(name for name, _ in found.groups())])
        raise DataError(
            f"is a zarr group without OME metadata ('multiscales') that holds {inside}. "
            "Name one of its arrays."
        )
    # OME-Zarr 0.4 and later describe axes by objects, 0.3 by names, earlier ones were TCZYX.
    axes = multiscales[0].get("axes", [])
    names = tuple(
        axis
        if isinstance(axis, str)
        else "c"
        if axis.get("type") == "channel"
        else str(axis["name"])
        for axis in axes
    )
    array = found[multiscales[0]["datasets"][0]["path"]]
    upper = tuple(name.upper() for name in names) or tuple("TCZYX")
    return array, upper, ()


def _read_picture(path: Path) -> ReadArray:
    try:
        with _any_size():
            picture = Image.open(path)
    except UnidentifiedImageError:
        return _read_by_imageio(path), (), ()
    if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
        frames = _PilFrames(picture)
        return frames, ("T", "Y", "X", "S")[: len(frames.shape)], ()
    with picture:
        pixels = _pixels(picture)
    return pixels, ("Y", "X", "S")[: pixels.ndim], ()


def _read_by_imageio(path: Path) -> npt.NDArray[Any]:
    try:
        # Where PyAV is installed, it takes any text for a film.
        if path.suffix.lower() not in known_extensions:
            raise ValueError(path.suffix)
        # From an open file: a plugin that fails leaves a path of its own open.
        with path.open("rb") as file:
            return np.asarray(iio.imread(file, extension=path.suffix))
    except Exception as error:
        # Its plugins raise what they like, and suggest to install more of them.
        raise DataError(
            "is not an image in a known format. Save it as PNG, TIFF, .npy or OME-Zarr."
        ) from error


@contextmanager
def _any_size() -> Iterator[None]:
    # Pillow guards web servers against small files with huge images; here people name their own.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _pixels(picture: Image.Image) -> npt.NDArray[Any]:
    if picture.mode == "LA":
        picture = picture.convert("L")
    elif picture.mode not in ("1", "L", "I", "F", "RGB", "RGBA") and picture.mode[:2] != "I;":
        picture = picture.convert("RGB")
    return np.asarray(picture)


class _PilFrames:
    """The frames of an animation, decoded when asked for."""

    def __init__(self, picture: Image.Image) -> None:
        self._picture = picture
        self.shape = (int(getattr(picture, "n_frames", 1)), picture.height, picture.width, 3)

    def __getitem__(self, index: tuple[Any, ...]) -> npt.NDArray[Any]:
        self._picture.seek(index[0])
        pixels: npt.NDArray[Any] = np.asarray(self._picture.convert("RGB"))[index[1:]]
        return pixels

    def close(self) -> None:
        self._picture.close()


def _read_tiff(path: Path, axes: str | None) -> ReadArray:
    with open_whole(path) as tiff:
        series = tiff.series[0]
        n_series = len(tiff.series)
        shape, names = tuple(series.shape), tuple(series.axes)
        # tifffile leaves out axes of length 1, unless the user names them; OME's S is its own.
        full, all_names = series.get_shape(squeeze=False), series.get_axes(squeeze=False)
        if all_names.endswith("S") and full[-1] == 1:
            full, all_names = full[:-1], all_names[:-1]
        if axes is not None and len(axes) == len(full):
            shape, names = tuple(full), tuple(all_names)
        in_one_piece = series.dataoffset is not None
    notes = (f"the first of {n_series} images in the file was read",) if n_series > 1 else ()
    if in_one_piece:
        return tifffile.memmap(path, mode="r").reshape(shape), names, notes
    return _AnySizePages(path, shape), names, notes


class _AnySizePages(TiffPages):
    """Pages of any size; those of a dataset, which may come from anywhere, have a limit."""

    def __getitem__(self, index: tuple[Any, ...]) -> npt.NDArray[Any]:
        with _any_size():
            return super().__getitem__(index)
