from __future__ import annotations

import numpy as np
import pytest

from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment
from napari_eomt.viewer import colormaps
from napari_eomt.viewer.colormaps import by_category, category_colors, palette, shows_ids_to


def test_the_palette_is_of_distinct_colours():
    colors = palette()
    assert len(set(colors)) == len(colors) > 200
    assert all(0 <= part <= 1 for color in colors for part in color)
    assert colors[0] == (0xE6 / 255, 0x9F / 255, 0)
    # Void is transparent, and a dark window shows through.
    assert min(sum(color) for color in colors[:7]) > 0.8


def test_categories_are_coloured_in_their_order():
    categories = [Category(9, "b"), Category(-4, "a"), Category(0, "c")]
    assert category_colors(categories) == dict(zip((9, -4, 0), palette(), strict=False))


def test_colours_begin_again_after_the_last():
    n = len(palette())
    colors = category_colors(Category(i, str(i)) for i in range(n + 2))
    assert [colors[n], colors[n + 1]] == [colors[0], colors[1]]


def test_segments_have_their_categorys_colour():
    colors = {3: (1.0, 0.0, 0.0), 8: (0.0, 0.5, 1.0)}
    colormap = by_category([Segment(1, 3), Segment(65_536, 8), Segment(5, 3)], colors)
    shown = colormap.map(np.array([0, 1, 5, 65_536, 2]))
    expected = [[0, 0, 0, 0], [1, 0, 0, 1], [1, 0, 0, 1], [0, 0.5, 1, 1], [0, 0, 0, 0]]
    np.testing.assert_allclose(shown, expected, atol=0.003)


def test_no_segments_are_all_transparent():
    assert shows_ids_to(0)
    assert not by_category([], {}).map(np.array([0, 1, 2])).any()


@pytest.mark.parametrize("has_numba", [True, False])
def test_ids_too_large_for_napari_are_known(has_numba, monkeypatch):
    monkeypatch.setattr(colormaps, "find_spec", lambda name: object() if has_numba else None)
    assert shows_ids_to(65_536)
    assert shows_ids_to(65_537) == has_numba
