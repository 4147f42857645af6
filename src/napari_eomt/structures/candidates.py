"""What a model could have said: queries as candidates for an object, known without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from napari_eomt.structures.segments import Box

QueryId: TypeAlias = tuple[int, int]
"""(view, query): which of the views that the model saw, and which of its queries there."""

Outline: TypeAlias = npt.NDArray[np.float32]
"""(N, 2) points (y, x), in pixels whose centres are whole numbers; closed if the first is the
last."""


@dataclass(frozen=True)
class Candidate:
    """A query of the model that an object could be made of.

    Parameters
    ----------
    query : (int, int)
        Which.
    parts : tuple of (int, int)
        The queries whose masks together are the object; more than one where tiles cut it.
    score : float
        As the model's result would say, 0 to 1.
    category_id : int
        The most probable category.
    is_thing : bool
    categories : tuple of (category_id, float)
        The most probable ones, best first; with "no object" their probabilities sum to 1.
    box : (y0, x0, y1, x1)
        Around its mask, half-open, in pixels of the image. Of a large mask it may be a few pixels
        too wide.
    area : int
        Pixels of its mask; of a large mask to about 1 %.
    probability : float
        Of the mask at the point that was asked for; else its mean over the mask.
    fit : float
        IoU of its mask with the box or polygon that was asked for; else 0.
    is_cut : bool
        Whether the edge of a tile cuts it.
    outlines : tuple of (N, 2) float32
        Where it was asked for outlines: lines around the mask and its holes.
    run : int
        Which run of the model its queries are of, as the worker counts them; 0 outside it.
    """

    query: QueryId
    parts: tuple[QueryId, ...]
    score: float
    category_id: int
    is_thing: bool
    categories: tuple[tuple[int, float], ...]
    box: Box
    area: int
    probability: float
    fit: float = 0.0
    is_cut: bool = False
    outlines: tuple[Outline, ...] = field(default=(), compare=False)
    run: int = field(default=0, compare=False)


@dataclass(frozen=True, eq=False)
class Patch:
    """The mask of one thing, or how probable it is there, where it lies in the image.

    Parameters
    ----------
    origin : (y, x)
        Where its first pixel lies, in the image.
    pixels : (h, w) bool or float32
    """

    origin: tuple[int, int]
    pixels: npt.NDArray[np.bool_] | npt.NDArray[np.float32]

    @property
    def box(self) -> Box:
        """Its place in the image."""
        y, x = self.origin
        height, width = self.pixels.shape
        return y, x, y + height, x + width


@dataclass(frozen=True, eq=False)
class Split:
    """Queries that see several objects where there is one.

    Parameters
    ----------
    origin : (y, x)
        Where the first pixel of the probabilities lies, in the image.
    probabilities : (N, h, w) float32
        Of their masks; N is 2 or more.
    candidates : tuple of Candidate
        What each of them is.
    """

    origin: tuple[int, int]
    probabilities: npt.NDArray[np.float32]
    candidates: tuple[Candidate, ...]
