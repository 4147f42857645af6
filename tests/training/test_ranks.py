"""Several processes, started by accelerate itself: they learn what one does, and stop together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tests.training.drawn import save_model, save_nuclei

import napari_eomt as ne
from napari_eomt.training.checkpoint import load_state
from napari_eomt.training.ranks import missing_ranks

COMMON = ["--device", "cpu", "--batch-size", "4", "--micro-batch", "2", "--undecided", "learn"]
COMMON += ["--preset", "full", "--json"]
# Of GPUs it finds none: so it is said that there is to be more than one process on CPUs.
LAUNCH = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
LAUNCH += ["--main_process_port", "0", "-m"]
WAIT_S = 180


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return save_nuclei(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


def started(*args, launch=LAUNCH):
    command = [sys.executable, "-m", *launch, "napari_eomt.cli.main", "train", *map(str, args)]
    # A launcher that runs inside another's process would take it for its own.
    env = {k: v for k, v in os.environ.items() if not k.startswith(("ACCELERATE", "MASTER_"))}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def ended(process):
    """Wait until it has ended; return its exit code and the lines of JSON that it has printed."""
    out, err = process.communicate(timeout=WAIT_S)
    told = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert told, err[-3000:]
    return process.returncode, told


def losses_of(run):
    return [row["loss"] for row in run.rows() if row["kind"] == "step"]


@pytest.mark.skipif(sys.platform == "win32", reason="there no signal reaches another's processes")
def test_two_processes_stop_go_on_and_equal_one(tmp_path, dataset, tiny):
    """The losses of one process that takes the batch in two parts, with a stop on the way."""
    options = [dataset, "--model", tiny, *COMMON, "--steps", 12, "--validation-interval", 100]
    code, told = ended(started(*options, "--out", tmp_path / "one", launch=[]))
    assert (code, told[-1]["reason"]) == (0, "finished")
    process = started(*options, "--out", tmp_path / "two")
    assert json.loads(process.stdout.readline())["what"] == "checked"
    assert json.loads(process.stdout.readline())["what"] == "step"
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal: it reaches all of them
    code, told = ended(process)
    assert code != 0
    assert told[-1]["reason"] == "stopped"
    run = ne.load_run(tmp_path / "two")
    assert run.status() == "stopped"
    assert load_state(run.folder / "state").progressed.step == told[-1]["step"] < 12
    code, told = ended(started("--out", run.folder, "--resume", "--json"))
    assert (code, told[-1]["reason"]) == (0, "finished")
    assert losses_of(run) == pytest.approx(losses_of(ne.load_run(tmp_path / "one")), rel=1e-4)
    assert len(losses_of(run)) == 12
    environment = json.loads((run.folder / "environment.json").read_text())
    assert environment["n_processes"] == 2


def test_two_processes_give_up_a_check_and_end_together(tmp_path, dataset, tiny):
    """The others wait while the first checks: for its word, and for its patience to end."""
    many = save_nuclei(tmp_path / "many", n_images=60, first_seed=10)
    out = tmp_path / "run"
    process = started(
        *(dataset, "--val", many, "--model", tiny, *COMMON, "--out", out),
        *("--steps", 20, "--validation-interval", 1, "--patience", 2),
    )
    log = out / "metrics.jsonl"
    deadline = time.monotonic() + WAIT_S
    while not (log.is_file() and b'"start"' in log.read_bytes()):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run = ne.load_run(out)
    run.request_stop()
    code, told = ended(process)
    assert code != 0
    assert (told[-1]["reason"], told[-1]["step"]) == ("stopped", 0)
    assert not [row for row in run.rows() if row["kind"] == "check"]
    code, told = ended(started("--out", out, "--resume", "--json"))
    # A random model finds nothing: no check is better than the first.
    assert (code, told[-1]["reason"], told[-1]["step"]) == (0, "finished", 2)
    assert [row["step"] for row in run.rows() if row["kind"] == "check"] == [0, 1, 2]


def test_one_process_where_several_were_wanted_says_so(monkeypatch):
    for name in ("ACCELERATE_USE_CPU", "MASTER_PORT", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert missing_ranks() is None
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert missing_ranks() is None  # accelerate launch --num_processes 1 --cpu
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert "say --multi_gpu in place of --cpu" in missing_ranks()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert missing_ranks() is None
