"""What is in the journal is what was done; of a damaged one, all before the damage."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from tests.annotation.random_edits import new_session, paint, random_edit, state

from napari_eomt.annotation import journal
from napari_eomt.annotation.content import Content
from napari_eomt.annotation.document import FrameState
from napari_eomt.annotation.edits import (
    CategoryChange,
    Edit,
    PixelChange,
    SegmentChange,
    StateChange,
)
from napari_eomt.annotation.generations import (
    journal_path,
    keep_unread,
    read_state,
    replay,
    snapshot_folder,
    write_snapshot,
)
from napari_eomt.annotation.image_ref import ImageRef
from napari_eomt.annotation.journal import Head, Saved, decode, encode, iter_records
from napari_eomt.annotation.journal_file import JournalFile, JournalLostError
from napari_eomt.errors import DataError
from napari_eomt.structures.categories import Category
from napari_eomt.structures.runs import Runs
from napari_eomt.structures.segments import Segment, Status

IMAGE = ImageRef.of(np.zeros((3, 40, 56)), "cells.tif")


def edits_of(seed, n=80):
    """Return the edits of a random session, undo and redo among them, and the states after each."""
    rng = np.random.default_rng(seed)
    session = new_session()
    edits, states = [], [state(session.document)]
    session.changed.connect(edits.append)
    session.changed.connect(lambda: states.append(state(session.document)))
    while len(edits) < n:
        choice = rng.random()
        if choice < 0.15:
            session.undo()
        elif choice < 0.25:
            session.redo()
        elif choice < 0.5:
            paint(rng, session)
        else:
            edit = random_edit(rng, session.document)
            if edit is not None:
                session.do(edit)
    return edits, states


def plain(edit):
    """Return an edit with scores that are equal to themselves."""
    return repr(edit)


def start(folder, edits, generation=1, follows=None):
    """Write a new document's snapshot and the journal of edits."""
    write_snapshot(folder, 1, Content.of(new_session().document), 0, IMAGE, "2026-01-01T00:00:00")
    file = JournalFile(journal_path(folder, generation), generation, follows)
    for edit in edits:
        file.append(edit)
    file.sync()
    file.close()
    return journal_path(folder, generation)


@pytest.mark.parametrize("seed", range(3))
def test_records_round_trip(seed):
    for edit in edits_of(seed)[0]:
        record = encode(edit)
        assert plain(decode(record[8:])) == plain(edit)
    for record in [Head(version=2, generation=3, follows=None), Saved(path="/a/ü")]:
        assert decode(encode(record)[8:]) == record


def test_an_edit_of_everything_round_trips():
    mask = Runs.of(np.eye(3, dtype=bool), (1, 2))
    segment = Segment(
        5, -3, 0.25, False, True, Status.REJECTED, "m", 9, 3, (1, 2, 4, 5), True, "ü\n", mask, 2**60
    )
    category = Category(-3, "a\0b", False, "#123456")
    edit = Edit(
        "Ünd",
        (PixelChange(2, mask), PixelChange(1, mask)),
        (SegmentChange(2, segment, None), SegmentChange(2, None, segment)),
        (CategoryChange(category, None, 4), CategoryChange(None, category)),
        (StateChange(1, FrameState.NEW, FrameState.EXPORTED),),
    )
    assert decode(encode(edit)[8:]) == edit
    assert decode(encode(Edit("Empty"))[8:]) == Edit("Empty")


@pytest.mark.parametrize(
    ("row", "value"),
    [
        (journal._EditRow, Edit),
        (journal._SegmentChangeRow, SegmentChange),
        (journal._CategoryChangeRow, CategoryChange),
        (journal._StateChangeRow, StateChange),
    ],
)
def test_rows_have_the_fields_of_the_values(row, value):
    assert list(row.model_fields) == [field.name for field in fields(value)]


@pytest.mark.parametrize("seed", range(4))
def test_a_replayed_journal_is_the_document(tmp_path, seed):
    edits, states = edits_of(seed, 150)
    start(tmp_path, edits)
    document, found = replay(tmp_path)
    assert state(document) == states[-1]
    assert list(document.categories) == list(states[-1][2])
    assert (found.n_steps, found.n_unsaved, found.n_unread) == (150, 150, 0)


def test_cut_off_at_every_byte_it_is_a_state_that_was_there(tmp_path):
    edits, states = edits_of(1, 12)
    path = start(tmp_path, edits)
    data = path.read_bytes()
    ends = [record.end for record in iter_records(path)]
    assert ends[-1] == len(data)
    for n in range(len(data) + 1):
        path.write_bytes(data[:n])
        document, found = replay(tmp_path)
        n_whole = sum(end <= n for end in ends[1:])
        assert state(document) == states[n_whole], f"cut off at byte {n}"
        assert found.n_steps == n_whole
        assert found.n_unread == n - max((end for end in ends if end <= n), default=0)


def test_zeros_at_the_end_are_no_records(tmp_path):
    """What some file systems leave after a power cut."""
    edits, states = edits_of(2, 5)
    path = start(tmp_path, edits)
    path.write_bytes(path.read_bytes() + bytes(5000))
    assert state(replay(tmp_path)[0]) == states[-1]


def test_flipped_bytes_give_a_state_that_was_there_or_an_error(tmp_path):
    rng = np.random.default_rng(0)
    edits, states = edits_of(3, 12)
    path = start(tmp_path, edits)
    whole = path.read_bytes()
    for _ in range(600):
        damaged = bytearray(whole)
        for at in rng.integers(len(whole), size=rng.integers(1, 4)):
            damaged[at] ^= rng.integers(1, 256)
        path.write_bytes(damaged)
        document, found = replay(tmp_path)
        assert state(document) == states[found.n_steps]
        assert found.n_steps < 12
        assert found.n_unread


def test_a_damaged_snapshot_is_an_error_and_nothing_is_removed(tmp_path):
    rng = np.random.default_rng(0)
    edits, states = edits_of(4, 6)
    start(tmp_path, [])
    document, _ = replay(tmp_path)
    for edit in edits:
        document.apply(edit)
    write_snapshot(tmp_path, 2, Content.of(document), 6, IMAGE, "2026-01-01T00:00:00")
    assert state(replay(tmp_path)[0]) == states[-1]
    folder = snapshot_folder(tmp_path, 2)
    n_errors = 0
    for name in ("document.json", "labels.tif", "snapshot.json"):
        whole = (folder / name).read_bytes()
        for _ in range(60):
            damaged = bytearray(whole)
            damaged[rng.integers(len(whole))] ^= rng.integers(1, 256)
            (folder / name).write_bytes(damaged)
            try:
                document, _ = replay(tmp_path)
            except DataError as error:
                n_errors += 1
                message = str(error)
                assert "\n" not in message
                assert "damaged" in message
            else:
                assert state(document) == states[-1]
        (folder / name).write_bytes(whole)
    assert n_errors > 150
    assert state(replay(tmp_path)[0]) == states[-1]


def chained(folder):
    """Return states; two journals, of which the second goes on from the first."""
    edits, states = edits_of(5, 10)
    first = start(folder, edits[:6])
    start(folder, edits[6:], 2, first.stat().st_size)
    return states


def test_journals_that_go_on_from_each_other(tmp_path):
    states = chained(tmp_path)
    document, found = replay(tmp_path)
    assert state(document) == states[-1]
    assert (found.generation, found.n_steps, found.n_unread) == (2, 10, 0)
    assert state(replay(tmp_path, upto=2)[0]) == states[6]
    # The second snapshot is written; the first generation is gone with it.
    document, found = replay(tmp_path, upto=2)
    write_snapshot(tmp_path, 2, Content.of(document), found.n_unsaved, IMAGE, "")
    assert not journal_path(tmp_path, 1).exists()
    document, found = replay(tmp_path)
    assert state(document) == states[-1]
    assert (found.n_steps, found.n_unsaved) == (4, 10)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_every_moment_of_a_new_snapshot_is_one_to_restore_from(tmp_path, monkeypatch, order):
    states = chained(tmp_path)
    document, found = replay(tmp_path, upto=2)
    (tmp_path / ".writing-1").mkdir()
    assert state(replay(tmp_path)[0]) == states[-1], "before it is there"
    with monkeypatch.context() as patch:
        patch.setattr("napari_eomt.annotation.generations.remove_before", lambda *_: None)
        write_snapshot(tmp_path, 2, Content.of(document), found.n_unsaved, IMAGE, "")
    assert state(replay(tmp_path)[0]) == states[-1], "before the old ones are gone"
    for path in np.array([snapshot_folder(tmp_path, 1), journal_path(tmp_path, 1)])[list(order)]:
        for part in [*path.glob("*"), path]:
            part.rmdir() if part.is_dir() else part.unlink()
            document, found = replay(tmp_path)
            assert state(document) == states[-1], f"without {part.name}"
            assert (found.n_unsaved, found.n_unread) == (10, 0)


def test_after_a_damaged_journal_the_next_one_does_not_count(tmp_path):
    states = chained(tmp_path)
    path = journal_path(tmp_path, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    document, found = replay(tmp_path)
    assert state(document) == states[5]
    assert found.n_unread > journal_path(tmp_path, 2).stat().st_size
    keep_unread(tmp_path, found)
    assert len(list(tmp_path.glob("damaged-*"))) == 2
    path.write_bytes(whole + b"more, which was left out on purpose")
    assert state(replay(tmp_path)[0]) == states[-1]


def test_a_journal_of_a_newer_version_is_left_alone(tmp_path):
    path = start(tmp_path, [])
    path.write_bytes(encode(Head(version=3, generation=1, follows=None)))
    with pytest.raises(DataError, match=r"newer than 2.*Update"):
        replay(tmp_path)


def test_what_is_saved_counts_no_longer(tmp_path):
    edits, _ = edits_of(6, 7)
    file = JournalFile(start(tmp_path, []), 1, None)
    for item in [*edits[:4], Saved(path="a.eomt"), *edits[4:]]:
        file.append(item)
    file.sync()
    found = read_state(tmp_path)
    assert (found.n_steps, found.n_unsaved) == (7, 3)


def test_an_edit_that_cannot_be_made_is_an_error(tmp_path):
    gone = Category(99, "never there")
    bad = [
        Edit("x", (PixelChange(99, Runs.of(np.ones((2, 2), bool))),)),
        Edit("x", (PixelChange(0, Runs((0, 0, 2, 2), b"no zlib", 1)),)),
        Edit("x", (PixelChange(0, Runs.of(np.ones((2, 2), bool), (39, 55))),)),
        Edit("x", segments=(SegmentChange(0, Segment(5, 7), None),)),
    ]
    for edit in bad:
        start(tmp_path, [Edit("fine", categories=(CategoryChange(None, gone),)), edit])
        with pytest.raises(DataError, match=r"step 2 of the journal.*Nothing was removed"):
            replay(tmp_path)


def test_a_failed_write_is_made_good(tmp_path, monkeypatch):
    import os

    edits, states = edits_of(7, 9)
    path = start(tmp_path, [])
    file = JournalFile(path, 1, None)
    file.sync()
    real_write, real_sync = os.write, os.fsync
    room = [100]

    def write(handle, data):
        if not room[0]:
            raise OSError(28, "No space left on device")
        n = min(room[0], len(data))
        room[0] -= n
        return real_write(handle, bytes(data[:n]))

    def fsync(handle):
        if not room[0]:
            raise OSError(28, "No space left on device")
        real_sync(handle)

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "fsync", fsync)
    for edit in edits:
        file.append(edit)
        with pytest.raises(OSError, match="No space"):
            file.sync()
        found = replay(tmp_path)
        assert state(found[0]) == states[found[1].n_steps]
        room[0] = 150
    room[0] = 10**9
    file.sync()
    file.close()
    document, found = replay(tmp_path)
    assert state(document) == states[-1]
    assert found.n_unread == 0


def test_a_removed_journal_is_noticed(tmp_path):
    edits, _ = edits_of(8, 3)
    path = start(tmp_path, [])
    file = JournalFile(path, 1, None)
    file.sync()
    path.unlink()
    file.append(edits[0])
    with pytest.raises(JournalLostError):
        file.sync()
    with pytest.raises(JournalLostError):
        file.write()
    path.touch()
    with pytest.raises(JournalLostError):
        file.write()
