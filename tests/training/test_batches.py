"""Batches: pixels as in prediction, targets as the truth, learnt from by a real network."""

import numpy as np
import torch
from tests.training.images import card, nuclei, sample_set, still, whole_card
from tests.training.tiny import SIZE, tiny_model

from napari_eomt.inference.preprocess import window_pixels
from napari_eomt.structures.segments import Status
from napari_eomt.structures.tiles import Tile
from napari_eomt.training.batches import to_batch, to_pixels, to_targets
from napari_eomt.training.loss_params import LossParams
from napari_eomt.training.network import TrainingNetwork
from napari_eomt.training.params import full
from napari_eomt.training.step import train_step

CPU = torch.device("cpu")


def test_pixels_are_normalised_as_in_prediction():
    samples = sample_set({"a": nuclei()}, full())
    few = [samples.at(k) for k in range(3)]
    pixels = to_pixels(few, card(), CPU)
    assert pixels.shape == (3, 3, 128, 128)
    assert pixels.dtype == torch.float32
    assert pixels.is_contiguous()
    for one, sample in zip(pixels, few, strict=True):
        expected = window_pixels(sample.pixels, Tile(0, 0, 128, 128), 128, card())
        np.testing.assert_allclose(one.numpy(), expected, atol=1e-6)


def test_targets_are_the_masks_of_the_objects():
    samples = sample_set({"a": nuclei((128, 128), 12), "b": nuclei((128, 128), 3, seed=1)}, still())
    for k in range(len(samples)):
        sample = samples.at(k)
        targets = to_targets(sample)
        assert targets.labels.tolist() == sample.labels.tolist()
        masks = [targets.rows.numpy() == row for row in range(len(targets))]
        expected = [sample.id_map == row + 1 for row in range(len(sample.labels))]
        np.testing.assert_array_equal(np.array(masks), np.array(expected))
        assert ((targets.rows < 0).numpy() == (sample.id_map == 0)).all()


def test_a_network_learns_from_them():
    model = whole_card(input_size=SIZE, patch_size=16, n_queries=12)
    images = {"a": nuclei((90, 110), 8), "b": nuclei((90, 110), 5, seed=1, status=Status.DRAWN)}
    samples = sample_set(images, still(contrast="none"), model)
    network = TrainingNetwork(tiny_model("eomt"))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(12):
        batch = to_batch([samples.at(k) for k in range(2)], model, CPU)
        report = train_step(
            network, [batch], optimizer, LossParams(n_points=400), n_queries=12, generator=generator
        )
        losses.append(report.loss)
    assert np.mean(losses[-3:]) < 0.9 * losses[0]
