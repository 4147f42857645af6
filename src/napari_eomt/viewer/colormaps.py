"""Colours of categories, and of objects by their category."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from cmap import Colormap
from napari.utils.colormaps import DirectLabelColormap

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_eomt.structures.categories import Category
    from napari_eomt.structures.segments import Segment

Rgb: TypeAlias = tuple[float, float, float]

# Okabe and Ito's palette, which colour-blind people tell apart, less its black (which is void in
# a dark window), and the yellow last, which is faint on white.
_OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#F0E442")


@lru_cache(maxsize=1)
def palette() -> tuple[Rgb, ...]:
    """Return the colours of categories: Okabe–Ito, then glasbey's."""
    first = [tuple(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)) for c in _OKABE_ITO]
    more = Colormap("glasbey:glasbey").color_stops.color_array[:, :3]
    return tuple((float(r), float(g), float(b)) for r, g, b in [*first, *more.tolist()])


def category_colors(categories: Iterable[Category]) -> dict[int, Rgb]:
    """Return a colour for each category id, by the categories' order."""
    colors = palette()
    return {c.id: colors[k % len(colors)] for k, c in enumerate(categories)}


def shows_ids_to(max_id: int) -> bool:
    """Whether napari can show ids up to this one in colours that are given one by one."""
    # Without numba it looks colours up in an array, and refuses one that is longer.
    return max_id <= 2**16 or find_spec("numba") is not None


def by_category(segments: Iterable[Segment], colors: Mapping[int, Rgb]) -> DirectLabelColormap:
    """Return a colormap that shows each segment in its category's colour."""
    rgba = {i: np.array([*color, 1.0], np.float32) for i, color in colors.items()}
    color_dict: dict[int | None, np.ndarray] = {
        None: np.zeros(4, np.float32),
        0: np.zeros(4, np.float32),
    }
    for segment in segments:
        color_dict[segment.id] = rgba[segment.category_id]
    return DirectLabelColormap(color_dict=color_dict)
