"""Saving the work on a document while it goes on, so that a crash costs a second at most."""

from __future__ import annotations

import weakref
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_eomt.annotation.content import Content
from napari_eomt.annotation.generations import keep_unread, read_state
from napari_eomt.annotation.journal import Saved
from napari_eomt.annotation.scribe import Begin, Compact, Limits, Scribe
from napari_eomt.annotation.session_lock import SessionLock
from napari_eomt.annotation.sessions import empty, look, remove_emptied
from napari_eomt.errors import DataError, OutputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_eomt.annotation.edits import Edit
    from napari_eomt.annotation.image_ref import ImageRef
    from napari_eomt.annotation.session import Session

_LOCK_TIMEOUT = 0.3  # seconds: another process may be looking into the folder, for a moment


class Autosave:
    """Follows a session and writes each of its edits to the disk.

    The system has an edit within milliseconds, the disk itself half a second later. Until it is
    closed, nobody else can work in the folder.

    Parameters
    ----------
    session : Session
        Not in the midst of a stroke.
    folder : Path
        Of the session, see `sessions.session_folder`.
    image : ImageRef
        Which image the document belongs to.
    is_saved : bool
        Whether the document is new, or was read from a file, so that nothing is unsaved yet.
    goes_on : bool
        Whether the document was restored from this folder.
    limits : Limits

    Raises
    ------
    DataError
        If the folder is open elsewhere, or has unsaved work with which this does not go on.
    OutputError
        If the folder cannot be written. Later errors are told by `problem_changed` alone.
    """

    saved_changed = Signal(bool)
    """Whether all work is in the person's own file: True after `mark_saved`, False after an edit
    that follows."""
    problem_changed = Signal(str)
    """Why the work is not being saved just now; "" once it is. Emitted in another thread."""

    def __init__(
        self,
        session: Session,
        folder: Path,
        image: ImageRef,
        *,
        is_saved: bool = True,
        goes_on: bool = False,
        limits: Limits | None = None,
    ) -> None:
        self.folder, self.image = folder, image
        self._session = session
        self._lock = SessionLock(folder)
        self._lock.acquire(_LOCK_TIMEOUT)
        try:
            begin = self._first(is_saved, goes_on)
        except BaseException:
            self._lock.release()
            raise
        self._n_unsaved = begin.n_unsaved
        started = datetime.now(timezone.utc).isoformat(timespec="seconds")
        limits = limits or Limits()
        self._scribe = Scribe(folder, image, started, limits, _weakly(self))
        self._scribe.put(begin)
        # If nobody closes it: what has been done is written when the program ends.
        self._finish = weakref.finalize(self, _finish, self._scribe, self._lock)
        session.changed.connect(self._on_changed)

    @property
    def n_unsaved(self) -> int:
        """How many steps are in no file of the person's; undone ones count as well."""
        return self._n_unsaved

    @property
    def is_saved(self) -> bool:
        """Whether all work is in the person's own file."""
        return self._n_unsaved == 0

    @property
    def problem(self) -> str:
        """Why the work is not being saved just now; empty if it is."""
        return self._describe(self._scribe.problem)

    def mark_saved(self, path: Path | None = None) -> None:
        """Take down that the document as it is now is in the person's own file."""
        was_saved, self._n_unsaved = self.is_saved, 0
        self._put(Saved(path=None if path is None else str(path)))
        if not was_saved:
            self.saved_changed.emit(True)

    def snapshot(self) -> None:
        """Have the journal so far made into a snapshot, in the background."""
        self._put(Compact())

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until the disk has everything; return whether it has, in time."""
        if self._scribe.needs_content:
            self._scribe.put(Begin(Content.of(self._session.document), self._n_unsaved))
        return self._scribe.flush(timeout)

    def close(self, discard: bool = False, timeout: float = 10.0) -> None:
        """End following the session.

        Work that is in the person's own file is removed here; other work is kept, and offered by
        `sessions.recoverable`.

        Parameters
        ----------
        discard : bool
            Whether to remove it all the same.
        timeout : float
            How long to wait for the disk, in seconds.

        Raises
        ------
        OutputError
            If unsaved work could not be written; or not be removed.
        """
        if not self._finish.alive:
            return
        self._session.changed.disconnect(self._on_changed)
        is_kept = not (discard or self.is_saved)
        is_written = self.flush(timeout) if is_kept else True
        problem = self.problem
        self._scribe.give_up()
        try:
            if not is_kept:
                empty(self.folder)
        finally:
            self._finish.detach()
            self._lock.release()
        if not is_kept:
            remove_emptied(self.folder)
        if not is_written:
            raise OutputError(problem or self._describe("the disk is too slow"))

    def _first(self, is_saved: bool, goes_on: bool) -> Begin:
        content = Content.of(self._session.document)
        if goes_on:
            state = read_state(self.folder)
            try:
                keep_unread(self.folder, state)
            except OSError as error:
                raise OutputError(self._describe(error.strerror or str(error))) from error
            return Begin(content, max(1, state.n_unsaved), state.size or None)
        found = look(self.folder)
        if found is not None:
            raise DataError(
                f"There is unsaved work on {self.image.name} of {found.last:%Y-%m-%d %H:%M} UTC "
                f"in {self.folder}. Restore or discard it first. {found.problem}".rstrip()
            )
        return Begin(content, 0 if is_saved else 1)

    def _on_changed(self, edit: Edit) -> None:
        was_saved = self.is_saved
        self._n_unsaved += 1
        self._put(edit)
        if was_saved:
            self.saved_changed.emit(False)

    def _put(self, item: Edit | Saved | Compact) -> None:
        if self._scribe.needs_content:
            # What lay on the disk is gone. The document has it all, this edit as well.
            item_or_all = Begin(Content.of(self._session.document), self._n_unsaved)
            self._scribe.put(item_or_all)
        else:
            self._scribe.put(item)

    def _describe(self, problem: str) -> str:
        if not problem:
            return ""
        return (
            f"The work on {self.image.name} is not being saved in {self.folder}: {problem}. Free "
            "the disk, or save the document elsewhere; it is tried again until it works."
        )


def _weakly(autosave: Autosave) -> Callable[[str], None]:
    """Return what tells a problem, without keeping the autosave alive from its thread."""
    reference = weakref.ref(autosave)

    def tell(problem: str) -> None:
        autosave = reference()
        if autosave is not None:
            autosave.problem_changed.emit(autosave._describe(problem))

    return tell


def _finish(scribe: Scribe, lock: SessionLock) -> None:
    scribe.stop(2.0)
    lock.release()
