from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_eomt.annotation.document import Document
from napari_eomt.annotation.operations import propose, set_status
from napari_eomt.structures.categories import Category
from napari_eomt.structures.id_maps import boxes
from napari_eomt.structures.segments import Segment, Segmentation, Status
from napari_eomt.synthetic import drawn_nuclei


def segmentation(id_map, category_id=1):
    found = boxes(id_map)
    return Segmentation(
        id_map,
        tuple(
            Segment(i, category_id, 0.9, area=int((id_map == i).sum()), bbox=box)
            for i, box in sorted(found.items())
        ),
    )


def without(id_map, *ids):
    """The same, as a model numbers it: without gaps, after some objects are gone."""
    kept = np.setdiff1d(np.unique(id_map), [0, *ids])
    table = np.zeros(id_map.max() + 1, np.uint16)
    table[kept] = np.arange(1, len(kept) + 1)
    return table[id_map]


@pytest.fixture
def truth():
    return drawn_nuclei((200, 260), n=40, seed=3)[1].astype(np.uint16)


@pytest.fixture
def document(truth):
    document = Document((), truth.shape, [Category(1, "nucleus"), Category(2, "debris")])
    document.apply(propose(document, 0, segmentation(truth)))
    return document


def test_what_is_proposed_again_keeps_its_id(document, truth):
    before = document.id_map(0).copy()
    document.apply(edit := propose(document, 0, segmentation(without(truth, 5, 17))))
    np.testing.assert_array_equal(document.id_map(0), np.where(np.isin(before, [5, 17]), 0, before))
    assert {change.id for change in edit.segments} == {5, 17}
    # Back again: they take the ids that are free, lowest first, and nothing else changes.
    document.apply(edit := propose(document, 0, segmentation(truth)))
    assert len(edit.segments) == 2
    assert (np.unique(document.id_map(0)) > 0).sum() == (np.unique(truth) > 0).sum()
    others = ~np.isin(truth, [5, 17])
    np.testing.assert_array_equal(document.id_map(0)[others], before[others])


def test_objects_that_grow_keep_their_ids(document, truth):
    """As when the threshold of masks is moved: every object changes, by a rim."""
    from skimage.segmentation import expand_labels

    before = document.id_map(0).copy()
    document.apply(propose(document, 0, segmentation(expand_labels(truth, 2).astype(np.uint16))))
    now = document.id_map(0)
    np.testing.assert_array_equal(now[before > 0], before[before > 0])
    assert (now != before).any()
    assert all(s.area == (now == i).sum() for i, s in document.segments(0).items())


def test_another_category_in_the_same_place_is_told(document, truth):
    document.apply(edit := propose(document, 0, segmentation(truth, category_id=2)))
    assert not edit.pixels
    assert {s.category_id for s in document.segments(0).values()} == {2}


def test_objects_that_split_or_move_away_take_other_ids():
    one = np.zeros((20, 40), np.uint16)
    one[5:15, 4:34] = 1
    document = Document((), one.shape, [Category(1, "nucleus")])
    document.apply(propose(document, 0, segmentation(one)))
    two = one.copy()
    two[5:15, 10:34] = 2  # most of it
    document.apply(propose(document, 0, segmentation(two)))
    assert document.id_map(0)[10, 30] == 1
    assert document.id_map(0)[10, 5] == 2
    away = np.zeros_like(one)
    away[0:4, 0:40] = 1
    document.apply(propose(document, 0, segmentation(away)))
    assert set(document.segments(0)) == {1}


def test_locked_objects_stay_and_the_others_keep_their_ids(document, truth):
    document.apply(set_status(document, [(0, 9)], Status.ACCEPTED))
    before = document.id_map(0).copy()
    document.apply(propose(document, 0, segmentation(without(truth, 5))))
    np.testing.assert_array_equal(document.id_map(0), np.where(before == 5, 0, before))
    assert document.segments(0)[9].status is Status.ACCEPTED
    # Its id is not given away, and what is proposed beneath it is not there twice.
    assert all(s.area == (before == i).sum() for i, s in document.segments(0).items())


def test_many_objects_are_matched(truth):
    rng = np.random.default_rng(0)
    ids = rng.permutation(np.arange(1, 5001))
    id_map = np.zeros((1420, 1420), np.uint16)
    for k, i in enumerate(ids):
        y, x = divmod(k, 71)
        id_map[y * 20 : y * 20 + 15, x * 20 : x * 20 + 15] = i
    document = Document((), id_map.shape, [Category(1, "nucleus")])
    document.apply(propose(document, 0, segmentation(id_map)))
    before = document.id_map(0).copy()
    shrunk = np.where(np.roll(id_map, 1, 0) == id_map, id_map, 0).astype(np.uint16)
    proposed = segmentation(shrunk)
    document.apply(propose(document, 0, replace(proposed)))
    np.testing.assert_array_equal(document.id_map(0), np.where(shrunk > 0, before, 0))


def test_segments_that_nobody_measured_are_measured(truth):
    document = Document((), truth.shape, [Category(1, "nucleus")])
    plain = Segmentation(truth, tuple(Segment(int(i), 1) for i in np.unique(truth) if i))
    document.apply(propose(document, 0, plain))
    expected = boxes(truth)
    assert {i: s.bbox for i, s in document.segments(0).items()} == expected
    assert all(s.area == (truth == i).sum() for i, s in document.segments(0).items())
