"""Learning from videos on disk: rows, parts, and what is written of them."""

from __future__ import annotations

import os

import numpy as np
import pytest
from tests.training.drawn import save_nuclei
from tests.training.drawn_documents import save_stack
from tests.training.drawn_videos import save_ctc, save_videos

from napari_eomt.models.catalog import DEFAULT_MODEL, find_model
from napari_eomt.training.opened import open_dataset
from napari_eomt.training.video_card import as_video_card
from napari_eomt.viewer.train_categories import kind_text
from napari_eomt.viewer.train_dataset import parts_of
from napari_eomt.viewer.train_folder import FolderSource
from napari_eomt.viewer.train_videos import VideoFolderSource, open_learn_source


def documents(folder):
    for k in range(3):
        save_stack(folder, f"dish-{k}", k, beside=k == 0)
    return folder


@pytest.fixture(params=["ytvis", "ctc", "documents"])
def videos(request, tmp_path):
    """Return three videos in one of the formats."""
    if request.param == "ytvis":
        return save_videos(tmp_path / "set", n_videos=3)
    if request.param == "ctc":
        return save_ctc(tmp_path / "set", n_videos=3)
    return documents(tmp_path / "set")


def test_each_video_is_a_row_of_tracks(videos):
    source = open_learn_source(videos)
    assert isinstance(source, VideoFolderSource)
    truth = open_dataset(videos).source
    groups = [entry.group for entry in truth.entries]
    for row in source.rows:
        assert row.is_video
        assert row.n_images == groups.count(row.key)
        assert row.n_objects == len([t for t in truth.track_lengths if t[0] == row.key]) == 2
        assert row.found[truth.categories[0]] == 2
        assert 8 < row.object_size < 24
        assert row.shape == (64, 64)
    assert len({row.name for row in source.rows}) == 3


def test_videos_are_read_where_they_are_unless_somebody_chose(videos, tmp_path):
    source = open_learn_source(videos)
    parts = parts_of(source.rows, 0.2, {})
    assert sorted(parts.of.values()) == ["train", "train", "val"]
    prepared = source.write(parts, False, 0.2, tmp_path / "part")
    assert prepared.arguments() == [str(source.path), "--val-fraction", "0.2"]
    assert not (tmp_path / "part").exists()


def test_parts_are_what_the_whole_is(videos, tmp_path):
    source = open_learn_source(videos)
    keys = [row.key for row in source.rows]
    parts = parts_of(source.rows, 0.2, {keys[0]: "train", keys[1]: "val", keys[2]: "none"})
    prepared = source.write(parts, True, 0.2, tmp_path / "part")
    whole = open_dataset(videos).source
    for path, key in ((prepared.dataset, keys[0]), (prepared.val, keys[1])):
        part = open_dataset(path).source
        assert {entry.group for entry in part.entries} == {key}
        for entry in part.entries:
            same = next(e for e in whole.entries if e.key == entry.key)
            np.testing.assert_array_equal(part.frame(entry.key), whole.frame(same.key))
            one, other = part.segmentation(entry.key), whole.segmentation(same.key)
            np.testing.assert_array_equal(one.id_map, other.id_map)
            assert [s.category_id for s in one.segments] == [s.category_id for s in other.segments]
        for file in part.files.values():
            assert os.stat(file).st_nlink > 1 or file in whole.files.values()  # no copy


def test_one_video_that_is_left_is_split_in_time(tmp_path):
    source = open_learn_source(save_videos(tmp_path / "set", n_videos=2, n_frames=12))
    keys = [row.key for row in source.rows]
    parts = parts_of(source.rows, 0.2, {keys[1]: "none"}, gap=3)
    assert parts.in_time
    assert "first 7 frames learn, its last 2 check; 3 are left out" in parts.notes[0]
    prepared = source.write(parts, True, 0.2, tmp_path / "part")
    assert prepared.arguments()[1:] == ["--val-fraction", "0.2"]
    # Who chooses that it learns wants all of it to learn.
    parts = parts_of(source.rows, 0.2, {keys[0]: "train", keys[1]: "none"}, gap=3)
    assert not parts.in_time
    assert "none is left to check" in parts.notes[0]
    assert source.write(parts, True, 0.2, tmp_path / "all").val_fraction == 0


def test_a_short_video_learns_as_a_whole(tmp_path):
    source = open_learn_source(save_videos(tmp_path / "set", n_videos=1, n_frames=6))
    assert "too few" in parts_of(source.rows, 0.2, {}).notes[0]
    assert parts_of(source.rows, 0.0, {}).notes == ()


def test_images_stay_images(tmp_path):
    source = open_learn_source(save_nuclei(tmp_path / "set", n_images=2))
    assert isinstance(source, FolderSource)
    assert not source.rows[0].is_video


def test_it_is_said_what_becomes_of_a_model():
    nano = find_model(DEFAULT_MODEL)
    assert kind_text(nano, is_video=False) == ""
    assert "nuclei-nano is of images and becomes" in kind_text(nano, is_video=True)
    video = as_video_card(nano)
    assert kind_text(video, is_video=True) == ""
    assert "as they drift and turn" in kind_text(video, is_video=False)
    dinov3 = nano.model_copy(update={"architecture": "eomt_dinov3"})
    assert "there is no model of videos" in kind_text(dinov3, is_video=True)
