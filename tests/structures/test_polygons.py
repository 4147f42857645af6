from __future__ import annotations

import numpy as np
import pycocotools.mask as coco
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_eomt.structures import polygons as module
from napari_eomt.structures.polygons import PolygonError, mask_to_polygons, polygons_to_rle
from napari_eomt.structures.rle import decode, encode_mask


@st.composite
def masks(draw, max_side=40):
    """Random masks, noise or blocks or fields with smooth borders, of any density."""
    height, width = draw(st.tuples(st.integers(0, max_side), st.integers(0, max_side)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    block = draw(st.sampled_from([1, 1, 2, 5]))
    noise = rng.random((height // block + 1, width // block + 1))
    if draw(st.booleans()):
        noise = ndimage.gaussian_filter(noise, 1.5)
    mask = noise > np.quantile(noise, draw(st.floats(0, 1)))
    return mask.repeat(block, 0).repeat(block, 1)[:height, :width]


def by_pycocotools(polygons, shape):
    return coco.decode(coco.merge(coco.frPyObjects(polygons, *shape))).astype(bool)


@settings(deadline=None)
@given(masks())
def test_pycocotools_draws_the_mask_again(mask):
    polygons = mask_to_polygons(mask, exact=True)
    assert polygons == mask_to_polygons(encode_mask(mask))
    assert len(polygons) == ndimage.label(mask)[1]
    if polygons:
        np.testing.assert_array_equal(by_pycocotools(polygons, mask.shape), mask)
        assert polygons_to_rle(polygons, mask.shape) == encode_mask(mask)


def area(polygon):
    x, y = np.reshape(polygon, (-1, 2)).T
    return (x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


@settings(deadline=None)
@given(masks())
def test_rings_enclose_their_part_less_its_holes(mask):
    """By the shoelace formula: holes run against the clock, cuts go there and back."""
    polygons = mask_to_polygons(mask)
    parts, n = ndimage.label(mask)
    sizes = np.bincount(parts.ravel(), minlength=n + 1)[1:]
    assert sorted(map(area, polygons)) == sorted(sizes.tolist())


@settings(deadline=None)
@given(masks())
def test_dropped_holes_are_filled(mask):
    filled = ndimage.binary_fill_holes(mask, np.ones((3, 3)))
    polygons = mask_to_polygons(mask, holes="drop")
    if polygons:
        np.testing.assert_array_equal(by_pycocotools(polygons, mask.shape), filled)
    n_holes = ndimage.label(~np.pad(mask, 1), np.ones((3, 3)))[1] - 1
    if n_holes:
        with pytest.raises(PolygonError, match=f"has {n_holes} holes"):
            mask_to_polygons(mask, holes="refuse")
    else:
        assert mask_to_polygons(mask, holes="refuse") == polygons


@settings(deadline=None)
@given(masks(), st.floats(0.3, 3))
def test_a_tolerance_leaves_out_points_within_it(mask, tolerance):
    polygons, fewer = mask_to_polygons(mask), mask_to_polygons(mask, tolerance=tolerance)
    assert len(fewer) == len(polygons)
    for one, other in zip(polygons, fewer, strict=True):
        assert 6 <= len(other) <= len(one)
        points, line = np.reshape(one, (-1, 2)), np.reshape(other, (-1, 2))
        assert set(map(tuple, line)) <= set(map(tuple, points))
        run = np.roll(line, -1, axis=0) - line
        away = points[:, None] - line
        along = np.clip((away * run).sum(2) / np.maximum((run**2).sum(1), 1e-9), 0, 1)
        distance = np.hypot(*(away - along[..., None] * run).transpose(2, 0, 1)).min(1)
        assert distance.max() <= tolerance + 1e-9
    if fewer:
        drawn = polygons_to_rle(fewer, mask.shape)
        np.testing.assert_array_equal(decode(drawn), by_pycocotools(fewer, mask.shape))
        if drawn == encode_mask(mask):
            assert mask_to_polygons(mask, tolerance=tolerance, exact=True) == fewer
        else:
            with pytest.raises(PolygonError, match="differ from the mask in"):
                mask_to_polygons(mask, tolerance=tolerance, exact=True)


def test_a_disc_simplifies_to_few_points_and_stays_a_disc():
    y, x = np.mgrid[:100, :100]
    disc = (y - 50) ** 2 + (x - 47) ** 2 < 40**2
    (polygon,) = mask_to_polygons(disc, tolerance=1)
    assert len(polygon) < len(mask_to_polygons(disc)[0]) / 8
    drawn = decode(polygons_to_rle([polygon], disc.shape))
    assert (drawn & disc).sum() / (drawn | disc).sum() > 0.97


def test_rings_of_drawn_cases():
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    # Down the cut, around the hole against the clock, and up again.
    assert mask_to_polygons(ring) == [
        [0, 0, 1, 0, 1, 1, 1, 2, 2, 2, 2, 1, 1, 1, 1, 0, 3, 0, 3, 3, 0, 3]
    ]
    assert mask_to_polygons(ring, holes="drop") == [[0, 0, 3, 0, 3, 3, 0, 3]]
    assert mask_to_polygons(np.eye(2, dtype=bool)) == [
        [0, 0, 1, 0, 1, 1, 0, 1],
        [1, 1, 2, 1, 2, 2, 1, 2],
    ]
    assert mask_to_polygons(np.zeros((4, 4), bool)) == []
    assert mask_to_polygons(np.ones((1, 1), bool), tolerance=9)[0] == [0, 0, 1, 0, 1, 1, 0, 1]


def test_holes_on_holes_are_joined_however_many():
    mask = np.ones((6001, 7), bool)
    mask[1::2, 1:6] = False
    assert len(mask_to_polygons(mask, exact=True)) == 1


@settings(deadline=None)
@given(
    st.lists(st.lists(st.tuples(*[st.floats(-60, 90)] * 2), min_size=3, max_size=9), min_size=1),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_any_polygons_are_drawn_as_pycocotools_does(points, size):
    polygons = [[c for point in polygon for c in point] for polygon in points]
    expected = by_pycocotools(polygons, size)
    np.testing.assert_array_equal(decode(polygons_to_rle(polygons, size)), expected)
    arrays = [np.array(polygon) for polygon in polygons]
    assert polygons_to_rle(arrays, size) == encode_mask(expected)


@settings(deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(-90, 120)] * 2), min_size=3, max_size=9),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_cutting_off_what_is_outside_keeps_what_is_inside(points, size):
    """Edges can move by what pycocotools' rounding to a fifth of a pixel makes of their slope."""
    points = np.array(points, float)
    expected = by_pycocotools([points.ravel().tolist()], size)
    cut = module._clipped(points, size)
    found = np.zeros(size, bool)
    if len(cut):
        assert (cut >= -1 - 1e-6).all()
        assert (cut <= np.add(size[::-1], 1 + 1e-6)).all()
        found = by_pycocotools([cut.ravel().tolist()], size)
    wrong = found != expected
    y, x = np.nonzero(wrong)
    edges = np.roll(points, -1, axis=0) - points
    away = np.stack((x + 0.5, y + 0.5), 1)[:, None] - points
    along = np.clip((away * edges).sum(2) / np.maximum((edges**2).sum(1), 1e-9), 0, 1)
    distance = np.hypot(*(away - along[..., None] * edges).transpose(2, 0, 1)).min(1, initial=9)
    assert (distance < 1).all()


@pytest.mark.parametrize("far", [1e7, 1e12, 1e200])
def test_coordinates_far_outside_take_neither_memory_nor_sense(far):
    size = (20, 30)
    everything = [-far, -far, far, -far, far, far, -far, far]
    assert polygons_to_rle([everything], size).area == 600
    right_half = [15, -far, far, -far, far, far, 15, far]
    assert decode(polygons_to_rle([right_half], size))[:, 15:].all()
    assert polygons_to_rle([right_half], size).area == 300
    below = [-far, 5, far, 5, far, far, -far, far]
    assert polygons_to_rle([below, [1, 1, 2, 1, 2, 2, 1, 2]], size).area == 15 * 30 + 1
    beside = [far, far, 2 * far, far, 2 * far, 2 * far]
    assert polygons_to_rle([beside], size).area == 0


@pytest.mark.parametrize(
    ("polygon", "said"),
    [
        ([1, 2, 3, 4], "2 points"),
        ([], "0 points"),
        ([1, 2, 3, 4, 5, 6, 7], "7 numbers"),
        ([1, 2, float("nan"), 4, 5, 6], "holds nan"),
        ([1, 2, float("-inf"), 4, 5, 6], "holds -inf"),
        ([1, 2, True, 4, 5, 6], "holds True"),
        ([1, 2, "3", 4, 5, 6], "holds '3'"),
        ([1, 2, None, 4, 5, 6], "holds None"),
        ([1, 2, 10**400, 4, 5, 6], "holds 1000"),
        ([[1, 2], [3, 4], [5, 6]], r"holds \[1, 2\]"),
        ("1 2 3 4 5 6", "is '1 2"),
        (3.0, "is 3.0"),
        ([0.0] * 2_000_002, "more than 1000000 points"),
    ],
)
def test_what_is_no_polygon_is_refused(polygon, said):
    with pytest.raises(ValueError, match=said):
        polygons_to_rle([[1, 1, 5, 1, 5, 5], polygon], (9, 9))


@pytest.mark.parametrize("polygons", [[], None, "abc", {"counts": "0"}])
def test_what_are_no_polygons_is_refused(polygons):
    with pytest.raises(ValueError, match="list of"):
        polygons_to_rle(polygons, (9, 9))


def test_limits_are_told():
    with pytest.raises(ValueError, match="fewer than 2147483648"):
        polygons_to_rle([[1, 1, 5, 1, 5, 5]], (2**16, 2**16))
    zigzag = np.tile([[0.0, 0.0], [9000.0, 0.0]], (1000, 1)).ravel()
    with pytest.raises(ValueError, match="Polygon 0 has an outline of more"):
        polygons_to_rle([zigzag], (9000, 9000))
    for tolerance in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="tolerance"):
            mask_to_polygons(np.ones((2, 2), bool), tolerance=tolerance)
    with pytest.raises(ValueError, match="holes is 'keep'"):
        mask_to_polygons(np.ones((2, 2), bool), holes="keep")
    assert polygons_to_rle([[0, 0, 5, 0, 5, 5]], (0, 7)).area == 0
