"""Locks of folders: who has one is named, as far as that is known."""

from __future__ import annotations

import subprocess
import sys

import pytest

from napari_eomt.annotation.session_lock import SessionLock
from napari_eomt.errors import DataError, OutputError
from napari_eomt.folder_lock import is_locked, read_owner
from napari_eomt.formats.dataset_lock import DatasetLock
from napari_eomt.training.run_lock import RunLock

KINDS = pytest.mark.parametrize("kind", [SessionLock, DatasetLock, RunLock])


@KINDS
def test_a_lock_is_taken_once_and_given_back(kind, tmp_path):
    path = tmp_path / kind.lock_name
    assert not is_locked(path)
    with kind(tmp_path) as lock:
        lock.acquire()  # which it has
        assert lock.is_held
        assert is_locked(path)
        assert read_owner(tmp_path / kind.owner_name)
    assert not lock.is_held
    assert not is_locked(path)
    assert read_owner(tmp_path / kind.owner_name) is None


@KINDS
def test_who_comes_second_is_told_who_has_it(kind, tmp_path):
    code = (
        "import sys; from pathlib import Path; "
        f"from {kind.__module__} import {kind.__name__} as Lock; "
        "lock = Lock(Path(sys.argv[1])); lock.acquire(); print(flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    child.stdout.readline()
    try:
        with pytest.raises(DataError, match=f" in process {child.pid} on | by process "):
            kind(tmp_path).acquire(0.1)
        (tmp_path / kind.owner_name).write_text('{"pid": "me"}')  # half written, say
        with pytest.raises(DataError, match=r"another (window|program|process)"):
            kind(tmp_path).acquire(0.1)
    finally:
        child.kill()
        child.communicate()
    with kind(tmp_path):  # what a dead process had locked is free
        pass


@KINDS
def test_a_folder_that_cannot_be_written_is_said(kind, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot be (used|written) \("):
        kind(tmp_path / "file" / "folder").acquire()
