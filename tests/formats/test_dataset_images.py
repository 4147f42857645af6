"""Image files of datasets, and real datasets as they come."""

import json
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_eomt.annotation import operations
from napari_eomt.errors import DataError, OutputError
from napari_eomt.formats.dataset import Dataset, load_dataset
from napari_eomt.formats.image_files import image_size, read_image, storable, write_image
from napari_eomt.structures.segments import Segmentation

DATA = Path(__file__).parents[3] / "shared" / "data"


def test_booleans_become_black_and_white_and_one_channel_grey(tmp_path: Path) -> None:
    mask = np.eye(5, dtype=bool)
    write_image(tmp_path / "a.png", storable(mask))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), mask * 255)
    grey = storable(np.ones((5, 6, 1), ">u2"))
    write_image(tmp_path / "a.tif", grey)
    assert read_image(tmp_path / "a.tif").shape == (5, 6)


@pytest.mark.parametrize("shape", [(5,), (2, 5, 6, 3), (0, 5), (5, 6, 0)])
def test_what_is_no_image_is_not_written(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="at least one pixel"):
        storable(np.zeros(shape))


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file"):
        write_image(tmp_path / "no" / "a.png", storable(np.zeros((5, 5), np.uint8)))


def test_a_photograph_is_turned_as_it_was_held(tmp_path: Path) -> None:
    pixels = np.arange(15, dtype=np.uint8).reshape(3, 5)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was on its side
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(pixels, -1))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", (5, 3)), np.rot90(pixels, -1))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", (3, 5)), pixels)


def test_planes_of_channels_are_put_last(tmp_path: Path) -> None:
    planes = np.random.default_rng(0).integers(0, 9, (3, 8, 9), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", planes, planarconfig="separate", photometric="rgb")
    assert image_size(tmp_path / "a.tif") == (8, 9)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), np.moveaxis(planes, 0, -1))


def test_a_tiff_that_says_it_is_huge_is_not_unpacked(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 9), np.uint8))
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
        for tag in ("ImageWidth", "ImageLength"):
            tiff.pages.first.tags[tag].overwrite(2**18)
    with pytest.raises(DataError, match="262144 × 262144 pixels"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_damaged_files_are_one_clear_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50), np.uint8)).save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for k in range(60):
        data = bytearray(whole[: rng.integers(0, len(whole))] if k % 2 else whole)
        for at in rng.integers(0, max(1, min(len(data), 200)), 4 * (k % 3)):
            if at < len(data):
                data[at] = rng.integers(0, 256)
        path.write_bytes(data)
        with suppress(DataError):  # and nothing else
            assert read_image(path).ndim in (2, 3)


@pytest.mark.skipif(not (DATA / "dsb2018").is_dir(), reason="the sample data are not here")
def test_a_real_dataset_is_saved_as_it_was_and_grows(tmp_path: Path) -> None:
    found = sorted((DATA / "dsb2018").rglob("*.json"), key=lambda p: p.stat().st_size)[0]
    shutil.copy(found, tmp_path / "annotations.json")
    before = json.loads(found.read_text(encoding="utf-8"))
    with load_dataset(tmp_path) as dataset:
        for record in dataset.file.images:
            dataset.add(None, dataset.document(record["id"]))
        dataset.save()
    assert json.loads((tmp_path / "annotations.json").read_text(encoding="utf-8")) == before
    record = before["images"][0]
    with load_dataset(tmp_path) as dataset:
        document = dataset.document(record["id"])
        gone = next(iter(document.segments(0).values()))
        document.apply(operations.delete(document, [(0, gone.id)]))
        dataset.add(None, document)
        dataset.save()
    after = json.loads((tmp_path / "annotations.json").read_text(encoding="utf-8"))
    assert after["images"] == before["images"]
    assert after["annotations"] == [
        r for r in before["annotations"] if r["id"] != gone.annotation_id
    ]


def test_a_document_from_another_dataset_brings_its_fields_and_new_ids(tmp_path: Path) -> None:
    raw = {
        "images": [{"id": 1, "file_name": "a.png", "height": 6, "width": 8, "site": "B"}],
        "annotations": [
            {"id": k, "image_id": 1, "category_id": 9, "bbox": [k, 1, 2, 2], "area": 4.5,
             "segmentation": [[k, 1, k + 2, 1, k + 2, 3, k, 3]], "iscrowd": 0, "who": "me"}
            for k in (1, 4)
        ],
        "categories": [{"id": 9, "name": "cell", "lab": 3}],
    }  # fmt: skip
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "annotations.json").write_text(json.dumps(raw))
    document = load_dataset(tmp_path / "a").document(1)
    pixels = np.zeros((6, 8), np.uint8)
    with load_dataset(tmp_path / "b") as dataset:
        with pytest.raises(DataError, match="Give its pixels as well"):
            dataset.add(None, document, name="from a")
        dataset.add(pixels, document, name="from a")
        dataset.save()
    after = json.loads((tmp_path / "b" / "annotations.json").read_text())
    assert after["categories"] == raw["categories"]
    assert after["annotations"][:2] == raw["annotations"]
    new = [dict(r, id=k, image_id=2) for k, r in zip((5, 6), raw["annotations"], strict=True)]
    assert after["annotations"][2:] == new
    assert after["images"][1]["site"] == "B"
    (tmp_path / "a" / "annotations.json").unlink()
    with Dataset.create(tmp_path / "c") as dataset:
        added = dataset.add(pixels, document, name="from a")
        dataset.save()
    assert added.n_annotations == 2
    assert "is not there any more" in added.notes[0]


def test_boxes_that_others_made_stay_when_masks_are_added(tmp_path: Path) -> None:
    pixels, id_map = np.zeros((6, 8), np.uint8), np.zeros((6, 8), np.uint16)
    with Dataset.create(tmp_path) as dataset:
        dataset.add(pixels, Segmentation(id_map, ()), name="a")
        dataset.save()
    path = tmp_path / "annotations.json"
    raw = json.loads(path.read_text())
    box = {"id": 3, "image_id": 1, "category_id": 2, "bbox": [1, 1, 2, 2], "area": 4, "iscrowd": 0}
    raw |= {"categories": [{"id": 2, "name": "box"}], "annotations": [box]}
    path.write_text(json.dumps(raw))
    with load_dataset(tmp_path) as dataset:
        dataset.add(pixels, Segmentation(id_map, ()), name="a")
        dataset.save()
    assert json.loads(path.read_text())["annotations"] == [box]
