"""How unsure the model is of its segments, against slow definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.predict import propose
from napari_eomt.inference.uncertainty import RIVAL_FLOOR, SAME_MASK
from napari_eomt.structures.uncertainty import Uncertainty
from napari_eomt.synthetic import drawn_nuclei


def slow(proposals, params, view, id_map, segment, query):
    """Return the uncertainty of a segment of a single view, cell by cell."""
    tile, size = view.tile, proposals.card.input_size
    height, width = id_map.shape
    _, n_rows, n_columns = view.mask_logits.shape
    cells, inside = [], []
    for i in range(n_rows):
        for j in range(n_columns):
            y, x = (i + 0.5) * size / n_rows, (j + 0.5) * size / n_columns
            if y < tile.height and x < tile.width:
                cells.append((i, j))
                pixel = int(y * height / tile.height), int(x * width / tile.width)
                inside.append(id_map[pixel] == segment.id)
    rows, columns = np.array(cells).T
    p = view.mask_logits[:, rows, columns].float().sigmoid().numpy()
    masks = p > params.mask_threshold
    own, inside = masks[query], np.array(inside) & masks[query]
    classes = view.class_logits.softmax(-1).numpy()
    c, labels = classes[:, :-1].max(1), classes[:, :-1].argmax(1)
    entropy = -sum(q * np.log(q) for q in classes[query]) / np.log(classes.shape[1])
    if not inside.any():
        top = p[query].max()
        mean = 1 if params.task == "instance" else top
        return 1 - segment.score * mean, entropy, 4 * top * (1 - top), 0, 0
    rival = 0.0
    for r in range(len(p)):
        iou = (masks[r] & own).sum() / max(1, (masks[r] | own).sum())
        if r != query and c[r] >= RIVAL_FLOOR and (labels[r] != labels[query] or iou < SAME_MASK):
            rival = max(rival, c[r] * (masks[r] & inside).sum() / (c[query] * inside.sum()))
    mean = 1 if params.task == "instance" else p[query][inside].mean()
    return (
        1 - segment.score * mean,
        entropy,
        np.mean([4 * v * (1 - v) for v in p[query][inside]]),
        min(1.0, rival),
        1 - inside.sum() / own.sum(),
    )


def parts(uncertainty):
    return [getattr(uncertainty, name) for name in Uncertainty.__dataclass_fields__]


@pytest.mark.parametrize("task", ["instance", "panoptic"])
@pytest.mark.parametrize("mask_threshold", [0.5, 0.35])
def test_parts_equal_their_definition(tiny, image, task, mask_threshold):
    params = PredictParams(
        task=task,
        tiling="whole",
        score_threshold=0.1,
        overlap_threshold=0,
        mask_threshold=mask_threshold,
    )
    proposals = propose(image, tiny, params)
    decision = proposals.decide(params)
    assert len(decision.uncertainty) == len(decision.segmentation.segments) > 2
    for segment, (v, query), found in zip(
        decision.segmentation.segments, decision.queries, decision.uncertainty, strict=True
    ):
        assert v == 0
        expected = slow(
            proposals, params, proposals.views[0], decision.segmentation.id_map, segment, query
        )
        np.testing.assert_allclose(parts(found), expected, atol=2e-5)
        category = proposals.views[0].class_logits[query, :-1].argmax()
        assert tiny.card.categories[category].id == segment.category_id


def test_every_segment_of_tiles_has_its_query(nano):
    """The mask of the query that a decision names is the segment, in the view that it names."""
    pixels, _ = drawn_nuclei((200, 260), n=40, seed=6)
    proposals = propose(pixels, nano, score_threshold=0.3)
    assert len(proposals.views) > 4
    decision = proposals.decide(proposals.params)
    segments = decision.segmentation.segments
    assert len(decision.queries) == len(set(decision.queries)) == len(segments) > 30
    for segment, (v, q) in zip(segments, decision.queries, strict=True):
        view = proposals.views[v]
        region = proposals.plan.region(view.tile)
        size = proposals.card.input_size
        logits = F.interpolate(view.mask_logits[None, [q]].float(), (size, size), mode="bilinear")
        logits = logits[..., : view.tile.height, : view.tile.width]
        logits = F.interpolate(logits, (region.height, region.width), mode="bilinear")[0, 0]
        mask = logits.sigmoid().numpy() > 0.5
        there = decision.segmentation.id_map[region.y0 : region.y1, region.x0 : region.x1]
        there = there == segment.id
        assert (mask & there).sum() > 0.7 * (mask | there).sum()
        p = logits.sigmoid().numpy()[mask].mean() * view.class_logits[q].softmax(-1)[:-1].max()
        assert segment.score == pytest.approx(float(p), abs=1e-4)
        doubt = decision.uncertainty[segment.id - 1].doubt
        assert doubt == pytest.approx(1 - segment.score)


@pytest.mark.parametrize("chunk", [1, 10**9])
def test_views_are_looked_at_together_or_one_by_one(nano, monkeypatch, chunk):
    pixels, _ = drawn_nuclei((130, 190), n=20, seed=2)
    proposals = propose(pixels, nano)
    expected = proposals.decide(proposals.params).uncertainty
    monkeypatch.setattr("napari_eomt.inference.uncertainty._AT_ONCE", chunk)
    proposals.memory.clear()
    found = proposals.decide(proposals.params).uncertainty
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(parts(one), parts(other), atol=1e-5)


def test_fused_stuff_and_tiles_have_a_query_each(tiny, image):
    params = PredictParams(
        task="panoptic", tiling="tiles", score_threshold=0.1, overlap_threshold=0
    )
    proposals = propose(image, tiny, params)
    decision = proposals.decide(params)
    assert any(not s.is_thing for s in decision.segmentation.segments)
    for segment, (v, q) in zip(decision.segmentation.segments, decision.queries, strict=True):
        label = int(proposals.views[v].class_logits[q, :-1].argmax())
        assert tiny.card.categories[label].id == segment.category_id
    assert all(0 <= p <= 1 for u in decision.uncertainty for p in [*parts(u), u.score])


def test_a_large_grid_is_looked_at_in_every_second_cell(tiny, image, monkeypatch):
    params = PredictParams(task="instance", tiling="whole", score_threshold=0.1)
    proposals = propose(image, tiny, params)
    expected = proposals.decide(params).uncertainty
    monkeypatch.setattr("napari_eomt.inference.uncertainty.MOST_CELLS", 8)
    proposals.memory.clear()
    assert proposals.views[0].mask_logits.shape[1:] == (16, 16)
    found = proposals.decide(params).uncertainty
    for one, other in zip(found, expected, strict=True):
        assert one != other
        assert one.entropy == other.entropy
        assert one.doubt == pytest.approx(other.doubt, abs=0.15)


def test_semantic_regions_have_none(tiny, image):
    proposals = propose(image, tiny, task="semantic")
    decision = proposals.decide(proposals.params)
    assert decision.segmentation.segments
    assert decision.uncertainty == decision.queries == ()


def test_nothing_found_is_nothing_uncertain(tiny, image):
    proposals = propose(image, tiny, task="instance", score_threshold=1.0)
    assert proposals.decide(proposals.params).uncertainty == ()


def test_segments_smaller_than_a_cell_have_an_uncertainty(tiny, image):
    params = PredictParams(task="instance", tiling="whole", score_threshold=0)
    proposals = propose(image, tiny, params)
    proposals.views[0].mask_logits[:] = -8
    proposals.views[0].mask_logits[0, 3, 3] = 8.2  # a few pixels around the cell's middle
    proposals.views[0].mask_logits[0, 3, 4] = 0.01
    proposals.memory.clear()
    decision = proposals.decide(params)
    (found,) = decision.uncertainty
    assert all(0 <= part <= 1 for part in parts(found))
    assert torch.isfinite(torch.tensor(parts(found))).all()


def test_wrong_segments_come_first(nano):
    """On hard images, the worst first is right more often than by chance, and by score alone."""
    uncertainty, ious, scores = [], [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        pixels, truth = drawn_nuclei((256, 256), n=60, seed=seed)
        pixels = ndimage.gaussian_filter(pixels.astype(float), 2) + rng.normal(0, 25, truth.shape)
        proposals = propose(pixels.clip(0, 255).astype(np.uint8), nano, score_threshold=0.2)
        decision = proposals.decide(proposals.params)
        for segment, found in zip(
            decision.segmentation.segments, decision.uncertainty, strict=True
        ):
            mask = decision.segmentation.id_map == segment.id
            best = (
                max(
                    ((truth == i) & mask).sum() / ((truth == i) | mask).sum()
                    for i in np.unique(truth[mask])
                )
                if truth[mask].any()
                else 0.0
            )
            uncertainty.append(found.score)
            ious.append(best if truth[mask].any() else 0.0)
            scores.append(segment.score)
    is_wrong = np.array(ious) < 0.6
    assert 10 < is_wrong.sum() < len(ious) / 2
    order = np.argsort(uncertainty)[::-1]
    n = is_wrong.sum()
    # Three times as often as by chance; where that is more than all, nearly always.
    assert is_wrong[order[:n]].mean() > min(3 * is_wrong.mean(), 0.9)
