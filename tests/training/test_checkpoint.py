"""States: resuming is as if nothing had happened, and what is damaged costs one state."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from tests.training.drawn import begin, params, save_model, save_nuclei
from transformers import AutoModelForUniversalSegmentation

from napari_eomt.errors import DataError, OutputError
from napari_eomt.models.load import load_segmenter
from napari_eomt.training import checkpoint
from napari_eomt.training.checkpoint import find_states, load_state
from napari_eomt.training.loop import iter_train
from napari_eomt.training.setup import set_up_again
from napari_eomt.training.train import train
from napari_eomt.training.train_progress import drive


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return save_nuclei(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: save_model(folder / name, name) for name in ("eomt", "eomt_dinov3")}


def weights(run, step=6):
    return load_file(run.folder / "state" / f"step-{step:08d}" / "model.safetensors")


def run_to(steps, step):
    """Drive a run until a step is done, and close it there."""
    for progress in steps:
        if progress.what == "step" and progress.step == step:
            steps.close()
            return


@pytest.mark.parametrize("architecture", ["eomt", "eomt_dinov3"])
@pytest.mark.parametrize("preset", ["quick", "trunk", "lora", "full"])
def test_stopped_and_resumed_equals_uninterrupted(tmp_path, dataset, models, preset, architecture):
    """Bit by bit: weights, optimiser, running average, and the losses on the way."""
    options = {"preset": preset, "ema_decay": 0.9, "head_warm_up": 1, "backbone_warm_up": 1}
    if preset == "trunk":
        options |= {"preset": "quick", "frozen_blocks": "trunk"}
    whole, run = begin(tmp_path, dataset, models[architecture], "whole", **options)
    drive(iter_train(whole, run))
    stopped, second = begin(tmp_path, dataset, models[architecture], "stopped", **options)
    run_to(iter_train(stopped, second), 3)
    assert second.status() == "stopped"
    assert second.is_resumable
    train(dataset, out=second.folder, resume=True)
    one, other = weights(run), weights(second)
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    states = [load_state(each.folder / "state") for each in (run, second)]
    assert all(
        torch.equal(states[0].averaged[k], states[1].averaged[k]) for k in states[0].averaged
    )
    moments = [state.optimizer["optimizer"]["state"] for state in states]
    assert all(
        torch.equal(moments[0][k][name], moments[1][k][name])
        for k in moments[0]
        for name in moments[0][k]
    )
    losses = [[row["loss"] for row in r.rows() if row["kind"] == "step"] for r in (run, second)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 6


def test_seeds_are_what_a_run_depends_on(tmp_path, dataset, models):
    runs = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        # What else draws random numbers in this process changes nothing.
        torch.rand(len(runs) + 1)
        setup, run = begin(tmp_path, dataset, models["eomt_dinov3"], name, preset="full", seed=seed)
        drive(iter_train(setup, run))
        runs.append(weights(run))
    same = {name: torch.equal(runs[0][name], runs[1][name]) for name in runs[0]}
    assert all(same.values())
    assert not all(torch.equal(runs[0][name], runs[2][name]) for name in runs[0])


@pytest.mark.parametrize("damage", ["cut", "flip", "missing", "index"])
def test_a_damaged_last_state_costs_that_one(tmp_path, dataset, models, damage):
    setup, run = begin(tmp_path, dataset, models["eomt"])
    steps = iter_train(setup, run, state_seconds=0)
    run_to(steps, 4)
    last, before = find_states(run.folder / "state")
    file = last / ("state.json" if damage == "index" else "optimizer.pt")
    if damage == "missing":
        file.unlink()
    elif damage == "flip":
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    else:
        file.write_bytes(file.read_bytes()[:-20])
    state = load_state(run.folder / "state")
    assert state.folder == before
    assert state.progressed.step == 3
    assert "damaged" in state.notes[0]
    assert "The state before it is used" in state.notes[0]
    train(dataset, out=run.folder, resume=True)
    assert run.status() == "finished"
    assert [row["step"] for row in run.rows() if row["kind"] == "step"] == [1, 2, 3, 4, 5, 6]
    (note,) = [
        row["text"] for row in run.rows() if row["kind"] == "note" and "state" in row["text"]
    ]
    assert "damaged" in note


def test_any_damage_to_any_file_is_seen(tmp_path, dataset, models):
    setup, run = begin(tmp_path, dataset, models["eomt"], ema_decay=0.9)
    run_to(iter_train(setup, run, state_seconds=0), 4)
    states = run.folder / "state"
    last, before = find_states(states)
    files = sorted(path.name for path in last.iterdir())
    assert len(files) >= 6
    for name in files:
        path = last / name
        data = path.read_bytes()
        flipped = bytearray(data)
        flipped[len(data) // 3] ^= 4
        for damaged in (bytes(flipped), data[: len(data) // 2], b"", None):
            if damaged is None:
                path.unlink()
            else:
                path.write_bytes(damaged)
            state = load_state(states)
            assert state.folder == before, (name, damaged)
            assert "step-00000004: " in state.notes[0]
            assert "damaged" in state.notes[0]
            path.write_bytes(data)
    assert load_state(states).folder == last


def test_no_turned_bit_of_the_index_is_believed(tmp_path, dataset, models):
    setup, run = begin(tmp_path, dataset, models["eomt"])
    run_to(iter_train(setup, run, state_seconds=0), 4)
    states = run.folder / "state"
    last, before = find_states(states)
    whole, path = load_state(states), last / "state.json"
    data = path.read_bytes()
    for place in range(0, len(data), 5):
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 7)
        path.write_bytes(flipped)
        state = load_state(states)
        assert state.folder == before or state.progressed == whole.progressed, place


def test_no_whole_state_is_one_clear_error(tmp_path, dataset, models):
    setup, run = begin(tmp_path, dataset, models["eomt"])
    with pytest.raises(DataError, match="has no state to go on from"):
        set_up_again(run)
    run_to(iter_train(setup, run), 2)
    for state in find_states(run.folder / "state"):
        (state / "state.json").write_text("{}")
    with pytest.raises(DataError, match="No whole state is left"):
        set_up_again(run)


def test_a_full_disk_leaves_the_state_before(tmp_path, dataset, models, monkeypatch):
    setup, run = begin(tmp_path, dataset, models["eomt"])
    steps = iter_train(setup, run, state_seconds=0)
    for progress in steps:
        if progress.what == "step" and progress.step == 3:
            break
    whole = {
        path: path.read_bytes() for path in (run.folder / "state").rglob("*") if path.is_file()
    }

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(
        OutputError, match=r"No space left .* state of step 2 is kept. Free the disk"
    ):
        drive(steps)
    assert run.status() == "failed"
    now = {path: path.read_bytes() for path in (run.folder / "state").rglob("*") if path.is_file()}
    assert now == whole
    monkeypatch.undo()
    train(dataset, out=run.folder, resume=True)
    assert run.status() == "finished"


@pytest.mark.skipif(sys.platform == "win32", reason="there files have no limit of size")
@pytest.mark.parametrize("limit", [50_000, 250_000])
def test_files_that_the_system_cuts_off_are_told(tmp_path, dataset, models, limit):
    """As on a full disk: torch and safetensors each have words of their own for it."""
    setup, run = begin(tmp_path, dataset, models["eomt"], val_fraction=0)
    run_to(iter_train(setup, run), 2)
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
        f"sys.argv[1:] = ['train', '--out', {str(run.folder)!r}, '--resume']; "
        "from napari_eomt.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "cannot be written" in line
    assert "Free the disk" in line
    assert load_state(run.folder / "state").progressed.step == 2
    assert {path.name for path in (run.folder / "state").iterdir()} == {"step-00000002"}


def test_a_kill_while_a_state_is_written_leaves_nothing_behind(tmp_path, dataset, models):
    setup, run = begin(tmp_path, dataset, models["eomt"])
    run_to(iter_train(setup, run), 2)
    states = run.folder / "state"
    half = states / ".writing-0123456789ab"
    shutil.copytree(find_states(states)[0], half)
    (half / "state.json").unlink()
    train(dataset, out=run.folder, resume=True)
    assert {path.name for path in states.iterdir()} == {"step-00000002", "step-00000006"}


@pytest.mark.parametrize("preset", ["quick", "lora", "full"])
def test_checkpoints_are_models_like_any_other(tmp_path, dataset, models, preset, capsys):
    run = train(dataset, params(preset=preset), model=models["eomt"], out=tmp_path / "run")
    assert run.model_folder == tmp_path / "run" / "checkpoints" / "best"
    segmenter = load_segmenter(run.model_folder, "cpu")
    assert [c.name for c in segmenter.card.categories] == ["class 0", "nucleus"]
    assert segmenter.card.object_size == 20
    assert segmenter.card.title == "run"
    model, info = AutoModelForUniversalSegmentation.from_pretrained(
        run.last, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    assert model.config.id2label == {0: "class 0", 1: "nucleus"}
    assert not model.attn_mask_probs.any()


def test_a_run_goes_on_with_what_it_was_asked(tmp_path, dataset, models):
    setup, run = begin(tmp_path, dataset, models["eomt"])
    run_to(iter_train(setup, run), 2)
    with pytest.raises(DataError, match="began with batch_size 2, and cannot go on with 4"):
        set_up_again(run, {"batch_size": 4})
    again = set_up_again(run, {"micro_batch": 1})
    drive(iter_train(again, run))
    starts = [row["micro_batch"] for row in run.rows() if row["kind"] == "start"]
    assert starts == [2, 1]


def test_images_that_have_gone_are_named(tmp_path, models):
    dataset = save_nuclei(tmp_path / "set")
    setup, run = begin(tmp_path, dataset, models["eomt"])
    run_to(iter_train(setup, run), 2)
    save_nuclei(tmp_path / "other", n_images=1)
    shutil.copy(tmp_path / "other" / "annotations.json", dataset)
    with pytest.raises(DataError, match="no longer in"):
        set_up_again(run)
