import numpy as np
import pytest
from tests.evaluation.drawn import CATEGORIES, disturbed, random_map, segmentation

from napari_eomt.evaluation.overlap import measure_overlap


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.uint64])
@pytest.mark.parametrize("factor", [1, 7, 20_000_003])
def test_overlap_equals_its_definition(dtype, factor):
    rng = np.random.default_rng(0)
    truth = random_map(rng)
    pred = disturbed(rng, truth)
    # Ids as large as the type allows.
    factor = min(factor, np.iinfo(dtype).max // int(max(pred.max(), truth.max())))
    pred, truth = pred.astype(dtype) * dtype(factor), truth.astype(dtype) * dtype(factor)
    found = measure_overlap(segmentation(pred), segmentation(truth), CATEGORIES)
    assert found.pred_ids.tolist() == [i for i in np.unique(pred).tolist() if i]
    assert found.truth_ids.tolist() == [i for i in np.unique(truth).tolist() if i]
    assert found.pred_areas.tolist() == [(pred == i).sum() for i in found.pred_ids.tolist()]
    assert found.truth_areas.tolist() == [(truth == i).sum() for i in found.truth_ids.tolist()]
    shared, iou = {}, {}
    for i in found.pred_ids.tolist():
        for j in found.truth_ids.tolist():
            p, t = pred == i, truth == j
            if (p & t).any():
                shared[i, j] = (p & t).sum()
                iou[i, j] = (p & t).sum() / (p | t).sum()
    pairs = list(
        zip(found.pred_ids[found.pred].tolist(), found.truth_ids[found.truth].tolist(), strict=True)
    )
    assert dict(zip(pairs, found.common.tolist(), strict=True)) == shared
    assert dict(zip(pairs, found.iou.tolist(), strict=True)) == iou
    on_void = [((pred == i) & (truth == 0)).sum() for i in found.pred_ids.tolist()]
    assert found.pred_void.tolist() == on_void


def test_thousands_of_objects_take_the_memory_of_those_that_touch():
    """As a table of all pairs this would take 130 GB."""
    ids = np.arange(1, 2**17 + 1, dtype=np.uint32).reshape(256, 512)
    found = measure_overlap(segmentation(ids), segmentation(ids[::-1]), CATEGORIES)
    assert len(found.common) == 2**17
    assert found.iou.min() == 1


def test_what_does_not_fit_together_is_said():
    a = segmentation(np.ones((2, 3), int))
    with pytest.raises(ValueError, match=r"prediction is \(2, 3\), the truth \(3, 2\)"):
        measure_overlap(a, segmentation(np.ones((3, 2), int)), CATEGORIES)
    bare = type(a)(np.full((2, 3), 5), a.segments)
    with pytest.raises(ValueError, match="id map of the truth holds the id 5"):
        measure_overlap(a, bare, CATEGORIES)
    with pytest.raises(ValueError, match="-1"):
        measure_overlap(type(a)(np.full((2, 3), -1), ()), a, CATEGORIES)


def test_categories_are_places_and_others_are_not_counted():
    truth = segmentation(np.array([[1, 2, 3]]), {1: 3, 2: 7, 3: 99})
    pred = segmentation(np.array([[1, 2, 3]]), {1: 1, 2: 2, 3: 4})
    found = measure_overlap(pred, truth, CATEGORIES, {1: 7, 2: 3, 5: 8})
    assert found.truth_category.tolist() == [0, 1, -1]
    assert found.pred_category.tolist() == [1, 0, -1]
    assert found.without_categories().pred_category.tolist() == [0, 0, -1]


def test_nothing_at_all():
    void = segmentation(np.zeros((4, 5), np.uint16))
    found = measure_overlap(void, void, CATEGORIES)
    assert (len(found.pred), len(found.pred_ids), len(found.truth_ids)) == (0, 0, 0)
