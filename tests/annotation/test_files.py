"""What is written is read again, equal in everything; what is damaged says so in one line."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest
import tifffile
from tests.annotation.random_edits import check, new_session, paint, proposal, random_edit, state

from napari_eomt.annotation import files, operations
from napari_eomt.annotation.document import Document, FrameState
from napari_eomt.annotation.files import load_document, save_document
from napari_eomt.annotation.image_ref import ImageRef, fingerprint
from napari_eomt.annotation.label_pages import iter_pages, measured, present, write_pages
from napari_eomt.annotation.rows import SegmentRow, segment_row
from napari_eomt.annotation.session import Session
from napari_eomt.errors import DataError, OutputError
from napari_eomt.folder_swap import swapping
from napari_eomt.structures.categories import Category
from napari_eomt.structures.id_maps import areas, boxes
from napari_eomt.structures.segments import Segment, Status

IMAGE = np.arange(40 * 56, dtype=np.uint16).reshape(40, 56)


def worked(seed=0, n=60, frame_shape=None):
    """Return a session after random edits."""
    rng = np.random.default_rng(seed)
    session = new_session()
    if frame_shape is not None:
        document = session.document
        session = Session(Document(frame_shape, document.image_shape, document.categories.values()))
    for _ in range(n):
        if rng.random() < 0.3:
            paint(rng, session)
        else:
            edit = random_edit(rng, session.document)
            if edit is not None:
                session.do(edit)
    return session


def everything(document):
    order = [(frame, segment.id) for frame, segment in document.iter_segments()]
    return (
        *state(document),
        order,
        list(document.categories),
        document.next_id,
        document.frame_shape,
        document.image_shape,
        document.id_maps.dtype,
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("frame_shape", [(3,), (), (3, 2)])
def test_round_trip(tmp_path, seed, frame_shape):
    if frame_shape == ():
        session = new_session()
        document = Document((), session.document.image_shape, session.document.categories.values())
        session = Session(document)
        session.do(operations.propose(document, 0, proposal(np.random.default_rng(seed), 9)))
        session.do(operations.reject(document, [(0, min(document.segments(0)))]))
    else:
        document = worked(seed, frame_shape=frame_shape).document
    image = ImageRef.of(IMAGE, "a/b c.tif", "/data/ünï/a.tif")
    save_document(document, tmp_path / "work.eomt", image)
    again, about = load_document(tmp_path / "work.eomt")
    assert everything(again) == everything(document)
    assert about == image
    check(again)
    assert {p.name for p in (tmp_path / "work.eomt").iterdir()} == {"document.json", "labels.tif"}
    assert list(tmp_path.iterdir()) == [tmp_path / "work.eomt"]
    pages = tifffile.imread(tmp_path / "work.eomt" / "labels.tif")
    np.testing.assert_array_equal(
        pages.reshape(document.id_maps.shape), document.id_maps, "other programs read it"
    )


def test_ids_of_more_than_16_bits(tmp_path):
    session = new_session()
    document = session.document
    document.hold(70_000)
    mask = np.ones((2, 2), bool)
    session.do(operations.add(document, 1, mask, (5, 5), Segment(0, 7)))
    save_document(document, tmp_path / "a.eomt")
    again, about = load_document(tmp_path / "a.eomt")
    assert everything(again) == everything(document)
    assert again.id_maps.dtype == np.uint32
    assert about is None


def test_texts_and_numbers_of_every_kind(tmp_path):
    names = ["", " ", "Zelle 🧬\n\t\"'\\", "\x00", "<b>", "ﷺ", "a" * 5000]
    categories = [Category(i - 3, name, color=name[:9]) for i, name in enumerate(names)]
    document = Document((2,), (9, 9), [*categories, Category(-(10**30), "far", is_thing=False)])
    session = Session(document)
    segment = Segment(
        0, -3, np.float32(0.1), source="модель", track_id=2**40, note="первая\nвторая 🧫"
    )
    session.do(operations.add(document, 1, np.ones((3, 3), bool), (6, 6), segment))
    session.do(operations.set_locked(document, [(1, 1)], True))
    nan = Segment(0, -2, float("nan"), is_crowd=True, status=Status.DRAWN)
    session.do(operations.add(document, 1, np.ones((2, 2), bool), (0, 0), nan))
    session.do(operations.mark_frame(document, 0, FrameState.REVIEWED))
    save_document(document, tmp_path / "a.eomt")
    again, _ = load_document(tmp_path / "a.eomt")
    assert again.segments(1)[2] == replace(document.segments(1)[2], score=None)
    assert again.segments(1)[1] == document.segments(1)[1]
    assert list(again.categories.values()) == list(document.categories.values())
    assert again.state(0) is FrameState.REVIEWED


def test_half_a_surrogate_pair_can_be_saved(tmp_path):
    document = Document((), (4, 4), [Category(1, "bad \ud800")])
    save_document(document, tmp_path / "a.eomt")
    assert load_document(tmp_path / "a.eomt")[0].categories[1].name == "bad ?"


def test_a_row_has_the_fields_and_defaults_of_a_segment():
    defaults = {f.name: f.default for f in fields(Segment) if f.name not in ("id", "category_id")}
    assert list(SegmentRow.model_fields) == [f.name for f in fields(Segment)]
    row = SegmentRow(id=3, category_id=1)
    assert {name: getattr(row, name) for name in defaults} == defaults
    of_numpy = Segment(
        np.int64(3), np.int32(1), np.float32(0.5), np.bool_(False), bbox=tuple(np.arange(4))
    )
    written = json.dumps(segment_row(of_numpy))
    again = SegmentRow.model_validate_json(written).value()
    assert again == Segment(3, 1, 0.5, False, bbox=(0, 1, 2, 3))
    assert [type(value) for value in again.bbox] == [int] * 4


def test_measured_equals_its_definition():
    rng = np.random.default_rng(0)
    for dtype in (np.uint16, np.uint32):
        id_map = rng.integers(0, 4, (9, 7)).astype(dtype) * rng.integers(0, 9000)
        where, sizes = boxes(id_map), areas(id_map)
        assert measured(id_map) == {i: (sizes[i], box) for i, box in where.items()}
        assert present(id_map) == set(where)
    assert measured(np.zeros((3, 3), np.uint16)) == {}
    huge = np.full((1, 2), 2**32 - 1, np.uint32)
    assert measured(huge) == {2**32 - 1: (2, (0, 0, 1, 2))}


def test_in_the_midst_of_a_stroke(tmp_path):
    """What is painted, but not yet an edit, is left out; what is written can be read."""
    session = worked()
    document = session.document
    keys = [(f, s.id) for f, s in document.iter_segments() if s.status is not Status.REJECTED]
    frame, gone = keys[0]
    document.id_map(frame)[document.id_map(frame) == gone] = 0
    document.id_map(frame)[:3, :5] = document.next_id + 3
    save_document(document, tmp_path / "a.eomt")
    again, _ = load_document(tmp_path / "a.eomt")
    assert gone not in again.segments(frame)
    assert not (again.id_map(frame)[:3, :5]).any()
    check(again)


def test_saving_replaces_only_documents(tmp_path):
    document = worked().document
    out = tmp_path / "a.eomt"
    save_document(document, out)
    with pytest.raises(OutputError, match="there already"):
        save_document(document, out)
    (out / ".DS_Store").touch()
    save_document(Document((), (3, 3), [Category(1, "x")]), out, overwrite=True)
    assert load_document(out)[0].image_shape == (3, 3)
    (out / "thesis.docx").touch()
    with pytest.raises(OutputError, match="other files"):
        save_document(document, out, overwrite=True)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file"):
        save_document(document, tmp_path / "file", overwrite=True)
    (tmp_path / "empty").mkdir()
    save_document(document, tmp_path / "empty")
    assert everything(load_document(tmp_path / "empty")[0]) == everything(document)


def test_a_full_disk_leaves_the_old_document(tmp_path, monkeypatch):
    session = worked()
    out = tmp_path / "a.eomt"
    save_document(session.document, out)
    before = everything(session.document)
    session.do(operations.mark_frame(session.document, 0, FrameState.EXPORTED))

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OutputError, match=r"a\.eomt.*No space left"):
            save_document(session.document, out, overwrite=True)
    assert everything(load_document(out)[0]) == before
    assert list(tmp_path.iterdir()) == [out]


def test_a_swap_that_is_cut_short_loses_nothing(tmp_path, monkeypatch):
    """Between the two renames the process dies: the old one is found beside."""
    session = worked()
    out = tmp_path / "a.eomt"
    save_document(session.document, out)
    out.rename(tmp_path / ".a.eomt.before")
    assert everything(load_document(out)[0]) == everything(session.document)
    save_document(Document((), (3, 3), [Category(1, "x")]), out)
    assert load_document(out)[0].image_shape == (3, 3)
    (tmp_path / ".a.eomt.before").mkdir()  # killed before it was removed
    save_document(session.document, out, overwrite=True)
    assert everything(load_document(out)[0]) == everything(session.document)
    assert list(tmp_path.iterdir()) == [out]

    with pytest.raises(FileNotFoundError), swapping(out) as temporary:
        (temporary / "no" / "x").touch()
    assert list(tmp_path.iterdir()) == [out]


@pytest.fixture
def saved(tmp_path):
    document = Document((2,), (40, 56), [Category(7, "cell"), Category(3, "debris")])
    session = Session(document)
    session.do(operations.propose(document, 0, proposal(np.random.default_rng(0))))
    session.do(operations.reject(document, [(0, min(document.segments(0)))]))
    save_document(document, tmp_path / "a.eomt", ImageRef.of(IMAGE, "a"))
    return tmp_path / "a.eomt"


def put(path, value):
    """Return a change of a table that sets a field."""

    def change(table):
        for key in path[:-1]:
            table = table[key]
        table[path[-1]] = value

    return change


def drop(*path):
    def change(table):
        for key in path[:-1]:
            table = table[key]
        del table[path[-1]]

    return change


def twice(*path):
    def change(table):
        for key in path:
            table = table[key]
        table.append(table[0])

    return change


SEGMENT = ("frames", 0, "segments", 1)
MASK = ("frames", 0, "segments", 0, "mask")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (put(["format"], "other"), "format: Input should be 'napari-eomt document'"),
        (put(["version"], 3), "is of version 3.*up to 2.*Update"),
        (put(["origin"], {"path": "a", "image_ids": [1]}), "image_ids are 1; there are 2 frames"),
        (put(["origin"], {"path": 3}), "origin.path"),
        (put(["version"], "1"), "version"),
        (put(["version"], 0), "version"),
        (drop("version"), "version: Field required"),
        (put(["extra"], 1), "extra: is not a field"),
        (drop("categories"), "categories: Field required"),
        (put(["frame_shape"], [3]), "labels.tif has 2 pages.*3 frames"),
        (put(["frame_shape"], [10**18, 10**18]), "labels.tif has 2 pages"),
        (put(["frame_shape"], [0]), r"frame_shape\[0\]"),
        (put(["frame_shape"], [-1]), r"frame_shape\[0\]"),
        (put(["image_shape"], [40, 57]), r"page 0 is \(40, 56\).*\(40, 57\)"),
        (put(["image_shape"], [40]), "image_shape"),
        (put(["image_shape"], [10**9, 10**9]), "page 0 is"),
        (put(["next_id"], 2), r"segments\[1\].id is 2; next_id is 2"),
        (put(["next_id"], 0), "next_id"),
        (put(["next_id"], 2**40), "next_id"),
        (put(["image", "fingerprint"], None), "image.fingerprint"),
        (put(["categories", 0, "id"], "7"), r"categories\[0\].id"),
        (put(["categories", 0, "id"], 3), "categories: the id 3 is there twice"),
        (put(["categories", 0, "is_thing"], 1), r"categories\[0\].is_thing"),
        (put(["frames", 0, "frame"], 2), r"frames\[0\].frame is 2; there are 2 frames"),
        (put(["frames", 0, "frame"], -1), r"frames\[0\].frame"),
        (
            put(["frames", 0, "frame"], 1),
            "page 0 has pixels of the id 2, which document.json does not list",
        ),
        (put(["frames", 0, "state"], "done"), r"frames\[0\].state"),
        (twice("frames"), r"frames\[1\].frame: 0 is there twice"),
        (twice("frames", 0, "segments"), r"segments\[\d\].id: 1 is there twice"),
        (put([*SEGMENT, "category_id"], 99), r"category_id is 99, not one of \[7, 3\]"),
        (put([*SEGMENT, "id"], 0), r"segments\[1\].id"),
        (put([*SEGMENT, "id"], 2**32), r"segments\[1\].id"),
        (put([*SEGMENT, "score"], "high"), r"segments\[1\].score"),
        (put([*SEGMENT, "status"], "maybe"), r"segments\[1\].status"),
        (put([*SEGMENT, "status"], "rejected"), "segment 2 is rejected, but has pixels"),
        (put([*SEGMENT, "bbox"], [1, 2, 3]), r"segments\[1\].bbox"),
        (put([*SEGMENT, "note"], None), r"segments\[1\].note"),
        (put([*SEGMENT, "colour"], "red"), "colour: is not a field"),
        (drop(*SEGMENT), "labels.tif: page 0 has pixels of the id 2"),
        (put([*MASK, "data"], "!"), "mask of frame 0, segment 1: the mask is not base64"),
        (put([*MASK, "data"], "AAAA"), "mask of frame 0, segment 1.*damaged"),
        (put([*MASK, "n_runs"], 10**9), "damaged"),
        (put([*MASK, "box"], [0, 0, 99, 99]), "mask.box.*not in the image"),
        (put(["frames", 0, "segments", 0, "status"], "accepted"), "segment 1 has no pixels"),
    ],
)
def test_each_kind_of_damage_has_one_clear_line(saved, change, says):
    path = saved / "document.json"
    table = json.loads(path.read_text("utf-8"))
    change(table)
    path.write_text(json.dumps(table), "utf-8")
    with pytest.raises(DataError, match=says) as error:
        load_document(saved)
    message = str(error.value)
    assert message.startswith("a.eomt/")
    assert "\n" not in message
    assert "pydantic" not in message


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[]", b"{", b"\xff\xfe{}", b"[" * 100_000, b'{"format": 1}', b"NaN", b"\x00"],
)
def test_no_table_at_all(saved, data):
    (saved / "document.json").write_bytes(data)
    with pytest.raises(DataError, match=r"^a\.eomt/document\.json") as error:
        load_document(saved)
    assert "\n" not in str(error.value)


def test_missing_files(saved):
    (saved / "labels.tif").unlink()
    with pytest.raises(DataError, match=r"a\.eomt/labels\.tif is missing"):
        load_document(saved)
    (saved / "document.json").unlink()
    with pytest.raises(DataError, match=r"a\.eomt/document\.json is missing"):
        load_document(saved)
    with pytest.raises(DataError, match="no folder"):
        load_document(saved / "nothing")


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_void_pages_are_told_without_decoding_them(tmp_path, dtype):
    shape = (1000, 700)  # several strips, the last one of fewer rows
    drawn = np.zeros(shape, dtype)
    drawn[-1, -1] = 5
    path = tmp_path / "labels.tif"
    write_pages(path, [None, drawn, None, 0 * drawn], shape, drawn.dtype, 4)
    pages = list(iter_pages(path, shape, 4))
    assert [page is None for page in pages] == [True, False, True, False]
    np.testing.assert_array_equal(pages[1], drawn)
    assert pages[1].dtype == dtype
    np.testing.assert_array_equal(tifffile.imread(path, key=slice(0, 4))[[0, 2]], 0)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        offset = file.pages[2].dataoffsets[1]
    data[offset + 8] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="is damaged"):
        list(iter_pages(path, shape, 4))


def test_other_pages(saved):
    for pages, says in [
        (np.zeros((2, 40, 56), np.float32), "float32, not uint16"),
        (np.zeros((2, 56, 40), np.uint16), r"page 0 is \(56, 40\)"),
        (np.zeros((2, 40, 56), np.uint16), "has no pixels"),
        (np.full((2, 40, 56), 2**32 - 1, np.uint32), "4294967295|no pixels"),
    ]:
        tifffile.imwrite(saved / "labels.tif", pages, photometric="minisblack", metadata=None)
        with pytest.raises(DataError, match=says):
            load_document(saved)


def test_labels_that_another_program_has_written_are_measured(saved):
    before, _ = load_document(saved)
    pages = before.id_maps.copy()
    largest = max(before.segments(0).values(), key=lambda s: s.area * (s.mask is None))
    y0, x0, y1, _ = largest.bbox
    pages[0, y0:y1, x0][pages[0, y0:y1, x0] == largest.id] = 0
    tifffile.imwrite(saved / "labels.tif", pages.astype(np.uint32), photometric="minisblack")
    again, _ = load_document(saved)
    check(again)
    assert again.segments(0)[largest.id].area < largest.area


@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_of_labels_never_do_more_than_say_so(saved):
    rng = np.random.default_rng(0)
    path = saved / "labels.tif"
    data = path.read_bytes()
    said = []
    for k in range(400):
        damaged = bytearray(data[: rng.integers(len(data))] if k % 4 == 0 else data)
        if k % 4:
            for _ in range(rng.integers(1, 4)):
                damaged[rng.integers(len(damaged))] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            again = load_document(saved)[0]
        except DataError as error:
            said.append(str(error))
        else:
            assert k % 4, "what is cut off shows"
            check(again)
    assert len(said) > 200
    assert not any("\n" in message for message in said)


def test_a_fingerprint_tells_images_apart():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (3, 200, 300), np.uint8)
    assert fingerprint(image) == fingerprint(image.copy())
    assert fingerprint(image) != fingerprint(image[:, ::-1])
    assert fingerprint(image) != fingerprint(image.astype(np.int16))
    for shape in [(5,), (3, 4), (100, 100, 3), (2, 3, 4, 5, 6)]:
        assert len(fingerprint(np.zeros(shape))) == 32
    a, b = ImageRef.of(image, "a"), ImageRef.of(image, "ä/../b", "/x")
    assert a.shows_the_same(b)
    assert a.key != b.key
    assert "/" not in b.key
    assert not a.shows_the_same(ImageRef.of(image[1:], "a"))


def test_the_version_of_the_format_is_the_one_that_is_documented():
    assert files.VERSION == 2
