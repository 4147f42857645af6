"""Learning rates of each parameter against the published rule."""

from __future__ import annotations

import pytest
import torch
from tests.training.tiny import ARCHITECTURES, tiny_model

from napari_eomt.training.network import TrainingNetwork
from napari_eomt.training.parameter_groups import (
    RateParams,
    make_optimizer,
    parameter_groups,
    set_learning_rates,
    trainable,
)
from napari_eomt.training.schedule import LearningRateSchedule


def rates(model, groups):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: group for group in groups for p in group["params"]}


@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_parameter_learns_at_its_rate(architecture, is_full):
    model = tiny_model(architecture)
    params = RateParams(2e-4, 0.7, has_full_rate_query_blocks=is_full)
    found = rates(model, parameter_groups(model, params))
    assert found.keys() == dict(model.named_parameters()).keys()
    for name, group in found.items():
        assert group["weight_decay"] == 0.05
        if name.startswith("embeddings."):
            expected, is_backbone = 2e-4 * 0.7**2, True
        elif name.startswith("layers."):
            block = int(name.split(".")[1])
            expected = 2e-4 if is_full and block >= 1 else 2e-4 * 0.7 ** (2 - block)
            is_backbone = True
        else:
            expected, is_backbone = 2e-4, name.startswith("layernorm.")
        assert group["lr"] == pytest.approx(expected), name
        assert group["is_backbone"] == is_backbone, name


def test_frozen_parameters_are_left_out():
    network = TrainingNetwork(tiny_model("eomt"), is_trunk_frozen=True)
    groups = parameter_groups(network.model, RateParams())
    assert [group["name"] for group in groups] == ["block 1", "block 2", "backbone norm", "heads"]
    assert sum(len(group["params"]) for group in groups) == len(trainable(network))


def test_the_backbone_waits_while_the_heads_warm_up():
    model = tiny_model("eomt")
    optimizer = make_optimizer(model, RateParams())
    assert isinstance(optimizer, torch.optim.AdamW)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    set_learning_rates(optimizer, LearningRateSchedule(100, 10, 10), 5)
    assert optimizer.param_groups[-1]["lr"] == pytest.approx(0.5e-4)
    optimizer.step()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved
    assert not any(name.startswith(("layers.", "embeddings.", "layernorm.")) for name in moved)
