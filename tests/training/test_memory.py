"""Estimates beside what a step takes, and what follows from them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from napari_eomt.errors import ModelError
from napari_eomt.models.catalog import find_model
from napari_eomt.training.memory import (
    NetworkSize,
    estimate,
    fitting_micro_batch,
    n_learning_parameters,
    step_bytes,
)
from napari_eomt.training.params import TrainParams

NANO = find_model("nuclei-nano")

# The peak of a process that takes two steps, less what it had taken before the network was made.
MEASURE = """
import json, sys, torch
from napari_eomt.models.catalog import find_model
from napari_eomt.models.load import load_network
from napari_eomt.training.loss_params import LossParams
from napari_eomt.training.network import TrainingNetwork
from napari_eomt.training.parameter_groups import RateParams, make_optimizer
from napari_eomt.training.step import Batch, train_step
from napari_eomt.training.targets import ImageTargets
torch.set_num_threads(1)
# Not getrusage's: that begins at what the process took that started this one.
def peak():
    status = open("/proc/self/status").read()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
model = load_network(find_model("nuclei-nano"))
options = json.loads(sys.argv[1])
network = TrainingNetwork(
    model,
    is_trunk_frozen=options["frozen_blocks"] == "trunk",
    has_auxiliary_losses=options["auxiliary_losses"],
)
network.set_mask_probabilities((0.0,) * network.n_blocks)
optimizer = make_optimizer(model, RateParams())
before = peak() - 4 * sum(p.numel() for p in model.parameters())
n = int(sys.argv[2])
rows = torch.randint(-1, 20, (8, 8)).repeat_interleave(16, 0).repeat_interleave(16, 1).int()
for _ in range(2):
    targets = [ImageTargets(torch.zeros(20, dtype=torch.int64), rows=rows) for _ in range(n)]
    batch = Batch(targets, torch.randn(n, 3, 128, 128))
    train_step(network, [batch], optimizer, LossParams(), n_queries=64)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is asked for as Linux tells it")
@pytest.mark.parametrize(
    ("frozen", "has_auxiliary", "n"),
    [("trunk", True, 8), (0, True, 16), ("trunk", False, 16), (0, False, 16)],
)
def test_the_estimate_is_near_what_a_step_takes(frozen, has_auxiliary, n):
    options = {"frozen_blocks": frozen, "auxiliary_losses": has_auxiliary}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(options), str(n)],
        capture_output=True,
        text=True,
        check=True,
    )
    measured = int(done.stdout)
    estimated = step_bytes(NetworkSize.of(NANO), TrainParams(**options), n)
    # Never much less, for then memory runs out; nor so much more that nothing is tried.
    assert 0.8 < estimated / measured < 2


def test_more_learning_takes_more():
    size = NetworkSize.of(NANO)
    trunk, quick, lora, full = (
        step_bytes(size, params, 8)
        for params in (
            TrainParams(frozen_blocks="trunk"),
            TrainParams(preset="quick"),
            TrainParams(preset="lora", auxiliary_losses=False),
            TrainParams(preset="full"),
        )
    )
    assert trunk < lora < quick < full
    assert step_bytes(size, TrainParams(preset="full", gradient_checkpointing=True), 8) < full
    assert step_bytes(size, TrainParams(preset="full"), 8, value_bytes=2) < full


def test_what_learns_is_counted_about_right():
    size = NetworkSize.of(NANO)
    full = n_learning_parameters(size, TrainParams(preset="full"))
    quick = n_learning_parameters(size, TrainParams(frozen_blocks="trunk"))
    lora = n_learning_parameters(size, TrainParams(preset="lora"))
    assert full == NANO.n_parameters
    assert lora < quick < full


@pytest.mark.parametrize("n_views", [1, 6, 16])
def test_the_micro_batch_divides_the_batch_and_fits(n_views):
    params, size = TrainParams(preset="full"), NetworkSize.of(NANO)
    for free in (2**24, 2**28, 2**29, 2**34):
        micro = fitting_micro_batch(NANO, params, n_views, free)
        assert n_views % micro == 0
        assert micro == 1 or step_bytes(size, params, micro) < free
    assert fitting_micro_batch(NANO, params, n_views, 2**34) == n_views
    assert fitting_micro_batch(NANO, params, n_views, 0) == 1


def test_a_kept_trunk_saves_time():
    common = {"steps": 500, "batch_size": 16, "micro_batch": 4}
    kept = estimate(NANO, TrainParams(frozen_blocks="trunk", **common), n_views=100)
    quick = estimate(NANO, TrainParams(frozen_blocks=0, **common), n_views=100)
    full = estimate(NANO, TrainParams(preset="full", **common), n_views=100)
    assert kept.seconds < quick.seconds < full.seconds
    assert estimate(
        NANO, TrainParams(**common), n_views=100, seconds_per_step=0.5
    ).seconds == pytest.approx(250)


def test_a_model_that_is_not_here_is_an_error():
    with pytest.raises(ModelError, match="not on this computer"):
        NetworkSize.of(NANO.model_copy(update={"folder": None}))
