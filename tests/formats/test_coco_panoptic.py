"""Panoptic datasets are read, edited and written back with nothing lost."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from napari_eomt.annotation import operations
from napari_eomt.annotation.session import Session
from napari_eomt.errors import DataError
from napari_eomt.formats.coco_panoptic import load_panoptic, read_panoptic, save_panoptic
from napari_eomt.formats.id_png import read_id_png
from napari_eomt.structures.segments import Status


def rgb(ids):
    """Return ids as panopticapi's id2rgb has them."""
    return np.stack((ids % 256, ids // 256 % 256, ids // 65536), -1).astype(np.uint8)


def ids_of(path):
    """Return the ids of a PNG by panopticapi's rgb2id."""
    color = np.array(Image.open(path), np.uint32)
    return color[..., 0] + 256 * color[..., 1] + 256 * 256 * color[..., 2]


# Ids that need each of the three channels; columns of three pixels, the last one void.
IDS = (70_000, 258, 16_777_215, 7)


def info(png_id, category, k, **more):
    return {"area": 18.0, "category_id": category, "iscrowd": 0, "id": png_id, **more} | {
        "bbox": [3 * k, 0, 3, 6]
    }


@pytest.fixture
def dataset(tmp_path):
    columns = np.repeat(np.array([*IDS, 0]), 3)
    (tmp_path / "p" / "sub").mkdir(parents=True)
    for name in ("sub/a.png", "b.png"):
        Image.fromarray(rgb(np.tile(columns, (6, 1)))).save(tmp_path / "p" / name)
    segments = [
        info(IDS[0], 92, 0, scene={"light": [0.1, 2**60]}),
        info(IDS[1], 1, 1, attributes={"who": "me", "status": "edited", "note": "twice"}),
        info(IDS[2], 1, 2, iscrowd=1),
        info(IDS[3], 1, 3, score=0.25),
    ]
    raw = {
        "extra": ["ünï", None],
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "height": 6, "width": 15, "x": 1.50} for i in (9, 3)
        ],
        "annotations": [
            {"image_id": 3, "by": "hand", "file_name": "sub/a.png", "segments_info": segments},
            {"image_id": 9, "file_name": "b.png", "segments_info": segments[::-1]},
        ],
        "categories": [
            {"id": 92, "name": "sky", "isthing": 0, "color": [1, 2, 3]},
            {"id": 1, "name": "cell", "isthing": 1},
        ],
    }
    path = tmp_path / "p.json"
    path.write_text(json.dumps(raw), "utf-8")
    return path


def changed(path, change):
    raw = json.loads(path.read_text("utf-8"))
    change(raw)
    path.write_text(json.dumps(raw), "utf-8")


def test_it_is_read(dataset):
    panoptic = load_panoptic(dataset)
    document = read_panoptic(panoptic, [3])
    np.testing.assert_array_equal(
        document.id_map(0), np.tile(np.repeat([1, 2, 3, 4, 0], 3), (6, 1))
    )
    sky, cell, crowd, predicted = document.segments(0).values()
    assert [s.annotation_id for s in (sky, cell, crowd, predicted)] == list(IDS)
    assert (sky.is_thing, sky.status, sky.area, sky.bbox) == (
        False, Status.ACCEPTED, 18, (0, 0, 6, 3),
    )  # fmt: skip
    assert (cell.status, cell.note, cell.is_thing) == (Status.EDITED, "twice", True)
    assert crowd.is_crowd
    assert (predicted.status, predicted.score) == (Status.PROPOSED, 0.25)
    assert document.categories[92].color == "#010203"
    assert document.origin.image_ids == (3,)
    stack = read_panoptic(panoptic, [3, 9])
    assert stack.frame_shape == (2,)
    assert stack.id_map(1).max() == 8
    assert stack.segments(1)[5].annotation_id == IDS[3]


def test_what_nobody_touched_is_written_as_it_was(dataset, tmp_path):
    panoptic = load_panoptic(dataset)
    stack = read_panoptic(panoptic, [3, 9])
    out = tmp_path / "out" / "q.json"
    out.parent.mkdir()
    save_panoptic(panoptic, out, [(3, stack, 0), (9, stack, 1)])
    before, after = (json.loads(p.read_text("utf-8")) for p in (dataset, out))
    assert after == before
    assert list(after) == list(before)
    for name in ("sub/a.png", "b.png"):
        was, now = (tmp_path / f / name for f in ("p", "out/q"))
        assert now.read_bytes() == was.read_bytes()


def test_only_what_was_edited_is_written_anew(dataset, tmp_path):
    panoptic = load_panoptic(dataset)
    document = read_panoptic(panoptic, [3])
    session = Session(document)
    session.do(operations.delete(document, [(0, 3)]))
    session.do(operations.recategorise(document, [(0, 2)], 92))
    session.do(operations.set_status(document, [(0, 4)], Status.ACCEPTED))
    mask = np.zeros((6, 15), bool)
    mask[:, 12:14] = True
    session.do(operations.repaint(document, (0, 4), mask[:, 9:], (0, 9), "Take"))
    b = (tmp_path / "p" / "b.png").stat().st_mtime_ns
    save_panoptic(panoptic, dataset, [(3, document, 0)])
    after = json.loads(dataset.read_text("utf-8"))
    first, second = after["annotations"]
    assert second == panoptic.file.annotations[1]
    assert (tmp_path / "p" / "b.png").stat().st_mtime_ns == b
    assert (first["by"], [s["id"] for s in first["segments_info"]]) == (
        "hand", [IDS[0], IDS[1], IDS[3]],
    )  # fmt: skip
    raw = panoptic.file.annotations[0]["segments_info"]
    assert first["segments_info"][0] == raw[0]
    cell, predicted = first["segments_info"][1:]
    assert cell["category_id"] == 92
    assert (cell["area"], cell["bbox"]) == (18.0, [3, 0, 3, 6])
    assert cell["attributes"]["who"] == "me"
    assert (predicted["area"], predicted["bbox"]) == (12, [12, 0, 2, 6])
    assert predicted["attributes"]["status"] != "proposed"
    expected = np.tile(np.repeat([*IDS[:2], 0, 0], 3), (6, 1))
    expected = np.concatenate((expected, np.tile([IDS[3]] * 2 + [0], (6, 1))), 1)
    np.testing.assert_array_equal(ids_of(tmp_path / "p" / "sub" / "a.png"), expected)
    again = read_panoptic(load_panoptic(dataset), [3])
    assert [s.annotation_id for s in again.segments(0).values()] == [IDS[0], IDS[1], IDS[3]]


def test_new_segments_get_ids_and_colours_that_are_free(dataset, tmp_path):
    panoptic = load_panoptic(dataset)
    file = replace(panoptic.file, annotations=[])
    document = read_panoptic(panoptic, [3])
    path = tmp_path / "new.json"
    save_panoptic(replace(panoptic, file=file), path, [(3, document, 0)])
    again = load_panoptic(path)
    (record,) = again.file.annotations
    assert record["file_name"] == "3.png"
    found = [s["id"] for s in record["segments_info"]]
    assert found[0] == 1 + 256 * 2 + 65536 * 3, "stuff takes the colour of its category"
    assert len(set(found)) == 4
    np.testing.assert_array_equal(read_panoptic(again, [3]).id_map(0), document.id_map(0))
    assert record["segments_info"][1]["attributes"] == {"status": "edited", "note": "twice"}
    assert record["segments_info"][2]["iscrowd"] == 1


WRONG = {
    "category": (lambda r: r["categories"][1].pop("name"), "category id 1: name is None"),
    "thing": (lambda r: r["categories"][1].update(isthing=2), "isthing is 2"),
    "two images": (lambda r: r["images"][1].update(id=9), "the id 9 is there twice"),
    "size": (lambda r: r["images"][0].update(height=2**40), "images of up to"),
    "image": (lambda r: r["annotations"][0].update(image_id=4), "image_id is 4, which 'images'"),
    "two": (lambda r: r["annotations"][0].update(image_id=9), "the image_id 9 is there twice"),
    "outside": (
        lambda r: r["annotations"][0].update(file_name="../a.png"),
        "leads out of a folder",
    ),
    "no list": (lambda r: r["annotations"][0].update(segments_info={}), "a list was expected"),
    "segment": (lambda r: r["annotations"][0]["segments_info"].append(3), "segment number 5"),
    "known": (
        lambda r: r["annotations"][0]["segments_info"][0].update(category_id=8),
        "image 3, segment 70000: category_id is 8",
    ),
    "zero": (lambda r: r["annotations"][0]["segments_info"][0].update(id=0), "from 1 to 16777215"),
    "large": (lambda r: r["annotations"][0]["segments_info"][0].update(id=2**24), "from 1 to"),
    "again": (lambda r: r["annotations"][0]["segments_info"][0].update(id=7), "is there twice"),
    "box": (lambda r: r["annotations"][0]["segments_info"][0].update(bbox=[1]), "bbox is [1]"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_makes_no_sense_is_told_or_left_out(dataset, name):
    change, message = WRONG[name]
    changed(dataset, change)
    with pytest.raises(DataError) as error:
        load_panoptic(dataset)
    assert message in str(error.value)
    assert "p.json" in str(error.value)
    panoptic = load_panoptic(dataset, skip_invalid=True)
    assert any(message in p.message for p in panoptic.file.problems)
    # What is left is whole: pixels of what was left out are void.
    for record in panoptic.file.annotations:
        notes = []
        document = read_panoptic(panoptic, [record["image_id"]], notes)
        assert set(np.unique(document.id_map(0))) - {0} == set(document.segments(0))


def void(path):
    Image.fromarray(np.zeros((6, 15, 3), np.uint8)).save(path)


def sixteen_bits(path):
    def chunk(kind, data):
        body = kind + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    head = (15).to_bytes(4, "big") + (6).to_bytes(4, "big") + bytes([16, 2, 0, 0, 0])
    rows = zlib.compress((b"\0" + bytes(15 * 6)) * 6)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


PNGS = {
    "is missing": lambda path: path.unlink(),
    "is no PNG": lambda path: Image.new("RGB", (15, 6)).save(path, "JPEG"),
    "is 15 × 6 pixels; the JSON says 6 × 15": lambda p: Image.new("RGB", (6, 15)).save(p),
    "with a palette": lambda path: Image.new("P", (15, 6)).save(path),
    "RGB with alpha": lambda path: Image.new("RGBA", (15, 6)).save(path),
    "8 bits, grey": lambda path: Image.new("L", (15, 6)).save(path),
    "16 bits, RGB": sixteen_bits,
    "cannot be read": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "lacks ids that 'segments_info' lists": void,
}


@pytest.mark.parametrize("message", PNGS)
def test_a_png_of_another_kind_is_told(dataset, tmp_path, message):
    PNGS[message](tmp_path / "p" / "b.png")
    with pytest.raises(DataError) as error:
        read_panoptic(load_panoptic(dataset), [9])
    assert message in str(error.value)
    assert "b.png" in str(error.value)


def test_pixels_that_are_listed_nowhere_are_told_or_void(dataset, tmp_path):
    path = tmp_path / "p" / "b.png"
    ids = ids_of(path)
    ids[0, -1] = 12345
    Image.fromarray(rgb(ids)).save(path)
    with pytest.raises(DataError, match=r"does not list: \[12345\]"):
        read_panoptic(load_panoptic(dataset), [9])
    notes = []
    document = read_panoptic(load_panoptic(dataset, skip_invalid=True), [9], notes)
    assert document.id_map(0)[0, -1] == 0
    assert "12345" in notes[0]


def test_all_ids_of_a_png_are_read_as_panopticapi_does(tmp_path):
    ids = np.random.default_rng(0).integers(0, 2**24, (37, 51))
    Image.fromarray(rgb(ids)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_id_png(tmp_path / "a.png", (37, 51)), ids)
    np.testing.assert_array_equal(ids_of(tmp_path / "a.png"), ids)


def test_a_writing_that_is_stopped_changes_nothing(dataset, tmp_path):
    panoptic = load_panoptic(dataset)
    stack = read_panoptic(panoptic, [3, 9])
    session = Session(stack)
    session.do(operations.delete(stack, [(0, 1), (1, 5)]))
    files = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def stop(image_id):
        if image_id == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_panoptic(panoptic, dataset, [(3, stack, 0), (9, stack, 1)], on_image=stop)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == files


def test_images_of_one_name_get_pngs_of_their_own(dataset, tmp_path):
    changed(dataset, lambda r: r["images"][0].update(file_name="3.png"))
    panoptic = load_panoptic(dataset)
    stack = read_panoptic(panoptic, [3, 9])
    file = replace(panoptic.file, annotations=[])
    save_panoptic(replace(panoptic, file=file), tmp_path / "n.json", [(3, stack, 0), (9, stack, 1)])
    assert {p.name for p in (tmp_path / "n").iterdir()} == {"3.png", "3_2.png"}
