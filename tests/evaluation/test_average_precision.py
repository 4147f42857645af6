import itertools

import numpy as np
import pytest
from tests.evaluation.drawn import (
    CATEGORIES,
    disturbed,
    random_categories,
    random_map,
    segmentation,
)

from napari_eomt.evaluation.average_precision import (
    IOU_THRESHOLDS,
    Counts,
    average_precision,
    object_counts,
)
from napari_eomt.evaluation.matching import match, objects_of
from napari_eomt.evaluation.overlap import measure_overlap

THINGS = np.array([c.is_thing for c in CATEGORIES])


def prepared(pred, truth):
    overlap = measure_overlap(pred, truth, CATEGORIES)
    return overlap, objects_of(overlap, THINGS)


def best_by_trying(iou, threshold):
    """Return the most matches that there can be, and the largest sum of IoU of so many."""
    n_pred, n_truth = iou.shape
    best = (0, 0.0)
    for n in range(min(n_pred, n_truth), 0, -1):
        for preds in itertools.combinations(range(n_pred), n):
            for truths in itertools.permutations(range(n_truth), n):
                values = [iou[p, t] for p, t in zip(preds, truths, strict=True)]
                if min(values) >= threshold:
                    best = max(best, (n, sum(values)))
        if best[0]:
            return best
    return best


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.5, 0.75])
def test_matching_is_the_best_of_all(seed, threshold):
    rng = np.random.default_rng(seed)
    truth = random_map(rng, (14, 14), 4)
    pred = random_map(rng, (14, 14), 4) if seed % 2 else disturbed(rng, truth)
    overlap, objects = prepared(segmentation(pred), segmentation(truth))
    iou = np.zeros((len(overlap.pred_ids), len(overlap.truth_ids)))
    iou[overlap.pred, overlap.truth] = overlap.iou
    pairs = match(overlap, objects, threshold)
    assert len(set(overlap.pred[pairs])) == len(set(overlap.truth[pairs])) == len(pairs)
    n, total = best_by_trying(iou, threshold)
    assert len(pairs) == n
    assert overlap.iou[pairs].sum() == pytest.approx(total, abs=1e-12)


def test_an_iou_at_the_threshold_counts():
    """3 of 5 pixels: 0.5 + 0.05 + 0.05 is more than 0.6 in floats."""
    truth, pred = np.zeros((2, 1, 5), int)
    truth[0, :5], pred[0, :3] = 1, 1
    counts = object_counts(*prepared(segmentation(pred), segmentation(truth)))
    assert [c.tp for c in counts] == [1, 1, 1] + [0] * 7
    assert IOU_THRESHOLDS[2] == 0.6


def test_two_halves_at_one_half_are_one_match():
    truth, pred = np.array([[1, 1, 2, 2]]), np.array([[1, 1, 1, 1]])
    counts = object_counts(*prepared(segmentation(pred), segmentation(truth)))
    assert counts[0] == Counts(1, 0, 1)


@pytest.mark.parametrize("seed", range(20))
def test_counts_equal_their_definition(seed):
    rng = np.random.default_rng(seed)
    truth = random_map(rng)
    pred = disturbed(rng, truth)
    of_truth, of_pred = random_categories(rng, truth), random_categories(rng, pred)
    counts = object_counts(*prepared(segmentation(pred, of_pred), segmentation(truth, of_truth)))
    for threshold, found in zip(IOU_THRESHOLDS[1:], counts[1:], strict=True):
        tp = sum(
            of_pred[p] == of_truth[t] != 8
            and ((pred == p) & (truth == t)).sum() / ((pred == p) | (truth == t)).sum() >= threshold
            for p in of_pred
            for t in of_truth
        )
        n_pred = sum(c != 8 for c in of_pred.values())
        n_truth = sum(c != 8 for c in of_truth.values())
        assert found == Counts(tp, n_pred - tp, n_truth - tp)


def test_what_lies_on_a_crowd_is_neither_right_nor_wrong():
    truth = segmentation(np.array([[1, 1, 1, 1, 2, 2, 0, 0]]), crowds={1})
    pred = segmentation(np.array([[1, 1, 2, 2, 3, 3, 4, 4]]))
    assert object_counts(*prepared(pred, truth))[0] == Counts(1, 1, 0)


def test_an_empty_image_with_nothing_found_is_right():
    void = segmentation(np.zeros((3, 3), int))
    one = segmentation(np.ones((3, 3), int))
    right = object_counts(*prepared(void, void))
    wrong = object_counts(*prepared(one, void))
    assert (right[0].ap, right[0].f1, right[0].precision, right[0].recall) == (1, 1, 1, 1)
    assert (wrong[0].ap, wrong[0].f1, wrong[0].precision) == (0, 0, 0)
    assert average_precision([right, wrong]) == (0.5,) * 10
    assert np.isnan(average_precision([])).all()


def test_f1_precision_and_recall():
    counts = Counts(6, 2, 4) + Counts(0, 0, 0)
    assert (counts.precision, counts.recall, counts.ap) == (0.75, 0.6, 0.5)
    assert counts.f1 == pytest.approx(2 * 0.75 * 0.6 / 1.35)


@pytest.mark.parametrize("threshold", [0, -1, 1.1])
def test_a_threshold_that_makes_no_sense(threshold):
    one = segmentation(np.ones((3, 3), int))
    with pytest.raises(ValueError, match="above 0"):
        match(*prepared(one, one), threshold)
