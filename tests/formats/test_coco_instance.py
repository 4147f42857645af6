"""Documents of COCO's instances and back, judged by pycocotools: what was not touched is equal."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pycocotools.mask as coco_mask
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tests.annotation.random_edits import check, paint, random_edit
from tests.formats.drawn_coco import SIZE, box, drawn, mask_of, rle, same, write

from napari_eomt.annotation import operations, shapes
from napari_eomt.annotation.document import Document, FrameState, Origin
from napari_eomt.annotation.edits import Edit, SegmentChange
from napari_eomt.annotation.files import load_document, save_document
from napari_eomt.annotation.session import Session
from napari_eomt.errors import DataError
from napari_eomt.formats.coco_file import CocoFile, load_coco, save_coco
from napari_eomt.formats.coco_instance import (
    annotations_of,
    categories_of,
    paint_annotations,
    read_document,
)
from napari_eomt.structures.categories import Category
from napari_eomt.structures.id_maps import boxes
from napari_eomt.structures.segments import Segment, Segmentation, Status

# pycocotools' own arrays.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")


def loaded(tmp_path, value=None):
    return load_coco(write(tmp_path / "origin.json", value or drawn()))


def opened(tmp_path, value=None):
    file = loaded(tmp_path, value)
    return file, Session(read_document(file, [4], origin_path=tmp_path / "origin.json"))


def exported(document, file, **options):
    """Return the file with the document's annotations, as another program would read it."""
    next_id = 1 if file is None else file.next_annotation_id
    records = annotations_of(document, 0, 4, file, next_id, **options)
    return json.loads(json.dumps(records))


def segment_of(document, annotation_id):
    (found,) = (s for _, s in document.iter_segments() if s.annotation_id == annotation_id)
    return found


def by_id(records):
    assert len({r["id"] for r in records}) == len(records)
    return {r["id"]: r for r in records}


def painted_by_definition(records, size=SIZE):
    """Paint mask by mask, by pycocotools: at each pixel the id of what is on top."""
    masks = {k: mask_of(r, size) for k, r in enumerate(records)}
    there = [k for k, mask in masks.items() if mask is not None]

    def level(k):
        ours = "segment_id" in (records[k].get("attributes") or {})
        return ours, not records[k].get("iscrowd"), -masks[k].sum(), k

    id_map = np.full(size, None, object)
    for k in sorted(there, key=level):
        id_map[masks[k]] = records[k]["id"]
    return id_map


def annotation_map(document, frame=0):
    """Return the annotation id at each pixel; None for void."""
    table = {s.id: s.annotation_id for s in document.segments(frame).values()}
    return np.vectorize(lambda i: table.get(int(i)), otypes=[object])(document.id_map(frame))


# Reading


def test_a_document_shows_what_the_masks_are(tmp_path):
    file, session = opened(tmp_path)
    document = session.document
    check(document)
    np.testing.assert_array_equal(
        annotation_map(document), painted_by_definition(drawn()["annotations"])
    )
    assert document.origin == Origin(
        str(tmp_path / "origin.json"), (4,), next_annotation_id=file.next_annotation_id
    )
    assert sorted(document.segments(0)) == list(range(1, 1 + len(document.segments(0))))
    shown = {s.annotation_id: s for s in document.segments(0).values()}
    assert set(shown) == {5, 3, 90, 11, 7, 8, 9}, "not 2⁴⁰, which 9 covers, nor those without mask"
    assert shown[3].area == 4, "the small one in the hole"
    assert shown[8].bbox == (22, 30, 23, 31)
    assert [s.annotation_id for s in document.segments(0).values() if s.is_crowd] == [7]
    assert document.categories == {
        7: Category(7, "cell", True, "#0102FF"),
        -3: Category(-3, "", False),
    }
    assert (shown[5].is_thing, shown[3].is_thing) == (False, True)
    assert document.state(0) is FrameState.PROPOSED, "one is a prediction"
    assert file.annotations_of(4) == file.annotations


def test_what_annotations_say_of_segments(tmp_path):
    _, session = opened(tmp_path)
    shown = {s.annotation_id: s for s in session.document.segments(0).values()}
    assert {s.status for i, s in shown.items() if i not in (3, 90)} == {Status.ACCEPTED}
    assert (shown[3].status, shown[3].note) == (Status.EDITED, "a note")
    assert (shown[90].status, shown[90].score, shown[90].track_id) == (Status.PROPOSED, 0.25, 6)
    assert (shown[11].score, shown[11].note, shown[11].source) == (None, "", "")


@pytest.mark.parametrize("form", ["str", "bytes", "counts"])
def test_run_lengths_in_each_form(form):
    rng = np.random.default_rng(0)
    masks = rng.random((9, *SIZE)) < 0.1
    masks[0], masks[1] = True, False
    records = [
        {"id": k, "image_id": 4, "category_id": 1, "segmentation": rle(mask, form)}
        for k, mask in enumerate(masks)
    ]
    file = CocoFile([{"id": 1, "name": "x"}], drawn()["images"], records)
    document = read_document(file, [4], origin_path="a")
    np.testing.assert_array_equal(annotation_map(document), painted_by_definition(records))


def test_nothing_at_all(tmp_path):
    file = loaded(tmp_path)
    document = read_document(file, [-1], origin_path="a")
    assert not document.id_maps.any()
    assert document.state(0) is FrameState.NEW
    assert annotations_of(document, 0, -1, file, 1) == []


def test_images_of_one_size_are_the_frames_of_a_stack(tmp_path):
    value = drawn()
    value["annotations"] += [
        {"id": 200 + k, "image_id": -1, "category_id": 7, "segmentation": rle(box(k, 0, k + 3, 9))}
        for k in (0, 5)
    ]
    file = loaded(tmp_path, value)
    document = read_document(file, [4, -1, 4], origin_path="a")
    assert document.id_maps.shape == (3, *SIZE)
    ids = [i for frame in range(3) for i in document.segments(frame)]
    assert sorted(ids) == list(range(1, len(ids) + 1)), "no id is in two frames"
    check(document)
    for frame, image_id in enumerate((4, -1, 4)):
        again = annotations_of(document, frame, image_id, file, 1)
        assert same(again, file.annotations_of(image_id))
    with pytest.raises(DataError, match="Image 6 is 9 × 9, image 4 is 24 × 32"):
        read_document(file, [4, 6], origin_path="a")
    for none in ([], [4, 99]):
        with pytest.raises(DataError, match="no image"):
            read_document(file, none, origin_path="a")


def test_a_mask_that_is_damaged_in_memory_names_its_annotation(tmp_path):
    file = loaded(tmp_path)
    for bad in ({"size": list(SIZE), "counts": "0"}, [[1, 2, 3]], {"size": [1, 1], "counts": "1"}):
        records = copy.deepcopy(file.annotations)
        records[2]["segmentation"] = bad
        with pytest.raises(DataError, match="annotation 90 of image 4: segmentation: "):
            paint_annotations(records, SIZE)


# Writing what was not touched


@pytest.mark.parametrize("segmentation", ["rle", "polygons"])
def test_what_nobody_touched_is_equal(tmp_path, segmentation):
    file, session = opened(tmp_path)
    before = copy.deepcopy(file.annotations)
    records = annotations_of(session.document, 0, 4, file, 1, segmentation=segmentation)
    assert same(records, before)
    assert same(file.annotations, before), "nothing of the original is changed"
    assert same(categories_of(session.document, file), drawn()["categories"])
    # Also after the document was saved and read in between.
    save_document(session.document, tmp_path / "a.eomt")
    again, _ = load_document(tmp_path / "a.eomt")
    assert same(annotations_of(again, 0, 4, file, 1), before)
    # And after edits that were taken back.
    session.do(operations.delete(session.document, [(0, 1), (0, 2)]))
    session.do(operations.recategorise(session.document, [(0, 3)], -3))
    session.undo()
    session.undo()
    assert same(annotations_of(session.document, 0, 4, file, 1), before)


@pytest.mark.parametrize(
    ("name", "n_images"),
    [
        ("dsb2018/val", None),
        ("dsb2018/train", 25),
        ("coco_panoptic_sample", None),
        ("phase_t98g/val", None),
    ],
)
def test_real_sets_round_trip(data_dir, tmp_path, name, n_images):
    path = data_dir / name / "instances.json"
    file, judge = load_coco(path), COCO(str(path))
    rng = np.random.default_rng(0)
    chosen = (
        file.images
        if n_images is None
        else [file.images[k] for k in rng.choice(len(file.images), n_images, replace=False)]
    )
    for image in chosen:
        document = read_document(file, [image["id"]], origin_path=path)
        records = file.annotations_of(image["id"])
        assert same(annotations_of(document, 0, image["id"], file, 1), records)
        # Without the origin every mask is written anew, and is equal to the bit.
        anew = annotations_of(document, 0, image["id"], None, 1)
        origin_of = {s.id: s.annotation_id for s in document.segments(0).values()}
        hidden = np.zeros(document.image_shape, bool)
        assert len(anew) == len(records)
        for record in sorted(anew, key=lambda r: r["area"]):
            before = judge.anns[origin_of[record["attributes"]["segment_id"]]]
            mask = judge.annToMask(before).astype(bool)
            found = coco_mask.decode(record["segmentation"]).astype(bool)
            if not before["iscrowd"]:
                np.testing.assert_array_equal(found, mask)
                assert (record["area"], record["bbox"]) == (before["area"], before["bbox"])
            hidden |= found & ~mask
            assert record["category_id"] == before["category_id"]
            assert record["iscrowd"] == before["iscrowd"]
        assert not hidden.any()


# Writing what was


def test_an_edit_changes_only_what_it_touches(tmp_path):
    file, session = opened(tmp_path)
    document, before = session.document, by_id(drawn()["annotations"])
    i = segment_of(document, 5).id
    session.do(operations.repaint(document, (0, i), box(2, 2, 6, 6)[2:6, 2:6], (2, 2), "Take"))
    after = by_id(exported(document, file))
    assert {k for k in before if not same(before[k], after[k])} == {5}
    assert list(after) == list(before)
    changed = after[5]
    assert {k for k in changed if changed[k] != before[5].get(k)} == {
        "segmentation",
        "area",
        "bbox",
        "attributes",
    }
    # What is locked keeps its pixels: the small one in the middle was accepted.
    expected = box(2, 2, 6, 6) & ~box(5, 5, 7, 7)
    np.testing.assert_array_equal(mask_of(changed), expected)
    assert (changed["area"], changed["bbox"]) == (15, [2, 2, 4, 4])
    assert changed["attributes"] == {"status": "edited", "segment_id": i}
    assert changed["own"] == before[5]["own"]


def test_painting_over_a_neighbour_changes_both(tmp_path):
    file, session = opened(tmp_path)
    document, before = session.document, by_id(drawn()["annotations"])
    a, b = segment_of(document, 11).id, segment_of(document, 7).id
    part = document.id_map(0)[12:16, 8:14]
    pixels = part.copy()
    part[...] = a
    session.record(operations.painted(document, 0, pixels ^ part, (12, 8), 7))
    after = by_id(exported(document, file))
    assert {k for k in before if not same(before[k], after[k])} == {11, 7}
    for annotation_id, i in ((11, a), (7, b)):
        np.testing.assert_array_equal(mask_of(after[annotation_id]), document.id_map(0) == i)
    assert after[7]["iscrowd"] == 1


def test_deleted_and_rejected_ones_are_left_out_and_hidden_ones_stay(tmp_path):
    file, session = opened(tmp_path)
    document = session.document
    session.do(operations.delete(document, [(0, segment_of(document, 9).id)]))
    session.do(operations.reject(document, [(0, segment_of(document, 8).id)]))
    records = exported(document, file)
    assert same(records, [r for r in drawn()["annotations"] if r["id"] not in (8, 9)])
    session.do(operations.delete(document, [(0, s.id) for s in document.segments(0).values()]))
    assert [r["id"] for r in exported(document, file)] == [2**40, 12, 13, 15]


def test_what_somebody_else_adds_meanwhile_stays(tmp_path):
    file, session = opened(tmp_path)
    document = session.document
    mine = segment_of(document, 5).id
    session.do(operations.delete(document, [(0, mine)]))
    value = drawn()
    theirs = {
        "id": file.next_annotation_id,
        "image_id": 4,
        "category_id": value["categories"][0]["id"],
        "iscrowd": 0,
        "segmentation": rle(box(0, 0, *SIZE)),  # over all that is there
        "area": SIZE[0] * SIZE[1],
        "bbox": [0, 0, SIZE[1], SIZE[0]],
    }
    value["annotations"].append(theirs)
    now = load_coco(write(tmp_path / "origin.json", value))
    before = by_id(drawn()["annotations"])
    after = by_id(exported(document, now))
    assert same(after.pop(theirs["id"]), theirs)
    assert set(before) - set(after) == {5}
    assert all(same(after[i], before[i]) for i in after)
    # What we have added ourselves, and deleted since, is not somebody else's.
    value["annotations"][-1]["attributes"] = {"segment_id": 999}
    now = load_coco(write(tmp_path / "origin.json", value))
    assert theirs["id"] not in by_id(exported(document, now))


def test_another_category_leaves_the_mask_with_what_is_hidden_of_it(tmp_path):
    file, session = opened(tmp_path)
    document = session.document
    i = segment_of(document, 7).id
    session.do(operations.recategorise(document, [(0, i)], 7))
    session.do(operations.set_note(document, [(0, i)], "Ü"))
    after = by_id(exported(document, file))[7]
    before = by_id(drawn()["annotations"])[7]
    expected = before | {"category_id": 7, "attributes": {"note": "Ü"}}
    assert after == expected


def test_decisions_are_written_and_read_again(tmp_path):
    file, session = opened(tmp_path)
    document = session.document
    i = {k: segment_of(document, k).id for k in (5, 3, 90, 11)}
    session.do(operations.set_status(document, [(0, i[90])], Status.ACCEPTED))
    session.do(operations.set_status(document, [(0, i[5])], Status.PROPOSED))
    session.do(operations.set_status(document, [(0, i[11])], Status.PROPOSED))
    session.do(operations.set_locked(document, [(0, i[5])], True))
    session.do(operations.set_note(document, [(0, i[3])], ""))
    after = by_id(exported(document, file))
    before = by_id(drawn()["annotations"])
    assert after[5]["attributes"] == {"status": "proposed", "locked": True}
    assert after[3]["attributes"] == {"occluded": True, "status": "edited"}
    assert after[90]["attributes"] == {"status": "accepted"}
    assert after[11]["attributes"] == before[11]["attributes"], "a status that is not ours stays"
    assert after[90]["score"] == 0.25
    value = drawn() | {"annotations": list(after.values())}
    _, again = opened(tmp_path, value)
    known = {s.annotation_id: s for s in again.document.segments(0).values()}
    for s in document.segments(0).values():
        expected = s if s.annotation_id != 11 else replace(s, status=Status.ACCEPTED)
        assert known[s.annotation_id] == expected


def test_a_crowd_that_is_none_any_more_stays_where_it_is_seen(tmp_path):
    file, session = opened(tmp_path)
    document = session.document
    crowd, small = segment_of(document, 7), segment_of(document, 90)
    changes = [
        SegmentChange(0, crowd, replace(crowd, is_crowd=False)),
        SegmentChange(0, small, replace(small, is_crowd=True)),
    ]
    session.do(Edit("Crowds", segments=tuple(changes)))
    records = exported(document, file)
    after, before = by_id(records), by_id(drawn()["annotations"])
    assert {k for k in before if not same(before[k], after[k])} == {7, 90}
    assert (after[7]["iscrowd"], after[90]["iscrowd"]) == (0, 1)
    again = read_document(loaded(tmp_path, drawn() | {"annotations": records}), [4], origin_path="")
    np.testing.assert_array_equal(annotation_map(again), annotation_map(document))


def test_a_split_keeps_one_and_adds_others(tmp_path):
    file, session = opened(tmp_path)
    document = session.document
    i = segment_of(document, 7).id
    session.do(shapes.split_by_line(document, (0, i), [(15.0, 5.0), (15.0, 40.0)]))
    after = by_id(exported(document, file))
    before = by_id(drawn()["annotations"])
    new = [k for k in after if k not in before]
    assert new == [file.next_annotation_id]
    pieces = [mask_of(after[k]) for k in (7, *new)]
    assert not (pieces[0] & pieces[1]).any()
    np.testing.assert_array_equal(pieces[0] | pieces[1], painted_by_definition(before_list()) == 7)
    assert list(after[new[0]]) == [
        "id",
        "image_id",
        "category_id",
        "segmentation",
        "area",
        "bbox",
        "iscrowd",
        "attributes",
    ]
    assert after[new[0]]["iscrowd"] == 1


def before_list():
    return drawn()["annotations"]


@pytest.mark.parametrize("seed", range(12))
def test_what_is_written_is_what_the_person_saw(tmp_path, seed):
    """After any edits, and again after more: each object's pixels, and the rest untouched."""
    rng = np.random.default_rng(seed)
    value = drawn()
    size = (40, 56)
    value["images"] = [{"id": 4, "height": size[0], "width": size[1]}]
    value["categories"] += [{"id": 3, "name": "debris"}, {"id": 9, "name": "soil", "isthing": 0}]
    value["annotations"] = []
    for k in range(1, 16):
        y, x = rng.integers(0, 34), rng.integers(0, 50)
        mask = np.zeros(size, bool)
        mask[y : y + rng.integers(1, 20), x : x + rng.integers(1, 20)] = True
        record = {"id": k, "image_id": 4, "category_id": int(rng.choice([7, 3])), "own": k}
        record |= {"segmentation": rle(mask), "area": 0.5, "iscrowd": int(rng.random() < 0.1)}
        value["annotations"].append(record)
    for round_ in range(3):
        file, session = opened(tmp_path, value)
        document = session.document
        np.testing.assert_array_equal(
            annotation_map(document), painted_by_definition(value["annotations"], size)
        )
        for _ in range(rng.integers(0, 8)):
            if rng.random() < 0.3:
                paint(rng, session)
            else:
                edit = random_edit(rng, document)
                if edit is not None:
                    session.do(edit)
        before = by_id(value["annotations"])
        seen = {
            s.annotation_id for s in read_document(file, [4], origin_path="").segments(0).values()
        }
        records = exported(document, file, segmentation="polygons" if round_ == 1 else "rle")
        value["annotations"] = records
        value["categories"] = categories_of(document, file)
        again = read_document(loaded(tmp_path, value), [4], origin_path="a")
        after = by_id(records)
        shown = [s for s in document.segments(0).values() if s.status is not Status.REJECTED]
        pixels = document.id_map(0)
        known = {s.annotation_id: s for s in again.segments(0).values()}
        # Of an object without id in the file: found by its place.
        for s in shown:
            there = np.unique(again.id_map(0)[pixels == s.id])
            assert len(there) == 1, "its pixels are one object's"
            twin = again.segments(0)[int(there[0])]
            assert twin.category_id == s.category_id
            assert (twin.status, twin.locked, twin.note) == (s.status, s.locked, s.note)
            if s.annotation_id is not None:
                assert twin.annotation_id == s.annotation_id
                assert after[s.annotation_id].get("own") == before[s.annotation_id].get("own")
        # What shows beside lay under something that is gone.
        assert not (again.id_map(0)[pixels != 0] == 0).any()
        more = again.id_map(0)[(pixels == 0) & (again.id_map(0) != 0)]
        for i in np.unique(more):
            record = after[again.segments(0)[int(i)].annotation_id]
            assert same(record["segmentation"], before[record["id"]]["segmentation"])
        gone = seen - {s.annotation_id for s in shown}
        assert set(after) >= set(before) - gone
        assert not set(after) & gone
        assert known


def test_duplicates_stay_under_the_one_that_was_changed(tmp_path):
    """Larger than its twin now, it would lie below it, but for its mark."""
    file, session = opened(tmp_path)
    document = session.document
    i = segment_of(document, 9).id
    session.do(operations.repaint(document, (0, i), np.ones((5, 6), bool), (2, 17), "Take"))
    value = drawn() | {"annotations": exported(document, file)}
    again = read_document(loaded(tmp_path, value), [4], origin_path="a")
    np.testing.assert_array_equal(
        again.id_map(0) == segment_of(again, 9).id, document.id_map(0) == i
    )


@pytest.mark.parametrize("segmentation", ["rle", "polygons"])
def test_a_new_document(tmp_path, segmentation):
    """Holes, parts, one pixel, crowds; all masks equal to the bit, by pycocotools."""
    document = Document((), SIZE, [Category(3, "cell"), Category(5, "soil", False, "#00FF80")])
    session = Session(document)
    masks = [box(2, 2, 9, 9) & ~box(4, 4, 6, 6), box(0, 20, 2, 22) | box(10, 3, 12, 30)]
    masks += [box(23, 31, 24, 32), box(15, 0, 20, 32)]
    for k, mask in enumerate(masks):
        segment = Segment(0, 5 if k == 3 else 3, 0.5, is_crowd=k == 1, source="nano", track_id=k)
        session.do(operations.add(document, 0, mask, (0, 0), segment))
    records = exported(document, None, segmentation=segmentation)
    assert [r["id"] for r in records] == [1, 2, 3, 4]
    for record, mask in zip(records, masks, strict=True):
        np.testing.assert_array_equal(mask_of(record), mask)
        assert isinstance(record["segmentation"], list) == (
            segmentation == "polygons" and not record["iscrowd"]
        )
        assert record["area"] == mask.sum()
    assert records[0]["attributes"] == {
        "score": 0.5,
        "status": "proposed",
        "source": "nano",
        "track_id": 0,
        "segment_id": 1,
    }
    categories = categories_of(document, None)
    assert categories == [
        {"id": 3, "name": "cell", "supercategory": ""},
        {"id": 5, "name": "soil", "supercategory": "", "isthing": 0, "color": [0, 255, 128]},
    ]
    value = drawn() | {"annotations": records, "categories": categories}
    again = read_document(loaded(tmp_path, value), [4], origin_path="a")
    np.testing.assert_array_equal(again.id_maps, document.id_maps)
    for i, segment in document.segments(0).items():
        assert (
            replace(again.segments(0)[i], annotation_id=None, is_thing=segment.is_thing) == segment
        )
    assert list(again.categories.values()) == list(document.categories.values())


def test_an_image_filling_object_and_five_thousand():
    for side, step in ((60, 60), (560, 7), (500, 7)):
        document = Document((), (side, side + 3), [Category(1, "x")])
        y, x = np.mgrid[:side, : side + 3]
        per_row = -(-(side + 3) // step)
        id_map = (y // step) * per_row + x // step + 1
        id_map[(x % step == 0) & (step > 1) & (step < 60)] = 0
        session = Session(document)
        found = boxes(id_map)
        sizes = np.bincount(id_map.ravel())
        segments = tuple(Segment(i, 1, area=int(sizes[i]), bbox=b) for i, b in found.items())
        session.do(
            operations.propose(document, 0, Segmentation(id_map.astype(np.uint16), segments))
        )
        records = annotations_of(document, 0, 1, None, 1)
        assert len(records) == len(segments)
        file = CocoFile(
            categories_of(document, None), [{"id": 1, "height": side, "width": side + 3}], records
        )
        again = read_document(file, [1], origin_path="a")
        np.testing.assert_array_equal(again.id_maps, document.id_maps)
        assert annotations_of(again, 0, 1, file, 1) == records
        for record in records[:: max(1, len(records) // 50)]:
            mask = coco_mask.decode(record["segmentation"])
            np.testing.assert_array_equal(
                mask, document.id_map(0) == record["attributes"]["segment_id"]
            )


def test_another_image_id_and_a_data_set_that_has_changed(tmp_path):
    file, session = opened(tmp_path)
    records = annotations_of(session.document, 0, 77, file, 1)
    assert all(r["image_id"] == 77 for r in records)
    assert same([r | {"image_id": 4} for r in records], drawn()["annotations"])
    value = drawn()
    value["images"][0]["height"] = 25
    value["annotations"] = []
    with pytest.raises(DataError, match="Image 4 is 25 × 32 in the data set, and 24 × 32"):
        annotations_of(session.document, 0, 4, loaded(tmp_path, value), 1)
    # What is not there any more is new again.
    value = drawn()
    value["annotations"] = [r for r in value["annotations"] if r["id"] != 8]
    records = by_id(annotations_of(session.document, 0, 4, loaded(tmp_path, value), 500))
    np.testing.assert_array_equal(mask_of(records[500]), box(22, 30, 23, 31))


def test_categories_keep_their_fields_and_others_need_them(tmp_path):
    value = drawn()
    value["categories"].append({"id": 50, "name": "of others", "own": 1})
    value["categories"].append({"id": 51, "name": "of nobody"})
    value["categories"].append({"id": 52, "name": "of one that is hidden"})
    value["annotations"][4]["category_id"] = 52
    value["annotations"].append({"id": 200, "image_id": -1, "category_id": 50})
    file, session = opened(tmp_path, value)
    document = session.document
    assert same(categories_of(document, file), value["categories"])
    for i in (50, 51, 52):
        session.do(operations.remove_category(document, i))
    session.do(operations.change_category(document, Category(7, "Zelle", True, "#0102FF")))
    session.do(operations.change_category(document, Category(-3, "", True)))
    session.do(operations.add_categories(document, [Category(8, "new", False)]))
    assert categories_of(document, file) == [
        value["categories"][0] | {"name": "Zelle"},
        {"id": -3, "name": "", "isthing": 1},
        {"id": 50, "name": "of others", "own": 1},
        {"id": 52, "name": "of one that is hidden"},
        {"id": 8, "name": "new", "supercategory": "", "isthing": 0},
    ]


# Other programs


@pytest.fixture
def new_set(tmp_path):
    """Return the path of a set of three images, drawn, without crowds."""
    rng = np.random.default_rng(0)
    images, annotations, documents = [], [], []
    for k in range(1, 4):
        document = Document((), (64, 80), [Category(1, "a"), Category(2, "b")])
        session = Session(document)
        for _ in range(12):
            y, x = rng.integers(0, 50), rng.integers(0, 60)
            mask = rng.random((rng.integers(2, 14), rng.integers(2, 20))) < 0.9
            segment = Segment(0, int(rng.integers(1, 3)), status=Status.DRAWN)
            try:
                session.do(operations.add(document, 0, mask, (y, x), segment))
            except DataError:
                continue
        images.append({"id": k, "file_name": f"{k}.png", "height": 64, "width": 80})
        annotations += annotations_of(document, 0, k, None, len(annotations) + 1)
        documents.append(document)
    file = CocoFile(categories_of(documents[0], None), images, annotations, info={})
    save_coco(file, tmp_path / "annotations.json")
    return tmp_path / "annotations.json", documents


def test_pycocotools_finds_it_equal_to_itself(new_set, tmp_path, capsys):
    path, _ = new_set
    truth = COCO(str(path))
    results = [
        {k: r[k] for k in ("image_id", "category_id", "segmentation")} | {"score": 1.0}
        for r in truth.anns.values()
    ]
    evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    capsys.readouterr()
    assert evaluation.stats[0] == 1.0
    assert not any(r["iscrowd"] for r in truth.anns.values())


@pytest.mark.filterwarnings("ignore")
def test_supervision_reads_equal_masks(new_set):
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    from PIL import Image

    path, documents = new_set
    for k in range(1, 4):
        Image.fromarray(np.zeros((64, 80, 3), np.uint8)).save(path.with_name(f"{k}.png"))
    found = supervision.DetectionDataset.from_coco(str(path.parent), str(path), force_masks=True)
    assert found.classes == ["a", "b"]
    assert len(found) == 3
    for name, _, detections in found:
        document = documents[int(name.rsplit("/", 1)[-1][0]) - 1]
        expected = [document.id_map(0) == i for i in sorted(document.segments(0))]
        np.testing.assert_array_equal(detections.mask, expected)
