"""All that is wrong is found, and nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from napari_eomt.annotation.files import save_document
from napari_eomt.errors import DataError
from napari_eomt.formats.convert import convert
from napari_eomt.formats.id_images import read_id_image
from napari_eomt.formats.validate import validate

SQUARE = [[2, 2, 6, 2, 6, 6, 2, 6]]


@pytest.fixture
def path(tmp_path):
    rows = [
        {"id": k, "image_id": k, "category_id": 1, "iscrowd": 0, "segmentation": SQUARE}
        | {"area": 16.0, "bbox": [2, 2, 4, 4]}
        for k in (1, 2)
    ]
    raw = {
        "images": [
            {"id": k, "file_name": f"{k}.jpg", "height": 10, "width": 12, "video_id": 3}
            for k in (1, 2)
        ],
        "annotations": rows,
        "categories": [{"id": 1, "name": "cell", "isthing": 1}],
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps(raw))
    return path


def changed(path, change):
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    return [(finding.severity, finding.message) for finding in validate(path)]


@pytest.mark.parametrize(
    ("out", "form"),
    [
        ("b.json", "coco"),
        ("b.json", "panoptic"),
        ("b.json", "ytvis"),
        ("b", "labels"),
        ("b", "eomt"),
    ],
)
def test_nothing_is_wrong_with_what_we_write(path, tmp_path, out, form):
    seen = []
    convert(path, tmp_path / "o" / out, form)
    assert validate(tmp_path / "o" / out, on_item=lambda *a: seen.append(a)) == []
    assert seen[-1][0] == seen[-1][1] - 1


def test_all_is_told_errors_first(path):
    def change(raw):
        raw["annotations"][0]["area"] = 90
        raw["annotations"][0]["bbox"] = [0, 0, 12, 10]
        raw["annotations"][1]["category_id"] = 5
        raw["annotations"].append({"id": 7, "image_id": 1})
        raw["images"][1]["file_name"] = "1.jpg"
        raw["annotations"].append({**raw["annotations"][0], "id": 9, "segmentation": [[0] * 6]})

    found = changed(path, change)
    assert [severity for severity, _ in found] == ["error"] * 2 + ["warning"] * 5
    text = "\n".join(message for _, message in found)
    for part in (
        "annotation 2 of image 2: category_id is 5",
        "annotation 7 of image 1: category_id is missing",
        "annotation 1: area is 90, its mask has 16 pixels",
        "annotation 1: bbox is [0, 0, 12, 10], its mask lies in [2, 2, 4, 4]",
        "annotation 9: its mask has no pixel",
        "'images' has 2 of the file_name '1.jpg'",
        "1 of 2 images have no annotation",
    ):
        assert part in text


def test_numbers_and_fields_of_any_kind_are_looked_at(path):
    def change(raw):
        raw["annotations"][0]["area"] = 2**70
        raw["images"][0]["frame"] = [{}]

    assert [m for _, m in changed(path, change)] == [
        f"annotation 1: area is {2**70}, its mask has 16 pixels"
    ]


def test_frames_of_videos_are_named(path, tmp_path):
    convert(path, tmp_path / "v.json", "ytvis")
    found = changed(tmp_path / "v.json", lambda r: r["annotations"][1]["areas"].__setitem__(1, 90))
    assert found == [("warning", "annotation 2, frame 1: area is 90, its mask has 16 pixels")]


def test_segments_are_compared_with_their_png(path, tmp_path):
    out = tmp_path / "p.json"
    convert(path, out, "panoptic")

    def change(raw):
        first, second = raw["annotations"]
        first["segments_info"][0]["area"] = 3
        second["segments_info"][0]["id"] += 1

    found = changed(out, change)
    assert [severity for severity, _ in found] == ["error", "error", "warning"]
    assert "does not list" in found[0][1]
    assert "lacks ids" in found[1][1]
    assert "area is 3, in the PNG 16" in found[2][1]
    (tmp_path / "p" / "1.png").unlink()
    assert any("is missing" in finding.message for finding in validate(out))


def test_label_images_and_documents(tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", np.array([[0, 1], [2, 90_000]], np.uint32))
    (folder / "b.tif").write_bytes(b"hello")
    found = validate(folder)
    assert [f.severity for f in found] == ["error", "warning"]
    assert "b.tif is damaged" in found[0].message
    assert "numbered anew" in found[1].message
    document = read_id_image(folder / "a.tif")
    save_document(document, tmp_path / "d" / "a.eomt")
    assert validate(tmp_path / "d") == []
    (tmp_path / "d" / "a.eomt" / "labels.tif").unlink()
    assert "labels.tif is missing" in validate(tmp_path / "d")[0].message


def test_what_cannot_be_read_at_all(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"images": [], "categories": [')
    (finding,) = validate(path)
    assert finding.severity == "error"
    assert "cut off" in finding.message
    with pytest.raises(DataError, match="no file or folder"):
        validate(tmp_path / "gone.json")
