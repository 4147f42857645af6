"""One look at an image: resized to a canvas, cut, turned; pixels smoothly, ids as they are.

No torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from napari_eomt.structures.tiles import Tile

if TYPE_CHECKING:
    from napari_eomt.structures.segments import IdMap

Shape = tuple[int, int]

MAX_ZOOM = 16.0
"""Objects of a pixel or two are not enlarged further: there is nothing more to see."""


@dataclass(frozen=True)
class View:
    """One look at an image.

    Parameters
    ----------
    canvas : (h, w)
        The size that the image is resized to.
    tile : Tile
        The part of the canvas that is seen, at most the model's input in size.
    orientation : int
        How it is mirrored and turned; see `oriented`.
    """

    canvas: Shape
    tile: Tile
    orientation: int = 0

    @property
    def geometry(self) -> list[int]:
        """All of it as json takes it, to name what a frozen trunk makes of it."""
        tile = self.tile
        return [*self.canvas, tile.y0, tile.x0, tile.y1, tile.x1, self.orientation]


def cut_pixels(rgb: npt.NDArray[np.uint8], view: View) -> npt.NDArray[np.uint8]:
    """Resize an image to the canvas and cut the tile, without making the rest.

    Equal to `resize` of the whole and a cut but for rounding: in noise two grey levels at most.

    Parameters
    ----------
    rgb : (H, W, 3) uint8
    view : View
        Its orientation is left for later.

    Returns
    -------
    (h, w, 3) uint8
    """
    tile, (height, width) = view.tile, rgb.shape[:2]
    if view.canvas == (height, width):
        return rgb[tile.y0 : tile.y1, tile.x0 : tile.x1]
    rows, box_y = _source(tile.y0, tile.y1, height, view.canvas[0])
    columns, box_x = _source(tile.x0, tile.x1, width, view.canvas[1])
    part = Image.fromarray(np.ascontiguousarray(rgb[rows, columns]))
    box = (box_x[0], box_y[0], box_x[1], box_y[1])
    cut = part.resize((tile.width, tile.height), Image.Resampling.BILINEAR, box=box)
    pixels: npt.NDArray[np.uint8] = np.array(cut)
    return pixels


def cut_nearest(array: npt.NDArray[Any], view: View) -> npt.NDArray[Any]:
    """Resize an id map or a mask to the canvas and cut the tile: each pixel takes the nearest.

    Parameters
    ----------
    array : (H, W)
    view : View
        Its orientation is left for later.

    Returns
    -------
    (h, w)
    """
    tile, (height, width) = view.tile, array.shape
    if view.canvas == (height, width):
        return array[tile.y0 : tile.y1, tile.x0 : tile.x1]
    y = _nearest(tile.y0, tile.y1, height, view.canvas[0])
    x = _nearest(tile.x0, tile.x1, width, view.canvas[1])
    return array[y[:, np.newaxis], x]


def present(rows: IdMap, n_ids: int) -> npt.NDArray[np.int64]:
    """Count the pixels of ids 1 to `n_ids` in a part of an id map; (n_ids,) int64."""
    return np.bincount(rows.ravel(), minlength=n_ids + 1)[1 : n_ids + 1]


def canvas_of(shape: Shape, zoom: float) -> Shape:
    """Return the canvas of an image at a zoom."""
    return max(1, round(shape[0] * zoom)), max(1, round(shape[1] * zoom))


def draw_view(
    rng: np.random.Generator,
    shape: Shape,
    zoom: float,
    size: int,
    at: tuple[float, float] | None = None,
) -> View:
    """Draw a place on the canvas.

    Parameters
    ----------
    rng : Generator
    shape : (H, W)
        Of the image.
    zoom : float
        Of the canvas.
    size : int
        Side of the model's input; a smaller canvas is seen whole.
    at : (y, x), optional
        A point of the image, in pixels, that is to be seen.
    """
    canvas = canvas_of(shape, zoom)
    # As many draws whatever is asked for.
    drawn = rng.random(2)
    starts = []
    for axis in range(2):
        last = max(0, canvas[axis] - size)
        low, high = 0, last
        if at is not None:
            point = at[axis] * canvas[axis] / shape[axis]
            low = min(last, max(0, ceil(point - size + 1)))
            high = max(low, min(last, floor(point)))
        starts.append(low + int(drawn[axis] * (high - low + 1)))
    (y, x), (height, width) = starts, canvas
    return View(canvas, Tile(y, x, min(y + size, height), min(x + size, width)))


def _source(start: int, stop: int, length: int, canvas: int) -> tuple[slice, tuple[float, float]]:
    """Return the pixels that a run of the canvas is made of, and where in them it begins, ends."""
    scale = length / canvas
    # The filter reaches as far beyond the run as it does within it.
    margin = max(scale, 1.0) + 2
    first, last = max(0, floor(start * scale - margin)), min(length, ceil(stop * scale + margin))
    end = min(stop * scale - first, last - first)
    return slice(first, last), (start * scale - first, end)


def _nearest(start: int, stop: int, length: int, canvas: int) -> npt.NDArray[np.int64]:
    """Return the pixel that the middle of each pixel of a run of the canvas lies in."""
    middles = (np.arange(start, stop) + 0.5) * (length / canvas)
    return np.minimum(middles.astype(np.int64), length - 1)
