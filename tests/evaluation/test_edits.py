import numpy as np
import pytest
from tests.evaluation.drawn import CATEGORIES, segmentation

from napari_eomt.evaluation.edits import Edits, edits_needed
from napari_eomt.evaluation.matching import objects_of
from napari_eomt.evaluation.overlap import measure_overlap

THINGS = np.array([c.is_thing for c in CATEGORIES])


def edits(pred, truth, *, of_pred=None, of_truth=None, crowds=(), **options):
    overlap = measure_overlap(
        segmentation(np.atleast_2d(pred), of_pred),
        segmentation(np.atleast_2d(truth), of_truth, crowds),
        CATEGORIES,
    )
    return edits_needed(overlap, objects_of(overlap, THINGS), **options)


@pytest.mark.parametrize(
    ("pred", "truth", "expected"),
    [
        ([1, 1, 0, 2, 2], [3, 3, 0, 1, 1], Edits()),
        ([0, 0, 0, 2, 2], [3, 3, 0, 1, 1], Edits(add=1)),
        ([1, 1, 0, 2, 2], [0, 0, 0, 1, 1], Edits(delete=1)),
        ([1, 1, 1, 0, 0], [1, 1, 1, 1, 1], Edits(redraw=1)),
        ([1, 1, 1, 1, 0], [1, 1, 1, 1, 1], Edits()),
        ([1, 1, 0, 2, 2], [1, 1, 1, 1, 1], Edits(merge=1)),
        ([1, 1, 1, 2, 2], [1, 1, 1, 1, 1], Edits(merge=1)),  # one piece matches by itself
        ([1, 0, 2, 0, 3], [1, 1, 1, 1, 1], Edits(merge=1, redraw=1)),
        ([1, 0, 0, 0, 2], [1, 1, 1, 1, 1], Edits(add=1, delete=2)),  # joined they are no object
        ([1, 1, 1, 1, 1], [1, 1, 0, 2, 2], Edits(split=1)),
        ([1, 1, 1, 1, 1], [1, 1, 1, 2, 2], Edits(split=1)),
        ([1, 1, 1, 1, 1], [1, 0, 2, 0, 3], Edits(split=2)),
        ([1] * 12, [1, 1, 2, 2] + [0] * 8, Edits(add=2, delete=1)),
        ([0], [0], Edits()),
    ],
)
def test_each_kind_of_mistake(pred, truth, expected):
    assert edits(pred, truth) == expected


def test_a_mistake_seen_from_the_other_side():
    """Who has the truth and wants the prediction adds what he deletes, and cuts what he joins."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        a, b = np.repeat(rng.integers(0, 5, (2, 8)), 3, 1)
        forth, back = edits(a, b), edits(b, a)
        assert (forth.n_actions == 0) == (back.n_actions == 0)
        assert edits(a, a) == Edits()


def test_a_wrong_category_is_an_action_and_stuff_is_not_looked_at():
    assert edits([1, 1, 2], [1, 1, 2], of_pred={1: 3, 2: 3}, of_truth={1: 7, 2: 3}) == Edits(
        recategorise=1
    )
    assert edits([1, 1, 2], [1, 1, 0], of_pred={1: 3, 2: 8}) == Edits()


def test_what_lies_on_a_crowd_stays():
    assert edits([1, 1, 2, 2], [1, 1, 2, 2], crowds={2}) == Edits()


def test_the_threshold_of_redrawing_and_the_sum():
    assert edits([1, 1, 1, 0], [1, 1, 1, 1], redraw_iou=0.8) == Edits(redraw=1)
    assert edits([1, 1, 1, 0], [1, 1, 1, 1], redraw_iou=0.75) == Edits()
    total = Edits(1, 2, 3, 4, 5, 6) + Edits(add=1)
    assert (total.add, total.n_actions) == (2, 22)
