"""What there is to find: by the task, with crowds and undecided proposals ignored."""

from dataclasses import replace

import numpy as np
import pytest

from napari_eomt.errors import DataError
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation, Status
from napari_eomt.training.labels import match_categories, with_background
from napari_eomt.training.truth import truth_of

CELL, DEBRIS, SKY = Category(5, "cell"), Category(7, "debris"), Category(2, "sky", is_thing=False)
LABELS = match_categories([], [CELL, DEBRIS, SKY])


def segment(i, category_id=5, **fields):
    return Segment(i, category_id, **({"status": Status.ACCEPTED} | fields))


def scene(offset=0):
    """Two cells, debris, sky in two parts, a crowd, a proposal; ids with gaps."""
    id_map = np.zeros((10, 12), np.uint32)
    id_map[0:3, 0:3] = 3 + offset  # cell, 9 px
    id_map[5:10, 0:5] = 8 + offset  # cell, 25 px
    id_map[0:2, 6:8] = 9 + offset  # debris, 4 px
    id_map[4, :] = 11 + offset  # sky
    id_map[3, 6:] = 12 + offset  # sky
    id_map[6:8, 8:12] = 20 + offset  # crowd
    id_map[9, 8:12] = 21 + offset  # proposed
    segments = (
        segment(3 + offset),
        segment(8 + offset, status=Status.DRAWN),
        segment(9 + offset, 7),
        segment(11 + offset, 2),
        segment(12 + offset, 2),
        segment(20 + offset, is_crowd=True),
        segment(21 + offset, status=Status.PROPOSED, score=0.9),
        segment(30 + offset),  # of which nothing can be seen
    )
    return Segmentation(id_map, segments)


@pytest.mark.parametrize("offset", [0, 2**30])
@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("instance", {(0, (3,)), (0, (8,)), (1, (9,))}),
        ("panoptic", {(0, (3,)), (0, (8,)), (1, (9,)), (2, (11, 12))}),
        ("semantic", {(0, (3, 8)), (1, (9,)), (2, (11, 12))}),
    ],
)
def test_objects_and_regions_by_task(task, expected, offset):
    segmentation = scene(offset)
    truth = truth_of(segmentation, LABELS, task)
    id_map = segmentation.id_map
    masks = {
        (label, np.isin(id_map, [i + offset for i in ids]).tobytes()) for label, ids in expected
    }
    found = {(int(label), (truth.rows == k + 1).tobytes()) for k, label in enumerate(truth.labels)}
    assert found == masks
    np.testing.assert_array_equal(truth.ignore, np.isin(id_map, [20 + offset, 21 + offset]))
    for k, i in enumerate(truth.ids):
        # The first segment of a region.
        assert id_map[truth.rows == k + 1].min() == i
        y, x = np.nonzero(truth.rows == k + 1)
        assert truth.boxes[k].tolist() == [y.min(), x.min(), y.max() + 1, x.max() + 1]
    sides = [3.0, 5.0, 2.0]
    assert truth.object_size == np.median(sides)


def test_proposals_are_learnt_if_that_is_wanted():
    truth = truth_of(scene(), LABELS, "instance", "learn")
    assert truth.ids.tolist() == [3, 8, 9, 21]
    np.testing.assert_array_equal(truth.ignore, scene().id_map == 20)


def test_a_locked_proposal_was_decided():
    segmentation = scene()
    segments = tuple(replace(s, locked=s.id == 21) for s in segmentation.segments)
    truth = truth_of(Segmentation(segmentation.id_map, segments), LABELS, "instance")
    assert truth.ids.tolist() == [3, 8, 9, 21]


def test_nothing_there():
    truth = truth_of(Segmentation(np.zeros((4, 5), np.uint16), ()), LABELS, "panoptic")
    assert len(truth) == 0
    assert truth.boxes.shape == (0, 4)
    assert truth.ignore is None
    assert truth.object_size is None
    assert not truth.rows.any()


def test_an_id_without_a_segment_is_nobodys_word():
    segmentation = scene()
    fewer = tuple(s for s in segmentation.segments if s.id != 3)
    truth = truth_of(Segmentation(segmentation.id_map, fewer), LABELS, "instance")
    assert truth.ignore[segmentation.id_map == 3].all()
    assert not truth.rows[segmentation.id_map == 3].any()


def test_an_unknown_category_is_told():
    id_map = np.ones((2, 2), np.uint16)
    with pytest.raises(DataError, match=r"a\.png: segment 1 has category 99"):
        truth_of(Segmentation(id_map, (segment(1, 99),)), LABELS, "instance", name="a.png")


@pytest.mark.parametrize("task", ["semantic", "panoptic", "instance"])
def test_what_nobody_has_annotated_is_a_region_where_it_has_a_label(task):
    labels = with_background(LABELS)
    one = scene()
    truth, plain = truth_of(one, labels, task), truth_of(one, LABELS, task)
    np.testing.assert_array_equal(truth.ignore, plain.ignore)
    by_label = np.append(-1, truth.labels)[truth.rows]
    expected = np.append(-1, plain.labels)[plain.rows]
    if task == "semantic":
        assert labels.background == 3
        expected[one.id_map == 0] = 3
    np.testing.assert_array_equal(by_label, expected)
    assert truth.object_size == plain.object_size
    full = Segmentation(np.full((3, 4), 5, np.uint16), (segment(5),))
    assert truth_of(full, labels, task).labels.tolist() == [0]
