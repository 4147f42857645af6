"""Work survives: killed processes, full disks, removed folders, two windows on one image."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from tests.annotation.random_edits import new_session, paint, random_edit, state

from napari_eomt.annotation import operations, sessions
from napari_eomt.annotation.autosave import Autosave
from napari_eomt.annotation.content import Content
from napari_eomt.annotation.generations import generations, journal_path, replay, snapshot_folder
from napari_eomt.annotation.image_ref import ImageRef
from napari_eomt.annotation.scribe import Limits
from napari_eomt.annotation.session import Session
from napari_eomt.annotation.session_lock import SessionLock
from napari_eomt.errors import DataError, OutputError
from napari_eomt.structures.categories import Category

IMAGE = ImageRef.of(np.zeros((3, 40, 56)), "cells.tif")
QUICK = Limits(sync=0.02, retry=0.05)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_EOMT_SESSIONS_DIR", str(tmp_path / "sessions"))
    return sessions.session_folder(IMAGE)


def work(session, rng, n=1):
    """Make random edits, of which some take back."""
    n_before = 0

    def count():
        nonlocal n_before
        n_before += 1

    session.changed.connect(count)
    while n_before < n:
        choice = rng.random()
        if choice < 0.1:
            session.undo()
        elif choice < 0.4:
            paint(rng, session)
        else:
            edit = random_edit(rng, session.document)
            if edit is not None:
                session.do(edit)
    session.changed.disconnect(count)


def wait_until(condition, timeout=20.0):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


@pytest.fixture
def full_disk(monkeypatch):
    """Return a switch: while it is [True], nothing can be written."""
    is_full = [False]
    real = {"write": os.write, "fsync": os.fsync}

    def write(handle, data):
        if is_full[0]:
            raise OSError(28, "No space left on device")
        return real["write"](handle, data)

    def fsync(handle):
        if is_full[0]:
            raise OSError(28, "No space left on device")
        real["fsync"](handle)

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "fsync", fsync)
    return is_full


@pytest.mark.parametrize("seed", range(3))
def test_a_restored_session_is_equal(folder, seed):
    rng = np.random.default_rng(seed)
    session = new_session()
    autosave = Autosave(session, folder, IMAGE, limits=QUICK)
    work(session, rng, 150)
    autosave.close()
    document = sessions.restore(folder)
    assert state(document) == state(session.document)
    [row] = sessions.recoverable()
    assert row.image == IMAGE
    assert row.folder == folder
    assert (row.n_unsaved, row.n_unread, row.problem) == (150, 0, "")
    assert row.started is not None
    assert abs((row.last - row.started).total_seconds()) < 60


def test_it_goes_on_over_several_crashes_and_snapshots(folder):
    rng = np.random.default_rng(0)
    limits = Limits(sync=0, n_records=20)
    session = new_session()
    for k in range(5):
        if k:
            document = sessions.restore(folder)
            assert state(document) == state(session.document)
            session = Session(document)
        autosave = Autosave(session, folder, IMAGE, goes_on=k > 0, limits=limits)
        for _ in range(10):
            work(session, rng, 7)
            assert autosave.flush()
        autosave.close()
    assert sessions.recoverable()[0].n_unsaved >= 350
    wait_until(lambda: len(generations(folder)["snapshot"]) <= 2)


def test_what_is_journaled_while_a_snapshot_is_written(folder):
    rng = np.random.default_rng(1)
    session = new_session()
    autosave = Autosave(session, folder, IMAGE, limits=Limits(sync=0))
    for _ in range(40):
        work(session, rng, 3)
        autosave.snapshot()
        work(session, rng, 2)
        assert autosave.flush()
        wait_until(lambda: autosave._scribe._snapshots.is_idle)
        document, found = replay(folder)
        assert state(document) == state(session.document)
        assert found.n_unread == 0
    wait_until(lambda: generations(folder)["snapshot"][-1] > 3)
    autosave.close(discard=True)


def test_saved_and_unsaved_work(folder, tmp_path):
    rng = np.random.default_rng(0)
    session = new_session()
    autosave = Autosave(session, folder, IMAGE, limits=QUICK)
    seen = []
    autosave.saved_changed.connect(seen.append)
    assert autosave.is_saved
    work(session, rng, 3)
    assert (autosave.is_saved, autosave.n_unsaved, seen) == (False, 3, [False])
    autosave.mark_saved(tmp_path / "a.eomt")
    autosave.mark_saved(tmp_path / "a.eomt")
    assert (autosave.is_saved, seen) == (True, [False, True])
    assert autosave.flush()
    assert sessions.look(folder) is None, "nothing is unsaved"
    work(session, rng, 1)
    assert seen == [False, True, False]
    assert autosave.flush()
    assert sessions.look(folder).n_unsaved == 1
    autosave.mark_saved()
    autosave.close()
    assert not folder.exists()
    autosave.close()


@pytest.mark.parametrize("n", [0, 5])
def test_discarding(folder, n):
    session = new_session()
    autosave = Autosave(session, folder, IMAGE)
    work(session, np.random.default_rng(0), n)
    autosave.close(discard=True)
    assert not folder.exists()
    work(session, np.random.default_rng(0), 1)
    assert sessions.recoverable() == []


def test_restored_work_is_unsaved_until_it_is_saved(folder):
    session = new_session()
    work(session, np.random.default_rng(0), 5)
    autosave = Autosave(session, folder, IMAGE, is_saved=False)
    autosave.close()
    assert sessions.recoverable()[0].n_unsaved == 1
    session = Session(sessions.restore(folder))
    autosave = Autosave(session, folder, IMAGE, goes_on=True)
    assert not autosave.is_saved
    autosave.close()
    assert sessions.recoverable()[0].n_unsaved == 1


def test_unsaved_work_is_never_overwritten(folder):
    session = new_session()
    autosave = Autosave(session, folder, IMAGE)
    work(session, np.random.default_rng(0), 5)
    autosave.close()
    with pytest.raises(DataError, match=r"unsaved work on cells\.tif.*Restore or discard"):
        Autosave(new_session(), folder, IMAGE)
    assert state(sessions.restore(folder)) == state(session.document)
    sessions.discard(folder)
    assert not folder.exists()
    Autosave(new_session(), folder, IMAGE).close()
    with pytest.raises(DataError, match="no saved session"):
        sessions.restore(folder)


def test_a_full_disk_is_told_and_made_good(folder, full_disk):
    rng = np.random.default_rng(0)
    session = new_session()
    autosave = Autosave(session, folder, IMAGE, limits=QUICK)
    problems = []
    autosave.problem_changed.connect(problems.append)
    work(session, rng, 5)
    assert autosave.flush()
    full_disk[0] = True
    work(session, rng, 5)
    wait_until(lambda: problems)
    assert "cells.tif is not being saved" in problems[0]
    assert "No space left" in problems[0]
    assert autosave.problem == problems[0]
    started = time.monotonic()
    work(session, rng, 20)
    assert time.monotonic() - started < 5, "editing goes on"
    assert not autosave.flush(0.2)
    full_disk[0] = False
    assert autosave.flush()
    wait_until(lambda: problems[-1] == "")
    assert len(problems) == 2
    assert state(replay(folder)[0]) == state(session.document)
    autosave.close()


def test_a_disk_that_is_full_from_the_start(folder, full_disk):
    rng = np.random.default_rng(0)
    full_disk[0] = True
    session = new_session()
    autosave = Autosave(session, folder, IMAGE, limits=QUICK)
    problems = []
    autosave.problem_changed.connect(problems.append)
    work(session, rng, 30)
    wait_until(lambda: "No space" in autosave.problem)
    full_disk[0] = False
    assert autosave.flush()
    assert state(replay(folder)[0]) == state(session.document)
    wait_until(lambda: autosave.problem == "")
    autosave.close()


def test_closing_says_what_could_not_be_written(folder, full_disk):
    session = new_session()
    autosave = Autosave(session, folder, IMAGE, limits=QUICK)
    autosave.flush()
    full_disk[0] = True
    work(session, np.random.default_rng(0), 1)
    with pytest.raises(OutputError, match=r"cells\.tif is not being saved.*No space"):
        autosave.close(timeout=0.3)
    full_disk[0] = False
    with SessionLock(folder):
        pass


@pytest.mark.parametrize("what", ["all", "journal", "snapshot"])
def test_a_folder_that_is_removed_is_written_anew(folder, what):
    import shutil

    rng = np.random.default_rng(0)
    session = new_session()
    autosave = Autosave(session, folder, IMAGE, limits=QUICK)
    work(session, rng, 5)
    assert autosave.flush()
    if what == "all":
        shutil.rmtree(folder)
    elif what == "journal":
        journal_path(folder, 1).unlink()
    else:
        shutil.rmtree(snapshot_folder(folder, 1))
    for _ in range(5):
        work(session, rng, 1)
        autosave.snapshot()
        time.sleep(0.1)
    assert autosave.flush()
    assert state(replay(folder)[0]) == state(session.document)
    autosave.close()
    assert state(sessions.restore(folder)) == state(session.document)


def test_an_edit_that_cannot_be_written_is_in_the_next_snapshot(folder, monkeypatch, caplog):
    rng = np.random.default_rng(0)
    session = new_session()
    autosave = Autosave(session, folder, IMAGE, limits=QUICK)
    work(session, rng, 5)
    autosave.flush()

    def broken(_):
        raise TypeError("not JSON")

    with monkeypatch.context() as patch:
        patch.setattr("napari_eomt.annotation.journal_file.encode", broken)
        work(session, rng, 1)
        wait_until(lambda: "not JSON" in autosave.problem)
    assert "could not be written" in caplog.text
    assert autosave.flush()
    assert state(replay(folder)[0]) == state(session.document)
    work(session, rng, 5)
    autosave.close()
    assert state(sessions.restore(folder)) == state(session.document)


def test_a_slot_that_fails_stops_nothing(folder, full_disk, caplog):
    session = new_session()
    autosave = Autosave(session, folder, IMAGE, limits=QUICK)
    autosave.problem_changed.connect(lambda: 1 / 0)
    full_disk[0] = True
    work(session, np.random.default_rng(0), 3)
    wait_until(lambda: "failed" in caplog.text)
    full_disk[0] = False
    assert autosave.flush()
    autosave.close()
    assert state(sessions.restore(folder)) == state(session.document)


def test_forgotten_it_still_writes_what_was_done(folder):
    session = new_session()
    autosave = Autosave(session, folder, IMAGE, limits=Limits(sync=60))
    work(session, np.random.default_rng(0), 5)
    del autosave
    gc.collect()
    assert state(sessions.restore(folder)) == state(session.document)
    work(session, np.random.default_rng(0), 5)


def test_damaged_sessions_are_listed_and_kept(folder):
    session = new_session()
    autosave = Autosave(session, folder, IMAGE)
    work(session, np.random.default_rng(0), 5)
    autosave.close()
    labels = snapshot_folder(folder, 1) / "labels.tif"
    data = labels.read_bytes()
    labels.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    [row] = sessions.recoverable()
    assert "labels.tif is not as it was written" in row.problem
    with pytest.raises(DataError, match="Nothing was removed"):
        sessions.restore(folder)
    with pytest.raises(DataError, match=r"labels\.tif is not as it was written"):
        Autosave(new_session(), folder, IMAGE)
    assert sessions.clean_up(timedelta(0)) == 0
    labels.write_bytes(data)
    assert state(sessions.restore(folder)) == state(session.document)


def test_only_empty_sessions_are_cleaned_up(folder, monkeypatch):
    other = ImageRef.of(np.ones((3, 40, 56)), "other.tif")
    third = ImageRef.of(np.ones((3, 40, 56)), "third.tif")
    kept = Autosave(new_session(), folder, IMAGE)
    work(kept._session, np.random.default_rng(0), 2)
    kept.close()
    empty = Autosave(new_session(), sessions.session_folder(other), other)
    empty.flush()
    # As after a crash: nobody closes it.
    empty._scribe.give_up()
    empty._lock.release()
    live = Autosave(new_session(), sessions.session_folder(third), third)
    live.flush()
    stranger = sessions.autosave_dir() / "holiday"
    stranger.mkdir()
    (stranger / "photo.jpg").touch()
    assert sessions.clean_up() == 0, "not old yet"
    sessions.clean_up(timedelta(0))
    assert {path.name for path in sessions.autosave_dir().iterdir()} == {
        folder.name,
        live.folder.name,
        "holiday",
    }
    assert (stranger / "photo.jpg").exists()
    with pytest.raises(DataError):
        sessions.discard(live.folder)
    live.close()


def test_a_session_that_died_at_its_start_is_no_obstacle(folder):
    folder.mkdir(parents=True)
    journal_path(folder, 1).write_bytes(b"")
    (folder / ".writing-abc").mkdir()
    assert sessions.recoverable() == []
    session = new_session()
    autosave = Autosave(session, folder, IMAGE)
    work(session, np.random.default_rng(0), 2)
    autosave.close()
    assert state(sessions.restore(folder)) == state(session.document)
    assert not (folder / ".writing-abc").exists()


CHILD = """
import sys, time
import numpy as np
from pathlib import Path
from tests.annotation.random_edits import new_session, paint, random_edit
from napari_eomt.annotation.autosave import Autosave
from napari_eomt.annotation.image_ref import ImageRef
from napari_eomt.annotation.scribe import Limits

folder, seed, n_records = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
session = new_session()
session.changed.connect(lambda: print(time.monotonic(), flush=True))
image = ImageRef.of(np.zeros((3, 40, 56)), "cells.tif")
autosave = Autosave(session, folder, image, limits=Limits(n_records=n_records))
autosave.flush()
print("ready", flush=True)
rng = np.random.default_rng(seed)
while True:
    if rng.random() < 0.4:
        paint(rng, session)
    else:
        edit = random_edit(rng, session.document)
        if edit is not None:
            session.do(edit)
    time.sleep(0.001)
"""


def child(folder, seed, n_records):
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), str(root / "src")])
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), str(seed), str(n_records)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": path},
    )


def steps_of(seed, n):
    """Return the states of the child's document after each of its first steps."""
    rng = np.random.default_rng(seed)
    session = new_session()
    states = [state(session.document)]
    session.changed.connect(lambda: states.append(state(session.document)))
    while len(states) <= n:
        if rng.random() < 0.4:
            paint(rng, session)
        else:
            edit = random_edit(rng, session.document)
            if edit is not None:
                session.do(edit)
    return states


@pytest.mark.parametrize("round_", range(3))
def test_a_killed_process_loses_a_second_at_most(tmp_path, round_):
    """Ten processes at a time, each killed at a moment of its own."""
    rng = np.random.default_rng(round_)
    n_records = [10_000, 25, 5][round_]  # the fewer, the more snapshots are being written
    for k in range(10):
        folder, seed = tmp_path / f"{k}", 100 * round_ + k
        process = child(folder, seed, n_records)
        assert process.stdout.readline() == "ready\n"
        if k == 0:
            with pytest.raises(DataError, match=f"open in process {process.pid} on "):
                SessionLock(folder).acquire()
        time.sleep(rng.uniform(0, 0.8))
        process.kill()
        killed = time.monotonic()
        times = [float(line) for line in process.stdout.read().splitlines() if "." in line]
        process.wait()
        process.stdout.close()
        document, found = replay(folder)
        states = steps_of(seed, found.n_unsaved)
        assert state(document) == states[found.n_unsaved], "it equals the replay up to there"
        lost = times[found.n_unsaved :]
        assert not lost or lost[0] > killed - 1, f"lost since {killed - lost[0]:.2f} s"
        # The lock of the dead is no obstacle.
        session = Session(sessions.restore(folder))
        autosave = Autosave(session, folder, IMAGE, goes_on=True)
        session.do(operations.change_category(session.document, Category(7, "after the crash")))
        autosave.close()
        assert state(sessions.restore(folder)) == state(session.document)


def test_two_windows_of_one_process(folder):
    autosave = Autosave(new_session(), folder, IMAGE)
    with pytest.raises(DataError, match="open in this program already"):
        Autosave(new_session(), folder, IMAGE)
    assert sessions.recoverable() == []
    with pytest.raises(DataError, match="open in this program"):
        sessions.restore(folder)
    autosave.close()
    Autosave(new_session(), folder, IMAGE).close()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="NAPARI_EOMT_SESSIONS_DIR"):
        Autosave(new_session(), tmp_path / "file" / "session", IMAGE)


def test_the_content_of_void_frames_takes_no_memory():
    session = new_session()
    session.do(operations.mark_frame(session.document, 1, operations.FrameState.REVIEWED))
    content = Content.of(session.document)
    assert {k: frame.id_map for k, frame in content.frames.items()} == {1: None}
