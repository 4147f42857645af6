"""The views of a canvas, as the model takes them and as they are told apart."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_eomt.inference.preprocess import window_pixels

if TYPE_CHECKING:
    from napari_eomt.models.card import ModelCard
    from napari_eomt.structures.tiles import Tile


class CanvasViews:
    """Cuts views out of a canvas.

    Parameters
    ----------
    canvas : (H, W, 3) uint8
    card : ModelCard
        Of the model that is to see them.
    """

    def __init__(self, canvas: npt.NDArray[np.uint8], card: ModelCard) -> None:
        self._canvas, self._card = canvas, card

    def pixels(self, tile: Tile) -> npt.NDArray[np.float32]:
        """Return a view as the model takes it; see `window_pixels`."""
        return window_pixels(self._canvas, tile, self._card.input_size, self._card)

    def content(self, tile: Tile) -> str:
        """Name what a view shows; see `content_of`."""
        crop = self._canvas[tile.y0 : tile.y1, tile.x0 : tile.x1]
        size = self._card.input_size
        if crop.shape[:2] != (size, size):
            padded = np.zeros((size, size, 3), np.uint8)
            padded[: crop.shape[0], : crop.shape[1]] = crop
            crop = padded
        return content_of(crop)


def content_of(pixels: npt.NDArray[np.uint8]) -> str:
    """Name what a view shows, (S, S, 3), black where it shows nothing: others have other names."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


def tokens_key(fingerprint: str, content: str) -> str:
    """Name what a trunk makes of a view.

    Parameters
    ----------
    fingerprint : str
        Of the trunk.
    content : str
        Of the view.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    return hashlib.sha256(f"{fingerprint} {content}".encode()).hexdigest()
