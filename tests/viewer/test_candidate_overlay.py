"""Outlines lie where the mask is, in any layer, and are seen on black, grey and white."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from scipy import ndimage

from napari_eomt.viewer.outlines import Outline, Outlines


def enclosed(outline, shape):
    """Count edges to the left of each pixel: odd inside. The definition, from the edges alone."""
    crossings = np.zeros((shape[0], shape[1] + 1), int)
    for (ya, xa), (yb, xb) in outline.edges:
        if xa == xb:
            crossings[round(min(ya, yb) + 0.5), round(xa + 0.5)] += 1
    return np.cumsum(crossings, 1)[:, :-1] % 2 == 1


def test_the_outline_encloses_the_mask_and_nothing_else():
    rng = np.random.default_rng(0)
    mask = ndimage.gaussian_filter(rng.random((20, 24)), 2) > 0.5
    outline = Outline.around(mask)
    np.testing.assert_array_equal(enclosed(outline, mask.shape), mask)
    moved = Outline.around(mask[3:, 5:], (3, 5))
    whole = np.zeros_like(mask)
    whole[3:, 5:] = mask[3:, 5:]
    np.testing.assert_array_equal(enclosed(moved, mask.shape), whole)
    assert not Outline.around(np.zeros((3, 3), bool))


def test_inside_is_to_the_right_of_every_edge():
    mask = np.zeros((9, 9), bool)
    mask[2:6, 3:8] = True
    mask[4, 5] = False
    for (ya, xa), (yb, xb) in Outline.around(mask).edges:
        middle = np.array([(ya + yb) / 2, (xa + xb) / 2])
        right = np.array([xb - xa, -(yb - ya)])
        y, x = np.round(middle + right / 2).astype(int)
        assert mask[y, x]
        y, x = np.round(middle - right / 2).astype(int)
        assert not mask[y, x]


def test_lines_through_points():
    line = Outline.through([(0, 0), (3, 4), (5, 5)], dots=True)
    assert line.edges.tolist() == [[[0, 0], [3, 4]], [[3, 4], [5, 5]]]
    assert line.points.tolist() == [[0, 0], [3, 4], [5, 5]]
    ring = Outline.through([(0, 0), (0, 2), (2, 2)], is_closed=True)
    assert ring.edges[-1].tolist() == [[2, 2], [0, 0]]
    assert len(Outline.all_of([line, ring]).edges) == 5
    assert not Outline.all_of([])
    assert not Outline.through([])
    assert not len(Outline.through([(1, 1)]).edges)


def test_nothing_of_it_stays():
    viewer = ViewerModel()
    layer = viewer.add_labels(np.zeros((5, 5), np.uint8))
    before = set(layer._overlays)
    outlines = Outlines(layer, "test")
    outlines.show(Outline.around(np.ones((2, 2), bool)))
    assert len(viewer.layers) == 1
    outlines.close()
    assert set(layer._overlays) == before


@pytest.mark.parametrize("grey", [0, 128, 255])
@pytest.mark.parametrize("scale", [(1, 1, 1), (2, 0.5, 0.5)])
def test_it_is_seen_on_any_brightness(make_napari_viewer, grey, scale):
    viewer = make_napari_viewer(show=True)
    image = np.full((3, 60, 60), grey, np.uint8)
    viewer.add_image(image, contrast_limits=(0, 255), scale=scale)
    layer = viewer.add_labels(np.zeros((3, 60, 60), np.uint8), scale=scale)
    viewer.reset_view()
    plain = viewer.screenshot(flash=False)[..., :3].astype(int)
    mask = np.zeros((60, 60), bool)
    mask[20:40, 20:40] = True
    outlines = Outlines(layer, "test")
    outlines.show(Outline.around(mask))
    drawn = viewer.screenshot(flash=False)[..., :3].astype(int)
    different = np.abs(drawn - plain).max(-1) > 60
    assert different.sum() > 200
    # Around the mask, which lies in the middle, and nowhere else.
    y, x = np.nonzero(different)
    side = min(plain.shape[:2])
    middle = np.array(plain.shape[:2]) / 2
    assert abs((y.min() + y.max()) / 2 - middle[0]) < 0.03 * side
    assert abs((x.min() + x.max()) / 2 - middle[1]) < 0.03 * side
    outlines.close()
    gone = viewer.screenshot(flash=False)[..., :3].astype(int)
    np.testing.assert_array_equal(gone, plain)


def test_outlines_hide_with_their_layer_and_in_three_dimensions(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    layer = viewer.add_labels(np.zeros((3, 30, 30), np.uint8))
    outlines = Outlines(layer, "test")
    empty = viewer.screenshot(flash=False)
    outlines.show(Outline.around(np.ones((10, 10), bool), (5, 5)))
    assert (viewer.screenshot(flash=False) != empty).any()
    layer.visible = False
    np.testing.assert_array_equal(viewer.screenshot(flash=False), empty)
    layer.visible = True
    viewer.dims.ndisplay = 3
    with_outline = viewer.screenshot(flash=False)
    outlines.close()
    np.testing.assert_array_equal(viewer.screenshot(flash=False), with_outline)
