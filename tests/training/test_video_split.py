"""Which videos learn and which check; a single one in time, and what is left out between."""

from __future__ import annotations

import numpy as np
import pytest
from tests.training.drawn_videos import begin, params, save_model, save_videos

from napari_eomt.errors import DataError
from napari_eomt.training.check_samples import load_samples
from napari_eomt.training.loop import iter_train
from napari_eomt.training.setup import set_up, set_up_again
from napari_eomt.training.train_progress import drive
from napari_eomt.training.video_choice import n_videos, shown_frames
from napari_eomt.training.video_split import TimeSplit, split_in_time, split_videos


def keys(n_videos, n_frames):
    return {f"{v}:{t}": f"video {v}" for v in range(n_videos) for t in range(n_frames)}


@pytest.mark.parametrize("n_frames", range(1, 40))
@pytest.mark.parametrize("gap", [1, 3, 5])
def test_a_video_is_split_in_time_with_a_gap(n_frames, gap):
    found = split_in_time(n_frames, 0.2, gap)
    if found is None:
        assert n_frames < 2 + gap + max(2, round(0.2 * n_frames))
        return
    assert found.n_learn + found.n_between + found.n_check == n_frames
    assert found.n_between == gap
    assert min(found.n_learn, found.n_check) >= 2
    parts = split_videos(keys(1, n_frames), 0.2, gap)
    frames = [int(key.partition(":")[2]) for key in (*parts.train, *parts.val)]
    assert frames == sorted(frames)
    assert frames[found.n_learn] - frames[found.n_learn - 1] == gap + 1
    assert parts.notes == (str(found),)


def test_nothing_checks_where_nobody_wants_it_or_a_video_is_too_short():
    assert split_in_time(100, 0.0, 5) is None
    assert split_videos(keys(1, 100), 0.0, 5).notes == ()
    short = split_videos(keys(1, 8), 0.2, 5)
    assert (len(short.train), short.val) == (8, ())
    assert "too few" in short.notes[0]


def test_of_two_videos_one_checks_as_a_whole():
    parts = split_videos(keys(2, 9), 0.2, 5)
    assert len(parts.train) == len(parts.val) == 9
    assert n_videos(parts.train) == n_videos(parts.val) == 1
    assert n_videos(["1", "2"]) == 0
    with pytest.raises(DataError, match="no frames"):
        split_videos({}, 0.2, 5)


def test_it_is_said_in_words():
    assert "first 12 frames learn, its last 3 check; 5 are left out" in str(TimeSplit(12, 5, 3))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


def test_a_run_on_one_video_checks_on_its_end_and_goes_on_so(tmp_path, tiny):
    path = save_videos(tmp_path / "set", n_videos=1, n_frames=10)
    setup, run = begin(tmp_path, path, tiny, clip_length=2, steps=2, validation_interval=1)
    assert setup.split.train == tuple(f"1:{t}" for t in range(6))
    assert setup.split.val == ("1:8", "1:9")
    assert any("left out between" in note for note in setup.notes)
    steps = iter_train(setup, run)
    next(item for item in steps if item.what == "step" and item.step == 1)
    steps.close()
    again = set_up_again(run)
    assert again.split == setup.split
    assert drive(iter_train(again, run)).reason == "finished"
    kept = load_samples(run.folder / "reports" / "last-samples.npz")
    assert list(kept) == shown_frames(setup.split.val) == ["1:9"]
    assert kept["1:9"].id_map.shape == (64, 64)


def test_tracks_have_to_go_on_in_the_frames_that_learn(tmp_path, tiny):
    import json

    path = save_videos(tmp_path / "set", n_videos=1, n_frames=12)
    file = path / "annotations.json"
    content = json.loads(file.read_text())
    for record in content["annotations"]:
        record["segmentations"][1:8] = [None] * 7
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="in one frame only"):
        set_up(path, params(clip_length=2), tiny, device="cpu")


def test_of_each_video_the_middle_of_what_is_checked_is_shown():
    every = [f"{v}:{t}" for v in range(30) for t in range(50)]
    shown = shown_frames(every)
    assert len(shown) == 6
    assert {key.partition(":")[2] for key in shown} == {"10"}
    assert len(np.unique(shown)) == 6
