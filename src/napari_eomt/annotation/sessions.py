"""The sessions on disk: which ones a crash has left, and how to get them back or rid of them."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from napari_eomt.annotation.generations import (
    generations,
    journal_path,
    read_state,
    replay,
    snapshot_folder,
)
from napari_eomt.annotation.journal import iter_records
from napari_eomt.annotation.session_lock import LOCK, SessionLock
from napari_eomt.errors import DataError, OutputError

if TYPE_CHECKING:
    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.image_ref import ImageRef

SESSIONS_DIR_VARIABLE = "NAPARI_EOMT_SESSIONS_DIR"

OLD = timedelta(days=1)
"""After which a session that holds nothing is cleaned up."""

_OURS = re.compile(r"\.?snapshot-|journal-|damaged-|\.writing-|owner\.json$")


@dataclass(frozen=True)
class Recoverable:
    """A session with work that is in no file of the person's.

    Parameters
    ----------
    folder : Path
    image : ImageRef or None
        None if its snapshot is damaged.
    started, last : datetime or None, datetime
        When it began, and when the last step was written.
    n_unsaved : int
        Steps, undone ones counted as well.
    n_unread : int
        Bytes of the journal after them that are cut off or damaged.
    problem : str
        Why it cannot be restored; empty if it can.
    """

    folder: Path
    image: ImageRef | None
    started: datetime | None
    last: datetime
    n_unsaved: int
    n_unread: int = 0
    problem: str = ""


def autosave_dir() -> Path:
    """Return the folder of the sessions; NAPARI_EOMT_SESSIONS_DIR names another."""
    chosen = os.environ.get(SESSIONS_DIR_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_data_path("napari-eomt", appauthor=False) / "sessions"


def session_folder(image: ImageRef) -> Path:
    """Return where the work on an image is saved while it goes on; it need not be there."""
    return autosave_dir() / image.key


def recoverable() -> list[Recoverable]:
    """Return the sessions that have unsaved work and are open nowhere, the last one first."""
    found = []
    for folder in _folders():
        with suppress(DataError, OutputError), SessionLock(folder):
            row = look(folder)
            if row is not None:
                found.append(row)
    return sorted(found, key=lambda row: row.last, reverse=True)


def look(folder: Path) -> Recoverable | None:
    """Return what a session's folder holds; None if there is no unsaved work in it."""
    numbers = generations(folder)
    try:
        if not numbers["snapshot"] and not _n_edits(folder, numbers["journal"]):
            return None
        state = read_state(folder)
    except DataError as error:
        return Recoverable(folder, None, None, _last(folder), 0, problem=str(error))
    except OSError as error:
        problem = f"{folder.name} cannot be read: {error.strerror or error}."
        return Recoverable(folder, None, None, _last(folder), 0, problem=problem)
    if not state.n_unsaved and not state.n_unread:
        return None
    with suppress(ValueError):
        started = datetime.fromisoformat(state.note.started)
        return Recoverable(
            folder, state.note.image, started, _last(folder), state.n_unsaved, state.n_unread
        )
    return Recoverable(
        folder, state.note.image, None, _last(folder), state.n_unsaved, state.n_unread
    )


def restore(folder: Path) -> Document:
    """Return the document as the last whole step left it; nothing in the folder is changed.

    To go on, give a session of it to ``Autosave(session, folder, image, goes_on=True)``.

    Raises
    ------
    DataError
        If it is open elsewhere, or its snapshot is damaged.
    """
    if not folder.is_dir():
        raise DataError(f"There is no saved session {folder.name} any more.")
    with SessionLock(folder):
        try:
            return replay(folder)[0]
        except OSError as error:
            raise DataError(
                f"{folder.name} cannot be read: {error.strerror or error}. Nothing was removed."
            ) from error


def discard(folder: Path) -> None:
    """Remove a session, with all work that is saved nowhere else.

    Raises
    ------
    DataError
        If it is open elsewhere.
    OutputError
        If it cannot be removed.
    """
    if not folder.is_dir():
        return
    with SessionLock(folder):
        empty(folder)
    remove_emptied(folder)


def clean_up(older_than: timedelta = OLD) -> int:
    """Remove old sessions that hold no unsaved work and are open nowhere; return how many."""
    before = datetime.now(timezone.utc) - older_than
    n_removed = 0
    for folder in _folders():
        with suppress(DataError, OutputError):
            with SessionLock(folder):
                if _last(folder) > before or look(folder) is not None:
                    continue
                empty(folder)
            n_removed += 1
            remove_emptied(folder)
    return n_removed


def empty(folder: Path) -> None:
    """Remove all of a session but the lock, which must be held.

    Raises
    ------
    OutputError
        If something cannot be removed.
    """
    try:
        # By their names: a folder given by mistake keeps what is in it.
        for path in [path for path in folder.iterdir() if _OURS.match(path.name)]:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be removed ({error.strerror or error}). Remove it by hand."
        ) from error


def remove_emptied(folder: Path) -> None:
    """Remove a session's folder in which nothing but the lock is left."""
    with suppress(OSError):
        if {path.name for path in folder.iterdir()} <= {LOCK}:
            (folder / LOCK).unlink(missing_ok=True)
            folder.rmdir()


def _n_edits(folder: Path, numbers: list[int]) -> int:
    paths = (journal_path(folder, number) for number in numbers)
    return sum(record.is_edit for path in paths for record in iter_records(path))


def _folders() -> list[Path]:
    try:
        return sorted(path for path in autosave_dir().iterdir() if path.is_dir())
    except OSError:
        return []


def _last(folder: Path) -> datetime:
    """Return when something was written there last."""
    numbers = generations(folder)
    paths = [journal_path(folder, number) for number in numbers["journal"]]
    paths += [snapshot_folder(folder, number) for number in numbers["snapshot"]]
    times = [path.stat().st_mtime for path in paths] or [folder.stat().st_mtime]
    return datetime.fromtimestamp(max(times), timezone.utc)
