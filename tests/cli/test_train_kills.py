"""kill -9 again and again: each time the run goes on, and ends as one that was left alone."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from tests.training.drawn import save_model, save_nuclei

import napari_eomt as ne
from napari_eomt.training.checkpoint import find_states, load_state

N_KILLS = int(os.environ.get("NAPARI_EOMT_TEST_KILLS", "3"))
"""With ``--junitxml=FILE`` the file says how many steps were lost, and when the kills came."""

DATASET = os.environ.get("NAPARI_EOMT_TEST_DATASET")
"""A folder of annotated images, which the bundled model learns; else a tiny one learns drawn
nuclei."""

IN_START = 5
"""One kill of so many comes while the process starts, the others once it learns or checks."""


def told_until_killed(command, draw, n):
    """Kill a training at a random moment; return the last step that it has told, or None."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    told = []
    is_started = threading.Event()

    def listen():
        for line in process.stdout:
            told.append(json.loads(line))
            is_started.set()

    listener = threading.Thread(target=listen)
    listener.start()
    if n % IN_START == IN_START - 1:
        time.sleep(draw.uniform(0, 15))
    else:
        assert is_started.wait(300), process.stderr.read()
        time.sleep(draw.uniform(0, 6 if DATASET else 0.6))
    process.kill()
    listener.join()
    process.stderr.close()
    code = process.wait()
    steps = [row["step"] for row in told if row.get("what") == "step"]
    return code, steps[-1] if steps else None


def test_kills_at_any_moment_lose_little_and_change_nothing(tmp_path, record_property):
    n_steps = (6 if DATASET else 10) * max(4, N_KILLS)
    dataset = Path(DATASET) if DATASET else save_nuclei(tmp_path / "set")
    model = "nuclei-nano" if DATASET else save_model(tmp_path / "tiny")
    options = ["--model", model, "--device", "cpu", "--batch-size", 2, "--undecided", "learn"]
    options += ["--preset", "full", "--steps", n_steps, "--validation-interval", 10]

    def command(*args):
        return [sys.executable, "-m", "napari_eomt.cli.main", "train", *map(str, args)]

    whole, out = tmp_path / "whole", tmp_path / "run"
    subprocess.run(command(dataset, "--out", whole, *options), check=True, capture_output=True)
    draw = random.Random(0)
    begin = [dataset, "--out", out, *options]
    often = ["--save-every", 0.02 if DATASET else 0, "--json"]
    lost: list[int] = []
    n_fresh = n_killed = 0
    for n in range(N_KILLS):
        is_there = out.is_dir() and bool(find_states(out / "state"))
        code, told = told_until_killed(
            command(*(("--out", out, "--resume") if is_there else begin), *often), draw, n
        )
        if code == 0:
            break
        assert code == -9
        n_killed += 1
        if not out.is_dir():
            continue  # before it had made anything
        run = ne.load_run(out) if (out / "params.json").is_file() else None
        if run is None or not find_states(out / "state"):
            assert not is_there, "a state that was there has gone"
            shutil.rmtree(out)
            n_fresh += 1
            continue
        assert run.status() == "interrupted"
        assert run.is_resumable
        state = load_state(out / "state")
        assert not state.notes, "the last state is whole"
        if told is not None:
            lost.append(told - state.progressed.step)
            assert lost[-1] >= 0
    if ne.load_run(out).status() != "finished":
        done = subprocess.run(command("--out", out, "--resume"), check=False, capture_output=True)
        assert done.returncode == 0, done.stderr
    run = ne.load_run(out)
    one, other = (
        load_file(folder / "state" / f"step-{n_steps:08d}" / "model.safetensors")
        for folder in (whole, out)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    steps = [row["step"] for row in run.rows() if row["kind"] == "step"]
    assert steps == list(range(1, n_steps + 1))
    for kind, value in (("step", "loss"), ("check", "score")):
        assert [row[value] for row in run.rows() if row["kind"] == kind] == [
            row[value] for row in ne.load_run(whole).rows() if row["kind"] == kind
        ]
    ne.load_segmenter(run.model_folder, "cpu")
    record_property("kills", n_killed)
    record_property("before_the_first_state", n_fresh)
    record_property("steps_lost", lost)
    if not DATASET:
        assert max(lost, default=0) <= 1
