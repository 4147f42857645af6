"""Follows runs in a thread: their folders may be on a slow disk, and the window does not wait."""

from __future__ import annotations

import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_eomt.errors import EomtError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path

    from napari_eomt.widgets.run_tail import RunNews, RunTail

POLL_MS = 50
LOOK_MS = 500
"""Between two looks at a run that is running."""

REST_MS = 5_000
"""The same where nothing runs: somebody may go on with a run on the command line."""


class Background(QObject):
    """Does small works in a thread, one after the other, and tells the window what came of each.

    Parameters
    ----------
    parent : QObject, optional
    """

    failed = Signal(str, str)
    """What is wrong and what to do, and the details."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._pool = ThreadPoolExecutor(1, "napari-eomt-runs")
        self._waiting: list[
            tuple[Future[Any], Callable[[Any], None], Callable[[str, str], None]]
        ] = []
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._on_poll)

    @property
    def is_busy(self) -> bool:
        """Whether there is work under way."""
        return bool(self._waiting)

    def do(
        self,
        work: Callable[[], Any],
        then: Callable[[Any], None],
        refused: Callable[[str, str], None] | None = None,
    ) -> None:
        """Do some work; `then` gets what it returns, or `refused` why it failed, and details."""
        self._waiting.append((self._pool.submit(work), then, refused or self.failed.emit))
        self._timer.start()

    def close(self) -> None:
        """Begin nothing more, and wait for nothing."""
        self._timer.stop()
        self._waiting.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _on_poll(self) -> None:
        while self._waiting and self._waiting[0][0].done():
            future, then, refused = self._waiting.pop(0)
            error = future.exception()
            if error is None:
                then(future.result())
            elif isinstance(error, EomtError):
                refused(str(error), "")
            else:
                details = "".join(traceback.format_exception(error))
                refused(f"{type(error).__name__}: {error}. Copy the details for a report.", details)
        if not self._waiting:
            self._timer.stop()


class RunWatch(QObject):
    """Looks at some runs again and again, for as long as one of them may change.

    Parameters
    ----------
    parent : QObject, optional
    """

    changed = Signal(list)
    """The news of each run that is followed, in their order."""
    failed = Signal(str, str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._background = Background(self)
        self._tails: dict[Path, RunTail] = {}
        self._is_looking = False
        self._timer = QTimer(self)
        self._timer.setInterval(LOOK_MS)
        self._timer.timeout.connect(self.look)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Of the runs that are followed."""
        return tuple(self._tails)

    def follow(self, *folders: Path) -> None:
        """Look at these runs from now on, at once."""
        from napari_eomt.widgets.run_tail import RunTail

        self._tails = {folder: self._tails.get(folder) or RunTail(folder) for folder in folders}
        if folders:
            self._timer.start()
            self.look()
        else:
            self._timer.stop()
            self.changed.emit([])

    def hurry(self, is_running: bool) -> None:
        """Look often, or seldom."""
        self._timer.setInterval(LOOK_MS if is_running else REST_MS)

    def look(self) -> None:
        """Look now, unless the last look is not over."""
        if self._is_looking or not self._tails:
            return
        self._is_looking = True
        tails = tuple(self._tails.values())
        self._background.do(
            lambda: [tail.read() for tail in tails],
            lambda news: self._on_read(tails, news),
            self._on_failed,
        )

    def close(self) -> None:
        """Look no more."""
        self._timer.stop()
        self._background.close()

    def _on_read(self, tails: tuple[RunTail, ...], news: list[RunNews]) -> None:
        self._is_looking = False
        if tuple(self._tails.values()) != tails:
            self.look()  # others are followed meanwhile
            return
        self.changed.emit(news)

    def _on_failed(self, message: str, details: str) -> None:
        self._is_looking = False
        # It would fail again and again; the next wish looks anew.
        self._timer.stop()
        self.failed.emit(message, details)
