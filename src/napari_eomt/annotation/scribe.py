"""The thread that writes a session's journal, so that nobody who edits ever waits for a disk."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from napari_eomt.annotation.generations import generations, journal_path
from napari_eomt.annotation.journal_file import JournalFile, JournalLostError
from napari_eomt.annotation.snapshots import Snapshots, reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_eomt.annotation.content import Content
    from napari_eomt.annotation.edits import Edit
    from napari_eomt.annotation.image_ref import ImageRef
    from napari_eomt.annotation.journal import Saved

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """When what is done.

    Parameters
    ----------
    sync : float
        Seconds after which the disk has an edit for certain; the system has it at once.
    retry : float
        Seconds after which what failed is tried again.
    n_bytes, n_records : int
        Length of a journal from which on a new snapshot is made, so that opening takes seconds.
    """

    sync: float = 0.5
    retry: float = 1.0
    n_bytes: int = 64 * 2**20
    n_records: int = 10_000


@dataclass(frozen=True, eq=False)
class Begin:
    """A generation begins, with this content.

    Parameters
    ----------
    content : Content
    n_unsaved : int
        Steps in it that are in no file of the person's.
    follows : int or None
        See `journal.Head`.
    """

    content: Content
    n_unsaved: int
    follows: int | None = None


class Compact:
    """The journal is to be ended, and a new generation begun."""


class Scribe:
    """Writes what it is given, in order, in a thread of its own.

    Parameters
    ----------
    folder : Path
        Of the session; its lock is held.
    image : ImageRef
    started : str
        When the session began, in ISO 8601.
    limits : Limits
    on_problem : callable
        Called, in the scribe's threads, with what keeps the work from being saved, and with ""
        once all is well.
    """

    def __init__(
        self,
        folder: Path,
        image: ImageRef,
        started: str,
        limits: Limits,
        on_problem: Callable[[str], None],
    ) -> None:
        self._folder, self._limits, self._on_problem = folder, limits, on_problem
        self._changed = threading.Condition()  # guards what follows
        self._items: deque[tuple[int, Begin | Edit | Saved | Compact]] = deque()
        self._n_put = self._n_synced = 0
        self._is_hasty = self._is_stopping = False
        self.needs_content = False
        """Whether what lies on the disk is lost: then only a `Begin` can go on."""
        self._saying = threading.Lock()
        self._journal_problem = self._said = ""
        # Of the thread alone:
        self._journal: JournalFile | None = None
        self._n_taken = 0
        self._synced_at = self._retry_at = 0.0
        self._snapshots = Snapshots(folder, image, started, limits.retry, self._on_snapshot)
        self._thread = threading.Thread(target=self._run, name="eomt-autosave", daemon=True)
        self._thread.start()

    def put(self, item: Begin | Edit | Saved | Compact) -> None:
        """Have something written; returns at once."""
        with self._changed:
            if isinstance(item, Begin):
                self._items.clear()  # all of it is in the content
                self.needs_content = False
            self._n_put += 1
            self._items.append((self._n_put, item))
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until all that was put is on the disk; return whether it is."""
        with self._changed:
            n_put = self._n_put
            self._is_hasty = True
            self._changed.notify_all()
            return self._changed.wait_for(
                lambda: self._n_synced >= n_put and self._snapshots.is_based, timeout
            )

    def stop(self, timeout: float = 10.0) -> bool:
        """Write what is left, and end; return whether all is written."""
        # The garbage collector may call from one of the threads, which cannot wait for itself.
        is_written = self._is_own_thread or self.flush(timeout)
        self.give_up()
        return is_written

    def give_up(self) -> None:
        """End without writing what is left."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        if not self._is_own_thread:
            self._thread.join()
            self._snapshots.cancel()

    @property
    def problem(self) -> str:
        """What keeps the work from being saved just now; empty if nothing."""
        return self._journal_problem or self._snapshots.problem

    @property
    def _is_own_thread(self) -> bool:
        return threading.current_thread() in (self._thread, self._snapshots.thread)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._is_due():
                    self._changed.wait(self._pause())  # another one after each notice
                if self._is_stopping:
                    break
            try:
                self._work()
            except JournalLostError as error:
                self._fail(error, is_lost=True)
            except OSError as error:
                self._fail(error, is_lost=False)
            except Exception as error:  # noqa: BLE001 - without this thread nothing is saved
                _log.exception("An edit could not be written; a snapshot is made instead.")
                self._fail(error, is_lost=True)
            else:
                self._journal_problem = ""
                self._say()
        if self._journal is not None:
            self._journal.close()

    def _is_due(self) -> bool:
        """Whether there is something to do now."""
        if self._is_stopping:
            return True
        if self.needs_content or monotonic() < self._retry_at:
            return False
        if self._items:
            return True
        return self._n_synced < self._n_taken and (self._is_hasty or self._is_late())

    def _is_late(self) -> bool:
        return monotonic() >= self._synced_at + self._limits.sync

    def _pause(self) -> float | None:
        """Return after how many seconds something may be due although nobody asks."""
        if self.needs_content:
            return None
        now = monotonic()
        if now < self._retry_at:
            return self._retry_at - now
        if self._n_synced < self._n_taken:
            return max(0.0, self._synced_at + self._limits.sync - now)
        return None

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._items:
                    break
                number, item = self._items.popleft()
            try:
                self._take(item)
            except OSError:
                with self._changed:
                    if not any(isinstance(later, Begin) for _, later in self._items):
                        self._items.appendleft((number, item))
                raise
            self._n_taken = number
        if self._journal is None:
            return
        self._journal.write()
        if self._is_hasty or self._is_late():
            self._sync(self._journal)
            limits = self._limits
            if self._journal.size > limits.n_bytes or self._journal.n_records > limits.n_records:
                self._compact()

    def _take(self, item: Begin | Edit | Saved | Compact) -> None:
        if isinstance(item, Begin):
            self._begin(item)
        elif isinstance(item, Compact):
            self._compact()
        elif self._journal is not None:
            self._journal.append(item)

    def _begin(self, begin: Begin) -> None:
        self._snapshots.cancel()
        self._folder.mkdir(parents=True, exist_ok=True)
        number = 1 + max((n for ns in generations(self._folder).values() for n in ns), default=0)
        self._open(number, begin.follows)
        self._snapshots.begin(number, begin.content, begin.n_unsaved)

    def _compact(self) -> None:
        """End the journal and begin the next; its snapshot is made from what is on the disk."""
        journal = self._journal
        if journal is None or not journal.n_records or not self._snapshots.is_idle:
            return
        self._sync(journal)
        # From here on nothing is written to the old one, whether or not the new one can be yet.
        self._open(journal.generation + 1, journal.size)
        self._snapshots.compact(journal.generation + 1)

    def _open(self, number: int, follows: int | None) -> None:
        if self._journal is not None:
            self._journal.close()
        self._journal = JournalFile(journal_path(self._folder, number), number, follows)

    def _sync(self, journal: JournalFile) -> None:
        journal.sync()
        self._synced_at = monotonic()
        with self._changed:
            self._n_synced = self._n_taken
            self._is_hasty = self._n_synced < self._n_put and self._is_hasty
            self._changed.notify_all()

    def _on_snapshot(self, is_lost: bool) -> None:
        """Hear from the snapshots' thread that one is written, or that there is a problem."""
        with self._changed:
            self.needs_content = self.needs_content or is_lost
            self._changed.notify_all()
        self._say()

    def _fail(self, error: Exception, *, is_lost: bool) -> None:
        with self._changed:
            has_begin = any(isinstance(item, Begin) for _, item in self._items)
            self.needs_content = (self.needs_content or is_lost) and not has_begin
            self._retry_at = monotonic() + self._limits.retry
        self._journal_problem = reason(error)
        self._say()

    def _say(self) -> None:
        with self._saying:  # one after the other, so that what was said last is true
            problem = self.problem
            if problem == self._said:
                return
            self._said = problem
            try:
                self._on_problem(problem)
            except Exception:  # noqa: BLE001 - somebody else's, in a slot
                _log.exception("What was told about a problem failed.")
