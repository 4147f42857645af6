"""The image files of a dataset: written without loss, read without trusting them."""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from PIL import Image, ImageOps, UnidentifiedImageError

from napari_eomt.errors import DataError, OutputError
from napari_eomt.formats.coco_checks import MAX_PIXELS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

Pixels = np.ndarray[Any, np.dtype[Any]]
"""(H, W) or (H, W, C), of any dtype."""

TIFF = frozenset({".tif", ".tiff"})
"""Suffixes of files that may hold several frames."""

MAX_BYTES = 8 * MAX_PIXELS
"""Of a TIFF, whose pixels may have any number of channels."""

_ORIENTATION = 0x0112  # EXIF's tag; from 5 on, rows and columns change places


def storable(pixels: npt.NDArray[Any]) -> Pixels:
    """Return the pixels as files hold them: no axis of one channel, and 0 and 255 for booleans.

    Raises
    ------
    DataError
        If they are not (H, W) or (H, W, C), or none.
    """
    if pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise DataError(
            f"An image to write is (H, W) or (H, W, C) with at least one pixel; this one is "
            f"{pixels.shape}."
        )
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype == bool:
        scaled: Pixels = pixels.astype(np.uint8) * np.uint8(255)
        return scaled
    native: Pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    return native


def suffix_for(pixels: npt.NDArray[Any]) -> str:
    """Return ".png" where it keeps the pixels as they are and every tool reads it, else ".tif"."""
    is_png = pixels.dtype == np.uint8 and (pixels.ndim == 2 or pixels.shape[2] in (3, 4))
    return ".png" if is_png else ".tif"


def write_image(path: Path, pixels: npt.NDArray[Any]) -> None:
    """Write pixels without loss, and flush them to the disk.

    Parameters
    ----------
    path : Path
        With the suffix of `suffix_for`. After an error it is removed.
    pixels : (H, W) or (H, W, C)
        As `storable` returns them.
        8-bit grey, RGB and RGBA become PNG, the rest TIFF, whose type and channels are kept.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    try:
        if path.suffix == ".png":
            # Level 1 takes a fifth of the time of the default, for files a tenth larger.
            Image.fromarray(pixels).save(path, "PNG", compress_level=1)
        else:
            _write_tiff(path, pixels)
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OutputError(
            f"{path.parent}: the image cannot be written ({error.strerror or error}). Free the "
            "disk, or choose another folder."
        ) from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _write_tiff(path: Path, pixels: npt.NDArray[Any]) -> None:
    if pixels.ndim == 2:
        axes, kind = "YX", "minisblack"
    else:
        axes, kind = "YXS", "rgb" if pixels.shape[2] in (3, 4) else "minisblack"
    try:
        tifffile.imwrite(
            path,
            pixels,
            photometric=kind,
            planarconfig="contig" if pixels.ndim == 3 else None,
            metadata={"axes": axes},
            compression="zlib",
            compressionargs={"level": 1},
        )
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"An image of {pixels.dtype}, {pixels.shape}, cannot be written as TIFF ({error}). "
            "Convert it to 8 or 16 bits, or to 32-bit floats."
        ) from error


def image_size(path: Path) -> tuple[int, int]:
    """Return (H, W) as the file's header says, before any pixel is read.

    Raises
    ------
    DataError
        If it is no image.
    """
    with reading(path):
        if path.suffix.lower() in TIFF:
            with tifffile.TiffFile(path) as tiff:
                page = tiff.pages.first
                return int(page.imagelength), int(page.imagewidth)
        with Image.open(path) as picture:
            return picture.height, picture.width


def check_image(path: Path, size: tuple[int, int] | None = None) -> None:
    """Check an image of a dataset by its header: pixels may still be damaged.

    Parameters
    ----------
    path : Path
    size : (H, W), optional
        What the dataset says; a photograph may be held either way.

    Raises
    ------
    DataError
        If it is no image, has more than `MAX_PIXELS` pixels, or another size.
    """
    height, width = image_size(path)
    if height * width > MAX_PIXELS:
        raise DataError(
            f"{path.name} has {height} × {width} pixels; images of up to {MAX_PIXELS} are read. "
            "Cut it into tiles."
        )
    # Before the pixels are unpacked: a wrong file may hold anything.
    if size is not None and size not in ((height, width), (width, height)):
        raise wrong_size(path.name, (height, width), size)


def read_image(path: Path, size: tuple[int, int] | None = None) -> npt.NDArray[Any]:
    """Read an image of a dataset.

    Parameters
    ----------
    path : Path
        PNG, JPEG, TIFF, or what else Pillow knows.
    size : (H, W), optional
        What the dataset says. A photograph that says how it was held is turned accordingly,
        unless it fits as it is only.

    Returns
    -------
    (H, W) or (H, W, C)
        Of several pages the first.

    Raises
    ------
    DataError
        If it is no image, is damaged, has more than `MAX_PIXELS` pixels, or another size.
    """
    check_image(path, size)
    with reading(path):
        if path.suffix.lower() in TIFF:
            with tifffile.TiffFile(path) as tiff:
                pixels = _first_page(tiff)
        else:
            with Image.open(path) as picture:
                pixels = _pixels(picture, size)
        if pixels.ndim not in (2, 3) or 0 in pixels.shape:
            raise ValueError(f"it holds an array of {pixels.shape}")
    found = (pixels.shape[0], pixels.shape[1])
    if size is not None and found != size:
        raise wrong_size(path.name, found, size)
    return pixels


def _first_page(tiff: tifffile.TiffFile) -> npt.NDArray[Any]:
    page = tiff.pages.first
    if page.nbytes > MAX_BYTES:
        raise DataError(
            f"{tiff.filename} unpacks to {page.nbytes / 2**30:.0f} GiB; images of up to "
            f"{MAX_BYTES / 2**30:.0f} GiB are read. Cut it into tiles."
        )
    pixels: npt.NDArray[Any] = np.asarray(page.asarray())
    height, width = page.imagelength, page.imagewidth
    if pixels.shape[:2] != (height, width) and pixels.shape[1:] == (height, width):
        return np.moveaxis(pixels, 0, -1)  # planes of channels, one after another
    return pixels


def _pixels(picture: Image.Image, size: tuple[int, int] | None) -> npt.NDArray[Any]:
    if picture.getexif().get(_ORIENTATION, 1) != 1:
        turned = ImageOps.exif_transpose(picture)
        if size is None or size == (turned.height, turned.width):
            picture = turned
    if picture.mode not in ("1", "L", "I", "F", "RGB", "RGBA") and picture.mode[:2] != "I;":
        picture = picture.convert("RGBA" if picture.mode in ("LA", "PA") else "RGB")
    return np.asarray(picture)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what decoders raise into one clear error."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except FileNotFoundError as error:
        raise DataError(f"There is no image {path}.") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{path.name} is not an image in a known format.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{path.name} has more than {MAX_PIXELS} pixels. Cut it into tiles."
        ) from error
    except DataError:
        raise
    except Exception as error:
        # Of a damaged file decoders raise what they like.
        raise DataError(
            f"{path.name} cannot be read as an image ({error}). Copy or export it again."
        ) from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def wrong_size(name: str, found: tuple[int, int], said: tuple[int, int]) -> DataError:
    """Return the error of an image of another size than its dataset says, both (H, W)."""
    return DataError(
        f"{name} has {found[0]} × {found[1]} pixels, the dataset says {said[0]} × {said[1]} "
        "(height × width). Put the image back that was annotated, or correct the dataset."
    )
