"""Runs that learn from videos: measured by identity, stopped, resumed, and started from images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.training.drawn import save_nuclei
from tests.training.drawn_videos import begin, params, save_ctc, save_model, save_videos
from typer.testing import CliRunner

import napari_eomt as ne
from napari_eomt.cli.main import app
from napari_eomt.errors import DataError
from napari_eomt.evaluation.report import Report
from napari_eomt.evaluation.video import evaluate_tracks
from napari_eomt.models.videomt import VideomtSegmenter
from napari_eomt.structures.segments import Segmentation
from napari_eomt.training import loop
from napari_eomt.training.loop import iter_train
from napari_eomt.training.memory import NetworkSize, fitting_micro_batch, step_bytes
from napari_eomt.training.setup import set_up
from napari_eomt.training.start import start_learner
from napari_eomt.training.train import begin_run
from napari_eomt.training.train_progress import drive
from napari_eomt.training.video_check import VideoChecker
from napari_eomt.training.video_choice import checked_frames
from napari_eomt.training.video_network import VideoTrainingNetwork


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return save_videos(tmp_path_factory.mktemp("data") / "set", n_videos=3, n_frames=5)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


def rows_of(run, kind):
    return [row for row in run.rows() if row["kind"] == kind]


def weights(run):
    return load_file(run.last / "model.safetensors")


@pytest.mark.parametrize("preset", ["quick", "lora", "full"])
def test_a_run_on_videos_leads_to_a_model_of_videos(tmp_path, videos, tiny, preset):
    options = {"preset": preset, "validation_interval": 2, "ema_decay": 0.5}
    setup, run = begin(tmp_path, videos, tiny, **options)
    assert setup.plan.resolved.metric == "idf1"
    outcome = drive(iter_train(setup, run))
    assert outcome.reason == "finished"
    assert [row["step"] for row in rows_of(run, "check")] == [0, 2, 4]
    assert all("idf1" in row and row["score"] == row["idf1"] for row in rows_of(run, "check"))
    assert Report.load(run.folder / "reports" / "best.json").total.idf1 == outcome.best
    segmenter = ne.load_segmenter(run.model_folder, "cpu")
    assert isinstance(segmenter, VideomtSegmenter)
    assert [category.name for category in segmenter.card.categories] == ["class 0", "thing"]


def test_a_run_that_goes_on_ends_as_one_that_was_not_stopped(tmp_path, videos, tiny):
    """To the last bit, with averages, random views, clips of single frames and strides."""
    options = {
        "preset": "full",
        "steps": 6,
        "validation_interval": 3,
        "clip_stride": 2,
        "still_clips": 0.4,
        "ema_decay": 0.9,
    }
    setup, whole = begin(tmp_path, videos, tiny, "whole", **options)
    drive(iter_train(setup, whole))
    setup, stopped = begin(tmp_path, videos, tiny, "stopped", **options)
    steps = iter_train(setup, stopped)
    next(item for item in steps if item.what == "step" and item.step == 2)
    steps.close()
    assert stopped.status() == "stopped"
    ne.train(videos, out=stopped.folder, resume=True)
    one, other = weights(whole), weights(stopped)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    losses = [[row["loss"] for row in rows_of(run, "step")] for run in (whole, stopped)]
    assert losses[0] == losses[1]


def test_a_clip_that_is_shown_again_and_again_is_learnt(tmp_path, tiny):
    dataset = save_videos(tmp_path / "one", n_videos=1, n_frames=3)
    options = {"steps": 60, "batch_size": 1, "flips": "none", "clip_norm": 1.0}
    setup, run = begin(tmp_path, dataset, tiny, learning_rate=2e-3, **options)
    drive(iter_train(setup, run))
    losses = [row["loss"] for row in rows_of(run, "step")]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_an_image_model_becomes_one_of_videos(tmp_path, videos):
    """All its weights go on; what takes queries to the next frame is new, by the seed."""
    image = save_model(tmp_path / "image", "eomt")
    setup = set_up(videos, params(), image, device="cpu")
    assert isinstance(setup.learner.network, VideoTrainingNetwork)
    assert any("becomes a model of videos" in note for note in setup.notes)
    before = ne.load_segmenter(image, "cpu").model.state_dict()
    after = setup.learner.network.model.state_dict()
    for name, value in before.items():
        if not name.startswith(("class_predictor", "criterion", "attn_mask")):
            assert torch.equal(after[name], value), name
    # VidEoMT has a token of masked image modelling, too, which nothing reads.
    unused = {"embeddings.mask_token"}
    assert set(after) - set(before) - unused == {"query_updater.weight", "query_updater.bias"}
    again = start_learner(setup.learner.card, setup.samples._labels, setup.plan.resolved)
    new = "query_updater.weight"
    assert torch.equal(again.network.model.state_dict()[new], after[new])
    run = begin_run(tmp_path / "run", setup)
    drive(iter_train(setup, run))
    assert ne.load_segmenter(run.model_folder, "cpu").card.is_video


def test_a_model_of_videos_learns_from_images_as_they_drift(tmp_path, tiny):
    images = save_nuclei(tmp_path / "images", n_images=3, size=64, n=3)
    setup, run = begin(tmp_path, images, tiny, undecided="learn")
    assert setup.plan.resolved.metric == "ap"
    clip = setup.samples.at(0)
    assert len({frame.key for frame in clip.frames}) == 1
    assert not np.array_equal(clip.frames[0].pixels, clip.frames[2].pixels)
    outcome = drive(iter_train(setup, run))
    assert (outcome.reason, outcome.best) != ("finished", None)
    with pytest.raises(DataError, match="idf1 is of tracks"):
        set_up(images, params(undecided="learn", metric="idf1"), tiny)


def test_a_frozen_trunk_sees_each_frame_once(tmp_path, videos, tiny, monkeypatch):
    """Tokens of frames are kept as those of images, and a step with them is the same."""
    options = {"frozen_blocks": "trunk", "steps": 8, "clip_stride": 2}
    setup, run = begin(tmp_path, videos, tiny, "kept", **options)
    network, seen = setup.learner.network, []
    trunk = network.trunk
    network.trunk = lambda pixels, *args: (seen.append(len(pixels)), trunk(pixels, *args))[1]
    drive(iter_train(setup, run))
    assert 0 < sum(seen) <= len(setup.split.train)
    monkeypatch.setattr(loop, "keep_trunk", lambda *_: None)
    setup, other = begin(tmp_path, videos, tiny, "not", **options)
    drive(iter_train(setup, other))
    for one, same in zip(rows_of(run, "step"), rows_of(other, "step"), strict=True):
        assert one["loss"] == pytest.approx(same["loss"], rel=1e-4)


def drive_check(checker, folder):
    steps = checker.iter_check(folder)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def test_of_many_frames_runs_are_looked_at():
    groups = ["a"] * 300 + ["b"] * 5 + ["c"] * 300
    kept = checked_frames(groups, 200)
    names = [groups[k] for k in kept]
    assert [names.count(name) for name in "abc"] == [66, 5, 66]
    assert kept[:66] == list(range(66))
    assert len(checked_frames([str(k // 100) for k in range(10_000)], 200)) == 200
    assert checked_frames(["a", "a"], 200) == [0, 1]


def test_a_clip_takes_the_memory_of_its_frames(tiny):
    card = ne.load_segmenter(tiny, "cpu").card
    size = NetworkSize.of(card)
    short, long = params(clip_length=1), params(clip_length=6)
    free = 2 * step_bytes(size, short, 12)
    assert fitting_micro_batch(card, short, 12, free) == 12
    assert fitting_micro_batch(card, long, 12, free) < 12


def test_the_command_learns_from_videos(tmp_path, videos, tiny):
    out = tmp_path / "run"
    options = ["--steps", "2", "--batch-size", "2", "--clip-length", "2", "--clip-stride", "2"]
    given = ["train", str(videos), "--model", str(tiny), "--out", str(out), "--device", "cpu"]
    result = CliRunner().invoke(app, [*given, *options])
    assert result.exit_code == 0, result.output
    assert "idf1" in result.output
    cells = save_ctc(tmp_path / "cells")
    given[1], given[5] = str(cells), str(tmp_path / "second")
    result = CliRunner().invoke(app, [*given, *options])
    assert result.exit_code == 0, result.output
    assert ne.load_segmenter(tmp_path / "second" / "checkpoints" / "last", "cpu").card.is_video


def test_idf1_of_a_report_is_of_tracks(videos, tiny, monkeypatch):
    """With a tracker that gives the truth but swaps two objects in one frame."""
    from napari_eomt.training import video_check

    source = set_up(videos, params(), tiny, device="cpu").val_dataset.source
    keys = [entry.key for entry in source.entries][:5]
    truth = [source.segmentation(key) for key in keys]
    at = max(t for t, found in enumerate(truth) if len(found.segments) == 2)

    class Swapping:
        def __init__(self, *_):
            self.t = 0

        def iter_frame(self, _):
            found = truth[self.t]
            if self.t == at:
                swapped = np.array([0, 2, 1])[found.id_map].astype(found.id_map.dtype)
                segments = tuple(replace(s, id=3 - s.id) for s in found.segments)
                found = Segmentation(swapped, segments)
            self.t += 1
            return Swapped(found)
            yield

    class Swapped:
        def __init__(self, segmentation):
            self.segmentation = segmentation

    monkeypatch.setattr(video_check, "VideoTracker", Swapping)
    setup = set_up(videos, params(), tiny, device="cpu")
    checker = VideoChecker(setup.val_dataset, keys, setup.plan.resolved, "cpu")
    report = drive_check(checker, tiny)
    swapped = [t.id_map for t in truth]
    swapped[at] = np.array([0, 2, 1])[swapped[at]]
    expected = evaluate_tracks(np.stack([t.id_map for t in truth]), np.stack(swapped)).idf1
    assert report.total.idf1 == pytest.approx(expected)
    assert 0 < expected < 1
    assert report.total.n_images == 5
    assert report.total.f1 == 1
