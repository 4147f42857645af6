"""Label images and their tables are read and written with nothing lost."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_eomt.annotation.document import FrameState
from napari_eomt.errors import DataError, OutputError
from napari_eomt.formats.id_images import find_id_images, read_id_image, save_id_image
from napari_eomt.inference.results import ResultWriter
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation, Status

STACK = np.zeros((2, 3, 6, 8), np.uint8)
STACK[:, :, 1:3] = 5
STACK[1, 2, 4:] = 9


def rows(document):
    return [
        (frame, s.id, s.category_id, s.is_thing, s.is_crowd, s.status, s.score, s.note, s.area)
        for frame, s in document.iter_segments()
    ]


def write_predictions(folder, n_frames=2):
    """Write what a prediction leaves: ids that count from 1 in each frame."""
    labels, table = folder / "a.tif", folder / "a.csv"
    shape = (n_frames,) if n_frames > 1 else ()
    with ResultWriter(labels, table, (6, 8), shape, "T", [Category(7, "cell, big")]) as writer:
        for frame in range(n_frames):
            id_map = np.zeros((6, 8), np.uint16)
            id_map[:2], id_map[4:] = 1, 2
            segments = (Segment(1, 7, 0.75, area=16, bbox=(0, 0, 2, 8)), Segment(2, 7, 0.5))
            writer.add(frame, Segmentation(id_map, segments))
    return labels


def test_a_stack_without_a_table_has_the_same_objects_in_all_frames(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, metadata={"axes": "TZYX"})
    document = read_id_image(tmp_path / "a.tif")
    assert document.frame_shape == (2, 3)
    np.testing.assert_array_equal(document.id_maps, STACK)
    assert document.frames_of(5) == [0, 1, 2, 3, 4, 5]
    assert document.segments(5)[9].bbox == (4, 0, 6, 8)
    assert document.segments(5)[9].status is Status.ACCEPTED
    assert document.state(0) is FrameState.REVIEWED


def test_predictions_are_proposed_and_others_in_each_frame(tmp_path):
    document = read_id_image(write_predictions(tmp_path))
    assert document.categories[7].name == "cell, big"
    assert [(f, s.id, s.score, s.status) for f, s in document.iter_segments()] == [
        (0, 1, 0.75, Status.PROPOSED), (0, 2, 0.5, Status.PROPOSED),
        (1, 3, 0.75, Status.PROPOSED), (1, 4, 0.5, Status.PROPOSED),
    ]  # fmt: skip
    np.testing.assert_array_equal(np.unique(document.id_map(1)), [0, 3, 4])


@pytest.mark.parametrize("name", ["b.tif", "b.png"])
def test_there_and_back(tmp_path, name):
    n_frames = 1 if name.endswith("png") else 2
    document = read_id_image(write_predictions(tmp_path, n_frames))
    save_id_image(document, tmp_path / name, images=[{"id": 4, "file_name": "ü.jpg"}])
    again = read_id_image(tmp_path / name)
    np.testing.assert_array_equal(again.id_maps, document.id_maps)
    assert again.id_maps.dtype == np.uint16
    assert rows(again) == rows(document)
    assert dict(again.categories) == dict(document.categories)
    assert again.frame_shape == document.frame_shape
    with pytest.raises(OutputError, match="is there already"):
        save_id_image(document, tmp_path / name)
    save_id_image(document, tmp_path / name, overwrite=True)


def test_axes_of_frames_are_kept_by_the_table(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, metadata={"axes": "TZYX"})
    document = read_id_image(tmp_path / "a.tif")
    save_id_image(document, tmp_path / "b.tif")
    assert read_id_image(tmp_path / "b.tif").frame_shape == (2, 3)
    with pytest.raises(DataError, match="a PNG holds one frame"):
        save_id_image(document, tmp_path / "b.png")


def with_palette():
    image = Image.new("P", (2, 2))
    image.putdata([0, 3, 3, 1])
    image.putpalette([9, 9, 9] * 256)  # the same colour for all: the indexes are the ids
    return image


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(np.array([[0, 3], [300, 3]], np.uint16)), [[0, 3], [300, 3]]),
        (with_palette(), [[0, 3], [3, 1]]),
        (Image.fromarray(np.array([[0, 255], [0, 0]], np.uint8)).convert("1"), [[0, 1], [0, 0]]),
    ],
)
def test_pngs(tmp_path, image, expected):
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_id_image(tmp_path / "a.png").id_maps, expected)


@pytest.mark.parametrize("dtype", [np.int16, np.uint32, np.int64, np.uint64])
def test_any_integers(tmp_path, dtype):
    array = np.array([[0, 4], [30_000, 4]], dtype)
    tifffile.imwrite(tmp_path / "a.tif", array)
    np.testing.assert_array_equal(read_id_image(tmp_path / "a.tif").id_maps, array)


def test_large_ids_are_numbered_anew_and_that_is_told(tmp_path):
    array = np.array([[0, 4], [4_000_000_000, 70_000]], np.uint32)
    tifffile.imwrite(tmp_path / "a.tif", array)
    notes = []
    document = read_id_image(tmp_path / "a.tif", notes=notes)
    np.testing.assert_array_equal(document.id_maps, [[0, 1], [3, 2]])
    assert "numbered anew, from 1 to 3" in notes[0]


def test_rows_and_ids_that_do_not_agree_are_told_or_left_out(tmp_path):
    path = write_predictions(tmp_path, 1)
    table = tmp_path / "a.csv"
    table.write_text(table.read_text().replace("\n0,2,", "\n0,3,"))
    with pytest.raises(DataError, match=r"a\.tif, frame 0: holds ids that a\.csv .* \[2\]"):
        read_id_image(path)
    notes = []
    document = read_id_image(path, skip_invalid=True, problems=notes)
    assert list(document.segments(0)) == [1]
    assert set(np.unique(document.id_maps)) == {0, 1}
    assert len(notes) == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\n0,1,7", "\n0,x,7", "line 2: id is 'x'"),
        ("0.7500", "nan", "line 2: score is 'nan'"),
        ("0.7500", "high", "line 2: score is 'high'"),
        ("\n0,2,7", "\n0,1,7", "the id 1 is listed twice for frame 0"),
        ("\n0,2,7", "\n6,2,7", "segments of frame 6"),
        ("\n0,2,7", "\n0,2,", "line 3: category_id is ''"),
    ],
)
def test_a_wrong_csv_is_told(tmp_path, old, new, message):
    path = write_predictions(tmp_path, 1)
    table = tmp_path / "a.csv"
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(DataError) as error:
        read_id_image(path)
    assert message in str(error.value)


def test_another_table_of_the_same_name_is_not_looked_at(tmp_path):
    path = write_predictions(tmp_path, 1)
    table = tmp_path / "a.csv"
    table.write_text("id,begin,end\n1,0,3\n")
    (tmp_path / "a.json").write_text("{}")
    assert [s.category_id for _, s in read_id_image(path).iter_segments()] == [1, 1]
    with pytest.raises(DataError, match="has no column 'category_id'"):
        read_id_image(path, table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(version=2), "no table of a label image"),
        (lambda r: r.update(segments={}), "'segments' is no list"),
        (lambda r: r.update(frame_shape=[0]), "frame_shape is [0]"),
        (lambda r: r.update(frame_shape=[3]), "has 2 frames, its table says (3,)"),
        (lambda r: r["segments"][0].pop("id"), "segment number 1: id is None"),
        (lambda r: r["segments"][0].update(category_id=3), "segment 1: category_id is 3"),
        (lambda r: r["segments"][0].update(attributes=3), "attributes is 3"),
        (lambda r: r["categories"][0].pop("name"), "category number 1: name is None"),
        (lambda r: r["segments"].append(r["segments"][0]), "listed twice"),
    ],
)
def test_a_wrong_json_is_told(tmp_path, change, message):
    save_id_image(read_id_image(write_predictions(tmp_path)), tmp_path / "b.tif")
    table = tmp_path / "b.json"
    raw = json.loads(table.read_text())
    change(raw)
    table.write_text(json.dumps(raw))
    with pytest.raises(DataError) as error:
        read_id_image(tmp_path / "b.tif")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.tif", lambda p: tifffile.imwrite(p, np.zeros((6, 8), np.float32)), "float32"),
        ("a.tif", lambda p: tifffile.imwrite(p, np.zeros((6, 8, 3), np.uint8)), "no colour"),
        ("a.tif", lambda p: tifffile.imwrite(p, np.array([[-1, 2]], np.int16)), "ids from -1"),
        ("a.tif", lambda p: p.write_bytes(b"II*\0\x08\0\0\0" + b"\xff" * 99), "a.tif"),
        ("a.tif", lambda p: p.write_bytes(b"hello"), "damaged"),
        ("a.tif", lambda p: None, "There is no file"),
        ("a.png", lambda p: Image.new("RGB", (4, 4)).save(p), "grey or have a palette"),
        ("a.png", lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n" + b"1" * 30), "cannot be read"),
    ],
)
def test_what_is_no_label_image_is_told(tmp_path, name, write, message):
    write(tmp_path / name)
    with pytest.raises(DataError) as error:
        read_id_image(tmp_path / name)
    assert message in str(error.value)


def test_a_file_that_is_cut_off_is_told(tmp_path):
    path = tmp_path / "a.tif"
    noise = np.random.default_rng(0).integers(0, 99, (400, 400)).astype(np.uint16)
    tifffile.imwrite(path, noise, compression="zlib")
    data = path.read_bytes()
    for n in (len(data) // 2, len(data) - 9, 100):
        path.write_bytes(data[:n])
        with pytest.raises(DataError, match=r"a\.tif"):
            read_id_image(path)


def test_a_folder_is_read_by_name(tmp_path):
    for name in ("b/2.png", "b/1.tif", "b/.hidden.png", "b/1.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.name for p in find_id_images(tmp_path / "b")] == ["1.tif", "2.png"]
