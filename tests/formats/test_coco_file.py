"""What is read is written again, equal; what is damaged is told, by the id of its record."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from tests.formats.drawn_coco import drawn, same, video, write

from napari_eomt.errors import DataError, OutputError
from napari_eomt.formats import coco_checks, json_file
from napari_eomt.formats.coco_file import CocoFile, load_coco, save_coco


@pytest.mark.parametrize("make", [drawn, video])
@pytest.mark.parametrize("form", [{"indent": 1}, {"ensure_ascii": True}])
def test_round_trip(tmp_path, make, form):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(make(), **form), encoding="utf-8")
    file = load_coco(path)
    assert file.problems == ()
    save_coco(file, tmp_path / "b.json")
    assert same(json.loads((tmp_path / "b.json").read_bytes()), make())
    assert list(tmp_path.iterdir()).__len__() == 2, "nothing is left beside them"
    again = load_coco(tmp_path / "b.json")
    save_coco(again, tmp_path / "c.json")
    assert (tmp_path / "b.json").read_bytes() == (tmp_path / "c.json").read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "dsb2018/train/instances.json",
        "dsb2018/val/instances.json",
        "coco_panoptic_sample/instances.json",
        "coco_panoptic_sample/detection_as_given.json",
        "tracks/t98g_left/ytvis.json",
        "video_davis_nc/dog/ytvis.json",
    ],
)
def test_real_files_round_trip(data_dir, tmp_path, name):
    path = data_dir / name
    save_coco(load_coco(path), tmp_path / "a.json")
    assert same(json.loads((tmp_path / "a.json").read_bytes()), json.loads(path.read_bytes()))


def test_records_are_found_by_their_ids(tmp_path):
    file = load_coco(write(tmp_path / "a.json", drawn()))
    assert file.image_by_id[-1]["file_name"] == "ü.png"
    assert file.category_by_id[7]["name"] == "cell"
    assert file.annotation_by_id[2**40]["category_id"] == -3
    assert [r["id"] for r in file.annotations_of(4)][:4] == [5, 3, 90, 11]
    assert file.annotations_of(6) == file.annotations_of(99) == []
    assert file.next_annotation_id == 2**40 + 1
    assert CocoFile().next_annotation_id == 1
    of_video = load_coco(write(tmp_path / "b.json", video()))
    assert of_video.annotations_of_video(2) == of_video.annotations
    assert of_video.video_by_id[2]["length"] == 3


def test_what_is_new_is_written_with_the_keys_that_readers_ask_for(tmp_path):
    file = CocoFile([{"id": 1, "name": "x"}], [{"id": 1, "height": 2, "width": 3}])
    record = {"id": np.int64(3), "score": np.float32(0.5), "segmentation": {"counts": b"06"}}
    save_coco(file, tmp_path / "a.json", iter([record]))
    found = json.loads((tmp_path / "a.json").read_text())
    assert list(found) == ["categories", "images", "annotations"]
    assert found["annotations"] == [{"id": 3, "score": 0.5, "segmentation": {"counts": "06"}}]
    save_coco(CocoFile(), tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text())["annotations"] == []


def test_writing_goes_well_or_leaves_what_was_there(tmp_path):
    path = write(tmp_path / "a.json", drawn())
    before = path.read_bytes()
    file = load_coco(path)

    def failing():
        yield from file.annotations
        raise DataError("no more")

    with pytest.raises(DataError):
        save_coco(file, path, failing())
    for bad in (float("nan"), float("inf"), {1, 2}, object()):
        with pytest.raises(OutputError, match=r"annotations\[0\] cannot be written"):
            save_coco(file, path, iter([{"id": 1, "own": bad}]))
    with pytest.raises(OutputError, match="cannot be written"):
        save_coco(file, tmp_path / "no" / "a.json")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def put(*keys_and_value):
    *keys, last, value = keys_and_value

    def change(file):
        for key in keys:
            file = file[key]
        file[last] = value

    return change


def drop(*keys):
    def change(file):
        for key in keys[:-1]:
            file = file[key]
        del file[keys[-1]]

    return change


def twice(section):
    return lambda file: file[section].append(file[section][0])


POLYGON, RLE, COUNTS = ("annotations", 2), ("annotations", 0), ("annotations", 3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (drop("categories"), "has no 'categories'"),
        (drop("images"), "has no 'images'"),
        (put("categories", {}), "'categories' is a dict; a list"),
        (put("annotations", "x"), "'annotations' is a str"),
        (put("annotations", 1, 7), "annotation number 2: it is 7"),
        (put("categories", 0, None), "category number 1: it is None"),
        (twice("images"), "image 4: the id 4 is there twice"),
        (twice("categories"), "category 7: the id 7 is there twice"),
        (twice("annotations"), "annotation 5 of image 4: the id 5 is there twice"),
        (drop("images", 0, "id"), "image number 1: id is missing"),
        (put("images", 0, "id", "4"), "image number 1: id is '4'; an integer"),
        (put("images", 0, "id", True), "id is True"),
        (drop("images", 0, "height"), "image 4: height is None"),
        (put("images", 0, "width", 0), "image 4: width is 0"),
        (put("images", 0, "width", 24.0), "width is 24.0"),
        (put("images", 0, "width", 10**9), "image 4: height and width are 24 × 1000000000"),
        (put("images", 0, "width", 10**400), "image 4: height and width are"),
        (put("images", 0, "file_name", 3), "image 4: file_name is 3"),
        (put("categories", 0, "name", None), "category 7: name is None"),
        (drop("annotations", 0, "id"), "annotation number 1: id is missing"),
        (put("annotations", 0, "id", 5.0), "annotation number 1: id is 5.0"),
        (drop(*RLE, "image_id"), "annotation 5: image_id is missing"),
        (put(*RLE, "image_id", 99), "annotation 5 of image 99: image_id is 99"),
        (put(*RLE, "image_id", [4]), r"annotation 5: image_id is \[4\]"),
        (put(*RLE, "image_id", -1), None),
        (put(*RLE, "category_id", 99), r"annotation 5.*category_id is 99, not one of \[-3, 7\]"),
        (put(*RLE, "category_id", None), "annotation 5.*category_id is None"),
        (put(*RLE, "iscrowd", 2), "annotation 5.*iscrowd is 2"),
        (put(*RLE, "iscrowd", "0"), "annotation 5.*iscrowd is '0'"),
        (put(*RLE, "iscrowd", True), None),
        (put(*RLE, "area", "12"), "annotation 5.*area is '12'"),
        (put(*RLE, "area", -1), "annotation 5.*area is -1"),
        (put(*RLE, "bbox", [1, 2, 3]), r"annotation 5.*bbox is \[1, 2, 3\]"),
        (put(*RLE, "bbox", [1, 2, -3, 4]), "annotation 5.*bbox is.*a width and a height"),
        (put(*RLE, "bbox", [1, 2, "3", 4]), "annotation 5.*bbox is"),
        (put(*RLE, "bbox", [1, 2, None, 4]), "annotation 5.*bbox is"),
        (put(*RLE, "bbox", None), None),
        (put(*RLE, "score", "high"), "annotation 5.*score is 'high'"),
        (put(*RLE, "attributes", []), r"annotation 5.*attributes is \[\]"),
        (put(*RLE, "segmentation", 3), "annotation 5.*segmentation: .*not 3"),
        (put(*RLE, "segmentation", "abc"), "annotation 5.*segmentation: "),
        (put(*RLE, "segmentation", {}), "annotation 5.*segmentation: .*not {}"),
        (put(*RLE, "segmentation", "size", [32, 24]), r"annotation 5.*size \[32, 24\]"),
        (put(*RLE, "segmentation", "size", [24, 32, 1]), "annotation 5.*is of size|are of size"),
        (put(*RLE, "segmentation", "size", None), "annotation 5.*size None"),
        (put(*RLE, "segmentation", "counts", None), "annotation 5.*counts are a NoneType"),
        (put(*RLE, "segmentation", "counts", ""), "annotation 5.*cover 0 of the 768"),
        (put(*RLE, "segmentation", "counts", "0~0"), "annotation 5.*character '~'"),
        (put(*RLE, "segmentation", "counts", "ü"), "annotation 5.*beyond ASCII"),
        (put(*RLE, "segmentation", "counts", "P"), "annotation 5.*stop within a number"),
        (put(*RLE, "segmentation", "counts", "PPPPPPPPPP0"), "annotation 5.*10 char|11 char"),
        (put(*RLE, "segmentation", "counts", "O"), "annotation 5.*negative"),
        (put(*RLE, "segmentation", "counts", "Pj1"), "annotation 5.*more than the 768|cover"),
        (put(*COUNTS, "segmentation", "counts", [768, 1]), "annotation 11.*more than the 768"),
        (put(*COUNTS, "segmentation", "counts", [-1, 769]), "annotation 11.*hold -1"),
        (put(*COUNTS, "segmentation", "counts", [767]), "annotation 11.*cover 767 of the 768"),
        (put(*COUNTS, "segmentation", "counts", [2**70]), "annotation 11.*hold 11805"),
        (put(*COUNTS, "segmentation", "counts", [1.5]), "annotation 11.*hold 1.5"),
        (put(*COUNTS, "segmentation", "counts", [True]), "annotation 11.*hold True"),
        (put(*POLYGON, "segmentation", 0, [1, 2, 3, 4]), "annotation 90.*polygon 0 has 2 points"),
        (put(*POLYGON, "segmentation", 1, []), "annotation 90.*polygon 1 has 0 points"),
        (put(*POLYGON, "segmentation", 1, [1] * 7), "annotation 90.*polygon 1 has 7 numbers"),
        (put(*POLYGON, "segmentation", 1, 5), "annotation 90.*polygon 1 is 5"),
        (put(*POLYGON, "segmentation", 0, 2, "x"), "annotation 90.*polygon 0 holds 'x'"),
        (put(*POLYGON, "segmentation", 0, 2, None), "annotation 90.*polygon 0 holds None"),
        (put(*POLYGON, "segmentation", 0, 2, False), "annotation 90.*polygon 0 holds False"),
        (put(*POLYGON, "segmentation", 0, 2, 1e301), "annotation 90.*polygon 0 holds 1e"),
        (put(*POLYGON, "segmentation", 0, 2, 10**400), "annotation 90.*polygon 0 holds 1000"),
        (put(*POLYGON, "segmentation", [1, 2, 3, 4, 5, 6]), "annotation 90.*polygon 0 is 1"),
    ],
)
def test_each_kind_of_damage_names_its_record(tmp_path, change, says):
    value = drawn()
    change(value)
    path = write(tmp_path / "a.json", value)
    if says is None:
        assert load_coco(path).problems == ()
        return
    with pytest.raises(DataError, match=says) as error:
        load_coco(path)
    message = str(error.value)
    assert message.startswith("a.json")
    assert "\n" not in message
    assert len(message) < 500
    if "is a " in says or "has no" in says:
        return  # nothing is left to read
    whole = load_coco(write(tmp_path / "whole.json", drawn()))
    left = load_coco(path, skip_invalid=True)
    assert left.problems
    assert str(left.problems[0]) in message
    first = left.problems[0]
    assert same(first.record, value[first.section][first.index])
    for section in ("categories", "images", "annotations"):
        n_skipped = sum(problem.section == section for problem in left.problems)
        assert len(getattr(left, section)) == len(value[section]) - n_skipped
    if first.section == "annotations":
        assert len(left.problems) == 1
        assert len(left.annotations) >= len(whole.annotations) - 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (put("videos", 0, "length", 4), "video 2: length is 4, but file_names has 3"),
        (put("videos", 0, "file_names", "abc"), "video 2: file_names is 'abc'"),
        (lambda file: file["videos"][0].update(length=0, file_names=None), "video 2: length is 0"),
        (put("annotations", 0, "video_id", 3), "annotation 1 of video 3: video_id is 3"),
        (
            put("annotations", 0, "segmentations", [None]),
            "annotation 1.*segmentations is a list of",
        ),
        (
            put("annotations", 0, "segmentations", 2, 7),
            r"annotation 1.*segmentations\[2\]: .*not 7",
        ),
        (put("annotations", 0, "segmentations", 0, "counts", "0"), "annotation 1.*cover 0 of"),
        (put("annotations", 0, "areas", 1, "x"), r"annotation 1.*areas\[1\] is 'x'"),
        (put("annotations", 0, "bboxes", [1]), "annotation 1.*bboxes is a list of 1; .*3 frames"),
        (put("annotations", 0, "bboxes", 0, [1]), r"annotation 1.*bboxes\[0\] is \[1\]"),
    ],
)
def test_damaged_videos(tmp_path, change, says):
    value = video()
    change(value)
    with pytest.raises(DataError, match=says):
        load_coco(write(tmp_path / "a.json", value))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "line 1, column 1.*cut off"),
        (b"null", "holds a NoneType"),
        (b"[]", "holds a list.*results"),
        (b'{"images": [', "cut off"),
        (b'{"images": [}', "line 1, column 13"),
        (b'{"a": NaN}', "holds NaN"),
        (b'{"a": -Infinity}', "holds -Infinity"),
        (b'{"a": 1e999}', "1e999' is too large"),
        (b'{"a": 1E+0999}', "is too large"),
        (b'{"a": ' + b"9" * 400 + b".0}", "is too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
        (b'{"a": 1, "b": 2, "a": 3}', "'a' is twice"),
        (b"\xff\xfe{\x00}\x00", "byte 0 is not UTF-8"),
        (b'{"a": "\xc3("}', "byte 7 is not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"\x00" * 100, "JSON was expected"),
    ],
)
def test_no_coco_at_all(tmp_path, data, says):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(DataError, match=says) as error:
        load_coco(path)
    assert str(error.value).startswith("a.json")
    assert "\n" not in str(error.value)


def test_every_place_to_be_cut_off_is_told(tmp_path):
    data = json.dumps(drawn()).encode()
    path = tmp_path / "a.json"
    for n in range(0, len(data) - 1, 7):
        path.write_bytes(data[:n])
        with pytest.raises(DataError):
            load_coco(path)


def test_a_byte_order_mark_and_numbers_that_only_look_too_large(tmp_path):
    value = drawn() | {"hash": "1e0001", "n": 1e300, "long": 10**320}
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(value).encode())
    assert json_file._may_overflow(path.read_bytes())
    save_coco(load_coco(path), path)
    assert same(json.loads(path.read_bytes()), value)
    block = json_file._BLOCK
    for text in (b"1e999", b"9" * 320):  # where it is looked for in pieces
        assert json_file._may_overflow(b" " * (block - 3) + text)
    assert not json_file._may_overflow(b"0.5, 1e-7, 12e99, " * 99)


def test_too_large_a_file_is_not_read(tmp_path):
    path = write(tmp_path / "a.json", drawn())
    size = path.stat().st_size
    with pytest.raises(DataError, match=r"a\.json has .* MiB; files of up to .*max_bytes="):
        load_coco(path, max_bytes=size - 1)
    assert load_coco(path, max_bytes=size).annotations
    with pytest.raises(DataError, match="There is no file"):
        load_coco(tmp_path / "b.json")
    with pytest.raises(DataError, match="cannot be read"):
        load_coco(tmp_path)


def test_a_damaged_mask_among_many_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(coco_checks, "_N_CHECKED", 100)
    value = drawn()
    value["annotations"] = [
        copy.deepcopy(value["annotations"][0]) | {"id": i} for i in range(1, 301)
    ]
    for i in (1, 17, 300):
        value["annotations"][i - 1]["segmentation"]["counts"] = "0"
    path = write(tmp_path / "a.json", value)
    with pytest.raises(DataError, match="annotation 1 of image 4"):
        load_coco(path)
    file = load_coco(path, skip_invalid=True)
    assert [problem.index for problem in file.problems] == [0, 16, 299]
    assert len(file.annotations) == 297


def test_ids_of_what_was_left_out_are_not_given_again(tmp_path):
    value = drawn()
    value["annotations"][4]["area"] = "x"
    file = load_coco(write(tmp_path / "a.json", value), skip_invalid=True)
    assert 2**40 not in file.annotation_by_id
    assert file.next_annotation_id == 2**40 + 1
