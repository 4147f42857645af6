"""Where a document was read from goes with it, and with each segment, through all that is done."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from napari_eomt.annotation import operations, shapes
from napari_eomt.annotation.autosave import Autosave
from napari_eomt.annotation.content import Content
from napari_eomt.annotation.document import Document, FrameState, Origin
from napari_eomt.annotation.edits import Edit, SegmentChange
from napari_eomt.annotation.files import load_document, save_document
from napari_eomt.annotation.generations import replay
from napari_eomt.annotation.image_ref import ImageRef
from napari_eomt.annotation.session import Session
from napari_eomt.structures.categories import Category
from napari_eomt.structures.id_maps import areas, boxes
from napari_eomt.structures.segments import Segment, Segmentation, Status

ORIGIN = Origin("/data/ünï/instances.json", (142238, 2**60))
SHAPE = (12, 40)


def columns(first=1):
    """Return four segments of ten columns each."""
    id_map = (first + np.arange(40) // 10 + np.zeros((12, 1))).astype(np.uint16)
    where, sizes = boxes(id_map), areas(id_map)
    return id_map, [
        Segment(i, 1, area=int(sizes[i]), bbox=box, annotation_id=900 + i)
        for i, box in where.items()
    ]


def opened(origin=ORIGIN):
    document = Document((2,), SHAPE, [Category(1, "cell"), Category(2, "debris")], origin)
    id_map, segments = columns()
    document.id_map(0)[...] = id_map
    changes = tuple(SegmentChange(0, None, s) for s in segments)
    document.apply(Edit("Open", segments=changes), pixels=False)
    return Session(document)


def known(document, frame=0):
    return {i: s.annotation_id for i, s in document.segments(frame).items()}


@pytest.mark.parametrize("origin", [ORIGIN, Origin("a.json", (), 3), None])
def test_it_is_saved_copied_and_restored(tmp_path, origin):
    if origin is not None and origin.video_id is None:
        assert len(origin.image_ids) == 2
    session = opened(origin)
    document = session.document
    assert document.copy().origin == origin
    assert Content.of(document).origin == origin
    save_document(document, tmp_path / "a.eomt")
    again, _ = load_document(tmp_path / "a.eomt")
    assert (again.origin, known(again)) == (origin, {1: 901, 2: 902, 3: 903, 4: 904})

    image = ImageRef.of(np.zeros((2, *SHAPE), np.uint8), "a")
    folder = tmp_path / "session"
    autosave = Autosave(session, folder, image)
    session.do(operations.set_note(document, [(0, 2)], "seen"))
    session.do(operations.delete(document, [(0, 3)]))
    autosave.snapshot()
    session.do(operations.merge(document, [(0, 1), (0, 2)]))
    session.do(operations.mark_frame(document, 0, FrameState.REVIEWED))
    autosave.close()
    restored, state = replay(folder)
    assert state.n_unsaved == 4
    assert (restored.origin, known(restored)) == (origin, {1: 901, 4: 904})
    assert dict(restored.segments(0)) == dict(document.segments(0))


def test_a_document_of_the_first_version_is_read(tmp_path):
    document = opened(None).document
    save_document(document, tmp_path / "a.eomt")
    path = tmp_path / "a.eomt" / "document.json"
    table = json.loads(path.read_text("utf-8"))
    assert table["version"] == 2
    # As the first version wrote it.
    table["version"] = 1
    del table["origin"]
    for row in table["frames"][0]["segments"]:
        del row["annotation_id"]
    path.write_text(json.dumps(table), "utf-8")
    again, _ = load_document(tmp_path / "a.eomt")
    assert again.origin is None
    assert known(again) == dict.fromkeys((1, 2, 3, 4))
    np.testing.assert_array_equal(again.id_maps, document.id_maps)


def test_attributes_and_pixels_change_and_the_annotation_stays():
    session = opened()
    document = session.document
    session.do(operations.recategorise(document, [(0, 1)], 2))
    session.do(operations.set_status(document, [(0, 2)], Status.ACCEPTED))
    session.do(operations.repaint(document, (0, 3), np.ones((5, 5), bool), (0, 22), "Take"))
    part = document.id_map(0)[:4, 28:36]
    before = part.copy()
    part[...] = 4
    session.record(operations.painted(document, 0, before ^ part, (0, 28), 1))
    session.do(shapes.smooth(document, [(0, 4)]))
    assert known(document) == {1: 901, 2: 902, 3: 903, 4: 904}
    session.do(operations.reject(document, [(0, 4)]))
    assert known(document)[4] == 904, "to be taken back"
    session.do(operations.delete(document, [(0, 1)]))
    assert 1 not in known(document)
    session.undo()
    assert known(document)[1] == 901


def test_one_piece_stays_the_annotation_and_the_survivor_of_a_merge():
    session = opened()
    document = session.document
    session.do(shapes.split_by_line(document, (0, 1), [(4.0, -5.0), (4.0, 15.0)]))
    assert known(document) == {1: 901, 2: 902, 3: 903, 4: 904, 5: None}
    session.do(shapes.split_by_seeds(document, (0, 2), [(3.0, 12.0), (9.0, 17.0)]))
    assert known(document)[6] is None
    session.undo()
    probabilities = np.zeros((2, 12, 10))
    probabilities[0, :4], probabilities[1, 4:] = 0.9, 0.9
    what = [Segment(0, 2, 0.5, annotation_id=77), Segment(0, 1, 0.5, annotation_id=78)]
    session.do(shapes.split_by_masks(document, (0, 2), probabilities, (0, 10), what))
    assert [known(document)[i] for i in (2, 7)] == [902, None]
    session.do(operations.merge(document, [(0, 3), (0, 4), (0, 7)]))
    assert known(document)[3] == 903


def test_what_is_proposed_again_stays_the_annotation():
    session = opened()
    document = session.document
    session.do(operations.set_status(document, [(0, 4)], Status.ACCEPTED))
    id_map, segments = columns()
    id_map[:, :10] = 0  # gone
    id_map[:6, 12:20] = 7  # another thing, and the rest of 2
    rest = [replace(s, annotation_id=None) for s in segments[2:]]
    found = [Segment(2, 1, area=72, bbox=(0, 10, 12, 20)), *rest]
    found += [Segment(7, 1, area=48, bbox=(0, 12, 6, 20))]
    session.do(operations.propose(document, 0, Segmentation(id_map, tuple(found))))
    assert known(document) == {2: 902, 3: 903, 4: 904, 1: None}


def test_a_copy_into_another_image_is_new_but_in_a_video_it_is_the_same():
    session = opened()
    document = session.document
    session.do(shapes.copy_to(document, [(0, 1), (0, 2)], 1))
    assert known(document, 1) == {1: None, 2: None}
    session = opened(Origin("a.json", (), 3))
    document = session.document
    session.do(shapes.copy_to(document, [(0, 1), (0, 2)], 1))
    assert known(document, 1) == {1: 901, 2: 902}
