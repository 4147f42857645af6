"""Videos on disk and in the window, frame by frame, and what is wrong with them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from tests.training.drawn import save_nuclei
from tests.training.drawn_videos import params, save_ctc, save_model, save_videos

from napari_eomt.annotation.document import Document
from napari_eomt.annotation.edits import Edit, SegmentChange
from napari_eomt.errors import DataError, ModelError
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Status
from napari_eomt.synthetic_video import drawn_tracks
from napari_eomt.training.opened import open_dataset
from napari_eomt.training.setup import set_up
from napari_eomt.training.sources import SessionImage
from napari_eomt.training.video_ctc import sequence_name
from napari_eomt.training.video_opened import OpenedVideos, check_tracks
from napari_eomt.training.video_sources import SessionVideos


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "video")


@pytest.fixture
def folder(tmp_path):
    return save_videos(tmp_path / "set", n_videos=2, n_frames=4)


def edit_json(folder, change):
    path = folder / "annotations.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_youtube_vis_is_read_frame_by_frame(folder):
    opened = open_dataset(folder)
    assert isinstance(opened, OpenedVideos)
    source = opened.source
    assert [entry.group for entry in source.entries] == ["video 1"] * 4 + ["video 2"] * 4
    assert [path.name for path in opened.files.values()] == [f"{t:03d}.png" for t in range(4)] * 2
    for video in (1, 2):
        truth = drawn_tracks(4, (64, 64), 2, seed=video - 1)
        for t in range(4):
            np.testing.assert_array_equal(source.frame(f"{video}:{t}"), truth.frames[t])
            np.testing.assert_array_equal(source.segmentation(f"{video}:{t}").id_map, truth.ids[t])
        n_seen = {i: int((truth.ids == i).any((1, 2)).sum()) for i in (1, 2)}
        for i, n in n_seen.items():
            assert source.track_lengths[f"video {video}", i] == n


def test_two_annotations_of_one_track_are_one_object(folder):
    def name_tracks(content):
        for row in content["annotations"]:
            row["attributes"] = {"track_id": 7}

    edit_json(folder, name_tracks)
    source = open_dataset(folder).source
    assert set(source.track_lengths) == {("video 1", 1), ("video 2", 1)}
    found = source.segmentation("1:0")
    assert {s.id for s in found.segments} == {1}
    truth = drawn_tracks(4, (64, 64), 2, seed=0).ids[0]
    np.testing.assert_array_equal(found.id_map, (truth > 0).astype(np.uint16))


def test_missing_frames_are_counted_and_the_first_is_named(folder):
    (folder / "video0" / "002.png").unlink()
    shutil.rmtree(folder / "video1")
    with pytest.raises(DataError, match=r"5 of 8 frames are not there.*video0/002\.png"):
        open_dataset(folder)


def test_videos_that_do_not_name_their_frames_are_refused(folder):
    def forget(content):
        del content["videos"][1]["file_names"]

    edit_json(folder, forget)
    with pytest.raises(DataError, match="video 2 does not say which files"):
        open_dataset(folder)


def test_videos_without_tracks_teach_nothing(folder, model):
    edit_json(folder, lambda content: content["annotations"].clear())
    with pytest.raises(DataError, match="have no tracks"):
        set_up(folder, params(), model)


def test_tracks_in_one_frame_only_teach_nothing_of_time(folder, model):
    def shorten(content):
        for row in content["annotations"]:
            row["segmentations"] = [row["segmentations"][0], None, None, None]

    edit_json(folder, shorten)
    with pytest.raises(DataError, match="is in one frame only"):
        set_up(folder, params(), model)


def test_some_short_tracks_are_told(folder):
    def shorten(content):
        row = content["annotations"][0]
        row["segmentations"] = [row["segmentations"][0], None, None, None]

    edit_json(folder, shorten)
    opened = open_dataset(folder)
    keys = [entry.key for entry in opened.source.entries]
    notes = check_tracks(opened.source, opened.path, keys)
    assert notes == ("1 of 4 tracks are in one frame only.",)
    assert check_tracks(opened.source, opened.path, keys[4:]) == ()
    # Of half of a video only what is in that half counts.
    notes = check_tracks(opened.source, opened.path, keys[2:])
    assert notes == ()


def test_one_short_video_learns_without_a_check(tmp_path, model):
    setup = set_up(save_videos(tmp_path / "one", n_videos=1), params(), model, device="cpu")
    assert setup.split.val == ()
    assert any("too few to learn" in note for note in setup.notes)


def test_images_do_not_check_videos(tmp_path, folder, model):
    images = save_nuclei(tmp_path / "images", n_images=1)
    with pytest.raises(DataError, match=r"has videos, and .* images"):
        set_up(folder, params(), model, val_dataset=images)


def test_what_is_of_images_alone_is_refused(tmp_path, folder, model):
    with pytest.raises(ModelError, match="no model of videos"):
        set_up(folder, params(), save_model(tmp_path / "v3", "eomt_dinov3"))
    with pytest.raises(DataError, match="no masked attention"):
        set_up(folder, params(masked_attention="anneal"), model)


def test_sequences_of_the_cell_tracking_challenge(tmp_path):
    folder = save_ctc(tmp_path / "cells")
    opened = open_dataset(folder)
    source = opened.source
    assert [entry.group for entry in source.entries] == ["01"] * 5 + ["02"] * 5
    assert source.categories == (Category(1, "cell"),)
    truth = drawn_tracks(5, (64, 64), 2, absent=0, seed=1)
    np.testing.assert_array_equal(source.segmentation("02:3").id_map, truth.ids[3])
    assert source.frame("02:3").shape == (64, 64)
    assert source.track_lengths["01", 1] == 5
    assert sequence_name(folder / "02_GT" / "TRA" / "man_track.txt") == "02"
    (folder / "02" / "t004.tif").unlink()
    with pytest.raises(DataError, match=r"of 5 frames, but .* has 4 images"):
        open_dataset(folder)


class Frames:
    """The frames of a stack, as a window has them."""

    name = "stack"

    def __init__(self, frames):
        self.frames, self.n_frames = frames, len(frames)

    def frame(self, index):
        return self.frames[index]


def test_open_work_is_read_by_its_tracks():
    """Ids of segments differ from frame to frame; their tracks say what is one object."""
    video = drawn_tracks(3, (64, 64), 2, absent=0, seed=0)
    document = Document((3,), (64, 64), [Category(1, "thing")])
    document.hold(20)
    for t in range(3):
        ids = np.where(video.ids[t] > 0, video.ids[t] + 5 * t, 0)
        document.id_map(t)[...] = ids
        segments = [
            Segment(i + 5 * t, 1, status=Status.ACCEPTED, track_id=i, area=1, bbox=(0, 0, 1, 1))
            for i in (1, 2)
        ]
        changes = tuple(SegmentChange(t, None, s) for s in segments)
        document.apply(Edit("Open", segments=changes), pixels=False)
    source = SessionVideos([SessionImage("a", document, Frames(video.frames))])
    assert [entry.key for entry in source.entries] == ["a 0", "a 1", "a 2"]
    assert sorted(source.track_lengths.values()) == [3, 3]
    first, last = source.segmentation("a 0"), source.segmentation("a 2")
    assert {s.id for s in first.segments} == {s.id for s in last.segments}
    for s in first.segments:
        true = video.ids[0][first.id_map == s.id][0]
        assert (video.ids[2][last.id_map == s.id] == true).all()
    np.testing.assert_array_equal(source.frame("a 1"), video.frames[1])
