"""Videos are read, edited and written back with nothing lost."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pycocotools.mask as coco_mask
import pytest

from napari_eomt.annotation import operations, shapes
from napari_eomt.annotation.session import Session
from napari_eomt.errors import DataError
from napari_eomt.formats.coco_file import CocoFile, load_coco
from napari_eomt.formats.ytvis import read_video, save_ytvis
from napari_eomt.structures.rle import encode_mask
from napari_eomt.structures.segments import Status

SIZE, LENGTH = (8, 20), 3


def box(y0, x0, y1, x1):
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def counts(mask):
    """Return the run lengths as a list, as the files of the challenge have them."""
    flat = np.concatenate(([0], mask.ravel(order="F").astype(np.int8), [1 - mask[-1, -1]]))
    edges = np.flatnonzero(np.diff(flat))
    runs = np.diff(np.concatenate(([0], edges)))
    return {"counts": runs.tolist(), "size": list(SIZE)}


def track(number, masks, **more):
    return {
        "id": number,
        "video_id": 5,
        "category_id": 1,
        "iscrowd": 0,
        "segmentations": masks,
        "areas": [None if m is None else 12.5 for m in masks],
        "bboxes": [None if m is None else [0.25, 1, 2, 3] for m in masks],
        **more,
    }


@pytest.fixture
def path(tmp_path):
    large, small = box(0, 0, 8, 9), box(2, 2, 4, 4)
    middle = encode_mask(box(0, 10, 8, 14)).as_coco()
    raw = {
        "videos": [
            {"id": 5, "height": 8, "width": 20, "length": 3, "file_names": ["a", "b", "c"], "y": 1},
            {"id": 2, "height": 8, "width": 20, "length": 3},
        ],
        "annotations": [
            track(70, [counts(small), None, counts(small)], others={"x": [1.50, 2**70]}),
            track(90, [counts(large)] * 3, track_id=44, category_id=3),
            track(2**60, [middle, middle, None], score=0.5),
            # Wholly hidden in each frame.
            track(8, [None, counts(box(0, 10, 8, 14)), None], iscrowd=1),
            track(1, [None] * 3, video_id=2),
        ],
        "categories": [{"id": 3, "name": "dog"}, {"id": 1, "name": "cell", "z": None}],
        "more": "ü",
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps(raw), "utf-8")
    return path


def opened(path):
    file = load_coco(path)
    return file, Session(read_video(file, 5, origin_path=path))


def saved(file, session, path):
    notes = []
    save_ytvis(file, path, [(5, session.document)], notes=notes)
    return {r["id"]: r for r in load_coco(path).annotations}, notes


def test_it_is_read(path):
    _, session = opened(path)
    document = session.document
    assert document.frame_shape == (3,)
    expected = np.zeros((3, *SIZE), int)
    expected[:, :, :9] = 2
    expected[[0, 2], 2:4, 2:4] = 1
    expected[:2, :, 10:14] = 3
    np.testing.assert_array_equal(document.id_maps, expected)
    small, large, predicted = document.segments(0).values()
    assert (small.annotation_id, small.track_id, small.area) == (70, 1, 4)
    assert (large.annotation_id, large.track_id, large.category_id) == (90, 44, 3)
    assert (predicted.status, predicted.score) == (Status.PROPOSED, 0.5)
    assert (document.origin.video_id, document.origin.image_ids) == (5, ())
    assert set(document.segments(2)) == {1, 2}


def test_what_nobody_touched_is_written_as_it_was(path, tmp_path):
    file, session = opened(path)
    out = tmp_path / "b.json"
    _, notes = saved(file, session, out)
    assert not notes
    before, after = (json.loads(p.read_text("utf-8")) for p in (path, out))
    assert json.dumps(after) == json.dumps(before)


def test_only_the_frames_that_changed_have_new_masks(path, tmp_path):
    file, session = opened(path)
    document = session.document
    session.do(operations.repaint(document, (1, 3), box(0, 10, 8, 18), (0, 0), "Take"))
    session.do(operations.set_note(document, [(0, 1)], "seen"))
    found, notes = saved(file, session, tmp_path / "b.json")
    before = file.annotation_by_id
    assert list(found) == list(before)
    assert all(found[i] == before[i] for i in (90, 8, 1))
    assert found[70]["attributes"] == {"note": "seen"}
    assert [note.split(" of ")[1].split()[0] for note in notes] == ["status"]
    changed = found[2**60]
    assert changed["segmentations"][0] == before[2**60]["segmentations"][0]
    assert changed["areas"] == [12.5, 64, None]
    assert changed["bboxes"][1] == [10, 0, 8, 8]
    np.testing.assert_array_equal(
        coco_mask.decode(changed["segmentations"][1]), box(0, 10, 8, 18).astype(np.uint8)
    )


def test_deleted_new_split_and_joined_tracks(path, tmp_path):
    file, session = opened(path)
    document = session.document
    session.do(operations.delete(document, [(0, 1), (2, 1)]))
    session.do(shapes.split_by_line(document, (0, 2), [(4.0, -1.0), (4.0, 9.0)]))
    session.do(operations.merge(document, [(1, 2), (1, 3)]))
    shown = document.id_maps.copy()
    found, _ = saved(file, session, tmp_path / "b.json")
    assert 70 not in found
    # One part of what was split is new; in the second frame one track has gone on as the other.
    assert found[2**60]["segmentations"][1] is None
    assert found[90]["areas"][1] == (shown[1] == 2).sum()
    (number,) = set(found) - set(file.annotation_by_id)
    assert number == 2**60 + 1
    assert found[number]["segmentations"][1:] == [None, None]
    assert found[number]["category_id"] == 3
    again = read_video(load_coco(tmp_path / "b.json"), 5, origin_path="b.json")
    # Where something was taken away, what it had hidden is seen.
    pairs = set(zip(shown.ravel().tolist(), again.id_maps.ravel().tolist(), strict=True))
    assert {pair for pair in pairs if not pair[0]} == {(0, 0), (0, 1)}
    assert len(pairs) == len(np.unique(shown)) + 1


def test_a_track_that_somebody_else_adds_meanwhile_stays(path, tmp_path):
    file, session = opened(path)
    session.do(operations.delete(session.document, [(0, 1), (2, 1)]))
    raw = json.loads(path.read_text("utf-8"))
    theirs = track(file.next_annotation_id, [counts(box(0, 0, 8, 20)), None, None])
    raw["annotations"].append(theirs)
    path.write_text(json.dumps(raw), "utf-8")
    found, _ = saved(load_coco(path), session, tmp_path / "b.json")
    assert set(found) == {90, 2**60, 8, 1, theirs["id"]}
    assert found[theirs["id"]] == theirs
    assert all(found[i] == file.annotation_by_id[i] for i in (90, 2**60, 8, 1))


def test_a_track_that_differs_from_frame_to_frame_is_told(path, tmp_path):
    file, session = opened(path)
    session.do(operations.recategorise(session.document, [(0, 2)], 1))
    found, notes = saved(file, session, tmp_path / "b.json")
    assert found[90]["category_id"] == 3
    assert any("track 2 has 2 values of category_id" in note for note in notes)
    session.do(operations.recategorise(session.document, [(1, 2), (2, 2)], 1))
    found, notes = saved(file, session, tmp_path / "b.json")
    assert found[90]["category_id"] == 1
    assert found[90]["segmentations"] == file.annotation_by_id[90]["segmentations"]
    assert not any("category_id" in note for note in notes)


def test_a_document_of_no_file_is_new(path, tmp_path):
    file, session = opened(path)
    empty = CocoFile(file.categories, videos=file.videos)
    save_ytvis(empty, tmp_path / "b.json", [(5, session.document)])
    again = load_coco(tmp_path / "b.json")
    assert [r["id"] for r in again.annotations] == [1, 2, 3]
    np.testing.assert_array_equal(
        read_video(again, 5, origin_path="").id_maps, session.document.id_maps
    )
    assert again.annotations[2]["attributes"] == {
        "score": 0.5, "status": "proposed", "track_id": 3, "segment_id": 3,
    }  # fmt: skip
    wrong = replace(empty, videos=[dict(file.videos[0], length=4, file_names=list("abcd"))])
    with pytest.raises(DataError, match="has 4 frames of 8 × 20"):
        save_ytvis(wrong, tmp_path / "c.json", [(5, session.document)])


@pytest.mark.parametrize("seed", range(12))
def test_what_is_painted_over_masks_that_hide_each_other_is_read_as_shown(tmp_path, seed):
    rng = np.random.default_rng(seed)

    def some():
        y, x = rng.integers(0, 6), rng.integers(0, 15)
        return box(y, x, y + rng.integers(1, 8), x + rng.integers(1, 15))

    annotations = [
        track(k, [counts(some()) if rng.random() < 0.8 else None for _ in range(LENGTH)])
        for k in range(1, 8)
    ]
    videos = [{"id": 5, "height": 8, "width": 20, "length": LENGTH}]
    path = tmp_path / "a.json"
    path.write_text(
        json.dumps(
            {
                "videos": videos,
                "annotations": annotations,
                "categories": [{"id": 1, "name": "a"}],
            }
        )
    )
    file, session = opened(path)
    document = session.document
    for frame in (0, 2):
        for i in rng.permutation(list(document.segments(frame)))[:3]:
            if i in document.segments(frame):
                mask = some() | (document.id_map(frame) == i)
                session.do(operations.repaint(document, (frame, int(i)), mask, (0, 0), "Take"))
    found, _ = saved(file, session, tmp_path / "b.json")
    again = read_video(load_coco(tmp_path / "b.json"), 5, origin_path="")
    tracks = [
        {i: s.annotation_id for _, s in d.iter_segments() for i in [s.id]}
        for d in (document, again)
    ]
    shown, read = (
        np.vectorize(lambda i, t=t: t.get(i, 0))(d.id_maps)
        for d, t in zip((document, again), tracks, strict=True)
    )
    np.testing.assert_array_equal(read[shown > 0], shown[shown > 0])
    for number, record in found.items():
        was = file.annotation_by_id[number]
        assert record["segmentations"][1] == was["segmentations"][1], "of a frame nobody touched"


WRONG = {
    "no frame": (lambda a: a["segmentations"].pop(), "one element for each of the 3 frames"),
    "size": (lambda a: a["segmentations"][0].update(size=[9, 20]), "size"),
    "runs": (lambda a: a["segmentations"][0].update(counts=[500]), "segmentations[0]"),
    "negative": (lambda a: a["segmentations"][0].update(counts=[-1, 161]), "counts are integers"),
    "text": (lambda a: a["segmentations"][0].update(counts="~~~~"), "segmentation"),
    "number": (lambda a: a["segmentations"].__setitem__(0, 7), "segmentations[0]"),
    "boxes": (lambda a: a["bboxes"].__setitem__(0, [1, 2]), "bboxes[0]"),
    "areas": (lambda a: a["areas"].__setitem__(0, -2), "areas[0]"),
    "video": (lambda a: a.update(video_id=77), "video_id is 77"),
    "category": (lambda a: a.update(category_id=77), "category_id is 77"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_makes_no_sense_is_told_or_left_out(path, name):
    change, message = WRONG[name]
    raw = json.loads(path.read_text("utf-8"))
    change(raw["annotations"][0])
    path.write_text(json.dumps(raw), "utf-8")
    with pytest.raises(DataError) as error:
        load_coco(path)
    assert message in str(error.value)
    assert "annotation 70" in str(error.value)
    file = load_coco(path, skip_invalid=True)
    assert len(file.problems) == 1
    assert read_video(file, 5, origin_path=path).segments(0).keys() == {1, 2}


def test_a_video_that_is_not_there_is_told(path):
    with pytest.raises(DataError, match="no video 9; the file has 2"):
        read_video(load_coco(path), 9, origin_path=path)
