"""Learning from images that are slices of one file."""

import json
import shutil

import numpy as np
import pytest
from tests.formats.drawn_slices import SHAPE, change, save_slices, slices
from tests.training.drawn import params, save_model
from typer.testing import CliRunner

import napari_eomt as ne
from napari_eomt.cli.main import app
from napari_eomt.errors import DataError
from napari_eomt.evaluation.report import Report
from napari_eomt.formats.copies import find_shared, join_copies
from napari_eomt.formats.slices import Slice
from napari_eomt.training.copies import check_apart
from napari_eomt.training.opened import open_dataset
from napari_eomt.training.setup import set_up


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


def add_stack(path, name="other.tif", first_seed=20, n=4):
    """Add the slices of another stack to a dataset."""
    other = save_slices(path.parent / "other", n, name=name, first_seed=first_seed)
    shutil.move(other.with_name(name), path.with_name(name))
    more = json.loads(other.read_text())
    shutil.rmtree(other.parent)

    def edit(content):
        n_known = max(image["id"] for image in content["images"])
        first = len(content["annotations"])
        for image in more["images"]:
            content["images"].append(image | {"id": image["id"] + n_known})
        for row in more["annotations"]:
            moved = {"id": row["id"] + first, "image_id": row["image_id"] + n_known}
            content["annotations"].append(row | moved)

    change(path, edit)
    return path


def test_each_slice_is_an_image_of_its_own(tmp_path):
    source = open_dataset(save_slices(tmp_path, frames=[3, 0, 2])).source
    assert [entry.name for entry in source.entries] == [f"stack.tif, frame {k}" for k in (3, 0, 2)]
    assert {entry.group for entry in source.entries} == {"stack.tif"}
    assert {entry.shape for entry in source.entries} == {SHAPE}
    for entry, k in zip(source.entries, (3, 0, 2), strict=True):
        np.testing.assert_array_equal(source.frame(entry.key), slices()[0][k])
        found = source.segmentation(entry.key).id_map
        np.testing.assert_array_equal(found > 0, slices()[1][k] > 0)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (
            (1, 1, 2),
            r"1 of 2 frames are there .* first is stack\.tif, frame 1, as the images 10, 1",
        ),
        (
            (None, None, None),
            r"1 of 1 files are there .* first is stack\.tif, as the images 10, 11",
        ),
        ((0, 1, None), r"1 of 3 images cannot be used\. Image 12 is of stack\.tif, as others are"),
        ((0, 1, 4), r"Image 12: there is no frame 4 in stack\.tif, which has 4 frames"),
        ((0, -2, 1), r"Image 11: frame is -2; a whole number from 0"),
        ((0, "b", 1), r"Image 11: frame is 'b'; a whole number from 0"),
    ],
)
def test_frames_that_make_no_sense_are_refused(tmp_path, frames, message):
    path = save_slices(tmp_path, 4, frames=[0, 1, 2])

    def edit(content):
        for image, frame in zip(content["images"], frames, strict=True):
            image["frame"] = frame

    change(path, edit)
    with pytest.raises(DataError, match=message):
        open_dataset(path)


def test_a_stack_of_another_size_is_refused(tmp_path):
    path = save_slices(tmp_path)

    def edit(content):
        for image in content["images"]:
            image.update(height=10, width=20)
        content["annotations"] = []

    change(path, edit)
    with pytest.raises(DataError, match=r"4 of 4 images cannot .*, frame 0, has 72 × 90 pixels"):
        open_dataset(path)


def test_slices_of_a_file_learn_together_or_check(tmp_path, tiny):
    path = add_stack(save_slices(tmp_path))
    setup = set_up(path, params(val_fraction=0.5), tiny, device="cpu")
    parts = [
        {setup.split.names[key].partition(",")[0] for key in keys}
        for keys in (setup.split.train, setup.split.val)
    ]
    assert sorted(map(tuple, parts)) == [("other.tif",), ("stack.tif",)]
    assert (len(setup.split.train), len(setup.split.val)) == (4, 4)
    one = set_up(save_slices(tmp_path / "one"), params(val_fraction=0.5), tiny, device="cpu")
    assert (len(one.split.train), one.split.val) == (4, ())
    assert any("All 4 images are of one stack" in note for note in one.notes)


def test_slices_are_copies_if_they_are_the_same_frame(tmp_path):
    """Of one file, of a copy of it, and of the file as an image of its own: its first frame."""
    files = open_dataset(save_slices(tmp_path / "a")).files
    stack = tmp_path / "a" / "stack.tif"
    assert files == {"10": stack} | {str(10 + k): Slice(stack, k) for k in (1, 2, 3)}
    copy = tmp_path / "copy.tif"
    shutil.copy(stack, copy)
    check = {"x": Slice(copy, 2), "y": Slice(stack, 9), "z": copy}
    shared = find_shared(files, check)
    assert (shared.learn, shared.check) == ({"10": "z", "12": "x"}, {"x": "12", "z": "10"})
    check_apart({"a": Slice(stack, 1)}, {"b": Slice(stack, 2), "c": Slice(copy, 3)}, tmp_path)
    with pytest.raises(
        DataError, match=r"1 of the 1 .*copy\.tif, frame 2 is .*stack\.tif, frame 2"
    ):
        check_apart(files, {"x": check["x"]}, tmp_path)
    groups = {key: key for key in files}
    assert join_copies(groups, files) == groups


def test_other_slices_of_a_file_may_check(tmp_path, tiny):
    """Somebody has parted them: that is their word."""
    path = save_slices(tmp_path, frames=[0, 1])
    check = save_slices(tmp_path / "check", frames=[3, 2])
    setup = set_up(path, params(), tiny, device="cpu", val_dataset=check)
    assert [setup.split.val_name(key) for key in setup.split.val] == [
        "stack.tif, frame 3",
        "stack.tif, frame 2",
    ]
    change(check, lambda content: content["images"][0].update(frame=1))
    with pytest.raises(DataError, match=r"1 of the 2 .*check/stack\.tif, frame 1 is "):
        set_up(path, params(), tiny, device="cpu", val_dataset=check)


def test_the_command_learns_from_slices_and_checks_on_others(tmp_path, tiny):
    path = add_stack(save_slices(tmp_path / "set"))
    out = tmp_path / "run"
    args = [str(path), "--model", str(tiny), "--out", str(out), "--device", "cpu"]
    changes = ["--steps", "2", "--batch-size", "2", "--val-fraction", "0.5", "--undecided", "learn"]
    found = CliRunner().invoke(app, ["train", *args, *changes])
    assert found.exit_code == 0, found.output
    split = ne.load_run(out).split
    report = Report.load(out / "reports" / "last.json")
    assert [image.name for image in report.images] == [split.val_name(key) for key in split.val]
    assert len({image.name for image in report.images}) == 4


def test_real_slices_are_learnt_from(data_dir, tmp_path, tiny):
    setup = set_up(data_dir / "cells3d", params(), tiny, device="cpu")
    assert setup.split.names["4"] == "image.tif, frame 3"
    assert (len(setup.split.train), len(setup.split.val)) == (31, 0)
    assert len(setup.samples.survey.object_sizes) == 31
