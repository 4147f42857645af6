"""Views: pixels as prediction resizes and cuts them, ids as Pillow's nearest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.training.images import card

from napari_eomt.inference.preprocess import resize, window_pixels
from napari_eomt.structures.tiles import Tile
from napari_eomt.training.augment import padded
from napari_eomt.training.views import (
    View,
    canvas_of,
    cut_nearest,
    cut_pixels,
    draw_view,
    present,
)


@st.composite
def looks(draw):
    """An image's shape and a view of it."""
    shape = draw(st.tuples(st.integers(1, 90), st.integers(1, 90)))
    canvas = canvas_of(shape, draw(st.floats(0.05, 4)))
    y = sorted(draw(st.lists(st.integers(0, canvas[0]), min_size=2, max_size=2, unique=True)))
    x = sorted(draw(st.lists(st.integers(0, canvas[1]), min_size=2, max_size=2, unique=True)))
    return shape, View(canvas, Tile(y[0], x[0], y[1], x[1]))


@settings(deadline=None)
@given(looks(), st.integers(0, 2**32 - 1))
def test_a_cut_is_that_of_the_whole_resized(look, seed):
    shape, view = look
    tile = view.tile
    part = np.s_[tile.y0 : tile.y1, tile.x0 : tile.x1]
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    whole = resize(rgb, view.canvas)[part].astype(int)
    # Pillow takes the box in single precision, and rounds twice.
    assert np.abs(cut_pixels(rgb, view) - whole).max() <= 2
    ids = rng.integers(0, 60_000, shape).astype(np.uint16)
    height, width = view.canvas
    nearest = np.asarray(
        Image.fromarray(ids.astype(np.int32)).resize((width, height), Image.Resampling.NEAREST)
    )
    # A middle that falls between two pixels goes to either, by rounding.
    found = cut_nearest(ids, view)
    middle = [
        (np.arange(a, b) + 0.5) * n / c
        for a, b, n, c in zip(
            (tile.y0, tile.x0), (tile.y1, tile.x1), shape, view.canvas, strict=True
        )
    ]
    is_sure = [np.abs(m - np.rint(m)) > 1e-6 for m in middle]
    sure = np.ix_(*is_sure)
    np.testing.assert_array_equal(found[sure], nearest[part][sure])
    assert found.dtype == ids.dtype


def test_a_view_as_it_is_copies_nothing():
    rgb = np.zeros((20, 30, 3), np.uint8)
    view = View((20, 30), Tile(2, 3, 12, 13))
    assert np.shares_memory(cut_pixels(rgb, view), rgb)
    assert cut_pixels(rgb, view).shape == (10, 10, 3)


def test_pixels_are_prediction_s_when_the_whole_is_seen():
    model = card()
    rgb = np.random.default_rng(0).integers(0, 256, (77, 100, 3)).astype(np.uint8)
    tile = Tile(0, 0, 99, 128)
    ours = padded(cut_pixels(rgb, View((99, 128), tile)), 128)
    canvas = resize(rgb, (99, 128))
    np.testing.assert_array_equal(ours[:99], canvas)
    theirs = window_pixels(canvas, tile, 128, model)
    grey = np.arange(256) / 255
    for channel in range(3):
        table = (grey - model.image_mean[channel]) / model.image_std[channel]
        np.testing.assert_allclose(theirs[channel], table[ours[:, :, channel]], atol=1e-5)


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.floats(0.1, 4),
    st.booleans(),
)
def test_places_lie_on_the_canvas_and_show_what_is_wanted(seed, shape, zoom, has_point):
    rng = np.random.default_rng(seed)
    at = tuple(rng.random(2) * shape) if has_point else None
    view = draw_view(rng, shape, zoom, 64, at)
    tile, canvas = view.tile, view.canvas
    assert 0 <= tile.y0 < tile.y1 <= canvas[0]
    assert 0 <= tile.x0 < tile.x1 <= canvas[1]
    assert (tile.height, tile.width) == (min(64, canvas[0]), min(64, canvas[1]))
    if at is not None:
        y, x = (p * c / n for p, c, n in zip(at, canvas, shape, strict=True))
        assert tile.y0 <= y <= tile.y1
        assert tile.x0 <= x <= tile.x1


def test_every_place_is_drawn():
    rng = np.random.default_rng(0)
    views = [draw_view(rng, (10, 12), 1.0, 8) for _ in range(500)]
    assert {(v.tile.y0, v.tile.x0) for v in views} == {(y, x) for y in range(3) for x in range(5)}
    # Whether a point is wanted does not move what is drawn after.
    one, other = np.random.default_rng(1), np.random.default_rng(1)
    draw_view(one, (50, 50), 1.0, 8)
    draw_view(other, (50, 50), 1.0, 8, at=(20.0, 20.0))
    assert one.random() == other.random()


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_ids_are_counted(dtype):
    rows = np.array([[0, 2, 2], [4, 0, 2]], dtype)
    assert present(rows, 5).tolist() == [0, 3, 0, 1, 0]
    assert present(rows[:0], 0).tolist() == []
