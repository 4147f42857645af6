"""Annotations go from any format into any other; what is lost on the way is told."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from napari_eomt.annotation import operations
from napari_eomt.annotation.files import load_document, save_document
from napari_eomt.annotation.session import Session
from napari_eomt.errors import DataError, OutputError
from napari_eomt.formats.convert import convert
from napari_eomt.formats.detect import FORMATS, detect
from napari_eomt.formats.sources import open_source
from napari_eomt.formats.tracks_csv import load_tracks_csv
from napari_eomt.structures.rle import encode_mask

SIZE = (8, 20)
OUT = {
    "coco": "o.json", "panoptic": "o.json", "ytvis": "o.json", "labels": "o", "ctc": "o",
    "eomt": "o",
}  # fmt: skip

HOLD_ALL = [form for form in FORMATS if form != "ctc"]  # which knows tracks, and nothing else


def box(y0, x0, y1, x1):
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return encode_mask(mask).as_coco()


def annotation(number, image_id, mask, **more):
    fields = {"id": number, "image_id": image_id, "category_id": 1, "iscrowd": 0}
    return fields | {"segmentation": mask, "area": 9.5, "bbox": [0, 0, 3, 3]} | more


@pytest.fixture
def path(tmp_path):
    """Return a COCO file of a video of two frames, with all that COCO allows."""
    track = {"attributes": {"track_id": 7, "who": "me"}}
    raw = {
        "info": {"year": 2026},
        "images": [
            {"id": 30, "file_name": "sub/b.png", "height": 8, "width": 20, "video_id": 5, "f": 1.5},
            {"id": 20, "file_name": "sub/a.png", "height": 8, "width": 20, "video_id": 5},
        ],
        "annotations": [
            annotation(11, 30, box(0, 0, 4, 4), score=0.25),
            annotation(12, 30, box(0, 0, 8, 9), category_id=4, **track),
            annotation(13, 20, box(2, 3, 8, 9), category_id=4, **track),
            annotation(14, 20, [[10, 0, 14, 0, 14, 4, 10, 4]], note="x"),
            annotation(15, 20, box(0, 10, 4, 14), iscrowd=1),
            annotation(16, 20, None, keypoints=[1, 2, 2]),
        ],
        "categories": [
            {"id": 4, "name": "sky", "isthing": 0, "color": [1, 2, 3]},
            {"id": 1, "name": "cell", "supercategory": "all"},
        ],
        "more": [1],
    }
    path = tmp_path / "in.json"
    path.write_text(json.dumps(raw), "utf-8")
    return path


def content(path, form):
    """Return what is in each frame, whatever the ids are: masks with what is said of them."""
    found = {}
    source = open_source(path, form, as_videos=True)
    for item in source.items:
        document, _ = item.read()
        names = {i: c.name for i, c in document.categories.items()}
        for frame in range(document.n_frames):
            name = item.images[frame].get("file_name", "")
            here = found.setdefault(f"{name}{item.images[frame].get('frame', 0) or ''}", [])
            for i, s in document.segments(frame).items():
                mask = document.id_map(frame) == i
                assert (mask.sum(), s.area > 0) == (s.area, True)
                said = names[s.category_id], s.is_thing, s.is_crowd, s.status, s.score
                here.append((mask.tobytes(), *said))
            here.sort()
    return found


@pytest.mark.parametrize("first", HOLD_ALL)
@pytest.mark.parametrize("second", HOLD_ALL)
def test_from_each_format_into_each(path, tmp_path, first, second):
    expected = content(path, "coco")
    one, two = tmp_path / "one", tmp_path / "two"
    convert(path, one / OUT[first], first)
    assert detect(one / OUT[first]) == first
    if second == "ytvis" and first in ("labels", "eomt"):
        with pytest.raises(DataError, match="sub/a is an image; a video has one axis of frames"):
            convert(one / OUT[first], two / OUT[second], second)
        return
    done = convert(one / OUT[first], two / OUT[second], second)
    assert (done.source, done.target, done.n_segments) == (first, second, 4)
    found = content(two / OUT[second], second)
    # The names of images are not kept by documents of ours alone.
    assert sorted(found.values()) == sorted(expected.values())
    if not {first, second} & {"eomt", "ytvis"}:
        assert found == expected


def test_tracks_have_one_id_in_all_frames(path, tmp_path):
    convert(path, tmp_path / "v.json", "ytvis")
    raw = json.loads((tmp_path / "v.json").read_text("utf-8"))
    (track,) = [r for r in raw["annotations"] if r["category_id"] == 4]
    assert all(track["segmentations"])
    assert (track["attributes"]["who"], track["attributes"]["track_id"]) == ("me", 7)
    assert raw["videos"][0]["file_names"] == ["sub/b.png", "sub/a.png"]
    assert (raw["info"], raw["more"]) == ({"year": 2026}, [1])


@pytest.mark.parametrize("target", ["panoptic", "labels", "ytvis"])
def test_what_is_lost_is_told(path, tmp_path, target):
    notes = " ".join(convert(path, tmp_path / "out" / OUT[target], target).notes)
    assert "1 annotations without a mask" in notes
    assert "1 annotations that others hide in part" in notes
    assert "1 annotations that others hide, or without a pixel" in notes
    assert "1 polygons" in notes
    assert ("no info, more of the dataset" in notes) == (target == "labels")


def test_other_fields_go_along(path, tmp_path):
    convert(path, tmp_path / "p.json", "panoptic")
    convert(tmp_path / "p.json", tmp_path / "c.json", "coco")
    raw = json.loads((tmp_path / "c.json").read_text("utf-8"))
    assert raw["images"] == json.loads(path.read_text("utf-8"))["images"]
    assert raw["categories"][1]["supercategory"] == "all"
    by_image = {(r["image_id"], r["category_id"]): r for r in raw["annotations"]}
    assert by_image[20, 1]["note"] == "x"
    assert by_image[30, 4]["attributes"]["who"] == "me"
    assert by_image[30, 1]["score"] == 0.25


def test_documents_go_back_into_their_dataset_with_what_was_changed(path, tmp_path):
    convert(path, tmp_path / "d", "eomt")
    convert(tmp_path / "d", tmp_path / "same.json", "coco")
    before = json.loads(path.read_text("utf-8"))
    assert json.loads((tmp_path / "same.json").read_text("utf-8")) == before
    folder = tmp_path / "d" / "sub" / "b.eomt"
    document, _ = load_document(folder)
    session = Session(document)
    session.do(operations.delete(document, [(0, 1)]))
    session.do(operations.set_note(document, [(0, 2)], "seen"))
    save_document(document, folder, overwrite=True)
    convert(tmp_path / "d", tmp_path / "new.json", "coco")
    after = json.loads((tmp_path / "new.json").read_text("utf-8"))
    assert after.pop("annotations") == [
        before["annotations"][1] | {"attributes": {"track_id": 7, "who": "me", "note": "seen"}},
        *before["annotations"][2:],
    ]
    del before["annotations"]
    assert after == before
    path.unlink()
    notes = convert(tmp_path / "d", tmp_path / "late.json", "coco").notes
    assert any("is not there any more" in note for note in notes)


def test_label_images_of_other_categories_are_joined(tmp_path):
    for name, category in (("a", "cat"), ("b", "dog")):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.eye(4, dtype=np.uint8))
        (tmp_path / f"{name}.csv").write_text(f"frame,id,category_id,category\n0,1,1,{category}\n")
    done = convert(tmp_path, tmp_path / "o.json", "coco")
    raw = json.loads((tmp_path / "o.json").read_text("utf-8"))
    assert [(c["id"], c["name"]) for c in raw["categories"]] == [(1, "cat"), (2, "dog")]
    assert [r["category_id"] for r in raw["annotations"]] == [1, 2]
    assert any("dog" in note for note in done.notes)


def test_what_makes_no_sense_is_left_out_if_asked(path, tmp_path):
    raw = json.loads(path.read_text("utf-8"))
    raw["annotations"][0]["category_id"] = 77
    path.write_text(json.dumps(raw), "utf-8")
    with pytest.raises(DataError, match="annotation 11 of image 30"):
        convert(path, tmp_path / "o.json")
    done = convert(path, tmp_path / "o.json", skip_invalid=True)
    assert "annotation 11 of image 30" in done.notes[0]
    after = json.loads((tmp_path / "o.json").read_text("utf-8"))
    assert after == raw | {"annotations": raw["annotations"][1:]}


@pytest.mark.parametrize(
    ("out", "to", "error", "message"),
    [
        ("o", None, DataError, "does not say which format"),
        ("o.tif", "coco", DataError, "are written as a JSON"),
        ("o.tif", None, DataError, "is one label image, there are 2 images"),
        ("o.eomt", None, DataError, "is one document, there are 2 images"),
        ("in.json", "panoptic", OutputError, "is there already"),
    ],
)
def test_what_cannot_be_written_is_told_before(path, tmp_path, out, to, error, message):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error, match=message):
        convert(path, tmp_path / out, to)
    assert sorted(tmp_path.rglob("*")) == before


def test_images_are_never_replaced_by_pngs_of_ids(path, tmp_path):
    image = tmp_path / "images" / "sub" / "b.png"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"an image")
    with pytest.raises(OutputError, match="would be replaced by a PNG of ids"):
        convert(path, tmp_path / "images.json", "panoptic")
    assert image.read_bytes() == b"an image"
    assert {p.name for p in tmp_path.iterdir()} == {"in.json", "images"}
    assert [p.name for p in image.parent.iterdir()] == ["b.png"]


def test_images_that_are_of_no_video_are_told(path, tmp_path):
    raw = json.loads(path.read_text("utf-8"))
    del raw["images"][0]["video_id"]
    path.write_text(json.dumps(raw), "utf-8")
    with pytest.raises(DataError, match="sub/b is an image; a video has one axis of frames"):
        convert(path, tmp_path / "o.json", "ytvis")


@pytest.mark.parametrize("target", FORMATS)
def test_names_of_files_never_lead_out_of_the_folder(path, tmp_path, target):
    raw = json.loads(path.read_text("utf-8"))
    raw["images"][0]["file_name"] = "../../b.png"
    raw["images"][1]["file_name"] = "/a.png"
    path.write_text(json.dumps(raw), "utf-8")
    out = tmp_path / "deep" / "er"
    convert(path, out / OUT[target], target)
    assert {p.name for p in tmp_path.iterdir()} == {"in.json", "deep"}
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["er"]


@pytest.mark.parametrize(
    ("name", "text"), [("a.json", "[1]"), ("a.json", '{"images": []}'), ("a.txt", "x"), ("a", "")]
)
def test_what_is_of_no_format_is_told(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match="of no format that is known"):
        detect(tmp_path / name)
    with pytest.raises(DataError, match="of no format that is known"):
        detect(tmp_path)
    with pytest.raises(DataError, match="no file or folder"):
        detect(tmp_path / "gone")


def test_it_stops_when_it_is_told_to(path, tmp_path):
    seen = []

    def stop(done, total, stem):
        seen.append((done, total, stem))
        if done:
            raise KeyboardInterrupt

    for target in ("coco", "panoptic"):
        with pytest.raises(KeyboardInterrupt):
            convert(path, tmp_path / "q" / "o.json", target, on_item=stop)
    assert seen[:2] == [(0, 2, "sub/b"), (1, 2, "sub/a")]
    assert not [p for p in (tmp_path / "q").rglob("*") if p.is_file()]


def test_tracks_become_a_table(path, tmp_path):
    out = tmp_path / "new" / "tracks.csv"
    done = convert(path, out)
    assert done.target == "csv"
    rows = load_tracks_csv(out)
    assert [(row.track_id, row.frame, row.y, row.x, row.area) for row in rows] == [
        (1, 0, 1.5, 1.5, 16),
        (4, 1, 1.5, 11.5, 16),
    ]
    assert any("regions of stuff (1) are in no track" in note for note in done.notes)
    with pytest.raises(OutputError, match="is there already"):
        convert(path, out)
    assert convert(path, tmp_path / "many", "csv").path == tmp_path / "many"
    assert len(list((tmp_path / "many").rglob("*.csv"))) == 1
