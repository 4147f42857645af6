from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from napari_eomt.structures.categories import Category, stuff_labels
from napari_eomt.structures.segments import TASKS, Segment, Segmentation, Status


def test_only_what_is_merely_proposed_may_be_replaced():
    free = [s for s in Status if not Segment(1, 1, status=s).is_locked]
    assert free == [Status.PROPOSED]
    assert not Segment(1, 1).is_locked


def test_segments_are_values():
    segment = Segment(3, 17, 0.5)
    assert replace(segment, score=0.5) == segment
    assert hash(segment) == hash(Segment(3, 17, 0.5))
    with pytest.raises(FrozenInstanceError):
        segment.score = 0.7


def test_a_segmentation_knows_its_shape_and_ids():
    first, second = Segment(1, 7), Segment(2, 8, 0.3)
    found = Segmentation(np.zeros((4, 9), np.uint16), (first, second))
    assert found.shape == (4, 9)
    assert found.by_id() == {1: first, 2: second}


@pytest.mark.parametrize(
    ("by", "dtype"), [(0, np.uint16), (65_533, np.uint16), (65_534, np.uint32), (10**6, np.uint32)]
)
def test_shifting_ids_leaves_void_alone(by, dtype):
    id_map = np.array([[0, 1], [2, 0]], np.uint16)
    shifted = Segmentation(id_map, (Segment(1, 7), Segment(2, 8, 0.3))).shifted(by)
    assert shifted.id_map.tolist() == [[0, 1 + by], [2 + by, 0]]
    assert shifted.id_map.dtype == dtype
    assert shifted.segments == (Segment(1 + by, 7), Segment(2 + by, 8, 0.3))
    assert id_map.tolist() == [[0, 1], [2, 0]]


def test_nothing_shifted_is_nothing():
    assert not Segmentation(np.zeros((2, 2), np.uint16), ()).shifted(65_535).id_map.any()


@pytest.mark.parametrize("shape", [(4,), (2, 4, 9)])
def test_an_id_map_has_two_axes(shape):
    with pytest.raises(ValueError, match="two axes"):
        Segmentation(np.zeros(shape, np.uint16), ())


def test_stuff_is_told_by_labels_not_ids():
    categories = [Category(9, "sky", is_thing=False), Category(2, "cat"), Category(0, "sea", False)]
    assert stuff_labels(categories) == {0, 2}
    assert stuff_labels([]) == frozenset()


def test_tasks_have_one_name_each():
    assert set(TASKS) == {"instance", "semantic", "panoptic"}
