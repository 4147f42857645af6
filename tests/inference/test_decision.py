"""What is remembered of a decision changes its time, never its result."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_eomt.inference.decision import Decider, DecisionMemory
from napari_eomt.inference.instance import InstanceView, instance_segments
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.predict import propose
from napari_eomt.structures.id_maps import boxes
from napari_eomt.synthetic import drawn_nuclei


def afresh(proposals, params):
    decider = Decider(proposals.plan, proposals.card, params)
    for view in proposals.views:
        decider.add(view)
    return decider.result()


def assert_same(one, other):
    np.testing.assert_array_equal(one.segmentation.id_map, other.segmentation.id_map)
    assert one.segmentation.id_map.dtype == other.segmentation.id_map.dtype
    assert one.segmentation.segments == other.segmentation.segments
    assert one.queries == other.queries
    where = boxes(one.segmentation.id_map)
    assert {s.id: s.bbox for s in one.segmentation.segments} == where
    assert one.n_full_tiles == other.n_full_tiles
    for found, expected in zip(one.uncertainty, other.uncertainty, strict=True):
        # Which views are looked at together sets the order of sums.
        for name in found.__dataclass_fields__:
            assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-5)


def levels_of(proposals):
    """Score thresholds that each leave another number of queries."""
    logits = torch.stack([view.class_logits for view in proposals.views])
    scores = logits.softmax(-1)[..., :-1].amax(-1).numpy()
    return np.quantile(scores, np.linspace(0.3, 0.99, 12))


def moved(rng, params, levels):
    """One slider moved, mostly that of the score."""
    which = rng.choice(["score", "score", "score", "mask", "area", "overlap", "how"])
    if which == "score":
        score = float(rng.choice(levels))
        return params.model_copy(update={"score_threshold": score})
    changes = {
        "mask": {"mask_threshold": float(rng.choice([0.3, 0.5, 0.6]))},
        "area": {"min_area": int(rng.choice([0, 30, 200]))},
        "overlap": {"overlap_threshold": float(rng.choice([0, 0.05, 0.3]))},
        "how": {"overlap": str(rng.choice(["best_score", "query_order"]))},
    }
    return params.model_copy(update=changes[which])


@pytest.mark.parametrize("max_bytes", [0, 400_000, 2**28])
@pytest.mark.parametrize(
    ("task", "tiling"),
    [("instance", "tiles"), ("instance", "whole"), ("panoptic", "tiles"), ("panoptic", "whole")],
)
def test_any_way_to_a_threshold_ends_alike(tiny, task, tiling, max_bytes):
    rng = np.random.default_rng(7)
    image = rng.integers(0, 256, (90, 210, 3)).astype(np.uint8)
    params = PredictParams(task=task, tiling=tiling, score_threshold=0.15, overlap_threshold=0.0)
    proposals = propose(image, tiny, params)
    proposals.memory = DecisionMemory(max_bytes)
    levels = levels_of(proposals)
    n_segments = []
    for _ in range(24):
        decision = proposals.decide(params)
        assert_same(decision, afresh(proposals, params))
        assert proposals.memory.nbytes <= max_bytes
        n_segments.append(len(decision.segmentation.segments))
        params = moved(rng, params, levels)
    assert len(set(n_segments)) > 2


def test_a_real_model_on_many_tiles_ends_alike(nano):
    rng = np.random.default_rng(1)
    pixels, _ = drawn_nuclei((300, 340), n=60, seed=6)
    params = PredictParams(score_threshold=0.4)
    proposals = propose(pixels, nano, params)
    assert len(proposals.views) > 8
    levels = levels_of(proposals)
    for _ in range(10):
        assert_same(proposals.decide(params), afresh(proposals, params))
        params = moved(rng, params, levels)


def test_what_does_not_change_is_not_decided_again(nano):
    pixels, _ = drawn_nuclei((300, 340), n=60, seed=6)
    proposals = propose(pixels, nano)
    scores = sorted(s.score for s in proposals.segment().segments)
    proposals.segment(score_threshold=scores[0])
    before = dict(proposals.memory.found)
    cuts = dict(proposals.memory.stitching.cuts)
    # One object goes, and with it what a tile decided.
    proposals.segment(score_threshold=scores[0] + 1e-9)
    after = proposals.memory.found
    assert len(before) == len(after) == len(proposals.views)
    n_changed = sum(after[k][1] is not before[k][1] for k in before)
    assert 1 <= n_changed <= 3
    assert n_changed == sum(proposals.memory.stitching.cuts[k] is not cuts[k] for k in cuts)


def test_masks_that_are_not_held_are_sampled_again():
    generator = torch.Generator().manual_seed(5)
    classes = torch.randn(40, 4, generator=generator)
    masks = 4 * torch.randn(40, 12, 12, generator=generator)
    place = {"input_size": 48, "content": (48, 40), "shape": (150, 130)}
    for max_bytes in (0, 100_000, 10**9):
        view = InstanceView(classes, masks, **place, floor=0.1, max_bytes=max_bytes)
        assert view.nbytes <= max_bytes + 4 * 150 * 130
        for threshold in (0.1, 0.4, 0.25, 0.1):
            found = view.segments(score_threshold=threshold)
            expected = instance_segments(classes, masks, **place, score_threshold=threshold)
            np.testing.assert_array_equal(found.id_map, expected.id_map)
            np.testing.assert_array_equal(found.areas, expected.areas)
            assert len(found.labels) > 1
            assert view.segments(score_threshold=threshold) is found
    with pytest.raises(ValueError, match=r"Measured down to a score of 0\.1, not 0\.05"):
        view.segments(score_threshold=0.05)


@pytest.mark.parametrize("task", ["instance", "panoptic", "semantic"])
@pytest.mark.parametrize("tiling", ["tiles", "whole"])
def test_only_the_wanted_categories_are_kept(tiny, task, tiling):
    image = np.random.default_rng(2).integers(0, 256, (90, 210, 3)).astype(np.uint8)
    params = PredictParams(task=task, tiling=tiling, score_threshold=0.1, overlap_threshold=0.0)
    proposals = propose(image, tiny, params)
    everything = proposals.decide(params)
    there = sorted({s.category_id for s in everything.segmentation.segments})
    assert len(there) > 1
    wanted = params.model_copy(update={"categories": (there[0], 999)})
    some = proposals.decide(wanted)
    kept = [s for s in everything.segmentation.segments if s.category_id == there[0]]
    assert len(some.segmentation.segments) == len(kept)
    for k, (one, other) in enumerate(zip(some.segmentation.segments, kept, strict=True), start=1):
        assert (one.id, one.bbox, one.area) == (k, other.bbox, other.area)
        np.testing.assert_array_equal(
            some.segmentation.id_map == k, everything.segmentation.id_map == other.id
        )
    assert len(some.queries) == len(some.uncertainty) == (0 if task == "semantic" else len(kept))
    none = proposals.decide(params.model_copy(update={"categories": ()}))
    assert not none.segmentation.segments
    assert not none.segmentation.id_map.any()
    assert_same(proposals.decide(params), everything)
