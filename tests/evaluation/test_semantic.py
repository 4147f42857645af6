import numpy as np
import pytest
from tests.evaluation.drawn import (
    CATEGORIES,
    disturbed,
    random_categories,
    random_map,
    segmentation,
)

from napari_eomt.evaluation.overlap import measure_overlap
from napari_eomt.evaluation.semantic import semantic_counts


def category_map(result, ids=(3, 7, 8)):
    found = np.full(result.shape, -1)
    for s in result.segments:
        if s.category_id in ids:
            found[result.id_map == s.id] = ids.index(s.category_id)
    return found


@pytest.mark.parametrize("void", ["unlabelled", "background"])
@pytest.mark.parametrize("seed", range(20))
def test_iou_equals_the_definition_over_images(seed, void):
    rng = np.random.default_rng(seed)
    total, common, union = None, np.zeros(3), np.zeros(3)
    for _ in range(3):
        true_map = random_map(rng)
        pred_map = disturbed(rng, true_map)
        truth = segmentation(true_map, random_categories(rng, true_map), crowds={1})
        pred = segmentation(pred_map, random_categories(rng, pred_map, (3, 7, 8, 99)))
        counts = semantic_counts(measure_overlap(pred, truth, CATEGORIES), 3, void=void)
        total = counts if total is None else total + counts
        said, true = category_map(pred), category_map(truth)
        looked_at = true_map != 1
        if void == "unlabelled":
            looked_at &= true_map > 0
        for k in range(3):
            a, b = (said == k) & looked_at, (true == k) & looked_at
            common[k] += (a & b).sum()
            union[k] += (a | b).sum()
    np.testing.assert_array_equal(total.iou, common / union)
    assert total.miou == pytest.approx((common / union).mean())


def test_absent_categories_are_left_out_or_zero():
    truth = segmentation(np.array([[1, 1, 1, 2]]), {1: 3, 2: 7})
    pred = segmentation(np.array([[1, 1, 1, 1]]), {1: 3})
    counts = semantic_counts(measure_overlap(pred, truth, CATEGORIES), 3)
    np.testing.assert_array_equal(counts.iou, [0.75, 0, np.nan])
    assert counts.miou == 0.375
    assert counts.miou_absent_as_zero == 0.25
    void = segmentation(np.zeros((1, 4), int))
    assert np.isnan(semantic_counts(measure_overlap(void, void, CATEGORIES), 3).miou)
