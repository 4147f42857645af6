"""Against the definition, as panopticapi writes it down: segment by segment."""

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
from napari_eomt.evaluation.panoptic import PanopticCounts, mean_quality, panoptic_counts


def by_definition(pred, truth, categories):
    """Return tp, fp, fn and the sum of IoU of each category, with a mask for every segment."""
    found = {c.id: [0, 0, 0, 0.0] for c in categories}
    void = truth.id_map == 0
    matched_truth, matched_pred = set(), set()
    for t in truth.segments:
        for p in pred.segments:
            if t.is_crowd or t.category_id != p.category_id:
                continue
            in_t, in_p = truth.id_map == t.id, pred.id_map == p.id
            common = (in_t & in_p).sum()
            union = in_p.sum() + in_t.sum() - common - (in_p & void).sum()
            if common and common / union > 0.5:
                found[t.category_id][0] += 1
                found[t.category_id][3] += common / union
                matched_truth.add(t.id)
                matched_pred.add(p.id)
    crowds = {}
    for t in truth.segments:
        if t.id in matched_truth:
            continue
        if t.is_crowd:
            crowds[t.category_id] = t.id
            continue
        found[t.category_id][2] += 1
    for p in pred.segments:
        if p.id in matched_pred:
            continue
        in_p = pred.id_map == p.id
        excused = (in_p & void).sum()
        if p.category_id in crowds:
            excused += (in_p & (truth.id_map == crowds[p.category_id])).sum()
        if excused / in_p.sum() > 0.5:
            continue
        found[p.category_id][1] += 1
    return {i: row for i, row in found.items() if sum(row[:3])}


@pytest.mark.parametrize("seed", range(60))
def test_counts_equal_the_definition(seed):
    rng = np.random.default_rng(seed)
    true_map = random_map(rng, n=12)
    truth = segmentation(
        true_map,
        random_categories(rng, true_map),
        crowds=set(rng.integers(1, 13, rng.integers(0, 4)).tolist()),
    )
    pred_map = disturbed(rng, true_map)
    of_pred = random_categories(rng, pred_map)
    if seed % 2:  # mostly right
        names = truth.by_id()
        for i in of_pred:
            under = true_map[(pred_map == i) & (true_map > 0)]
            if under.size:
                of_pred[i] = names[int(np.bincount(under).argmax())].category_id
    pred = segmentation(pred_map, of_pred)
    counts = panoptic_counts(measure_overlap(pred, truth, CATEGORIES))
    expected = by_definition(pred, truth, CATEGORIES)
    assert {CATEGORIES[k].id for k in counts} == set(expected)
    for k, found in counts.items():
        tp, fp, fn, iou = expected[CATEGORIES[k].id]
        assert (found.tp, found.fp, found.fn) == (tp, fp, fn)
        assert found.iou == pytest.approx(iou, abs=1e-12)


def test_means_are_over_the_categories_that_are_there():
    counts = {0: PanopticCounts(2, 1, 1, 1.6), 2: PanopticCounts(1, 0, 0, 0.9)}
    total = counts[0] + PanopticCounts()
    assert total == counts[0]
    assert counts[0].quality.pq == pytest.approx(1.6 / 3)
    assert counts[0].quality.pq == pytest.approx(counts[0].quality.sq * counts[0].quality.rq)
    both, stuff = mean_quality(counts), mean_quality(counts, [1, 2])
    assert both.pq == pytest.approx((1.6 / 3 + 0.9) / 2)
    assert (stuff.pq, stuff.n_categories) == (0.9, 1)
    assert np.isnan(mean_quality(counts, [1]).pq)


def test_void_is_nobody_s_or_background():
    truth = segmentation(np.array([[1, 1, 0, 0, 0, 0]]))
    pred = segmentation(np.array([[1, 1, 1, 0, 2, 2]]))
    overlap = measure_overlap(pred, truth, CATEGORIES)
    assert panoptic_counts(overlap) == {0: PanopticCounts(1, 0, 0, 1.0)}
    assert panoptic_counts(overlap, void="background") == {0: PanopticCounts(1, 1, 0, 2 / 3)}
