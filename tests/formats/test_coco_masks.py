"""Masks of annotations, however they are written, are those that pycocotools sees."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.formats.drawn_coco import SIZE, drawn, mask_of, rle

from napari_eomt.errors import DataError
from napari_eomt.formats import coco_masks
from napari_eomt.structures.polygons import polygons_to_rle
from napari_eomt.structures.rle import decode


@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_one_by_one_and_all_at_once_are_what_pycocotools_sees():
    records = drawn()["annotations"]
    together = coco_masks.masks_of(records, SIZE)
    for k, record in enumerate(records):
        expected = mask_of(record)
        alone = coco_masks.mask_of(record, SIZE)
        assert (alone is None) == (expected is None) == (k not in together)
        if expected is not None:
            np.testing.assert_array_equal(decode(alone), expected)
            np.testing.assert_array_equal(decode(together[k]), expected)


@pytest.mark.parametrize("seed", range(40))
def test_the_quick_way_draws_polygons_as_the_careful_one(seed):
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(1, 60, 2).tolist())
    far = float(rng.choice([1, 10, 60, 119, 300, 1e6]))
    polygons = [
        rng.uniform(-0.2 * far, far, 2 * rng.integers(3, 12)).round(seed % 3).tolist()
        for _ in range(rng.integers(1, 4))
    ]
    record = {"id": 1, "image_id": 1, "segmentation": polygons}
    assert coco_masks.mask_of(record, size) == polygons_to_rle(polygons, size)


@pytest.mark.parametrize(
    "polygon",
    [
        [math.nan, 1, 2, 3, 4, 5],
        [1, 2, 3, math.nan, 4, 5],
        [1, 2, 3, 4, 5, math.inf],
        [1, 2, 3, 4, 5, "6"],
        [1, 2, 3, 4, 5, True],
        [1, 2, 3, 4, 5],
        [1, 2, 3, 4],
        "abcdef",
        None,
    ],
)
def test_nothing_else_comes_to_the_quick_way(polygon):
    assert not coco_masks._is_tame([[1.0, 2, 3, 4, 5, 6], polygon], SIZE)
    record = {"id": 8, "image_id": 1, "segmentation": [[1.0, 2, 3, 4, 5, 6], polygon]}
    with pytest.raises(DataError, match="annotation 8 of image 1: segmentation: Polygon 1"):
        coco_masks.mask_of(record, SIZE)


def test_polygons_of_many_points_are_drawn_carefully():
    n = coco_masks._MAX_STEPS // (10 * 2 * max(SIZE)) + 1
    angle = np.linspace(0, 2 * np.pi, n)
    polygon = (np.stack((np.cos(angle), np.sin(angle)), 1) * 10 + 12).ravel().tolist()
    assert not coco_masks._is_tame([polygon], SIZE)
    assert coco_masks._is_tame([polygon[:-4]], SIZE)


def test_the_order_of_painting():
    """Crowds, then the largest first, of equal ones the first; then what we have written."""

    def record(i, width, x=0, **fields):
        mask = np.zeros(SIZE, bool)
        mask[:4, x : x + width] = True
        return {"id": i, "image_id": 1, "segmentation": rle(mask)} | fields

    records = [
        record(0, 20, attributes={"segment_id": 4}),
        record(1, 4),
        record(2, 24, x=4),
        record(3, 4),
        record(4, 3, x=20, iscrowd=1),
        record(5, 8, x=18),
        record(6, 2, x=18, attributes={"segment_id": 5}),
        record(7, 3, x=18, attributes={"segment_id": "5"}),
    ]
    painted = coco_masks.paint_annotations(records, SIZE)
    row = painted.id_map[0] - 1
    assert row.tolist() == [0] * 18 + [6] * 2 + [7] + [5] * 5 + [2] * 2 + [65535] * 4
    counts = [np.count_nonzero(painted.id_map == k + 1) for k in range(len(records))]
    assert painted.areas.tolist() == counts
