"""A document's tracks are YouTube-VIS's annotations, and come back as they were."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pycocotools.mask as coco_mask
import pytest

from napari_eomt.annotation import track_edits
from napari_eomt.annotation.document import Document
from napari_eomt.annotation.edits import Edit, SegmentChange
from napari_eomt.annotation.session import Session
from napari_eomt.annotation.tracks import TrackIndex, track_table
from napari_eomt.formats.coco_file import CocoFile, load_coco
from napari_eomt.formats.ytvis import read_video, save_ytvis
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Status

SIZE = (6, 40)
CATEGORIES = [Category(1, "cell"), Category(2, "debris")]


def document_of(rows, n_frames=5):
    """Return a document of segments, as (frame, Segment); segment i lies at column 2 i."""
    document = Document((n_frames,), SIZE, CATEGORIES)
    for frame, segment in rows:
        x = 2 * segment.id
        document.id_map(frame)[1:3, x : x + 2] = segment.id
        segment = replace(segment, area=4, bbox=(1, x, 3, x + 2))
        edit = Edit("", segments=(SegmentChange(frame, None, segment),))
        document.apply(edit, pixels=False)
    return document


def written(document, path, notes=None):
    """Write a document into a new file; return its annotations, and the document read back."""
    video = {"id": 1, "height": SIZE[0], "width": SIZE[1], "length": document.n_frames}
    categories = [{"id": 1, "name": "cell"}, {"id": 2, "name": "debris"}]
    save_ytvis(CocoFile(categories, videos=[video]), path, [(1, document)], notes=notes)
    file = load_coco(path)
    return file.annotations, read_video(file, 1, origin_path=path)


def tables(document):
    return [
        (t.track_id, t.parent, t.category_id, t.frames.tolist(), t.centroids.tolist())
        for t in track_table(document).tracks()
    ]


ROWS = [(f, 1 + f) for f in (0, 1, 4)], [(f, 10 + f) for f in (1, 2, 3)]


@pytest.mark.parametrize("are_ids_tracks", [True, False])
def test_a_track_is_one_annotation_with_nothing_where_it_is_absent(tmp_path, are_ids_tracks):
    rows = []
    for track, places in enumerate(ROWS, 7):
        for frame, i in places:
            number = track if are_ids_tracks else i
            parent = None if track == 7 else 7
            rows.append((frame, Segment(number, 1, track_id=track, parent_track_id=parent)))
    document = document_of(rows)
    annotations, again = written(document, tmp_path / "v.json")
    assert [[m is not None for m in a["segmentations"]] for a in annotations] == [
        [True, True, False, False, True],
        [False, True, True, True, False],
    ]
    assert [a["attributes"]["track_id"] for a in annotations] == [7, 8]
    masks = [coco_mask.decode(m) for m in annotations[0]["segmentations"] if m]
    for (frame, i), mask in zip(ROWS[0], masks, strict=True):
        np.testing.assert_array_equal(
            mask > 0, document.id_map(frame) == (7, i)[not are_ids_tracks]
        )
    assert tables(again) == tables(document)
    for frame in range(5):
        np.testing.assert_array_equal(again.id_map(frame) > 0, document.id_map(frame) > 0)


def test_ids_that_two_tracks_share_are_told_apart(tmp_path):
    rows = [(0, Segment(1, 1, track_id=7)), (1, Segment(1, 1, track_id=8))]
    document = document_of([*rows, (2, Segment(2, 1, track_id=7))])
    annotations, again = written(document, tmp_path / "v.json")
    assert len(annotations) == 2
    assert tables(again) == tables(document)


def test_the_category_of_a_track_is_that_of_most_frames(tmp_path):
    notes = []
    rows = [(f, Segment(1 + f, 1 + (f > 0), track_id=4)) for f in range(3)]
    (annotation,), again = written(document_of(rows), tmp_path / "v.json", notes)
    assert annotation["category_id"] == 2
    assert {s.category_id for _, s in again.iter_segments()} == {2}
    assert "2 values of category_id in its frames" in " ".join(notes)


def test_what_was_drawn_on_is_of_its_track(tmp_path):
    rows = [(0, Segment(3, 1, status=Status.DRAWN)), (1, Segment(3, 1, track_id=9))]
    (annotation,), again = written(document_of(rows), tmp_path / "v.json")
    assert annotation["attributes"]["track_id"] == 9
    assert list(TrackIndex.of(again).members) == [9]


def test_a_document_is_not_changed_by_writing_it(tmp_path):
    document = document_of([(0, Segment(1, 1, track_id=7)), (1, Segment(2, 1, track_id=7))])
    before = document.copy()
    written(document, tmp_path / "v.json")
    np.testing.assert_array_equal(document.id_maps, before.id_maps)
    assert list(document.iter_segments()) == list(before.iter_segments())


def test_real_tracks_come_back_and_corrections_with_them(tmp_path, data_dir):
    source = data_dir / "tracks" / "t98g_left" / "ytvis.json"
    file = load_coco(source)
    document = read_video(file, file.videos[0]["id"], origin_path=source)
    path = tmp_path / "same.json"
    save_ytvis(file, path, [(file.videos[0]["id"], document)])
    assert json.loads(path.read_text("utf-8")) == json.loads(source.read_text("utf-8"))
    session, index = Session(document), TrackIndex.of(document)
    first, second = [i for i, frames in index.members.items() if len(frames) == 37][:2]
    session.do(track_edits.swap_identities(document, 20, first, second))
    session.do(track_edits.cut_track(document, 30, first))
    save_ytvis(file, path, [(file.videos[0]["id"], document)])
    changed = load_coco(path)
    again = read_video(changed, file.videos[0]["id"], origin_path=path)
    assert tables(again) == tables(document)
    before = {a["id"]: a for a in file.annotations}
    after = {a["id"]: a for a in changed.annotations}
    assert len(set(after) - set(before)) == 1
    touched = {
        document.segments(0)[index.members[track][0]].annotation_id for track in (first, second)
    }
    assert {i for i in before if before[i] != after[i]} == touched
