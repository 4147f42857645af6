"""Datasets of slices: each is measured against its own prediction, and named."""

import numpy as np
import pytest
import tifffile
from tests.formats.drawn_slices import change, save_slices, slices

from napari_eomt.errors import DataError
from napari_eomt.evaluation.evaluate import evaluate
from napari_eomt.evaluation.truth import open_truth

NAMES = [f"stack.tif, frame {k}" for k in (2, 0, 3)]


@pytest.fixture
def path(tmp_path):
    return save_slices(tmp_path / "set", frames=[2, 0, 3])


def test_each_image_has_its_own_name_and_pixels(path):
    truth = open_truth(path)
    assert [truth.name(i) for i in truth.image_ids] == NAMES
    for image_id, k in zip(truth.image_ids, (2, 0, 3), strict=True):
        np.testing.assert_array_equal(truth.image(image_id), slices()[0][k])


def test_the_truth_as_prediction_is_all_right(path):
    """By its frames, not by its ids or its order, of which each could be another's."""

    def turn(content):
        for image in content["images"]:
            image["id"] = 32 - image["id"]
        for row in content["annotations"]:
            row["image_id"] = 32 - row["image_id"]

    same = path.with_name("predicted.json")
    same.write_text(path.read_text())
    change(same, turn)
    report = evaluate(path, same)
    assert [image.name for image in report.images] == NAMES
    assert report.total.pq == report.total.f1 == 1

    def leave_one(content):
        content["images"] = content["images"][:1]
        content["annotations"] = [r for r in content["annotations"] if r["image_id"] == 22]

    change(same, leave_one)
    with pytest.raises(DataError, match=r"^stack\.tif, frame 0: predicted\.json has no prediction"):
        evaluate(path, same)
    change(path, lambda content: content["images"].__delitem__(slice(1, 3)) or rest(content))
    assert evaluate(path, same).total.pq == 1


def rest(content):
    ids = {image["id"] for image in content["images"]}
    content["annotations"] = [r for r in content["annotations"] if r["image_id"] in ids]


def test_a_label_stack_is_compared_slice_by_slice(path, tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    id_maps = slices()[1].astype(np.uint16)
    tifffile.imwrite(folder / "stack.tif", id_maps, photometric="minisblack")
    assert evaluate(path, folder, any_category=True).total.pq == 1
    tifffile.imwrite(folder / "stack.tif", id_maps[:3], photometric="minisblack")
    with pytest.raises(DataError, match=r"stack\.tif, frame 3: stack\.tif has 3 frames, from 0"):
        evaluate(path, folder, any_category=True)


@pytest.mark.parametrize("frame", [2, None])
def test_images_that_are_the_same_pixels_are_refused(path, frame):
    """Predictions that are there can be measured all the same."""

    def edit(content):
        for image in content["images"]:
            image.update(frame=frame)

    change(path, edit)
    truth = open_truth(path)
    assert [truth.name(i) for i in truth.image_ids] == ["image 10", "image 11", "image 12"]
    name = r"stack\.tif" if frame is None else r"stack\.tif, frame 2"
    with pytest.raises(DataError, match=rf"3 images are of one file, {name}\. Say which 'frame'"):
        truth.image(10)
    if frame is None:
        assert evaluate(path, path).total.pq == 1


def test_real_slices_are_their_own_predictions(data_dir):
    report = evaluate(data_dir / "cells3d", data_dir / "cells3d" / "instances.json")
    assert report.images[3].name == "image.tif, frame 3"
    assert report.total.pq == pytest.approx(1)
