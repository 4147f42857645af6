"""What is kept of a run decides like a new run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.tiny_models import SIZE

from napari_eomt.inference.decision import View
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.postprocess import SemanticView, semantic_map
from napari_eomt.inference.predict import iter_predict, predict, propose
from napari_eomt.models.segmenter import QueryOutput
from napari_eomt.structures.tiles import Tile
from napari_eomt.synthetic import drawn_nuclei


def assert_same(one, other):
    np.testing.assert_array_equal(one.id_map, other.id_map)
    assert one.segments == other.segments


CHANGES = [
    {},
    {"score_threshold": 0.05},
    {"score_threshold": 0.6},
    {"mask_threshold": 0.3},
    {"min_area": 300},
    {"overlap": "query_order"},
    {"overlap_threshold": 0.1},
    {"task": "instance"},
    {"task": "semantic"},
    {"task": "panoptic"},
    {"task": "instance", "score_threshold": 0.3, "mask_threshold": 0.6, "min_area": 40},
]


@pytest.mark.parametrize("task", ["instance", "panoptic", "semantic"])
@pytest.mark.parametrize("tiling", ["whole", "tiles"])
def test_another_decision_equals_another_run(tiny, image, task, tiling):
    before = PredictParams(task=task, tiling=tiling, overlap_threshold=0.3)
    proposals = propose(image, tiny, before)
    assert_same(proposals.segment(), predict(image, tiny, before))
    results = set()
    for changes in CHANGES:
        after = PredictParams(**{**before.model_dump(), **changes})
        fresh = predict(image, tiny, after)
        results.add(fresh.id_map.tobytes())
        # A whole image is looked at through windows for the semantic task, and padded for others.
        looks_alike = tiling == "tiles" or (task == "semantic") == (after.task == "semantic")
        assert proposals.fits(after) == looks_alike
        if looks_alike:
            assert_same(proposals.segment(after), fresh)
            assert_same(proposals.segment(**changes), fresh)
    assert len(results) > 3, "the changes change nothing"
    # There and back.
    assert_same(proposals.segment(before), predict(image, tiny, before))


def test_a_measured_size_is_kept_with_the_proposals(nano):
    image = drawn_nuclei((200, 260), n=40, seed=6)[0]
    proposals = propose(image, nano)
    assert 11 < proposals.object_size < 17
    for score_threshold in (0.2, 0.8):
        params = PredictParams(score_threshold=score_threshold)
        assert proposals.fits(params)
        assert_same(proposals.segment(params), predict(image, nano, params))


@pytest.mark.parametrize(
    "changes",
    [
        {"object_size": 30.0},
        {"object_size": "as_is"},
        {"tiling": "whole"},
        {"tile_overlap": 10},
        {"channels": (0,)},
        {"contrast": "none"},
        {"percentiles": (0, 100)},
        {"contrast": "limits", "contrast_limits": (0, 200)},
    ],
)
def test_what_the_model_would_see_otherwise_needs_another_run(nano, changes):
    proposals = propose(np.zeros((60, 300), np.uint8), nano, object_size=20.0)
    assert proposals.fits(PredictParams(object_size=20.0, score_threshold=0.1))
    assert not proposals.fits(PredictParams(**{"object_size": 20.0, **changes}))


def test_tiles_of_the_semantic_task_are_blended(tiny, image):
    proposals = propose(image, tiny, task="semantic", tiling="tiles")
    assert len(proposals.views) > 4
    labels = semantic_map(
        [SemanticView(v.tile, v.class_logits, v.mask_logits) for v in proposals.views],
        canvas_shape=image.shape[:2],
        input_size=SIZE,
        shape=image.shape[:2],
        blend="ramp",
    )
    found = proposals.segment()
    ids = {s.category_id: s.id for s in found.segments}
    categories = [category.id for category in tiny.card.categories]
    for k in np.unique(labels):
        np.testing.assert_array_equal(found.id_map == ids[categories[k - 1]], labels == k)
    assert {s.score for s in found.segments} == {None}
    smallest = min(found.segments, key=lambda s: s.area)
    fewer = proposals.segment(min_area=smallest.area + 1)
    assert not fewer.id_map[found.id_map == smallest.id].any()
    assert len(fewer.segments) < len(found.segments)


def test_views_are_half_precision_copies():
    masks = torch.tensor([1e6, -1e6, 0.1]).reshape(1, 1, 1, 3).repeat(1, 2, 1, 1)
    output = QueryOutput(torch.zeros(1, 2, 3), masks)
    view = View.of(Tile(0, 0, 4, 4), output)
    assert view.mask_logits.dtype == torch.float16
    assert view.mask_logits[0, 0].tolist() == [65504, -65504, pytest.approx(0.1, abs=1e-4)]
    assert view.nbytes == 2 * 3 * 4 + 2 * 3 * 2
    output.class_logits.fill_(7)
    assert view.class_logits.eq(0).all()


def test_proposals_say_how_many_bytes_they_are(tiny, image):
    proposals = propose(image, tiny, task="instance", tiling="tiles")
    n_queries, classes = proposals.views[0].class_logits.shape
    cells = proposals.views[0].mask_logits[0].numel()
    expected = len(proposals.views) * n_queries * (4 * classes + 2 * cells)
    assert proposals.nbytes == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_views_of_two_devices_are_decided_together(tiny, image):
    """When memory runs out midway, the rest of the views comes from the CPU."""
    proposals = propose(image, tiny, task="semantic", tiling="tiles")
    expected = proposals.segment()
    view = proposals.views[0]
    proposals.views[0] = View(view.tile, view.class_logits.cuda(), view.mask_logits.cuda())
    found = proposals.segment()
    assert (found.id_map == expected.id_map).mean() > 0.99


def test_a_generator_returns_what_propose_does(tiny, image):
    steps = iter_predict(image, tiny, PredictParams(task="panoptic"))
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            prediction = stop.value
            break
    assert_same(prediction.proposals.segment(), prediction.segmentation)
