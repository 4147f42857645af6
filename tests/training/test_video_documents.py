"""Documents of stacks, as they were saved while they were annotated, to learn from."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.training.drawn_documents import document_of, save_stack
from tests.training.drawn_videos import save_model
from typer.testing import CliRunner

from napari_eomt.annotation.document import Document, FrameState
from napari_eomt.annotation.edits import Edit, StateChange
from napari_eomt.annotation.files import save_document
from napari_eomt.cli.main import app
from napari_eomt.errors import DataError
from napari_eomt.structures.categories import Category
from napari_eomt.synthetic_video import drawn_tracks
from napari_eomt.training.opened import open_dataset
from napari_eomt.training.runs import load_run
from napari_eomt.training.setup import set_up_again
from napari_eomt.training.video_documents import DocumentVideos


@pytest.fixture
def folder(tmp_path):
    for k in range(2):
        save_stack(tmp_path / "work", f"dish-{k}", k, beside=k == 0)
    return tmp_path / "work"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


def test_frames_and_tracks_are_those_of_the_documents(folder):
    opened = open_dataset(folder)
    source = opened.source
    assert [e.group for e in source.entries] == ["dish-0"] * 8 + ["dish-1"] * 8
    assert opened.path == folder
    assert len(set(opened.files.values())) == 2
    video = drawn_tracks(8, (64, 64), 2, absent=0, seed=1)
    np.testing.assert_array_equal(source.frame("dish-1:3"), video.frames[3])
    np.testing.assert_array_equal(source.segmentation("dish-1:3").id_map, video.ids[3])
    assert source.track_lengths["dish-1", 2] == int((video.ids == 2).any((1, 2)).sum())
    assert set(source.track_categories.values()) == {1}


def test_one_document_is_named_by_itself(folder):
    source = open_dataset(folder / "dish-1.eomt").source
    assert {entry.group for entry in source.entries} == {"dish-1"}


def test_frames_that_nobody_has_decided_about_are_left_out(tmp_path):
    save_stack(tmp_path / "work", "dish", 0, n_decided=5)
    source = DocumentVideos(tmp_path / "work")
    assert [entry.key for entry in source.entries] == [f"dish:{t}" for t in range(5)]


def test_empty_frames_that_were_reviewed_teach_that_there_is_nothing(tmp_path):
    video = drawn_tracks(4, (64, 64), 2, absent=0, seed=0)
    document = document_of(video.ids, n_decided=2)
    state = StateChange(3, document.state(3), FrameState.REVIEWED)
    document.apply(Edit("Review", states=(state,)), pixels=False)
    save_document(document, tmp_path / "dish.eomt")
    tifffile.imwrite(tmp_path / "dish.tif", video.frames, photometric="rgb")
    keys = [entry.key for entry in DocumentVideos(tmp_path).entries]
    assert keys == ["dish:0", "dish:1", "dish:3"]


def test_pixels_are_numbered_images_in_a_folder_some_missing(tmp_path):
    video = drawn_tracks(6, (64, 64), 2, absent=0, seed=0)
    save_document(document_of(video.ids, n_decided=4), tmp_path / "dish.eomt")
    (tmp_path / "dish").mkdir()
    for t in range(4):
        Image.fromarray(video.frames[t]).save(tmp_path / "dish" / f"{t:05d}.png")
    source = DocumentVideos(tmp_path / "dish.eomt")
    np.testing.assert_array_equal(source.frame("dish:3"), video.frames[3])
    assert len(source.files) == 4
    (tmp_path / "dish" / "00002.png").unlink()
    with pytest.raises(DataError, match="has no image of frame 2"):
        DocumentVideos(tmp_path)


def test_what_cannot_be_learnt_is_said(tmp_path, folder):
    (tmp_path / "dish-1.tif").unlink()
    with pytest.raises(DataError, match=r"not beside it, as dish-1.tif .* where they were"):
        open_dataset(folder)
    tifffile.imwrite(
        folder / "dish-1.tif", np.zeros((5, 64, 64), np.uint8), photometric="minisblack"
    )
    with pytest.raises(DataError, match=r"5 frames, dish-1.eomt is of 8"):
        open_dataset(folder)
    tifffile.imwrite(
        folder / "dish-1.tif", np.zeros((8, 32, 64), np.uint8), photometric="minisblack"
    )
    with pytest.raises(DataError, match=r"dish-1.eomt: frame 3 is of \(32, 64\) px"):
        open_dataset(folder).source.frame("dish-1:2")
    save_stack(folder, "dish-2", 0, category="bead")
    with pytest.raises(DataError, match="category 1 is 'bead', in another document 'cell'"):
        open_dataset(folder)
    save_stack(tmp_path / "other", "dish", 0, n_decided=0)
    with pytest.raises(DataError, match="nothing was decided"):
        open_dataset(tmp_path / "other")


def test_documents_of_single_images_are_left_out_with_a_note(folder):
    video = drawn_tracks(1, (64, 64), 2, seed=0)
    save_document(document_of(video.ids), folder / "alone.eomt")
    opened = open_dataset(folder)
    assert len({entry.group for entry in opened.source.entries}) == 2
    assert "1 documents are left out, such as alone.eomt" in opened.notes[0]


def test_several_axes_of_frames_are_no_video(tmp_path):
    document = Document((2, 3), (64, 64), [Category(1, "cell")])
    state = StateChange(0, document.state(0), FrameState.REVIEWED)
    document.apply(Edit("Review", states=(state,)), pixels=False)
    save_document(document, tmp_path / "dish.eomt")
    with pytest.raises(DataError, match=r"frames along 2 axes, 2 × 3"):
        DocumentVideos(tmp_path)


def test_the_command_learns_from_documents_and_goes_on(tmp_path, folder, tiny):
    options = ["--model", str(tiny), "--out", str(tmp_path / "run"), "--quiet", "--device", "cpu"]
    form = ["--steps", "3", "--batch-size", "2", "--clip-length", "2"]
    done = CliRunner().invoke(app, ["train", str(folder), *options, *form])
    assert done.exit_code == 0, done.output
    run = load_run(tmp_path / "run")
    assert run.plan.resolved.metric == "idf1"
    assert len(run.split.train) == len(run.split.val) == 8
    assert run.split.names["dish-0:0"] == "dish-0, frame 1"
    again = set_up_again(run)
    assert again.state is not None
    assert again.split == run.split


def test_they_are_read_without_torch(folder):
    code = (
        "import sys; from napari_eomt.training.video_documents import DocumentVideos; "
        f"from pathlib import Path; DocumentVideos(Path({str(folder)!r})); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
