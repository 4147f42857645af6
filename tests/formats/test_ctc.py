"""Tracks go into the Cell Tracking Challenge's folders and come back; what is wrong is told."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.annotation.track_documents import SIZE, document_of

from napari_eomt.annotation.document import Document
from napari_eomt.annotation.files import save_document
from napari_eomt.annotation.tracks import track_table
from napari_eomt.errors import DataError, OutputError
from napari_eomt.formats.convert import convert
from napari_eomt.formats.ctc import read_ctc
from napari_eomt.formats.ctc_table import CtcTrack
from napari_eomt.formats.ctc_write import save_ctc
from napari_eomt.formats.detect import detect
from napari_eomt.formats.id_images import read_id_image
from napari_eomt.formats.validate import validate
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Status


def track(i, frames, parent=None, **more):
    given = {"status": Status.ACCEPTED, "track_id": i, "parent_track_id": parent} | more
    return [(frame, Segment(i, 1, **given)) for frame in frames]


def tables(document):
    """Return what the tracks of a document are, as plain values."""
    return [
        (t.track_id, t.parent, t.frames.tolist(), t.centroids.tolist(), t.areas.tolist())
        for t in track_table(document).tracks()
    ]


def cells():
    """Return a cell with a gap, its two daughters, and one that stays."""
    rows = [*track(1, [0, 1, 3]), *track(2, [4, 5], 1), *track(5, [4], 1), *track(3, range(6))]
    return document_of(rows)


def test_it_is_written_as_defined(tmp_path):
    notes = []
    rows = save_ctc(cells(), tmp_path / "TRA", notes=notes)
    assert (tmp_path / "TRA" / "man_track.txt").read_text() == (
        "1 0 1 0\n2 4 5 6\n3 0 5 0\n5 4 4 6\n6 3 3 1\n"
    )
    assert rows[-1] == CtcTrack(6, 3, 3, 1)
    names = sorted(p.name for p in (tmp_path / "TRA").glob("*.tif"))
    assert names == [f"man_track{k:03d}.tif" for k in range(6)]
    for frame, name in enumerate(names):
        pixels = tifffile.imread(tmp_path / "TRA" / name)
        assert (pixels.dtype, pixels.shape) == (np.uint16, SIZE)
        expected = cells().id_map(frame)
        np.testing.assert_array_equal(pixels, np.where((expected == 1) & (frame == 3), 6, expected))
    assert notes == ["1 tracks with gaps were written in pieces, each the parent of the next"]


def test_results_have_their_own_names_and_more_digits(tmp_path):
    document = document_of(track(1, [0, 1200]), 1201)
    save_ctc(document, tmp_path / "01_RES", kind="mask")
    assert (tmp_path / "01_RES" / "res_track.txt").read_text() == "1 0 0 0\n2 1200 1200 1\n"
    assert (tmp_path / "01_RES" / "mask1200.tif").is_file()
    assert tables(read_ctc(tmp_path / "01_RES")) == tables(document)


def test_it_comes_back_equal(tmp_path):
    save_ctc(cells(), tmp_path / "TRA")
    found = read_ctc(tmp_path / "TRA" / "man_track.txt")
    assert tables(found) == tables(cells())
    np.testing.assert_array_equal(found.id_maps, cells().id_maps)
    assert {s.status for _, s in found.iter_segments()} == {Status.ACCEPTED}


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sets(st.integers(0, 5), min_size=1), max_size=5), st.integers(0, 3))
def test_random_tracks_come_back_equal(tmp_path_factory, frames, mother):
    folder = tmp_path_factory.mktemp("ctc") / "TRA"
    rows = [row for i, here in enumerate(frames, 1) for row in track(i, sorted(here))]
    end = max(frames[mother]) if mother < len(frames) else 5
    if end < 5:  # it divides
        rows += [*track(10, [end + 1], mother + 1), *track(11, [5], mother + 1)]
    document = document_of(rows)
    save_ctc(document, folder)
    assert tables(read_ctc(folder)) == tables(document)
    assert validate(folder) == []


def test_what_the_format_cannot_hold_is_told(tmp_path):
    rows = [
        *track(1, [0], score=0.5, note="x", is_crowd=True),
        *track(70_000 % 17, [1], status=Status.PROPOSED, track_id=70_000),
        *track(4, [1], parent=99),
        (2, Segment(6, 2, is_thing=False)),
        (2, Segment(7, 1, status=Status.REJECTED)),
    ]
    notes = []
    save_ctc(document_of(rows), tmp_path / "TRA", notes=notes)
    assert notes == [
        "ids of tracks from 1 to 70000 were numbered anew, from 1: labels go from 1 to 65535",
        (
            "1 tracks were written without their parent, which is not there, or does not end "
            "before they begin"
        ),
        "1 areas of stuff were left out: only things have tracks",
        "1 crowds were written as one track each",
        "the format holds no scores, decisions, notes: they are not written",
    ]
    assert (tmp_path / "TRA" / "man_track.txt").read_text() == "1 0 0 0\n2 1 1 0\n3 1 1 0\n"
    with pytest.raises(DataError, match="the document is an image; tracks have one axis"):
        save_ctc(Document((), SIZE, []), tmp_path / "other")


def test_nothing_else_is_replaced(tmp_path):
    out = tmp_path / "TRA"
    save_ctc(cells(), out)
    with pytest.raises(OutputError, match="is there already"):
        save_ctc(cells(), out)
    save_ctc(document_of(track(1, [0]), 2), out, overwrite=True)
    assert len(list(out.iterdir())) == 3
    (out / "thesis.doc").write_text("mine")
    with pytest.raises(OutputError, match=r"other files in it, such as thesis\.doc"):
        save_ctc(cells(), out, overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        save_ctc(cells(), tmp_path / "file", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["TRA", "file"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("1 0 5\n", r"man_track\.txt, line 1: '1 0 5' are not four whole numbers"),
        ("1 0 5 0\n\n2 0 x 0\n", r"line 3: '2 0 x 0' are not"),
        ("1 0 5 0\n1.0 0 5 0\n", r"line 2: '1\.0 0 5 0' are not"),
        ("1 0 -5 0\n", "line 1: .* are not"),
        ("0 0 5 0\n", "line 1: the label is 0; labels count from 1 to 65535"),
        ("65536 0 5 0\n", "the label is 65536"),
        ("1 0 5 0\n1 2 5 0\n", "line 2: label 1 is in line 1 already"),
        ("1 4 2 0\n", "track 1 begins in frame 4 and ends in frame 2"),
        ("1 0 5 1\n", "line 1: track 1 has the parent 1, itself"),
        ("1 0 5 9\n", "track 1 has the parent 9, which has no line"),
        ("1 0 1 2\n2 2 3 1\n", "line 1: track 1 has the parent 2, which comes from it: 1 ← 2 ← 1"),
        (
            "1 0 3 0\n2 3 5 1\n",
            "line 2: .* has the parent 1, but begins in frame 3, and the parent ends in frame 3",
        ),
        ("1 0 9 0\n", r"line 1: track 1 ends in frame 9; the last image is man_track005\.tif"),
        ("3 0 5 0\n5 4 4 6\n6 3 3 1\n", "parent 6|has the parent 1, which has no line"),
        (
            "1 0 1 0\n2 4 5 6\n3 0 5 0\n6 3 3 1\n",
            r"man_track004\.tif has the label 5, which has no line in man_track\.txt\. Add '5 4 4",
        ),
        (
            "1 0 1 0\n2 4 5 6\n3 0 5 0\n5 4 4 6\n6 3 3 1\n7 2 2 0\n",
            r"man_track\.txt, line 6: track 7 is in frames 2 to 2, but man_track002\.tif has no",
        ),
        (
            "1 0 2 0\n2 4 5 6\n3 0 5 0\n5 4 4 6\n6 3 3 1\n",
            r"line 1: track 1 is in frames 0 to 2, but man_track002\.tif has no pixel of it",
        ),
        (
            "1 0 0 0\n2 4 5 6\n3 0 5 0\n5 4 4 6\n6 3 3 1\n",
            r"man_track001\.tif has the label 1 in frame 1; man_track\.txt, line 1, says",
        ),
    ],
)
def test_what_is_wrong_with_the_table_is_told(tmp_path, text, match):
    folder = tmp_path / "TRA"
    save_ctc(cells(), folder)
    (folder / "man_track.txt").write_text(text)
    with pytest.raises(DataError, match=match):
        read_ctc(folder)
    problems = []
    left = read_ctc(folder, skip_invalid=True, problems=problems)
    assert problems
    assert [f.message for f in validate(folder)] == list(dict.fromkeys(problems))
    save_ctc(left, tmp_path / "again")
    assert read_ctc(tmp_path / "again").n_frames == left.n_frames


def test_what_is_wrong_with_the_images_is_told(tmp_path):
    folder = tmp_path / "TRA"
    save_ctc(cells(), folder)
    image = folder / "man_track002.tif"
    data = image.read_bytes()
    for change, match in [
        (image.unlink, r"the image of frame 2, man_track002\.tif, is missing"),
        (lambda: image.write_bytes(data[:40]), r"man_track002\.tif"),
        (lambda: tifffile.imwrite(image, np.zeros((6, 39), np.uint16)), r"\(6, 39\), the image"),
        (lambda: tifffile.imwrite(image, np.zeros((2, *SIZE), np.uint16)), "a volume"),
        (lambda: tifffile.imwrite(image, np.zeros(SIZE, np.float32)), "holds float32"),
        (lambda: (folder / "man_track0002.tif").write_bytes(data), "two images of frame 2"),
    ]:
        image.write_bytes(data)
        change()
        with pytest.raises(DataError, match=match):
            read_ctc(folder)
    for path in folder.glob("*.tif"):
        path.unlink()
    with pytest.raises(DataError, match="has no images man_track000"):
        read_ctc(folder)
    with pytest.raises(DataError, match="has 0 tables of tracks"):
        read_ctc(tmp_path / "nothing")


def test_it_is_converted_like_any_other_format(tmp_path):
    gt = tmp_path / "in" / "01_GT" / "TRA"
    gt.parent.mkdir(parents=True)
    save_ctc(cells(), gt)
    assert detect(tmp_path / "in") == detect(gt) == detect(gt / "man_track.txt") == "ctc"
    done = convert(tmp_path / "in", tmp_path / "v.json", "ytvis")
    assert (done.source, done.n_items, done.n_segments, done.notes) == ("ctc", 1, 12, ())
    raw = json.loads((tmp_path / "v.json").read_text("utf-8"))
    assert len(raw["annotations"]) == 4
    done = convert(tmp_path / "v.json", tmp_path / "back", "ctc")
    assert "1 tracks with gaps" in " ".join(done.notes)
    for path in gt.iterdir():
        assert (tmp_path / "back" / path.name).read_bytes() == path.read_bytes()
    for form, out in [("coco", "c.json"), ("labels", "l.tif"), ("eomt", "d.eomt")]:
        convert(gt, tmp_path / out, form)
    assert tables(read_id_image(tmp_path / "l.tif")) == tables(cells())
    convert(tmp_path / "d.eomt", tmp_path / "d", "ctc")
    assert tables(read_ctc(tmp_path / "d")) == tables(cells())
    save_document(Document((), SIZE, [Category(1, "cell")]), tmp_path / "i.eomt")
    with pytest.raises(DataError, match="is an image; a video has one axis of frames"):
        convert(tmp_path / "i.eomt", tmp_path / "e", "ctc")


def test_several_sequences_are_converted_together(tmp_path):
    for name in ("01", "02"):
        (tmp_path / "in" / f"{name}_GT").mkdir(parents=True)
        save_ctc(cells(), tmp_path / "in" / f"{name}_GT" / "TRA")
    done = convert(tmp_path / "in", tmp_path / "out", "ctc")
    assert done.n_items == 2
    assert tables(read_ctc(tmp_path / "out" / "02_GT" / "TRA")) == tables(cells())


def test_real_tracks_come_back_equal(data_dir, tmp_path):
    folder = data_dir / "tracks" / "t98g_left"
    document = read_id_image(folder / "tracks.tif")
    save_ctc(document, tmp_path / "TRA")
    found = read_ctc(tmp_path / "TRA")
    assert tables(found) == tables(document)
    np.testing.assert_array_equal(found.id_maps, tifffile.imread(folder / "tracks.tif"))
