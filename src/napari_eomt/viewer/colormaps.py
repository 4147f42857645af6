"""Colours of categories, and of objects by their category."""

from __future__ import annotations

import re
from functools import cached_property, lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from cmap import Colormap
from napari.utils.colormaps import DirectLabelColormap
from pydantic import field_validator

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from napari_eomt.structures.categories import Category
    from napari_eomt.structures.segments import Segment

Rgb: TypeAlias = tuple[float, float, float]

# Okabe and Ito's palette, which colour-blind people tell apart, less its black (which is void in
# a dark window), and the yellow last, which is faint on white.
_OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#F0E442")

N_UNCERTAINTIES = 64
"""Colours between sure and unsure."""

_GREY = np.array([0.5, 0.5, 0.5, 1], np.float32)

_HEX = re.compile("#[0-9A-Fa-f]{6}")


@lru_cache(maxsize=1)
def palette() -> tuple[Rgb, ...]:
    """Return the colours of categories: Okabe–Ito, then glasbey's."""
    first = [tuple(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)) for c in _OKABE_ITO]
    more = Colormap("glasbey:glasbey").color_stops.color_array[:, :3]
    return tuple((float(r), float(g), float(b)) for r, g, b in [*first, *more.tolist()])


def category_colors(categories: Iterable[Category]) -> dict[int, Rgb]:
    """Return a colour for each category id: its own, else by the categories' order."""
    return CategoryColors().of(categories)


class CategoryColors:
    """Gives each category a colour, and the same one as long as it lives.

    A category that goes leaves its place in the palette empty: the others keep their colours, and
    it has its own again when it comes back.
    """

    def __init__(self) -> None:
        self._places: dict[int, int] = {}

    def of(self, categories: Iterable[Category]) -> dict[int, Rgb]:
        """Return a colour for each category id."""
        colors = palette()
        found: dict[int, Rgb] = {}
        for category in categories:
            place = self._places.setdefault(category.id, len(self._places))
            own = rgb_of(category.color)
            found[category.id] = colors[place % len(colors)] if own is None else own
        return found


def rgb_of(text: str) -> Rgb | None:
    """Return the colour that "#RRGGBB" names; None if it names none."""
    if not _HEX.fullmatch(text):
        return None
    number = int(text[1:], 16)
    return (number >> 16) / 255, (number >> 8 & 255) / 255, (number & 255) / 255


def hex_of(rgb: Rgb) -> str:
    """Return a colour as "#RRGGBB"."""
    return "#" + "".join(f"{round(part * 255):02X}" for part in rgb)


class SegmentColormap(DirectLabelColormap):  # type: ignore[misc]
    """A colour for each id; thousands of them in milliseconds.

    napari's own checks each colour by itself and maps every possible id in Python: 65 ms for 5,000
    ids, at each change of a category. Here the colours are arrays already, shared by many ids, and
    the map is an array.
    """

    @field_validator("color_dict", mode="before")
    @classmethod
    def _validate_color_dict(cls, v: Any) -> Any:
        return v

    @cached_property
    def _num_unique_colors(self) -> int:
        return len({id(color) for color in self.color_dict.values()})

    def _map_without_cache(self, values: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        ids = np.fromiter((i for i in self.color_dict if i is not None), np.int64)
        table = np.empty((max(int(values.max(initial=0)), int(ids.max(initial=0))) + 1, 4), "f4")
        table[:] = self.color_dict[None]
        table[ids] = [color for i, color in self.color_dict.items() if i is not None]
        shown: npt.NDArray[np.float32] = table[values]
        return shown


def shows_ids_to(max_id: int) -> bool:
    """Whether napari can show ids up to this one in colours that are given one by one."""
    # Without numba it looks colours up in an array, and refuses one that is longer.
    return max_id <= 2**16 or find_spec("numba") is not None


def by_category(
    segments: Iterable[Segment], colors: Mapping[int, Rgb], new: int | None = None
) -> SegmentColormap:
    """Return a colormap that shows each segment in its category's colour.

    Parameters
    ----------
    segments : iterable of Segment
    colors : mapping of int to (r, g, b)
        By category id.
    new : int, optional
        Category of ids that are not known yet: what is being drawn. Transparent by default.
    """
    rgba = {i: np.array([*color, 1.0], np.float32) for i, color in colors.items()}
    nothing = np.zeros(4, np.float32)
    color_dict: dict[int | None, np.ndarray] = {
        None: nothing if new is None else rgba[new],
        0: nothing,
    }
    for segment in segments:
        color_dict[segment.id] = rgba[segment.category_id]
    return SegmentColormap(color_dict=color_dict)


def by_uncertainty(values: Mapping[int, float]) -> SegmentColormap:
    """Return a colormap from dark blue, sure, to yellow (cividis, which all eyes tell apart).

    Parameters
    ----------
    values : mapping of int to float
        By segment id, 0 to 1; ids that are not in it are grey.
    """
    steps = Colormap("cividis")(np.linspace(0, 1, N_UNCERTAINTIES)).astype(np.float32)
    shared = list(steps)
    color_dict: dict[int | None, np.ndarray] = {None: _GREY, 0: np.zeros(4, np.float32)}
    for i, value in values.items():
        color_dict[i] = shared[round(min(1.0, max(0.0, value)) * (N_UNCERTAINTIES - 1))]
    return SegmentColormap(color_dict=color_dict)
