"""Cutting a large image into overlapping tiles."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True)
class Tile:
    """A piece of an image: rows y0 to y1 and columns x0 to x1, half-open, in pixels."""

    y0: int
    x0: int
    y1: int
    x1: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.y1 - self.y0

    @property
    def width(self) -> int:
        """Columns."""
        return self.x1 - self.x0


def starts(length: int, size: int, overlap: int) -> list[int]:
    """Return where pieces of `size` begin so that they cover `length`, in pixels.

    Neighbours share at least `overlap` pixels; the pieces are spread evenly, and the last one
    ends exactly at the end.

    Raises
    ------
    ValueError
        If the overlap is not smaller than the size.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"The overlap, {overlap} px, must be from 0 to below the size, {size} px.")
    if length <= size:
        return [0]
    n = ceil((length - overlap) / (size - overlap))
    return [round(i * (length - size) / (n - 1)) for i in range(n)]


def tile_grid(height: int, width: int, size: int, overlap: int) -> list[Tile]:
    """Return tiles that cover an image, row by row.

    Parameters
    ----------
    height, width : int
        Of the image, in pixels.
    size : int
        Side of a tile, in pixels; tiles of a smaller image are cut to the image.
    overlap : int
        Pixels that neighbours share at least.
    """
    return [
        Tile(y, x, min(y + size, height), min(x + size, width))
        for y in starts(height, size, overlap)
        for x in starts(width, size, overlap)
    ]
