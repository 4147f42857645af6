"""An export in a thread: the window goes on, and can stop it."""

from __future__ import annotations

import traceback
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from napari_eomt.errors import EomtError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from napari_eomt.viewer.dataset_export import ExportDone

POLL_MS = 50


class ExportRun(QObject):
    """Runs one export at a time.

    Parameters
    ----------
    parent : QObject, optional
    """

    progressed = Signal(int, int, str)
    """How many images are done, of how many, and which is being written."""
    finished = Signal(object)  # ExportDone
    failed = Signal(str, str)
    """What is wrong and what to do, and the details."""
    stopped = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._pool = ThreadPoolExecutor(1, "napari-eomt-export")
        self._future: Future[ExportDone] | None = None
        self._stop = Event()
        self._lock = Lock()
        self._progress: tuple[int, int, str] | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._on_poll)

    @property
    def is_running(self) -> bool:
        """Whether something is being written."""
        return self._future is not None

    def start(self, work: Callable[[Callable[[int, int, str], None]], ExportDone]) -> None:
        """Begin; `work` is given what to tell of its progress, which stops it."""
        self._stop.clear()
        self._future = self._pool.submit(work, self._tell)
        self._timer.start()

    def stop(self) -> None:
        """End it before the next image; what was there before stays as it was."""
        self._stop.set()

    def close(self) -> None:
        """Stop, and wait until the disk is as it was."""
        self._timer.stop()
        self.stop()
        self._pool.shutdown(wait=True)
        self._future = None

    def _tell(self, n: int, total: int, text: str) -> None:
        """Told in the thread."""
        from napari_eomt.viewer.dataset_export import Stopped

        if self._stop.is_set():
            raise Stopped
        with self._lock:
            self._progress = n, total, text

    def _on_poll(self) -> None:
        with self._lock:
            progress, self._progress = self._progress, None
        if progress is not None:
            self.progressed.emit(*progress)
        future = self._future
        if future is None or not future.done():
            return
        self._timer.stop()
        self._future = None
        error = future.exception()
        if error is None:
            self.finished.emit(future.result())
        elif isinstance(error, EomtError):
            self.failed.emit(str(error), "")
        elif self._stop.is_set():
            self.stopped.emit()
        else:
            details = "".join(traceback.format_exception(error))
            self.failed.emit(
                f"The export failed ({error}). Copy the details into a report; what was there "
                "before is as it was.",
                details,
            )
