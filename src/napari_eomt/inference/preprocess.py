"""From a frame of any kind to the pixels that a model sees, as transformers prepares them."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from napari_eomt.errors import DataError
from napari_eomt.structures.tiles import Tile

if TYPE_CHECKING:
    from napari_eomt.inference.params import PredictParams
    from napari_eomt.models.card import ModelCard
    from napari_eomt.structures.frames import Frame

_PERCENTILES = (0.1, 99.9)
# Percentiles of so many pixels are within 0.05 percentiles of the whole image's.
_SAMPLE = 4_000_000
# Pixels that are stretched at once: bounds the float64 copies to 8 MB each.
_CHUNK = 1_000_000


def to_rgb8(frame: Frame, params: PredictParams, card: ModelCard) -> npt.NDArray[np.uint8]:
    """Choose a frame's channels and stretch its contrast to 8 bits.

    Channels: `params.channels`; else the first three, or the only one as grey. Of two channels
    the first is red and the second green. So the alpha of an RGBA image is left out.

    Contrast: as `params.contrast` says, alike for all chosen channels. ``none`` maps the range
    of the dtype to black and white: 0 to the largest integer; 0 to 1 for floats; 8-bit values
    stay as they are. ``auto`` stretches if the model was trained so, if percentiles are given,
    or if the frame is neither 8-bit nor bool. A frame whose percentiles coincide is stretched
    between its extremes. NaN becomes black, and infinities black or white; the percentiles are
    of the finite values.

    Parameters
    ----------
    frame : (H, W) or (H, W, C)
        Of any real dtype. It is not changed.
    params : PredictParams
    card : ModelCard
        The model's percentiles are used where none are given.

    Returns
    -------
    (H, W, 3) uint8

    Raises
    ------
    DataError
        If the frame is empty, not numeric, without a finite pixel, or lacks a channel.
    """
    frame = np.asarray(frame)
    _check(frame)
    if frame.dtype.kind == "f" and frame.dtype.itemsize > 8:
        with np.errstate(over="ignore"):
            frame = frame.astype(np.float64)
    if frame.ndim == 2:
        frame = frame[:, :, np.newaxis]
    channels = _channels(frame.shape[2], params.channels)
    # Neither a slice nor a list of all is a copy when the channels are a run, as they mostly are.
    run = channels == tuple(range(channels[0], channels[0] + len(channels)))
    fed = frame[:, :, channels[0] : channels[-1] + 1] if run else frame[:, :, list(channels)]
    low, high = _limits(fed, params, card)

    height, width, n_fed = fed.shape
    rgb8 = np.zeros((height, width, 3), np.uint8)
    table = _table(fed.dtype, low, high)
    rows = max(1, _CHUNK // (width * n_fed))
    for y in range(0, height, rows):
        chunk = fed[y : y + rows]
        levels = _levels(chunk, low, high) if table is None else table[chunk]
        # A single channel is broadcast to all three; of two, the third stays black.
        rgb8[y : y + rows, :, : 3 if n_fed == 1 else n_fed] = levels
    return rgb8


def _check(frame: Frame) -> None:
    if frame.ndim not in (2, 3):
        raise DataError(
            f"A frame has the axes (Y, X) or (Y, X, channel), but this one has the shape "
            f"{frame.shape}. Say which axes are stepped through."
        )
    if frame.size == 0:
        raise DataError(f"The image is empty: its shape is {frame.shape}.")
    if frame.dtype.kind not in "buif":
        raise DataError(
            f"The image holds {frame.dtype} values; integers, floats or bool were expected. "
            "Convert it first, a complex one to its magnitude."
        )


def _channels(n_channels: int, chosen: tuple[int, ...] | None) -> tuple[int, ...]:
    if chosen is None:
        return tuple(range(min(n_channels, 3)))
    if not 0 <= min(chosen) <= max(chosen) < n_channels:
        raise DataError(
            f"Channels {', '.join(map(str, chosen))} were asked for, but the image has "
            f"{n_channels}, counted from 0 to {n_channels - 1}. Choose among these."
        )
    return chosen


def _limits(fed: npt.NDArray[Any], params: PredictParams, card: ModelCard) -> tuple[float, float]:
    """Return the values that become black and white."""
    kind, size = fed.dtype.kind, fed.dtype.itemsize
    if kind == "f" and not any(np.isfinite(row).any() for row in fed):
        raise DataError(
            "The image has no finite pixel: all are NaN or infinite. Check how it was computed."
        )
    contrast = params.contrast
    percentiles = params.percentiles or card.percentiles
    if contrast == "auto":
        as_is = percentiles is None and (kind == "b" or (kind == "u" and size == 1))
        contrast = "none" if as_is else "percentile"
    if contrast == "limits":
        if params.contrast_limits is None or not all(map(isfinite, params.contrast_limits)):
            raise DataError(
                f"The contrast limits are {params.contrast_limits}; two finite values were "
                "expected, for black and for white."
            )
        return params.contrast_limits
    if contrast == "none":
        return 0.0, float(np.iinfo(fed.dtype).max) if kind in "ui" else 1.0
    return _percentile_limits(fed, percentiles or _PERCENTILES)


def _percentile_limits(
    fed: npt.NDArray[Any], percentiles: tuple[float, float]
) -> tuple[float, float]:
    height, width, _ = fed.shape
    # Every n-th row and column, not a random choice: the same image gives the same limits.
    step = max(1, ceil((height * width / _SAMPLE) ** 0.5))
    values = _finite(fed[::step, ::step])
    if not values.size:
        values = _finite(fed)  # few finite pixels, all between the sampled ones
    low, high = np.percentile(values * 0.5, percentiles) * 2.0  # halved, as in _levels
    if not low < high:
        low, high = values.min(), values.max()
    return float(low), float(high)


def _finite(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    flat: npt.NDArray[np.float64] = values.astype(np.float64).ravel()
    return flat[np.isfinite(flat)] if values.dtype.kind == "f" else flat


def _table(dtype: np.dtype[Any], low: float, high: float) -> npt.NDArray[np.uint8] | None:
    """Return the grey level of every value of a dtype that has few, which is faster."""
    if dtype.kind == "u" and dtype.itemsize <= 2:
        if dtype.itemsize == 1 and (low, high) == (0.0, 255.0):
            return np.arange(256, dtype=np.uint8)
        return _levels(np.arange(np.iinfo(dtype).max + 1), low, high)
    return None


def _levels(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.uint8]:
    """Stretch from low to high; everything above a constant is white."""
    with np.errstate(all="ignore"):
        # Of halves: a difference of the largest floats would overflow.
        stretched = values.astype(np.float64) * 0.5
        stretched -= low * 0.5
        if high > low:
            stretched /= high * 0.5 - low * 0.5
            stretched *= 255.0
        else:
            stretched = np.where(stretched > 0, 255.0, 0.0)
    np.nan_to_num(stretched, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
    return np.rint(np.clip(stretched, 0, 255, out=stretched), out=stretched).astype(np.uint8)


def padded_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """Return the shape to resize an image to that is then padded to ``size`` × ``size``.

    The long side becomes `size`, or one less: transformers truncates a product, and models were
    measured so. It leaves images as they are whose short side would not change, even if the long
    one would: 2 × 120 for 128. Where transformers fails, because a side becomes 0 or exceeds
    `size`, it is 1 or `size`.
    """
    long, short = max(height, width), min(height, width)
    # The float expressions, in this order, are transformers': another order rounds otherwise.
    raw = size * float(short) / float(long)
    if float(long) / float(short) * size > size:
        new_short = round(raw)
        new_long = long if short == new_short else int(raw * long / short)
    else:
        new_short = new_long = size
    new_short, new_long = max(1, new_short), min(size, max(1, new_long))
    return (new_long, new_short) if height > width else (new_short, new_long)


def semantic_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """Return the shape to resize an image to that is then cut into windows along its long side.

    The short side becomes `size`; the long side is truncated, as in transformers.
    """
    long = int(size * max(height, width) / min(height, width))
    return (long, size) if height > width else (size, long)


def semantic_windows(canvas_shape: tuple[int, int], size: int) -> list[Tile]:
    """Return the windows of a resized image, as transformers cuts them, in order.

    The last one ends exactly at the end: float truncation in transformers leaves a last row or
    column uncovered in about 0.3 % of sizes.

    Parameters
    ----------
    canvas_shape : (H, W)
        As `semantic_shape` says; the short side is `size`.
    size : int
        Side of a window, in pixels.
    """
    height, width = canvas_shape
    long = max(height, width)
    n = ceil(long / size)
    overlap = (n * size - long) / (n - 1) if n > 1 else 0
    begins = [int(i * (size - overlap)) for i in range(n)]
    begins[-1] = max(0, long - size)
    if height > width:
        return [Tile(y, 0, y + size, width) for y in begins]
    return [Tile(0, x, height, x + size) for x in begins]


def resize(rgb8: npt.NDArray[np.uint8], shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Resize an (H, W, 3) image to `shape`, (h, w), as transformers' Pillow backend does."""
    height, width = shape
    resized: npt.NDArray[np.uint8] = np.array(
        Image.fromarray(rgb8).resize((width, height), Image.Resampling.BILINEAR)
    )
    return resized


def window_pixels(
    canvas: npt.NDArray[np.uint8], tile: Tile, size: int, card: ModelCard
) -> npt.NDArray[np.float32]:
    """Cut a tile out of a canvas and normalise it.

    What the tile lacks, to the right and below, is black before normalising, as in training.

    Parameters
    ----------
    canvas : (H, W, 3) uint8
    tile : Tile
        In pixels of the canvas; may reach beyond its right and lower edge.
    size : int
        Side of the model's input, S, in pixels.
    card : ModelCard
        Says the mean and the standard deviation.

    Returns
    -------
    (3, S, S) float32
    """
    crop = canvas[tile.y0 : tile.y1, tile.x0 : tile.x1]
    height, width = crop.shape[:2]
    if not (0 < height <= size and 0 < width <= size):
        raise ValueError(
            f"{tile} covers {height} × {width} px of the canvas {canvas.shape}; "
            f"1 to {size} px were expected."
        )
    table = normalised_levels(card.image_mean, card.image_std)
    pixels = np.empty((3, size, size), np.float32)
    for channel in range(3):
        pixels[channel] = table[channel, 0]
        pixels[channel, :height, :width] = table[channel][crop[:, :, channel]]
    return pixels


@lru_cache(maxsize=8)
def normalised_levels(mean: tuple[float, ...], std: tuple[float, ...]) -> npt.NDArray[np.float32]:
    """Return (3, 256) float32: the normalised value of every grey level, in each channel."""
    # Rescaled in float64, normalised in float32: the order that transformers keeps.
    grey = (np.arange(256, dtype=np.float64) * (1 / 255)).astype(np.float32)
    table: npt.NDArray[np.float32] = (grey - np.array(mean, np.float32)[:, np.newaxis]) / np.array(
        std, np.float32
    )[:, np.newaxis]
    table.flags.writeable = False
    return table
