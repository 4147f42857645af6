from __future__ import annotations

import numpy as np
import pytest

from napari_eomt.structures.id_maps import areas, boxes, id_dtype, renumber

DTYPES = [np.uint8, np.uint16, np.int32, np.uint32, np.int64]


def id_map(dtype, shape=(13, 17), n=6):
    return np.random.default_rng(0).choice([0, 1, 2, 4, n], shape).astype(dtype)


@pytest.mark.parametrize(
    ("max_id", "dtype"),
    [(0, np.uint16), (65_535, np.uint16), (65_536, np.uint32), (2**32 - 1, np.uint32)],
)
def test_the_smallest_dtype_that_holds_an_id(max_id, dtype):
    assert id_dtype(max_id) is dtype
    assert dtype(max_id) == max_id


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_ids", [None, 7, 20])
def test_areas_equal_their_definition(dtype, n_ids):
    ids = id_map(dtype)
    expected = [(ids == i).sum() for i in range(n_ids or 7)]
    assert areas(ids, n_ids).tolist() == expected
    assert areas(ids, n_ids).dtype == np.int64


@pytest.mark.parametrize("shape", [(0, 0), (3, 0)])
def test_areas_of_no_pixels(shape):
    assert areas(np.zeros(shape, np.uint16), 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_boxes_equal_their_definition(dtype):
    ids = np.zeros((40, 50), dtype)
    ids[3:10, 4:9] = 1
    ids[30, 2] = ids[33, 49] = 5  # in two parts
    ids[39, 0] = 100
    expected = {}
    for i in (1, 5, 100):
        rows, columns = np.nonzero(ids == i)
        expected[i] = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
    assert boxes(ids) == expected
    assert boxes(np.zeros((4, 4), dtype)) == {}


@pytest.mark.parametrize("dtype", DTYPES)
def test_renumber_equals_its_definition(dtype):
    ids = id_map(dtype)
    new = np.array([0, 3, 9, 8, 0, 7, 70_000])
    found = renumber(ids, new)
    assert found.dtype == np.uint32
    np.testing.assert_array_equal(found, [[new[i] for i in row] for row in ids])
    assert renumber(ids, np.minimum(new, 9)).dtype == np.uint16
    np.testing.assert_array_equal(ids, id_map(dtype))
