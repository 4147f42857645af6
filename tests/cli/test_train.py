"""The command: runs, stops, goes on, refuses, and outlives kills."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from tests.training.drawn import save_model, save_nuclei
from typer.testing import CliRunner

import napari_eomt as ne
from napari_eomt.cli.main import app
from napari_eomt.cli.train_progress import time_text

SHORT = ["--device", "cpu", "--batch-size", "2", "--undecided", "learn", "--steps", "4"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return save_nuclei(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


def run(*args):
    return CliRunner().invoke(app, ["train", *map(str, args)])


def command(*args):
    return [sys.executable, "-m", "napari_eomt.cli.main", "train", *map(str, args)]


def weights(folder, step):
    return load_file(folder / "state" / f"step-{step:08d}" / "model.safetensors")


def test_a_run_says_what_came_of_it(dataset, tiny, tmp_path):
    out = tmp_path / "run"
    result = run(dataset, "--model", tiny, "--out", out, *SHORT, "--validation-interval", 2)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{out}: 4 steps, ap ")
    assert str(out / "checkpoints") in result.stdout
    assert [line for line in result.stderr.splitlines() if line.startswith("step ")][1].startswith(
        "step 2 of 4: ap "
    )
    assert ne.load_run(out).status() == "finished"
    again = run("--out", out, "--resume")
    assert again.exit_code == 2
    assert "this run has finished" in again.stderr
    quiet = run(dataset, "--model", tiny, "--out", tmp_path / "q", *SHORT, "--quiet")
    assert (quiet.exit_code, quiet.output) == (0, "")


def test_json_has_a_line_for_each_step(dataset, tiny, tmp_path):
    result = run(dataset, "--model", tiny, "--out", tmp_path / "run", *SHORT, "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["step"] for row in rows if row.get("what") == "step"] == [1, 2, 3, 4]
    assert all(row["losses"]["loss"] > 0 for row in rows if row.get("what") == "step")
    assert rows[-1]["reason"] == "finished"
    ne.load_segmenter(rows[-1]["model"], "cpu")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--out", "{tmp}/r"], "DATASET is missing"),
        (["{tmp}", "--out", "{tmp}/r"], "has no annotations.json"),
        (["{set}", "--out", "{tmp}/r", "--model", "no-such"], "no-such"),
        (["{set}", "--out", "{tmp}/r", "--device", "tpu"], "device"),
        (["{set}", "--out", "{tmp}/r", "--batch-size", "0"], "--batch-size 0"),
        (["{set}", "--out", "{tmp}/r", "--steps", "many"], "--steps many"),
        (["{set}", "--out", "{tmp}/r", "--task", "semantic", "--model", "{tiny}"], "semantic"),
        (["{set}", "--out", "{set}", "--model", "{tiny}"], "is not empty"),
        (["--out", "{tmp}/r", "--resume"], "is no run"),
        (["{set}", "--out", "{tmp}/r", "--model", "{tiny}", "--log", "wandb"], "not installed"),
    ],
)
def test_bad_input_is_one_line_and_2(dataset, tiny, tmp_path, args, message):
    places = {"set": dataset, "tiny": tiny, "tmp": tmp_path}
    result = run(
        *(arg.format(**places) for arg in args), *(() if "--steps" in args else SHORT[4:6])
    )
    assert result.exit_code == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert message in line
    if "tpu" not in args:
        assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_and_resuming_equals_a_run_in_one_go(
    dataset, tiny, tmp_path, number
):
    options = ["--model", tiny, *SHORT[:-1], "12", "--validation-interval", "100", "--json"]
    whole = run(dataset, "--out", tmp_path / "whole", *options)
    assert whole.exit_code == 0
    out = tmp_path / "run"
    process = subprocess.Popen(
        command(dataset, "--out", out, *options), stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if json.loads(line).get("what") == "step":
            process.send_signal(number)
            break
    rest = process.stdout.read().splitlines()
    assert process.wait(60) == 130
    end = json.loads(rest[-1])
    assert end["reason"] == "stopped"
    assert 1 <= end["step"] < 12
    assert ne.load_run(out).is_resumable
    done = run("--out", out, "--resume", "--json")
    assert done.exit_code == 0, done.output
    one, other = weights(tmp_path / "whole", 12), weights(out, 12)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_that_is_asked_something_else_does_not_go_on(dataset, tiny, tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen(
        command(dataset, "--out", out, "--model", tiny, *SHORT[:-1], "500", "--json"),
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if json.loads(line).get("what") == "step":
            break
    busy = run("--out", out, "--resume")
    assert busy.exit_code == 2
    process.send_signal(signal.SIGINT)
    process.stdout.read()
    assert process.wait(60) == 130
    for args, message in [
        (["--learning-rate", "0.5"], "began with learning_rate auto, and cannot go on with 0.5"),
        (["--model", "nuclei-nano"], "not from nuclei-nano"),
        ([str(tmp_path)], f"not from {tmp_path}"),
    ]:
        result = run("--out", out, "--resume", *args)
        assert result.exit_code == 2
        assert message in " ".join(result.stderr.split())


def test_durations_are_said_in_few_characters():
    assert [time_text(t) for t in (40, 720, 12600)] == ["40 s", "12 min", "3.5 h"]
