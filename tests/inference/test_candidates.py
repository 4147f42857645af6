"""Candidates against their definition: every query's full mask, as a decision computes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from napari_eomt.inference.candidates import (
    candidate_mask,
    candidate_probability,
    candidates_at,
    candidates_in,
    top_categories,
)
from napari_eomt.inference.decision import View
from napari_eomt.inference.finder import SAME_MASK, Found, Group
from napari_eomt.inference.hidden import MOST_SHOWN, hidden
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.plan import Plan
from napari_eomt.inference.predict import propose
from napari_eomt.inference.proposals import Proposals
from napari_eomt.inference.query_masks import Measure
from napari_eomt.inference.split import best_split
from napari_eomt.models.segmenter import QueryOutput
from napari_eomt.structures.tiles import Tile, tile_grid
from napari_eomt.synthetic import drawn_nuclei

ALL = 10_000


@pytest.fixture(scope="module")
def nuclei(nano):
    pixels, truth = drawn_nuclei((200, 260), n=40, seed=6)
    return propose(pixels, nano, score_threshold=0.3), truth


def full_logits(proposals):
    """Return each view's mask logits over its region, (Q, h, w), by F.interpolate."""
    found = []
    for view in proposals.views:
        region, size = proposals.plan.region(view.tile), proposals.card.input_size
        logits = F.interpolate(view.mask_logits[None].float(), (size, size), mode="bilinear")
        logits = logits[..., : view.tile.height, : view.tile.width]
        shape = (region.height, region.width)
        found.append((region, F.interpolate(logits, shape, mode="bilinear")[0].numpy()))
    return found


def facts(proposals, params):
    """Return score, mask and box of each query that has a mask, slowly."""
    found = {}
    for v, (region, logits) in enumerate(full_logits(proposals)):
        classes = proposals.views[v].class_logits.softmax(-1)[:, :-1].numpy()
        for q, one in enumerate(logits):
            probability = 1 / (1 + np.exp(-one.astype(np.float64)))
            inside = probability > params.mask_threshold
            if inside.any():
                mask = np.zeros(proposals.plan.shape, bool)
                mask[region.y0 : region.y1, region.x0 : region.x1] = inside
                score = classes[q].max()
                if params.task == "instance":
                    score *= probability[inside].mean()
                found[v, q] = (score, mask, classes[q])
    return found


def box_of(mask):
    y, x = np.nonzero(mask)
    return y.min(), x.min(), y.max() + 1, x.max() + 1


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("task", ["instance", "panoptic", "semantic"])
@pytest.mark.parametrize("mask_threshold", [0.5, 0.3])
def test_candidates_at_a_point_are_the_queries_that_cover_it(tiny, image, task, mask_threshold):
    params = PredictParams(task=task, tiling="whole", mask_threshold=mask_threshold)
    proposals = propose(image, tiny, params)
    known = facts(proposals, params)
    rng, n_merged = np.random.default_rng(0), 0
    for y, x in zip(rng.uniform(0, 89, 20), rng.uniform(0, 209, 20), strict=True):
        point = round(y), round(x)
        covering = {query for query, (_, mask, _) in known.items() if mask[point]}
        found = candidates_at(proposals, y, x, params, limit=ALL)
        assert {c.query for c in found} <= covering
        assert [c.score for c in found] == sorted((c.score for c in found), reverse=True)
        for c in found:
            score, mask, classes = known[c.query]
            assert c.score == pytest.approx(score, abs=1e-5)
            if c.parts == (c.query,):
                assert c.area == pytest.approx(mask.sum(), abs=2)
                np.testing.assert_allclose(c.box, box_of(mask), atol=1)
            k = classes.argmax()
            assert c.category_id == proposals.card.categories[k].id
            assert c.is_thing == (k not in (2, 3))
            assert c.categories == top_categories(proposals, c.query)
            assert [p for _, p in c.categories] == pytest.approx(sorted(classes)[::-1])
        # What is left out is nearly the same as something better.
        left_out = covering - {c.query for c in found}
        for query in left_out if len(proposals.views) == 1 else ():
            n_merged += 1
            score, mask, classes = known[query]
            assert any(
                known[c.query][2].argmax() == classes.argmax()
                and c.score >= score - 1e-6
                and iou(known[c.query][1], mask) > SAME_MASK - 0.05
                for c in found
            )
        assert candidates_at(proposals, y, x, params, limit=3) == found[:3]
    assert n_merged or len(proposals.views) > 1 or mask_threshold == 0.5


def test_the_probability_is_that_of_the_point(nuclei):
    proposals, truth = nuclei
    logits = full_logits(proposals)
    for y, x in np.argwhere(truth)[::200]:
        for c in candidates_at(proposals, y + 0.3, x - 0.4, proposals.params):
            region, values = logits[c.query[0]]
            value = values[c.query[1], y - region.y0, x - region.x0]
            assert c.probability == pytest.approx(1 / (1 + np.exp(-value)), abs=1e-5)


@pytest.mark.parametrize("point", [(-1, 5), (5, -0.6), (90, 5), (5, 210)])
def test_nothing_is_outside_the_image(tiny, image, point):
    proposals = propose(image, tiny, task="instance")
    assert candidates_at(proposals, *point, proposals.params) == []


def test_a_sure_part_goes_before_a_whole_that_is_noise():
    def found(query, score, is_cut):
        measure = Measure((0, 0, 9, 9), 50, 0.9)
        return Found((0, query), 0, score, (is_cut, False, False, False), True, measure)

    part, noise, whole = found(0, 0.97, True), found(1, 0.045, False), found(2, 0.6, False)
    assert Group(0.97, [part, noise]).best is part
    assert Group(0.97, [noise, part, whole]).best is whole


def test_masks_are_those_of_a_decision(nuclei):
    """Where an object is alone, the segment is its candidate's mask, to the pixel."""
    proposals, _ = nuclei
    result = proposals.segment()
    known = facts(proposals, proposals.params.model_copy(update={"task": "instance"}))
    n_same = n_as_sure = 0
    for segment in result.segments:
        segment_mask = result.id_map == segment.id
        # Not its middle, which of a crescent is beside it.
        depth = ndimage.distance_transform_edt(np.pad(segment_mask, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(depth.argmax(), depth.shape)
        best = candidates_at(proposals, y, x, proposals.params)[0]
        # Where two tiles see a thing and one's mask has a stray part that another object's takes
        # away, a decision finds that one whole, and a candidate finds it cut.
        covering = [score for score, mask, _ in known.values() if mask[y, x]]
        assert any(segment.score == pytest.approx(score, abs=1e-5) for score in covering)
        n_as_sure += best.score == pytest.approx(segment.score, abs=1e-5)
        patch = candidate_mask(proposals, best.parts, proposals.params)
        mask = np.zeros(result.shape, bool)
        y0, x0, y1, x1 = patch.box
        mask[y0:y1, x0:x1] = patch.pixels
        assert patch.pixels.any(0)[[0, -1]].all()
        assert patch.pixels.any(1)[[0, -1]].all()
        assert best.box == patch.box
        assert best.area == patch.pixels.sum()
        assert iou(mask, segment_mask) > 0.8
        n_same += np.array_equal(mask, segment_mask)
    assert n_same > 0.6 * len(result.segments)
    assert n_as_sure > 0.9 * len(result.segments)


@pytest.mark.parametrize("task", ["instance", "panoptic"])
@pytest.mark.parametrize("tiling", ["whole", "tiles"])
def test_masks_and_probabilities_equal_their_definition(tiny, image, task, tiling):
    params = PredictParams(task=task, tiling=tiling, mask_threshold=0.4)
    proposals = propose(image, tiny, params)
    logits = full_logits(proposals)
    for query, (_, mask, _) in list(facts(proposals, params).items())[::5]:
        patch = candidate_mask(proposals, [query], params)
        assert patch.box == box_of(mask)
        y0, x0, y1, x1 = patch.box
        assert (patch.pixels != mask[y0:y1, x0:x1]).sum() <= 1  # a float64 sigmoid in `facts`
        patch = candidate_probability(proposals, [query], params)
        region, values = logits[query[0]]
        y0, x0, y1, x1 = patch.box
        here = values[query[1], y0 - region.y0 : y1 - region.y0, x0 - region.x0 : x1 - region.x0]
        np.testing.assert_allclose(patch.pixels, 1 / (1 + np.exp(-here)), atol=1e-6)
        assert patch.pixels.dtype == np.float32


def test_a_query_without_a_mask_has_an_empty_one(tiny, image):
    proposals = propose(image, tiny, task="instance")
    proposals.views[0].mask_logits[3] = -20
    assert candidate_mask(proposals, [(0, 3)], proposals.params).pixels.shape == (0, 0)
    assert all(c.query != (0, 3) for c in candidates_at(proposals, 40, 40, proposals.params, ALL))


def drawn(tiny, discs, tiles, shape, classes=None):
    """Return proposals whose queries are discs (y, x, radius), one query each, in every tile."""
    views = []
    for tile in tiles:
        y, x = np.mgrid[tile.y0 : tile.y1, tile.x0 : tile.x1]
        masks = np.full((1, tiny.card.n_queries, 64, 64), -9, np.float32)
        for k, (cy, cx, r) in enumerate(discs):
            distance = r - np.hypot(y - cy, x - cx)
            masks[0, k, : distance.shape[0], : distance.shape[1]] = np.clip(distance, -9, 9)
        logits = np.full((1, tiny.card.n_queries, 5), -8.0, np.float32)
        logits[..., 4] = 2
        for k in range(len(discs)):
            label, value = (0, 6.0) if classes is None else classes[k]
            logits[0, k, label] = value
        views.append(View.of(tile, QueryOutput(torch.from_numpy(logits), torch.from_numpy(masks))))
    plan = Plan(shape, shape, tuple(tiles), "tiles")
    return Proposals(plan, tiny.card, PredictParams(task="instance"), views, None)


def disc(shape, cy, cx, r):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(y - cy, x - cx) < r


def test_one_object_in_two_tiles_is_one_candidate(tiny):
    shape = (64, 104)
    tiles = tile_grid(*shape, 64, 24)
    assert [(t.x0, t.x1) for t in tiles] == [(0, 64), (40, 104)]
    proposals = drawn(tiny, [(32, 52, 9), (32, 58, 10)], tiles, shape)
    # Whole in both tiles: one candidate. Cut by the edge of the first: the second's is taken.
    for x in (47, 50, 55):
        found = candidates_at(proposals, 32, x, proposals.params)
        assert all(c.parts == (c.query,) for c in found)
        assert not any(c.is_cut for c in found)
        areas = sorted(c.area for c in found)
        whole = sorted(int(disc(shape, *d).sum()) for d in [(32, 52, 9), (32, 58, 10)])
        expected = whole if x > 48 else whole[:1]
        np.testing.assert_allclose(areas, expected, rtol=0.03)


def test_an_object_that_every_tile_cuts_is_the_union_of_its_parts(tiny):
    shape, radius = (64, 144), 36
    tiles = tile_grid(*shape, 64, 24)
    assert len(tiles) == 3
    proposals = drawn(tiny, [(32, 72, radius)], tiles, shape)
    truth = disc(shape, 32, 72, radius)
    for x in (45, 72, 99):  # seen by the first two tiles, the middle one, the last two
        (found,) = candidates_at(proposals, 32, x, proposals.params)
        assert sorted(found.parts) == [(0, 0), (1, 0), (2, 0)]
        assert found.is_cut
        patch = candidate_mask(proposals, found.parts, proposals.params)
        assert patch.box == found.box
        assert patch.pixels.sum() == found.area == pytest.approx(truth.sum(), rel=0.02)
        (fitting, *_) = candidates_in(proposals, box_of(truth), proposals.params)
        assert fitting.parts[0] in found.parts
        assert fitting.fit == pytest.approx(truth.sum() / (64 * 71), abs=0.03)


def test_another_category_is_another_candidate(tiny):
    shape = (64, 64)
    tiles = [Tile(0, 0, 64, 64)]
    discs = [(32, 32, 12), (32, 32, 12), (32, 32, 12)]
    proposals = drawn(tiny, discs, tiles, shape, [(0, 5.0), (0, 4.0), (1, 3.0)])
    found = candidates_at(proposals, 32, 32, proposals.params)
    assert [c.query for c in found] == [(0, 0), (0, 2)]


def test_a_large_mask_is_measured_to_a_hundredth(tiny):
    image = np.zeros((700, 900, 3), np.uint8)
    params = PredictParams(task="instance", tiling="whole")
    proposals = propose(image, tiny, params)
    y, x = np.mgrid[:16, :16]
    proposals.views[0].mask_logits[:] = -9
    proposals.views[0].mask_logits[0] = torch.from_numpy(5 - np.hypot(y - 6, x - 7.5))
    (found,) = candidates_at(proposals, 270, 300, params)
    mask = candidate_mask(proposals, found.parts, params)
    assert mask.pixels.size > 2**17
    assert found.area == pytest.approx(mask.pixels.sum(), rel=0.01)
    np.testing.assert_allclose(found.box, mask.box, atol=5)


def test_the_best_fit_of_a_box_is_the_object_in_it(nuclei):
    proposals, truth = nuclei
    n_right = 0
    for i in range(1, truth.max() + 1):
        mask = truth == i
        y0, x0, y1, x1 = box_of(mask)
        found = candidates_in(proposals, (y0 - 0.5, x0 - 0.5, y1 - 0.5, x1 - 0.5), proposals.params)
        rank = [c.fit * c.score**0.5 for c in found]
        assert rank == sorted(rank, reverse=True)
        box = np.zeros_like(mask)
        box[y0:y1, x0:x1] = True
        for c in found[:2]:
            patch = candidate_mask(proposals, c.parts, proposals.params)
            there = np.zeros_like(mask)
            there[patch.box[0] : patch.box[2], patch.box[1] : patch.box[3]] = patch.pixels
            assert c.fit == pytest.approx(iou(there, box), abs=0.01)
        patch = candidate_mask(proposals, found[0].parts, proposals.params)
        there = np.zeros_like(mask)
        there[patch.box[0] : patch.box[2], patch.box[1] : patch.box[3]] = patch.pixels
        n_right += iou(there, mask) > 0.6
    assert n_right > 0.9 * truth.max()


def test_a_lasso_around_one_of_two_finds_that_one(tiny):
    shape = (64, 64)
    discs = [(32, 22, 10), (32, 42, 10), (32, 32, 21)]
    proposals = drawn(tiny, discs, [Tile(0, 0, 64, 64)], shape)
    angle = np.linspace(0, 2 * np.pi, 40)
    for k, (cy, cx, r) in enumerate(discs):
        lasso = np.stack([cy + (r + 1) * np.sin(angle), cx + (r + 1) * np.cos(angle)], 1)
        found = candidates_in(proposals, lasso, proposals.params)
        assert found[0].query == (0, k)
        assert found[0].fit > 0.75


@pytest.mark.parametrize("area", [(5, 5, 5, 9), (-9, -9, -1, -1), (70, 70, 80, 80)])
def test_nothing_fits_where_nothing_is(tiny, area):
    proposals = drawn(tiny, [(32, 32, 20)], [Tile(0, 0, 64, 64)], (64, 64))
    assert candidates_in(proposals, area, proposals.params) == []


def test_hidden_proposals_are_below_the_threshold_and_not_shown(nuclei):
    proposals, truth = nuclei
    # As sure as half of what is found: whatever the bundled model's weights, some is below.
    threshold = float(np.median([s.score for s in proposals.segment().segments]))
    params = proposals.params.model_copy(update={"score_threshold": threshold})
    known = facts(proposals, params.model_copy(update={"task": "instance"}))
    shown = proposals.segment(params).id_map > 0
    found = hidden(proposals, params)
    assert 3 < len(found) <= 200
    assert [c.score for c in found] == sorted((c.score for c in found), reverse=True)
    for c in found:
        score, mask, _ = known[c.query]
        assert c.score == pytest.approx(score, abs=1e-5)
        assert 0.05 <= c.score < threshold
        assert (mask & shown).sum() <= (MOST_SHOWN + 0.03) * mask.sum()
        assert sum(iou(known[other.query][1], mask) > 0.55 for other in found) == 1
        for line in c.outlines:
            # Within a cell of the model's grid of the border of the mask.
            y0, x0, y1, x1 = c.box
            assert (line >= (y0 - 4, x0 - 4)).all()
            assert (line <= (y1 + 4, x1 + 4)).all()
    assert hidden(proposals, params, limit=2) == found[:2]
    assert hidden(proposals, params, shown=np.ones(truth.shape, np.uint16)) == []
    # Whatever is above the floor is either shown, found, or like one of these.
    for (view, _), (score, mask, _) in known.items():
        if 0.2 < score < threshold and (mask & shown).sum() < 0.4 * mask.sum():
            # What another tile sees better is for that one to tell.
            assert not sees_best(proposals, view, mask) or any(
                (known[c.query][1] & mask).sum() > 0.2 * mask.sum() for c in found
            )


def sees_best(proposals, view, mask):
    """Whether no tile shows more around the middle of a mask; the image's edges hide nothing."""
    (y0, y1), (x0, x1) = ((where.min(), where.max() + 1) for where in np.nonzero(mask))
    y, x = (y0 + y1) / 2, (x0 + x1) / 2
    height, width = mask.shape

    def margins(region):
        edges = (
            (y - region.y0, region.y0 > 0),
            (region.y1 - y, region.y1 < height),
            (x - region.x0, region.x0 > 0),
            (region.x1 - x, region.x1 < width),
        )
        return sorted(far if hides else np.inf for far, hides in edges)

    shown = [margins(proposals.plan.region(one.tile)) for one in proposals.views]
    return shown.index(max(shown)) == view


def test_two_nuclei_under_one_object_are_found_apart(tiny):
    shape = (64, 64)
    discs = [(32, 20, 11), (32, 44, 11), (32, 32, 24), (20, 20, 5)]
    proposals = drawn(tiny, discs, [Tile(0, 0, 64, 64)], shape)
    both = disc(shape, *discs[0]) | disc(shape, *discs[1])
    y0, x0, y1, x1 = box_of(both)
    split = best_split(proposals, both[y0:y1, x0:x1], (y0, x0), proposals.params)
    assert [c.query for c in split.candidates] == [(0, 0), (0, 1)]
    assert split.probabilities.shape == (2, y1 - y0, x1 - x0)
    assert split.probabilities.dtype == np.float32
    for probability, one in zip(split.probabilities, discs, strict=False):
        assert iou(probability > 0.5, disc(shape, *one)[y0:y1, x0:x1]) > 0.9


def test_three_are_three(tiny):
    shape = (64, 64)
    discs = [(32, 13, 9), (32, 32, 9), (32, 51, 9)]
    proposals = drawn(tiny, discs, [Tile(0, 0, 64, 64)], shape)
    together = np.any([disc(shape, *d) for d in discs], 0)
    y0, x0, y1, x1 = box_of(together)
    split = best_split(proposals, together[y0:y1, x0:x1], (y0, x0), proposals.params)
    assert sorted(c.query[1] for c in split.candidates) == [0, 1, 2]


def test_one_object_is_not_split(tiny, nuclei):
    proposals = drawn(tiny, [(32, 32, 15), (32, 32, 13)], [Tile(0, 0, 64, 64)], (64, 64))
    mask = disc((64, 64), 32, 32, 15)
    assert best_split(proposals, mask, (0, 0), proposals.params) is None
    assert best_split(proposals, np.zeros((5, 5), bool), (3, 3), proposals.params) is None
    assert best_split(proposals, mask, (200, 0), proposals.params) is None
    proposals, truth = nuclei
    n_split = 0
    for i in range(1, truth.max() + 1):
        y0, x0, y1, x1 = box_of(truth == i)
        one = (truth == i)[y0:y1, x0:x1]
        n_split += best_split(proposals, one, (y0, x0), proposals.params) is not None
    assert n_split <= 0.05 * truth.max()


def test_merged_neighbours_are_split_by_the_bundled_model(nuclei):
    proposals, truth = nuclei
    centres = [np.argwhere(truth == i).mean(0) for i in range(1, truth.max() + 1)]
    n_right = n = 0
    for i, centre in enumerate(centres, start=1):
        distances = [np.hypot(*(centre - other)) for other in centres]
        j = int(np.argsort(distances)[1]) + 1
        mask = (truth == i) | (truth == j)
        y0, x0, y1, x1 = box_of(mask)
        split = best_split(proposals, mask[y0:y1, x0:x1], (y0, x0), proposals.params)
        n += 1
        if split is not None and len(split.probabilities) == 2:
            owner = split.probabilities.argmax(0)[(mask)[y0:y1, x0:x1]]
            of_i = (truth == i)[y0:y1, x0:x1][mask[y0:y1, x0:x1]]
            agree = (owner == of_i).mean()
            n_right += max(agree, 1 - agree) > 0.95
    assert n_right > 0.9 * n
