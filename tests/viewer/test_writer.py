"""Objects saved from napari's own menu."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from PIL import Image as Picture
from pycocotools import mask as pycoco
from tests.viewer.test_reader import SIZES
from tests.viewer.test_reader import write as write_dataset

from napari_eomt.annotation.files import load_document
from napari_eomt.errors import DataError
from napari_eomt.formats.coco_file import load_coco
from napari_eomt.structures.segments import Status
from napari_eomt.viewer.reader import read
from napari_eomt.viewer.writer import write


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def plain(viewer):
    """Return a Labels layer that is not ours, over its image."""
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30), np.uint8)
    labels = np.zeros((20, 30), np.int32)
    labels[2:8, 3:9], labels[10:15, 20:25] = 3, 500
    return viewer.add_image(pixels, name="dish"), viewer.add_labels(labels, name="cells")


def save(viewer, path, layers):
    viewer.layers.selection = set(layers)
    viewer.layers.save(str(path), selected=True, plugin="napari-eomt")


def test_ids_of_any_layer_are_objects_of_one_category(viewer, plain, tmp_path):
    image, labels = plain
    save(viewer, tmp_path / "out.json", plain)
    file = load_coco(tmp_path / "out.json")
    assert [c["name"] for c in file.categories] == ["object"]
    found = [pycoco.decode(a["segmentation"]) for a in file.annotations]
    for i, mask in zip((3, 500), found, strict=True):
        np.testing.assert_array_equal(mask, labels.data == i)
    (record,) = file.images
    pixels = np.asarray(Picture.open(tmp_path / "images" / record["file_name"]))
    np.testing.assert_array_equal(pixels, image.data)


def test_annotations_alone(viewer, plain, tmp_path):
    save(viewer, tmp_path / "out.json", plain[1:])
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]
    assert len(load_coco(tmp_path / "out.json").annotations) == 2


def test_documents_and_label_images(viewer, plain, tmp_path):
    _, labels = plain
    save(viewer, tmp_path / "out.eomt", plain)
    document, ref = load_document(tmp_path / "out.eomt")
    assert ref.name == "dish"
    np.testing.assert_array_equal(document.id_maps, labels.data)
    assert {s.status for s in document.segments(0).values()} == {Status.DRAWN}
    save(viewer, tmp_path / "out.tif", plain)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), labels.data)
    assert (tmp_path / "out.json").is_file()


def test_without_naming_us_napari_saves_label_images_as_ever(plain, tmp_path):
    plain[1].save(str(tmp_path / "out.tif"))
    assert not (tmp_path / "out.json").exists()


def test_what_was_opened_is_saved_with_nothing_lost(viewer, tmp_path):
    path = write_dataset(tmp_path / "set", SIZES[:1])
    before = json.loads(path.read_text())
    viewer.open(str(path), plugin="napari-eomt")
    image, labels = viewer.layers
    save(viewer, path, [image, labels])
    assert json.loads(path.read_text()) == before
    labels.data_setitem((np.array([15, 15]), np.array([20, 21])), 2)
    save(viewer, path, [labels])
    after = json.loads(path.read_text())
    assert after["annotations"][0] == before["annotations"][0]
    assert after["annotations"][1]["area"] == 6
    assert after["annotations"][1]["keypoints"] == [1, 2, 2]


def test_a_stack_with_channels_is_written_frame_by_frame(tmp_path):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 9999, (3, 2, 20, 30)).astype(np.uint16)
    ids = np.zeros((3, 20, 30), np.uint16)
    ids[1, 4:8, 4:8] = 1
    layers = [
        (ids, {"name": "ids"}, "labels"),
        (pixels, {"name": "film", "rgb": False}, "image"),
    ]
    paths = write(str(tmp_path / "film.json"), layers)
    assert len(paths) == 4
    image, labels = read(str(tmp_path / "film.json"))
    np.testing.assert_array_equal(labels[0], ids)
    np.testing.assert_array_equal(np.asarray(image[0]), pixels)


def test_what_cannot_be_saved_is_refused(tmp_path):
    with pytest.raises(DataError, match="no Labels layer"):
        write(str(tmp_path / "a.json"), [(np.zeros((4, 4)), {}, "image")])
    with pytest.raises(DataError, match=r"\.json \(COCO\), \.eomt or \.tif"):
        write(str(tmp_path / "a.xyz"), [(np.zeros((4, 4), int), {}, "labels")])
    with pytest.raises(DataError, match="ids from -1"):
        write(str(tmp_path / "a.json"), [(np.full((4, 4), -1), {"name": "l"}, "labels")])
