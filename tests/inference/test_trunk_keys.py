"""Which trunks and which views are the same, in prediction and in training."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from tests.tiny_models import SIZE, save_tiny
from tests.training.drawn import save_nuclei

from napari_eomt.formats.dataset import load_dataset
from napari_eomt.inference.canvas_views import CanvasViews, content_of, tokens_key
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.predict import iter_predict
from napari_eomt.inference.trunk_cache import TrunkCache
from napari_eomt.models.card import read_card
from napari_eomt.models.load import load_network, load_segmenter
from napari_eomt.structures.tiles import Tile
from napari_eomt.training.network import TrainingNetwork
from napari_eomt.training.params import TrainParams
from napari_eomt.training.setup import set_up
from napari_eomt.training.supply import Kept, Supply
from napari_eomt.training.trunk import trunk_fingerprint

ARCHITECTURES = ["eomt", "eomt_dinov3"]


@pytest.fixture(params=ARCHITECTURES)
def folder(request, tmp_path):
    return save_tiny(tmp_path / "tiny", request.param, 1, tasks=["instance"])


def result(steps):
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def test_a_trunk_has_one_name_in_training_and_in_prediction(folder):
    segmenter, card = load_segmenter(folder, "cpu"), read_card(folder)
    normalisation = (card.image_mean, card.image_std)
    network = TrainingNetwork(load_network(card), is_trunk_frozen=True)
    assert trunk_fingerprint(network, normalisation=normalisation) == segmenter.trunk_fingerprint
    # Trained in half precision, the weights are not rounded.
    half = load_segmenter(folder, "cpu", "bf16")
    assert half.trunk_fingerprint != trunk_fingerprint(network, torch.bfloat16, normalisation)


def test_what_a_trunk_makes_has_its_name(folder):
    segmenter = load_segmenter(folder, "cpu")
    first = segmenter.trunk_fingerprint
    assert load_segmenter(folder, "cpu").trunk_fingerprint == first
    others = {first}
    segmenter.set_input_size(2 * SIZE)
    others.add(segmenter.trunk_fingerprint)
    segmenter.set_input_size(None)
    assert segmenter.trunk_fingerprint == first
    for dtype in (torch.bfloat16, torch.float16):
        half = copy.deepcopy(segmenter)
        half.to(torch.device("cpu"), dtype)
        others.add(half.trunk_fingerprint)
        # What was rounded stays so.
        half.to(torch.device("cpu"), torch.float32)
        others.add(half.trunk_fingerprint)
    learnt, changed = load_segmenter(folder, "cpu"), load_segmenter(folder, "cpu")
    with torch.no_grad():
        learnt.model.layers[-1].norm1.weight.add_(1)
        learnt.model.query.weight.add_(1)
        changed.model.layers[0].norm1.weight[0] += 1e-6
    assert learnt.trunk_fingerprint == first
    others.add(changed.trunk_fingerprint)
    assert len(others) == 7


def test_a_compiled_model_runs_as_a_whole(folder):
    segmenter = load_segmenter(folder, "cpu")
    segmenter.compile(lambda module, _: module)
    assert segmenter.trunk_fingerprint is None


def test_contents_tell_views_apart(folder):
    card = read_card(folder)
    canvas = np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    views = CanvasViews(canvas, card)
    tiles = [
        Tile(y, x, y + h, x + w) for y in (0, 9) for x in (0, 9) for h in (63, 64) for w in (64,)
    ]
    assert len({views.content(tile) for tile in tiles}) == len(tiles)
    padded = np.zeros((SIZE, SIZE, 3), np.uint8)
    padded[:63] = canvas[9:72, :64]
    assert views.content(Tile(9, 0, 72, 64)) == content_of(padded)


def test_training_and_prediction_share_whole_views(folder, tmp_path):
    dataset = save_nuclei(tmp_path / "set", n_images=3, size=96)
    params = TrainParams(
        steps=2, batch_size=2, undecided="learn", tiling="whole", frozen_blocks="trunk"
    )
    setup = set_up(dataset, params, folder, device="cpu")
    learner, predicted = setup.learner, TrunkCache(10**7, dtype=None)
    kept = Kept(learner.network, learner.card, TrunkCache(10**7), torch.float32, predicted)
    supply = Supply(setup.samples, setup.plan.resolved, learner.card)
    samples = next(supply.iter_steps(0, 2))
    kept.batch(samples, learner.network, torch.device("cpu"))
    assert len(predicted) == len(samples) == 2
    segmenter, images = load_segmenter(folder, "cpu"), load_dataset(dataset)
    look = PredictParams(tiling="whole", score_threshold=0)
    for sample in samples:
        own = TrunkCache(10**7, dtype=None)
        for cache in (predicted, own):
            result(iter_predict(images.image(int(sample.key)), segmenter, look, trunks=cache))
        key = tokens_key(segmenter.trunk_fingerprint, content_of(sample.pixels))
        torch.testing.assert_close(predicted.get(key), own.get(key), rtol=1e-5, atol=1e-5)
    assert len(predicted) == 2


def test_kept_tokens_give_what_the_whole_gives(folder, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    segmenter, look = load_segmenter(folder, "cpu"), PredictParams(tiling="tiles")
    plain = result(iter_predict(image, segmenter, look))
    cache = TrunkCache(10**4, tmp_path / "files", 10**7, dtype=None, is_durable=True)
    first = result(iter_predict(image, segmenter, look, trunks=cache))
    cache.flush()
    segmenter._trunk = None  # is not called
    again = result(iter_predict(image, segmenter, look, trunks=cache))
    for found in (first, again):
        np.testing.assert_array_equal(found.segmentation.id_map, plain.segmentation.id_map)
        assert found.segmentation.segments == plain.segmentation.segments
        for one, other in zip(found.proposals.views, plain.proposals.views, strict=True):
            np.testing.assert_array_equal(one.mask_logits, other.mask_logits)
            np.testing.assert_array_equal(one.class_logits, other.class_logits)


def test_an_image_that_has_changed_in_a_corner_is_made_there_alone(folder):
    image = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    segmenter, look = load_segmenter(folder, "cpu"), PredictParams(tiling="tiles")
    cache = TrunkCache(10**7, dtype=None)
    n_tiles = result(iter_predict(image, segmenter, look, trunks=cache)).n_tiles
    assert len(cache) == n_tiles > 4
    image[:8, :8] ^= 128
    found = result(iter_predict(image, segmenter, look, trunks=cache))
    assert len(cache) == n_tiles + 1
    plain = result(iter_predict(image, segmenter, look))
    for one, other in zip(found.proposals.views, plain.proposals.views, strict=True):
        np.testing.assert_allclose(one.mask_logits, other.mask_logits, rtol=1e-2, atol=1e-2)
