from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment
from napari_eomt.viewer import colormaps
from napari_eomt.viewer.colormaps import (
    CategoryColors,
    by_category,
    by_uncertainty,
    category_colors,
    hex_of,
    palette,
    rgb_of,
    shows_ids_to,
)


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


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("is_alone", [False, True])
def test_colours_are_napari_s_own(dtype, is_alone):
    """Made in another way, they are shown as those of napari's own class are."""
    rng = np.random.default_rng(0)
    colors = dict(zip((3, 8, 9), palette(), strict=False))
    segments = [Segment(int(i), int(rng.choice([3, 8, 9]))) for i in range(1, 200, 3)]
    ours = by_category(segments, colors, new=8)
    theirs = DirectLabelColormap(color_dict=dict(ours.color_dict))
    data = rng.integers(0, 250, (40, 50)).astype(dtype)
    shown = []
    for colormap in (ours, theirs):
        layer = Labels(data, colormap=colormap)
        layer.selected_label = 4
        layer.show_selected_label = is_alone
        shown.append(layer.colormap.map(data))
        assert layer.get_color(4) == pytest.approx(theirs.map(4))
        if not is_alone:
            assert layer.get_color(5) == pytest.approx([*colors[8], 1])
    np.testing.assert_allclose(shown[0], shown[1], atol=0.003)


def test_a_colour_of_its_own_goes_before_the_palette():
    categories = [Category(1, "a"), Category(2, "b", color="#0080ff"), Category(3, "c", color="?")]
    colors = category_colors(categories)
    assert colors == {1: palette()[0], 2: (0, 128 / 255, 1), 3: palette()[2]}
    assert hex_of(colors[2]) == "#0080FF"


@pytest.mark.parametrize("text", ["", "#12345", "123456", "#12345G", "#-12345", "#1_2345", "red"])
def test_what_is_no_colour(text):
    assert rgb_of(text) is None


def test_every_colour_is_read_as_it_is_written():
    for color in palette():
        assert rgb_of(hex_of(color)) == pytest.approx(color, abs=0.002)


def test_colours_stay_with_their_categories():
    colors = CategoryColors()
    a, b, c = Category(1, "a"), Category(2, "b"), Category(3, "c")
    first = colors.of([a, b])
    assert colors.of([b]) == {2: first[2]}
    assert colors.of([c, b])[3] not in first.values()
    assert colors.of([b, a, c])[1] == first[1]


def test_uncertainty_goes_from_dark_blue_to_yellow_and_the_rest_is_grey():
    values = {i: (i - 1) / 1000 for i in range(1, 1002)}
    colormap = by_uncertainty({**values, 60_000: 2.0})
    shown = colormap.map(np.array([0, 1, 1001, 60_000, 2000]))
    assert shown[0, 3] == 0
    assert shown[1, 2] > shown[1, 0], "blue"
    assert shown[2, 0] > 0.9 > 0.5 > shown[2, 2], "yellow"
    np.testing.assert_array_equal(shown[2], shown[3])
    np.testing.assert_allclose(shown[4], [0.5, 0.5, 0.5, 1])
    light = colormap.map(np.arange(1, 1002)).sum(1)
    assert (np.diff(light) >= -1e-3).all(), "the more unsure, the lighter"
    # napari takes no more than 1024 distinct colours.
    assert colormap._num_unique_colors <= 70
