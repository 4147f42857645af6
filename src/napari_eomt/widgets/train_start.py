"""Starts a training: writes what it learns from, then its process, and notices if that ends."""

from __future__ import annotations

import shutil
from threading import Event, Lock
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from napari_eomt.widgets.run_process import TrainingProcess, failure_of
from napari_eomt.widgets.run_watch import Background
from napari_eomt.widgets.run_words import on_the_page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_eomt.viewer.train_dataset import Prepared
    from napari_eomt.widgets.run_tail import RunNews

DATASET = ".dataset"
"""In the run's folder; a hidden one does not make it used."""

_GOES_ON = "Going on from the last state…"
_SHOW_MS = 100
_STOPPED = 130  # how the command ends that was asked to stop


class _StoppedError(Exception):
    """Somebody does not want the training any more."""


class TrainStart(QObject):
    """Starts one training at a time.

    Parameters
    ----------
    parent : QObject, optional
    """

    progressed = Signal(str, int, int)
    """What is done before the first step, how far, of how much; 0 if that is not known."""
    started = Signal(object)  # Path of the run's folder
    failed = Signal(str, str)
    stopped = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._background = Background(self)
        self._process: TrainingProcess | None = None
        self._folder: Path | None = None
        self._is_new = self._is_seen = self._is_over = False
        self._is_preparing = False
        self._stop = Event()
        self._lock = Lock()
        self._told: tuple[int, int, str] | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(_SHOW_MS)
        self._timer.timeout.connect(self._on_timer)

    @property
    def is_busy(self) -> bool:
        """Whether something is being made ready, or our process runs."""
        return self._is_preparing or (self._process is not None and self._process.code is None)

    @property
    def is_new(self) -> bool:
        """Whether the last one that was asked for is a new run, and none that goes on."""
        return self._is_new

    @property
    def is_learning(self) -> bool:
        """Whether our process was seen at its run, which is not over."""
        return self.is_busy and self._is_seen and not self._is_over

    @property
    def is_ending(self) -> bool:
        """Whether our process is still there though its run is over."""
        return self.is_busy and self._is_over

    def begin(
        self,
        folder: Path,
        write: Callable[[Path, Callable[[int, int, str], None]], Prepared],
        options: Sequence[str],
    ) -> None:
        """Write what is learnt from in a thread, then start the process.

        Parameters
        ----------
        folder : Path
            Of the run; it must not be there.
        write : callable
            Given a folder for a dataset and what to tell of its progress.
        options : sequence of str
            Of the command, beside the dataset.
        """
        self._stop.clear()
        self._folder = folder
        self._is_preparing, self._is_new, self._is_over = True, True, False
        self._timer.start()
        self.progressed.emit("Preparing the images…", 0, 0)

        def work() -> TrainingProcess:
            try:
                prepared = write(folder / DATASET, self._tell)
                self._tell(0, 0, "")
                arguments = [*prepared.arguments(), "--out", str(folder), "--quiet", *options]
                return TrainingProcess(folder, arguments)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise

        self._background.do(work, self._on_started, self._on_refused)

    def resume(self, folder: Path) -> None:
        """Start a process that goes on with a run."""
        self._stop.clear()
        self._folder = folder
        self._is_preparing, self._is_new, self._is_over = True, False, False
        self.progressed.emit(_GOES_ON, 0, 0)
        arguments = ["--out", str(folder), "--resume", "--quiet"]
        self._background.do(
            lambda: TrainingProcess(folder, arguments), self._on_started, self._on_refused
        )

    def stop(self) -> None:
        """Give up what is not learning yet."""
        self._stop.set()
        if self._process is not None:
            self._process.terminate()
        self.progressed.emit("Stopping…", 0, 0)

    def close(self) -> None:
        """Give up what is not a process yet; one that runs goes on."""
        self._timer.stop()
        self._stop.set()
        self._background.close()

    def judge(self, news: RunNews) -> str | None:
        """Say what a process does before its first word; None if the run can speak for itself.

        An empty text: it has ended, and that was told.
        """
        process = self._process
        if self._is_preparing and news.folder == self._folder:
            return _GOES_ON  # a look from before somebody wanted that
        if process is None or process.folder != news.folder:
            return None
        code = process.code
        if code is None:
            self._is_over = self._is_seen and not news.is_running
            self._is_seen = self._is_seen or news.is_running
            # A run that goes on has rows of before.
            is_silent = not self._is_seen and not (self._is_new and news.rows)
            return "Starting: loading the model and looking at the images…" if is_silent else None
        if news.run is not None:
            return None
        self._process = None
        if self._stop.is_set():
            self._forget(news.folder)
            self.stopped.emit()
            return ""
        message, details = failure_of(news.folder, code)
        self._forget(news.folder)
        self.failed.emit(message, details)
        return ""

    def problem_of(self, news: RunNews) -> tuple[str, str]:
        """Say why a run did not end well, with what to do, and the details; empty if it did."""
        process = self._process
        is_ours = process is not None and process.folder == news.folder
        code = process.code if is_ours and process is not None else None
        if is_ours and self._stop.is_set():
            return "", ""  # ended because somebody wanted that, before its first step
        # Whoever cannot go on leaves the run as it was.
        is_refused = code not in (None, 0, _STOPPED) and not news.is_running
        if news.status not in ("failed", "interrupted") and not is_refused:
            return "", ""
        message, details = failure_of(news.folder, code)
        if news.status == "failed" and news.problem and "error: " not in details:
            message = on_the_page(news.problem)
        return message, details

    def _forget(self, folder: Path) -> None:
        """Remove what a process has left that ended before its run began."""
        if self._is_new:
            self._background.do(lambda: shutil.rmtree(folder, ignore_errors=True), lambda _: None)

    def _tell(self, done: int, total: int, text: str) -> None:
        """Told in the thread."""
        if self._stop.is_set():
            raise _StoppedError
        with self._lock:
            self._told = done, total, text

    def _on_timer(self) -> None:
        with self._lock:
            told, self._told = self._told, None
        if told is not None and told[2]:
            done, total, text = told
            # After the last image it is something else that is being done.
            image = f"Preparing image {done + 1:,} of {total:,}: "
            self.progressed.emit((image if done < total else "Preparing: ") + text, done, total)

    def _on_started(self, process: TrainingProcess) -> None:
        self._timer.stop()
        self._is_preparing = False
        self._process, self._is_seen, self._is_over = process, False, False
        if self._stop.is_set():
            process.terminate()
        self.started.emit(process.folder)

    def _on_refused(self, message: str, details: str) -> None:
        self._timer.stop()
        self._is_preparing = False
        if self._stop.is_set():
            self.stopped.emit()
        else:
            self.failed.emit(message, details)
