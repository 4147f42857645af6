"""More than one look at each view: the geometry, what is joined, and what it is good for."""

from __future__ import annotations

import json

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import torch
from scipy import ndimage
from tests.tiny_models import N_QUERIES, SIZE, save_tiny

from napari_eomt.evaluation.measures import Rules, measure_image
from napari_eomt.evaluation.summary import make_report
from napari_eomt.inference.forward import Forward
from napari_eomt.inference.looks import LOOKS, SAME_IOU, iter_views, merged
from napari_eomt.inference.params import PredictParams, n_looks
from napari_eomt.inference.plan import make_plan
from napari_eomt.inference.predict import iter_predict, predict, propose
from napari_eomt.inference.progress import result_of
from napari_eomt.inference.trunk_cache import TrunkCache
from napari_eomt.models.card import MOST_LOOKS
from napari_eomt.models.load import load_segmenter
from napari_eomt.models.segmenter import QueryOutput, Segmenter
from napari_eomt.structures.segments import Segment, Segmentation
from napari_eomt.structures.tiles import Tile
from napari_eomt.synthetic import drawn_nuclei

CELL = 4
GRID = SIZE // CELL
WHOLE = Tile(0, 0, SIZE, SIZE)


def test_there_are_as_many_looks_as_can_be_asked_for():
    assert len(set(LOOKS)) == MOST_LOOKS
    assert LOOKS[0].turned(np.eye(3)[..., None]).tolist() == np.eye(3)[..., None].tolist()


def test_a_model_says_how_often_to_look(nano, tmp_path):
    assert n_looks(PredictParams(), nano.card.model_copy(update={"looks": 4})) == 4
    assert n_looks(PredictParams(looks=2), nano.card) == 2
    video = load_segmenter(save_tiny(tmp_path / "m", "videomt"), "cpu")
    assert n_looks(PredictParams(looks=3), video.card) == 1
    image = np.zeros((SIZE, SIZE), np.uint8)
    (note,) = result_of(iter_predict(image, video, PredictParams(looks=3))).notes
    assert "looked once" in note
    assert result_of(iter_predict(image, video, PredictParams(looks=1))).notes == ()


# Geometry.


class SeesLight(Segmenter):
    """Says of each cell how bright it is, however the view is turned."""

    def __init__(self, card):
        super().__init__(card, torch.device("cpu"), torch.float32)

    def forward(self, pixels):
        masks = torch.nn.functional.avg_pool2d(pixels[:, :1], CELL)
        class_logits = torch.full((len(pixels), 1, len(self.card.categories) + 1), -9.0)
        class_logits[..., 0] = 9.0
        return QueryOutput(class_logits, masks)

    def to(self, device, dtype):
        raise AssertionError("memory is enough")


@pytest.mark.parametrize("shape", [(SIZE, SIZE), (40, 25), (150, 90), (64, 200), (7, 130)])
@pytest.mark.parametrize("k", range(1, len(LOOKS)))
@pytest.mark.parametrize("tiling", ["tiles", "whole"])
def test_every_look_says_where_things_are_as_the_plain_one_does(
    tiny, shape, k, tiling, monkeypatch
):
    # Smooth, and brighter than black in the middle alone: no two directions are alike.
    y, x = np.mgrid[: shape[0], : shape[1]]
    light = 120 + 60 * np.sin(y / 17) + 50 * np.cos(x / 23 + y / 60)
    rgb = np.repeat(light.astype(np.uint8)[..., None], 3, 2)
    params = PredictParams(tiling=tiling, task="instance")
    plan = make_plan(shape, tiny.card, params, None)
    forward = Forward(SeesLight(tiny.card))

    def masks(n):
        views = (pair for batch in iter_views(rgb, plan, forward, n) for pair in batch)
        return {tile: output.mask_logits[0, 0] for tile, output in views}

    plain = masks(1)
    monkeypatch.setattr("napari_eomt.inference.looks.LOOKS", (LOOKS[k],) * 2)
    monkeypatch.setattr("napari_eomt.inference.looks.merged", lambda said, *_: said[0])
    other = masks(2)
    assert list(other) == list(plain) == list(plan.tiles)
    is_turned = LOOKS[k].zoom == 1
    for tile, expected in plain.items():
        # Coarser cells at the edge show padding too, which this model averages with the image.
        rows, columns = tile.height // CELL, tile.width // CELL
        expected, found = expected[:rows, :columns], other[tile][:rows, :columns]
        inner = slice(None) if is_turned else slice(2, -2)
        error = (found - expected)[inner, inner].abs()
        grey = 1 / 255 / tiny.card.image_std[0]
        if error.numel():
            assert error.max() < (1e-4 if is_turned else 12 * grey)


# Joining.


def output(*queries):
    """Return the output of a look: of each query its class probabilities, and rows it covers."""
    probabilities = torch.zeros(1, N_QUERIES, 3)
    probabilities[..., -1] = 1
    masks = torch.full((1, N_QUERIES, GRID, GRID), -4.0)
    for q, (classes, rows, logit) in enumerate(queries):
        probabilities[0, q] = torch.tensor([*classes, 1 - sum(classes)])
        masks[0, q, rows] = logit
    return QueryOutput(probabilities.clamp_min(1e-12).log(), masks)


def joined(*outputs, tile=WHOLE):
    """Return what is said together: class probabilities and masks of the queries that matter."""
    found = merged(outputs, tile, SIZE)
    classes, masks = found.class_logits[0].softmax(-1), found.mask_logits[0]
    assert classes.shape == (N_QUERIES, 3)
    assert masks.shape == (N_QUERIES, GRID, GRID)
    is_said = classes[:, -1] < 0.99
    assert not (masks[~is_said] > 0).any()
    assert classes[:, :-1].sum(1).diff().max() <= 1e-6, "the surest come first"
    return classes[is_said, :-1], masks[is_said]


def test_what_all_looks_say_stays():
    one = output(((0.9, 0), slice(0, 4), 3.0), ((0, 0.6), slice(6, 9), 2.0))
    classes, masks = joined(one, one, one)
    assert classes.numpy() == pytest.approx(np.array([[0.9, 0], [0, 0.6]]), abs=1e-4)
    assert torch.equal(masks[0], one.mask_logits[0, 0])
    assert torch.equal(masks[1], one.mask_logits[0, 1])


def test_a_look_that_sees_nothing_there_makes_it_less_certain():
    one = output(((0.9, 0), slice(0, 4), 3.0))
    classes, masks = joined(one, output(), output(((0.6, 0.3), slice(0, 4), 1.0)))
    assert classes.numpy() == pytest.approx(np.array([[0.5, 0.1]]), abs=1e-4)
    # The mask is the mean of those that see it.
    assert masks[0, 0, 0] == pytest.approx(2.0)
    assert masks[0, 5, 0] == pytest.approx(-4.0)


def test_queries_that_overlap_too_little_are_not_joined():
    one = output(((0.9, 0), slice(0, 4), 3.0))
    # 2 rows of 6, and 3 of 5.
    apart, _ = joined(one, output(((0.8, 0), slice(2, 6), 3.0)))
    assert apart.numpy() == pytest.approx(np.array([[0.45, 0], [0.4, 0]]), abs=1e-4)
    together, masks = joined(one, output(((0.8, 0), slice(1, 5), 3.0)))
    assert 3 / 5 >= SAME_IOU > 2 / 6
    assert together.numpy() == pytest.approx(np.array([[0.85, 0]]), abs=1e-4)
    assert (masks[0, 1:4] > 0).all()
    assert not (masks[0, [0, 4]] > 0).any(), "a half is not most"


def test_two_queries_of_one_look_are_two():
    one = output(((0.9, 0), slice(0, 4), 3.0), ((0.7, 0), slice(0, 4), 3.0))
    classes, _ = joined(one, one)
    assert classes.numpy() == pytest.approx(np.array([[0.9, 0], [0.7, 0]]), abs=1e-4)


def test_the_one_that_means_the_same_is_taken():
    """The other's mask is nearer, but it means another class."""
    one = output(((0.9, 0), slice(0, 4), 3.0))
    other = output(((0, 0.8), slice(0, 4), 3.0), ((0.7, 0), slice(0, 5), 3.0))
    classes, masks = joined(one, other)
    assert classes.numpy() == pytest.approx(np.array([[0.8, 0], [0, 0.4]]), abs=1e-4)
    assert masks[0, 4, 0] == pytest.approx(-0.5)


def test_padding_is_not_compared():
    """In the view's four rows they are the same; what they say below shows nothing."""
    tile = Tile(0, 0, 4 * CELL, SIZE)
    one, other = (output(((0.8, 0), slice(0, end), 3.0)) for end in (4, GRID))
    assert len(joined(one, other)[0]) == 2
    classes, _ = joined(one, other, tile=tile)
    assert classes.numpy() == pytest.approx(np.array([[0.8, 0]]), abs=1e-4)
    beyond = output(((0.9, 0), slice(5, 9), 3.0))
    assert len(joined(beyond, beyond, tile=tile)[0]) == 0


def test_more_things_than_queries_leave_the_least_certain_out():
    rows = [slice(i, i + 1) for i in range(GRID)]
    sure = output(*(((0.9, 0), row, 3.0) for row in rows[:N_QUERIES]))
    other = output(*(((0.4, 0), row, 3.0) for row in rows[N_QUERIES:]))
    classes, _ = joined(sure, other)
    assert len(classes) == N_QUERIES < GRID
    assert (classes[:, 0] > 0.4).all()


# In a prediction.


@pytest.mark.parametrize("task", ["instance", "panoptic", "semantic"])
@pytest.mark.parametrize("shape", [(90, 210), (40, 30)])
def test_what_was_looked_at_often_is_kept_and_decided_like_any_other(tiny, task, shape):
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3)).astype(np.uint8)
    once = propose(image, tiny, task=task, tiling="tiles", score_threshold=0.1)
    often = propose(image, tiny, task=task, tiling="tiles", score_threshold=0.1, looks=4)
    assert often.plan == once.plan
    assert often.nbytes == once.nbytes
    assert [v.tile for v in often.views] == list(often.plan.tiles)
    assert not often.fits(once.params)
    for threshold in (0.02, 0.3):
        again = often.segment(score_threshold=threshold)
        direct = predict(image, tiny, often.params, score_threshold=threshold)
        assert np.array_equal(again.id_map, direct.id_map)
        assert again.segments == direct.segments


def test_looks_come_in_batches_and_progress_counts_tiles(tiny):
    image = np.zeros((100, 300), np.uint8)
    steps = iter_predict(image, tiny, PredictParams(task="instance", tiling="tiles", looks=3))
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as stop:
            found = stop.value
            break
    done = [step.done for step in seen]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, found.n_tiles)
    assert {step.total for step in seen} == {found.n_tiles}


def test_the_trunk_of_every_look_is_kept(tiny):
    image = np.random.default_rng(2).integers(0, 256, (SIZE, 150)).astype(np.uint8)
    trunks = TrunkCache(2**26)
    params = PredictParams(task="instance", tiling="tiles", looks=3)
    first = result_of(iter_predict(image, tiny, params, trunks=trunks))
    assert len(trunks) == 3 * first.n_tiles
    again = result_of(iter_predict(image, tiny, params, trunks=trunks))
    assert len(trunks) == 3 * first.n_tiles
    assert np.array_equal(again.segmentation.id_map, first.segmentation.id_map)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 2)])
def test_tiny_images_can_be_looked_at_often(nano, shape):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    assert predict(image, nano, looks=MOST_LOOKS).shape == shape


def test_real_nuclei_are_found_better(nano, data_dir):
    folder = data_dir / "dsb2018/val"
    entries = json.loads((folder / "instances.json").read_text())["images"]
    entries = [entry for entry in entries if entry["height"] * entry["width"] <= 256**2][::8]
    rules = Rules(nano.card.categories, any_category=True)
    quality = {}
    for looks in (1, 3):
        measured = []
        for entry in entries:
            labels = tifffile.imread(folder / entry["label_file"])
            ids = np.flatnonzero(np.bincount(labels.ravel())[1:]) + 1
            truth = Segmentation(labels, tuple(Segment(int(i), 1) for i in ids))
            image = iio.imread(folder / entry["file_name"])
            found = predict(image, nano, looks=looks)
            measured.append(measure_image(entry["file_name"], found, truth, rules))
        quality[looks] = make_report(measured, rules).total.ap
    assert len(entries) >= 4
    assert quality[3] > quality[1]


def test_an_object_turned_with_its_image_is_found_the_same(nano):
    """With four looks half of the turns are there: results depend less on how an image lies."""
    image, _ = drawn_nuclei((110, 110), n=14, seed=5)
    image = ndimage.gaussian_filter(image, 0.5)

    def disagreement(looks):
        params = PredictParams(looks=looks, object_size=20.0)
        lying = predict(image, nano, params).id_map > 0
        turned = predict(np.ascontiguousarray(np.rot90(image)), nano, params).id_map > 0
        return np.count_nonzero(np.rot90(lying) != turned)

    assert disagreement(5) < disagreement(1)
