"""The precision to learn in: as prediction's, but that a CPU may be quicker in bfloat16."""

from __future__ import annotations

import json

import pytest
import torch
from tests.training.drawn import begin, save_model, save_nuclei
from tests.training.tiny import tiny_model

from napari_eomt.errors import ModelError
from napari_eomt.training.loop import iter_train
from napari_eomt.training.network import TrainingNetwork
from napari_eomt.training.precision import (
    multiplies_bf16,
    resolve_precision,
    resolve_trunk_precision,
)
from napari_eomt.training.train_progress import drive

CPU = torch.device("cpu")


@pytest.fixture
def say(monkeypatch):
    """Say what the CPU can do."""

    def said(**capabilities):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)

    return said


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16"])
def test_a_cpu_that_multiplies_bf16_learns_in_it(say, name):
    say(avx512_f=True, **{name: True})
    assert resolve_precision("auto", CPU) is torch.bfloat16
    assert resolve_precision("fp32", CPU) is torch.float32


def test_other_cpus_learn_in_float32(say, monkeypatch):
    say(avx512_f=True, avx512_bf16=False)
    assert resolve_precision("auto", CPU) is torch.float32
    assert resolve_precision("bf16", CPU) is torch.bfloat16
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not multiplies_bf16()


def test_other_devices_learn_in_what_they_predict_in(say):
    say(avx512_bf16=True)
    assert resolve_precision("auto", torch.device("mps")) is torch.float32
    with pytest.raises(ModelError, match="precision"):
        resolve_precision("fp8", CPU)


def test_a_frozen_trunk_runs_as_prediction_does_on_a_cpu():
    """So that what it makes is the same, whoever has kept it, and whether it was kept."""
    whole, half = (TrainingNetwork(tiny_model("eomt"), is_trunk_frozen=True) for _ in range(2))
    half.model.load_state_dict(whole.model.state_dict())
    pixels = torch.rand(1, 3, *whole.input_size)
    expected = whole.trunk(pixels)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(half.trunk(pixels), expected)
        assert half(pixels)[-1].class_logits.dtype is torch.bfloat16
    assert resolve_trunk_precision(torch.bfloat16, CPU) is torch.float32
    assert resolve_trunk_precision(torch.bfloat16, torch.device("cuda")) is torch.bfloat16


def test_a_run_in_bf16_learns_nearly_as_in_float32(tmp_path, say):
    dataset = save_nuclei(tmp_path / "set")
    model = save_model(tmp_path / "tiny")

    def losses(name):
        setup, run = begin(tmp_path, dataset, model, name, steps=6, preset="full")
        drive(iter_train(setup, run))
        environment = json.loads((run.folder / "environment.json").read_text())
        assert environment["precision"] == name
        return torch.tensor([row["loss"] for row in run.rows() if row["kind"] == "step"])

    say(avx512_bf16=True)
    half = losses("bfloat16")
    say()
    whole = losses("float32")
    assert not torch.equal(half, whole)
    torch.testing.assert_close(half, whole, rtol=0.03, atol=0)
