"""Whole steps: they learn, repeat, and add up."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.training.reference import as_targets, random_objects
from tests.training.tiny import ARCHITECTURES, pixels, tiny_model

from napari_eomt.training.loss_params import LossParams
from napari_eomt.training.network import TrainingNetwork
from napari_eomt.training.parameter_groups import RateParams, make_optimizer
from napari_eomt.training.step import Batch, train_step

PARAMS = LossParams(n_points=200)


def problem(n=2):
    masks, labels = random_objects([5, 2, 0, 3][:n], size=(64, 64))
    return pixels(n), as_targets(masks, [label % 4 for label in labels])


def take(network, batches, optimizer, params=PARAMS, **options):
    options = {"n_queries": 12, "generator": torch.Generator().manual_seed(0)} | options
    return train_step(network, batches, optimizer, params, **options)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_steps_lower_the_loss(architecture, precision):
    network = TrainingNetwork(tiny_model(architecture))
    network.set_mask_probabilities((0, 0))
    optimizer = make_optimizer(network.model, RateParams(2e-3))
    images, targets = problem()
    batch = Batch(targets, images)
    reports = [
        take(network, [batch], optimizer, precision=precision, clip_norm=1.0) for _ in range(25)
    ]
    assert reports[-1].loss < 0.8 * reports[0].loss
    assert not any(report.is_skipped for report in reports)
    assert all(p.dtype == torch.float32 for p in network.parameters())


def test_the_same_seeds_give_the_same_weights():
    weights = []
    for _ in range(2):
        network = TrainingNetwork(tiny_model("eomt"))
        network.set_mask_probabilities((0.5, 0.5))
        optimizer = make_optimizer(network.model, RateParams())
        images, targets = problem()
        for _ in range(3):
            take(network, [Batch(targets, images)], optimizer)
        weights.append(network.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_every_object_of_a_batch_in_parts_weighs_the_same():
    """The mask terms of parts add up to those of the whole; the classes are means of parts."""
    model = tiny_model("eomt")
    images, targets = problem(4)
    params = LossParams(n_points=10_000, class_weight=0)

    def loss(parts):
        network = TrainingNetwork(copy.deepcopy(model))
        network.set_mask_probabilities((0, 0))
        batches = [Batch(targets[part], images[part]) for part in parts]
        optimizer = torch.optim.SGD(network.parameters(), lr=0)
        return take(network, batches, optimizer, params).loss

    singles = [slice(i, i + 1) for i in range(4)]
    whole, in_parts = loss([slice(0, 4)]), loss(singles)
    each_by_itself = sum(loss([single]) for single in singles) / 4
    assert in_parts == pytest.approx(whole, rel=0.02)
    assert each_by_itself != pytest.approx(whole, rel=0.1)


def test_gradients_are_clipped_to_the_norm():
    network = TrainingNetwork(tiny_model("eomt"))
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    images, targets = problem()
    before = torch.nn.utils.parameters_to_vector(network.parameters()).detach()
    report = take(network, [Batch(targets, images)], optimizer)
    moved = torch.nn.utils.parameters_to_vector(network.parameters()).detach() - before
    assert report.gradient_norm > 1
    assert moved.norm() == pytest.approx(0.01, rel=1e-3)


def test_a_gradient_that_is_not_finite_changes_nothing():
    network = TrainingNetwork(tiny_model("eomt"))
    optimizer = make_optimizer(network.model, RateParams())
    images, targets = problem()
    images[0, 0, 0, 0] = torch.nan
    before = copy.deepcopy(network.state_dict())
    report = take(network, [Batch(targets, images)], optimizer)
    assert report.is_skipped
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_tokens_take_the_place_of_pixels():
    network = TrainingNetwork(tiny_model("eomt_dinov3"), is_trunk_frozen=True)
    other = copy.deepcopy(network)
    images, targets = problem()
    reports = []
    for one, batch in (
        (network, Batch(targets, images)),
        (other, Batch(targets, tokens=network.trunk(images))),
    ):
        optimizer = make_optimizer(one.model, RateParams())
        reports.append(take(one, [batch], optimizer))
    assert reports[0] == reports[1]


def test_no_batch_is_an_error():
    network = TrainingNetwork(tiny_model("eomt"))
    with pytest.raises(ValueError, match="at least one batch"):
        take(network, [], make_optimizer(network.model, RateParams()))
