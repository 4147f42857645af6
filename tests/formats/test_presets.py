"""Copies for other tools: what each of them reads is what the dataset says."""

from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from napari_eomt.errors import DataError
from napari_eomt.formats.coco_file import CocoFile, load_coco
from napari_eomt.formats.dataset import Dataset, load_dataset
from napari_eomt.formats.export import export_copy
from napari_eomt.formats.presets import PRESETS, prepare
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation


def drawn() -> Segmentation:
    """Return an object with a hole, one of two parts, one of a pixel, and a crowd."""
    id_map = np.zeros((40, 60), np.uint16)
    id_map[3:15, 4:20] = 1
    id_map[6:10, 8:12] = 0
    id_map[20:25, 5:9] = id_map[28:30, 30:44] = 2
    id_map[0, 59] = 3
    id_map[32:40, 0:60:2] = 4
    segments = (Segment(1, 5), Segment(2, 7), Segment(3, 7), Segment(4, 5, is_crowd=True))
    return Segmentation(id_map, segments)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    categories = [Category(5, "cell"), Category(7, "debris")]
    found = Dataset.create(tmp_path / "data")
    for k, form in enumerate(("rle", "polygons")):
        image = np.full((40, 60, 3), k, np.uint8)
        found.add(image, drawn(), name=f"i{k}", categories=categories, segmentation=form)
    found.save()
    return found


@pytest.mark.parametrize("name", PRESETS)
def test_every_copy_shows_pycocotools_the_same_masks(
    dataset: Dataset, tmp_path: Path, name: str
) -> None:
    done = export_copy(dataset, tmp_path / "copy", name)
    coco = COCO(done.path)
    assert (done.n_images, done.n_annotations) == (2, 8)
    assert set(PRESETS[name].loses) <= set(done.notes)
    truth = drawn()
    for image in coco.dataset["images"]:
        folder = tmp_path / "copy" / PRESETS[name].image_folder
        assert (folder / image["file_name"]).is_file()
        for k, annotation in enumerate(coco.imgToAnns[image["id"]]):
            np.testing.assert_array_equal(coco.annToMask(annotation), truth.id_map == k + 1)
            assert annotation["iscrowd"] == int(k == 3)


def test_x_anylabeling_gets_nothing_but_polygons(dataset: Dataset, tmp_path: Path) -> None:
    done = export_copy(dataset, tmp_path / "copy", "x-anylabeling")
    for record in load_coco(done.path).annotations:
        assert isinstance(record["segmentation"], list)
        assert all(len(part) >= 6 and len(part) % 2 == 0 for part in record["segmentation"])


def test_supervision_reads_the_masks_bit_by_bit(dataset: Dataset, tmp_path: Path) -> None:
    sv = pytest.importorskip("supervision", reason="supervision is not installed")
    done = export_copy(dataset, tmp_path / "copy", "supervision")
    found = sv.DetectionDataset.from_coco(
        str(tmp_path / "copy" / "images"), str(done.path), force_masks=True
    )
    assert found.classes == ["cell", "debris"]
    truth = drawn()
    n = 0
    for _, _, detections in found:
        n += 1
        assert detections.class_id.tolist() == [0, 1, 1, 0]
        for k, mask in enumerate(detections.mask):
            np.testing.assert_array_equal(mask, truth.id_map == k + 1)
    assert n == 2


def flat(**fields: object) -> CocoFile:
    images = [
        {"id": k, "file_name": name, "height": 5, "width": 5}
        for k, name in enumerate(("a/x.png", "b/x.png", "x_2.tif", "c\\y.png"))
    ]
    return CocoFile([{"id": 0, "name": "cell"}, {"id": 4, "name": "dog"}], images, **fields)


def test_names_without_folders_stay_different() -> None:
    prepared = prepare(flat(), PRESETS["cvat"])
    names = [record["file_name"] for record in prepared.file.images]
    assert names == ["x.png", "x_2.png", "x_2_2.tif", "y.png"]
    assert any("4 images have another name" in note for note in prepared.notes)
    assert prepare(flat(), PRESETS["coco"]).file.images[0]["file_name"] == "a/x.png"


def test_a_category_that_cvat_takes_for_none_gets_another_id() -> None:
    annotation = {"id": 1, "image_id": 0, "category_id": 0, "bbox": [0, 0, 2, 2], "area": 4}
    file = flat(annotations=[annotation])
    prepared = prepare(file, PRESETS["cvat"])
    assert [r["id"] for r in prepared.file.categories] == [1, 5]
    assert [r["category_id"] for r in prepared.iter()] == [1]
    assert (annotation["category_id"], file.categories[0]["id"]) == (0, 0)
    assert "begin at 1" in prepared.notes[0]
    assert [r["category_id"] for r in prepare(file, PRESETS["mmdetection"]).iter()] == [0]


def test_area_and_box_are_filled_in_and_empty_masks_told() -> None:
    size = {"size": [5, 5]}
    file = flat(
        annotations=[
            {"id": k, "image_id": 0, "category_id": 4, "segmentation": size | {"counts": counts}}
            for k, counts in enumerate(([6, 3, 16], [25]))
        ]
    )
    prepared = prepare(file, PRESETS["mmdetection"])
    (record,) = prepared.iter()
    assert (record["area"], record["bbox"], record["iscrowd"]) == (3, [1, 1, 1, 3], 0)
    assert prepared.notes == ["1 annotations whose mask is empty were left out."]


def test_what_a_tool_cannot_tell_apart_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    twice = CocoFile([{"id": 1, "name": "cell"}, {"id": 2, "name": "cell"}])
    with pytest.raises(DataError, match="'cell' is there twice"):
        prepare(twice, PRESETS["supervision"])
    prepare(twice, PRESETS["coco"])
    with pytest.raises(DataError, match="no tool 'vott'"):
        export_copy(dataset, tmp_path / "copy", "vott")
    with pytest.raises(DataError, match="is the dataset itself"):
        export_copy(dataset, dataset.folder, "coco")


def test_a_copy_that_fails_has_no_annotations(dataset: Dataset, tmp_path: Path) -> None:
    dataset.image_path(2).unlink()
    with pytest.raises(DataError, match="Image 2: there is no file"):
        export_copy(dataset, tmp_path / "copy", "coco")
    assert not (tmp_path / "copy" / "annotations.json").exists()
    export_copy(dataset, tmp_path / "copy", "coco", with_images=False)
    assert len(load_dataset(tmp_path / "copy").file.annotations) == 8
