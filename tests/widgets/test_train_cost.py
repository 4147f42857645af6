"""How long a training will take: views counted as it counts them, steps timed by earlier runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.training.drawn import save_nuclei

from napari_eomt.formats.dataset import load_dataset
from napari_eomt.models.catalog import DEFAULT_MODEL, find_model
from napari_eomt.training.labels import match_categories
from napari_eomt.training.memory import size_of
from napari_eomt.training.params import TrainParams
from napari_eomt.training.resolve import resolve
from napari_eomt.training.runs import Run, RunPlan, RunSplit
from napari_eomt.training.samples import SampleSet
from napari_eomt.training.sources import DatasetSource
from napari_eomt.training.video_card import as_video_card
from napari_eomt.viewer.train_dataset import LearnRow, typical_size
from napari_eomt.viewer.train_folder import FolderSource, common_folder
from napari_eomt.widgets.run_tail import RunNews
from napari_eomt.widgets.train_cost import (
    count_views,
    expected_seconds,
    measured_step,
    time_text,
)

NANO = find_model(DEFAULT_MODEL)
ROWS = [LearnRow("a", "a", 3, 30, (512, 512), 24.0)]


@pytest.mark.parametrize("preset", ["quick", "full"])
def test_views_are_counted_as_the_training_counts_them(tmp_path, preset):
    path = save_nuclei(tmp_path / "set", n_images=3, size=300, n=12)
    params = TrainParams(preset=preset, undecided="learn")
    source = DatasetSource(load_dataset(path))
    keys = [entry.key for entry in source.entries]
    labels = match_categories(NANO.categories, source.categories)
    samples = SampleSet(source, keys, labels, resolve(params, NANO, 1), NANO)
    found = count_views(FolderSource(path).rows, NANO, params)
    # Areas in COCO are of whole annotations; a grid of tiles may differ by an image's.
    assert found == pytest.approx(len(samples), rel=0.35)


def test_images_of_unknown_size_are_like_the_others():
    one = count_views(ROWS, NANO, TrainParams())
    both = count_views([*ROWS, LearnRow("b", "b", 3, 4)], NANO, TrainParams())
    assert both == 2 * one
    assert count_views([LearnRow("b", "b", 3, 4)], NANO, TrainParams()) == 3


def news_of(tmp_path, *, model=NANO.name, device="cpu", seconds=0.5, **changes):
    params = TrainParams(**changes)
    plan = RunPlan(
        dataset="none.json",
        model=model,
        device=device,
        params=params,
        resolved=resolve(params, NANO, 8),
    )
    rows = tuple({"kind": "step", "step": k + 1, "seconds": seconds} for k in range(9))
    slow = {"kind": "step", "step": 10, "seconds": 60.0}
    return RunNews(tmp_path, Run(tmp_path, plan), "finished", (*rows, slow))


def test_an_earlier_run_of_the_same_kind_tells_how_fast_this_computer_is(tmp_path):
    params = resolve(TrainParams(steps=100), NANO, 8)
    assert measured_step(NANO.name, params, "cpu", [news_of(tmp_path)]) == 0.5
    # Twice the views take twice the time.
    wide = params.model_copy(update={"batch_size": 2 * params.batch_size})
    assert measured_step(NANO.name, wide, "cpu", [news_of(tmp_path)]) == 1.0
    for other in (
        news_of(tmp_path, model="another"),
        news_of(tmp_path, device="cuda:0"),
        news_of(tmp_path, preset="full"),
        news_of(tmp_path, preset="lora"),
    ):
        assert measured_step(NANO.name, params, "cpu", [other]) is None
    known = expected_seconds(NANO, TrainParams(steps=100), ROWS, "cpu", [news_of(tmp_path)])
    assert known == (50.0, True)


def test_without_one_it_is_guessed_from_the_network():
    def seconds(**changes):
        found, is_measured = expected_seconds(NANO, TrainParams(**changes), ROWS, "cpu")
        assert not is_measured
        return found

    assert seconds(steps=200) > 1.5 * seconds(steps=100)
    assert seconds(steps=100, preset="full", batch_size=8) > 1.5 * seconds(steps=100)
    assert expected_seconds(NANO, TrainParams(), [], "cpu") is None
    assert expected_seconds(NANO, TrainParams(task="semantic"), ROWS, "cpu") is None


def test_clips_take_as_long_as_their_frames():
    row = LearnRow("a", "a", 12, 2, (64, 64), 20.0, is_video=True)
    video = as_video_card(NANO)

    def seconds(**changes):
        params = TrainParams(steps=100, preset="full", **changes)
        return expected_seconds(video, params, [row], "cpu")[0]

    assert seconds(clip_length=10) == pytest.approx(2 * seconds(clip_length=5))
    assert count_views([row], video, TrainParams(clip_length=5)) == 3
    images = expected_seconds(NANO, TrainParams(steps=100, preset="full"), ROWS, "cpu")[0]
    assert seconds(clip_length=5) == pytest.approx(5 * images, rel=0.1)
    sizes = [size_of(card, TrainParams(clip_length=5)) for card in (NANO, video)]
    assert [size.n_frames for size in sizes] == [1, 5]


def test_a_run_on_images_tells_nothing_of_one_on_videos(tmp_path):
    params = resolve(TrainParams(steps=100, clip_length=4), NANO, 8, has_videos=True)
    images = news_of(tmp_path)
    videos = replace(images, split=RunSplit(train=("a:0", "a:1"), val=()))
    assert measured_step(NANO.name, params, "cpu", [images], is_video=True) is None
    # Its clips were of 5 frames.
    found = measured_step(NANO.name, params, "cpu", [videos], is_video=True)
    assert found == pytest.approx(0.5 * 4 / 5)
    assert measured_step(NANO.name, params, "cpu", [videos]) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "~1 s"), (40, "~40 s"), (120, "~2 min"), (5000, "~83 min"), (20_000, "~6 h")],
)
def test_times_are_said_shortly(seconds, text):
    assert time_text(seconds) == text


@pytest.mark.parametrize(
    ("names", "folder"),
    [
        (["images/a.png", "images/b.png"], "images/"),
        (["x/y/a", "x/z/b"], "x/"),
        (["a.png", "images/b.png"], ""),
        (["a.png"], ""),
        ([], ""),
    ],
)
def test_the_folder_of_all_images_is_left_out(names, folder):
    assert common_folder(names) == folder


def test_the_typical_size_is_a_median_of_what_is_known():
    assert typical_size([0.0, 4.0, 16.0, 100.0]) == 4.0
    assert typical_size([0.0]) is None
