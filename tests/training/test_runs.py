"""A run's folder: written, read without torch, locked, damaged."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from napari_eomt.errors import DataError, OutputError
from napari_eomt.training.params import TrainParams
from napari_eomt.training.run_lock import RunLock, is_running
from napari_eomt.training.run_log import RunLog, read_rows
from napari_eomt.training.run_places import new_run_folder, runs_dir
from napari_eomt.training.runs import (
    RunPlan,
    RunSplit,
    create_run,
    delete_run,
    find_runs,
    list_runs,
    load_run,
)

PLAN = RunPlan(
    dataset="/data/set/annotations.json",
    model="nuclei-nano",
    params=TrainParams(scale_jitter=(0.5, 2)),
    resolved=TrainParams(steps=100),
)
SPLIT = RunSplit(train=("1", "2"), val=("3",), names={"1": "a.png"})


@pytest.fixture
def run(tmp_path):
    return create_run(tmp_path / "run", PLAN, SPLIT)


def log(run, *rows):
    with RunLog(run.folder / "metrics.jsonl") as file:
        for kind, step, values in rows:
            file.write(kind, step, **values)


def test_what_was_asked_comes_back(run):
    found = load_run(run.folder)
    assert found == run
    assert found.plan.params == PLAN.params
    assert found.split == SPLIT
    assert found.plan.created
    assert list_runs(run.folder.parent) == [run]


def test_reading_runs_needs_no_torch(run):
    code = (
        "import sys; from napari_eomt.training.runs import list_runs; "
        f"r = list_runs({str(run.folder.parent)!r}); assert len(r) == 1; r[0].status(); "
        "print([m for m in ('torch', 'qtpy', 'napari', 'peft') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("reason", ["finished", "stopped", "failed"])
def test_a_run_says_how_it_ended(run, reason):
    log(run, ("start", 0, {}), ("step", 1, {"loss": 2.0}), ("end", 1, {"reason": reason}))
    assert run.status() == reason


def test_a_run_that_was_killed_is_interrupted_and_can_go_on(run):
    log(run, ("start", 0, {}), ("step", 1, {}))
    assert run.status() == "interrupted"
    assert not run.is_resumable  # without a state
    (run.folder / "state" / "step-00000001").mkdir(parents=True)
    assert run.is_resumable
    # One that goes on after an end is not the one that ended.
    log(run, ("end", 1, {"reason": "stopped"}), ("start", 1, {}))
    assert run.status() == "interrupted"


def test_a_run_that_is_running_says_so_and_takes_no_second(run):
    lock = RunLock(run.folder)
    lock.acquire()
    try:
        assert is_running(run.folder)
        assert run.status() == "running"
        assert not run.is_resumable
        with pytest.raises(DataError, match=r"running already, in process \d+"):
            RunLock(run.folder).acquire()
        with pytest.raises(DataError, match="is running"):
            delete_run(run)
    finally:
        lock.release()
    assert run.status() == "interrupted"
    delete_run(run)
    assert not run.folder.exists()


def test_the_lock_of_a_killed_process_locks_nothing(run):
    code = (
        "import os, signal, sys; from pathlib import Path; "
        "from napari_eomt.training.run_lock import RunLock; "
        f"RunLock(Path({str(run.folder)!r})).acquire(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -9
    assert run.status() == "interrupted"
    lock = RunLock(run.folder)
    lock.acquire()
    lock.release()


def test_a_stop_is_asked_for_and_forgotten(run):
    assert not run.is_stop_requested
    run.request_stop()
    assert load_run(run.folder).is_stop_requested
    run.forget_stop()
    assert not run.is_stop_requested


@pytest.mark.parametrize("cut", range(1, 30, 4))
def test_a_torn_last_line_costs_that_line_alone(run, cut):
    path = run.folder / "metrics.jsonl"
    log(run, ("start", 0, {}), ("step", 1, {"loss": 1.0}), ("step", 2, {"loss": 2.0}))
    path.write_bytes(path.read_bytes()[:-cut])
    assert [row["step"] for row in read_rows(path)] == ([0, 1, 2] if cut == 1 else [0, 1])
    log(run, ("start", 1, {}), ("step", 2, {"loss": 3.0}))
    steps = [row for row in read_rows(path) if row["kind"] == "step"]
    assert [(row["step"], row["loss"]) for row in steps] == [(1, 1.0), (2, 3.0)]


def test_steps_taken_again_after_a_kill_are_counted_once(run):
    rows = [("start", 0, {}), *(("step", k, {"loss": float(k)}) for k in (1, 2, 3))]
    log(run, *rows, ("start", 1, {}), ("step", 2, {"loss": 20.0}))
    steps = [row for row in run.rows() if row["kind"] == "step"]
    assert [row["loss"] for row in steps] == [1.0, 20.0]


def test_what_is_not_finite_is_nothing_in_json(run):
    log(run, ("step", 1, {"loss": float("nan"), "scores": {"ap": float("inf")}}))
    text = (run.folder / "metrics.jsonl").read_text()
    assert json.loads(text)["loss"] is None
    assert json.loads(text)["scores"] == {"ap": None}


def test_a_folder_that_is_taken_is_refused(run, tmp_path):
    with pytest.raises(DataError, match="has a run already"):
        create_run(run.folder, PLAN, SPLIT)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.docx").touch()
    with pytest.raises(DataError, match="is not empty"):
        create_run(tmp_path / "mine", PLAN, SPLIT)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is a file"):
        create_run(tmp_path / "file", PLAN, SPLIT)
    with pytest.raises(OutputError, match="cannot be written"):
        create_run(tmp_path / "file" / "run", PLAN, SPLIT)


def test_what_is_no_run_or_damaged_is_one_clear_error(run, tmp_path):
    with pytest.raises(DataError, match="is no run"):
        load_run(tmp_path)
    file = run.folder / "params.json"
    content = json.loads(file.read_text())
    content["params"]["batch_size"] = 0
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"params\.batch_size: .* another version"):
        load_run(run.folder)
    file.write_text("[]")
    with pytest.raises(DataError, match="JSON object"):
        load_run(run.folder)
    file.write_text("{")
    with pytest.raises(DataError):
        load_run(run.folder)
    assert list_runs(tmp_path) == []


def test_a_damaged_split_is_one_clear_error(run):
    file = run.folder / "split.json"
    for content, message in (({"train": ["1"], "val": 3}, "val: "), ({"val": []}, "train: ")):
        file.write_text(json.dumps(content))
        with pytest.raises(DataError, match=rf"split\.json is damaged: {message}"):
            _ = run.split


def test_images_that_check_are_called_as_their_own_dataset_does():
    assert SPLIT.val_name("3") == "image 3"
    within = RunSplit(train=("1",), val=("2",), names={"1": "a.png", "2": "b.png"})
    assert within.val_name("2") == "b.png"
    other = RunSplit(train=("1",), val=("1",), names={"1": "a.png"}, val_names={"1": "c.png"})
    assert other.val_name("1") == "c.png"


def test_the_folder_of_runs_can_be_named(tmp_path, monkeypatch):
    monkeypatch.delenv("NAPARI_EOMT_RUNS_DIR", raising=False)
    assert runs_dir().parts[-2:] == ("napari-eomt", "runs")
    monkeypatch.setenv("NAPARI_EOMT_RUNS_DIR", str(tmp_path))
    assert runs_dir() == tmp_path
    folder = new_run_folder("my cells / day 3")
    assert folder.parent == tmp_path
    assert folder.name.startswith("my-cells-day-3-20")
    folder.mkdir()
    assert new_run_folder("my cells / day 3") == folder.with_name(folder.name + "-2")
    assert new_run_folder("..").parent == tmp_path


def test_runs_from_elsewhere_are_found_once(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_EOMT_RUNS_DIR", str(tmp_path / "runs"))
    one = create_run(tmp_path / "runs" / "one", PLAN, SPLIT)
    other = create_run(tmp_path / "other", PLAN, SPLIT)
    found = find_runs([other.folder, one.folder, tmp_path / "gone"])
    assert {run.folder for run in found} == {one.folder, other.folder}
    assert len(found) == 2
