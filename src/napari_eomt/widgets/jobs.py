"""Jobs of the worker process, and the bar that shows them."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_eomt.widgets.job_errors import JobErrors
from napari_eomt.worker.messages import (
    Cancelled,
    CandidatesFound,
    Event,
    Failed,
    Finished,
    FrameDone,
    JobProgress,
    MaskFound,
    NoneKept,
    SplitFound,
    StateChanged,
)

if TYPE_CHECKING:
    from napari_eomt.worker.client import WorkerClient

DEAL_MS = 8
"""Time for dealing with events before the window gets a turn; results of many small frames come
fast."""

REST_MS = 1


class _Bell(QObject):
    """Rung in the worker's threads, heard in the window's."""

    rung = Signal()

    def ring(self) -> None:
        """Have the window look."""
        # When the program ends, Qt may take its side of this away before the worker's threads end.
        with suppress(RuntimeError):
            self.rung.emit()


class Jobs(QObject):
    """Brings the worker's events into the window's event loop, as signals.

    Parameters
    ----------
    client : WorkerClient
    parent : QObject, optional
    """

    state_changed = Signal(object)  # StateChanged
    progressed = Signal(object)  # JobProgress
    frame_done = Signal(object)  # FrameDone
    finished = Signal(object)  # Finished
    cancelled = Signal(object)  # Cancelled
    failed = Signal(object)  # Failed
    candidates_found = Signal(object)  # CandidatesFound
    mask_found = Signal(object)  # MaskFound
    split_found = Signal(object)  # SplitFound
    none_kept = Signal(object)  # NoneKept

    def __init__(self, client: WorkerClient, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.client = client
        self._waiting: deque[Event] = deque()
        self._is_stopped = False
        self._signals = {
            StateChanged: self.state_changed,
            JobProgress: self.progressed,
            FrameDone: self.frame_done,
            Finished: self.finished,
            Cancelled: self.cancelled,
            Failed: self.failed,
            CandidatesFound: self.candidates_found,
            MaskFound: self.mask_found,
            SplitFound: self.split_found,
            NoneKept: self.none_kept,
        }
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._deal)
        # Not a child: Qt must not delete it while a thread of the worker's rings it. They hold it,
        # and it does not hold this object.
        bell = _Bell()
        # Queued, always: a question that the window asks may ring from within.
        bell.rung.connect(  # type: ignore[call-arg]
            self._on_rung, Qt.ConnectionType.QueuedConnection
        )
        self._ring = bell.ring
        client.watch(self._ring)

    def stop_polling(self) -> None:
        """Fetch no more events."""
        self.client.unwatch(self._ring)
        self._rest.stop()
        self._is_stopped = True

    def _on_rung(self) -> None:
        # Results that are not fetched hold the worker back.
        if not self._rest.isActive():
            self._deal()

    def _deal(self) -> None:
        end = monotonic() + DEAL_MS / 1000
        while not self._is_stopped:
            if not self._waiting:
                self._waiting.extend(self.client.poll())
            if not self._waiting:
                return
            # A slot may run an event loop of its own, which comes here again.
            event = self._waiting.popleft()
            self._signals[type(event)].emit(event)
            if monotonic() > end:
                self._rest.start()
                return


class JobBar(QWidget):
    """Always there: what is going on, how far it is, and a stop that works.

    A message stays until the next one, or the next job. Errors have a place of their own above it:
    they stay until they are dismissed, or what they are about begins anew.
    """

    stop_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(10)
        self.stop = QPushButton("Stop")
        self.stop.setToolTip("Stop the running job. What is finished stays.")
        self.action = QPushButton()
        self.errors = JobErrors()
        self._action: object = None
        self._started = 0.0

        running = QHBoxLayout()
        running.addWidget(self.progress, 1)
        running.addWidget(self.stop)
        buttons = QHBoxLayout()
        buttons.addWidget(self.action)
        buttons.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.errors)
        layout.addWidget(self.text)
        layout.addLayout(running)
        layout.addLayout(buttons)
        self.stop.clicked.connect(self.stop_requested)
        self.action.clicked.connect(self._on_action)
        self.clear()

    @property
    def has_error(self) -> bool:
        """Whether it shows an error that has not been dismissed."""
        return not self.errors.isHidden()

    @property
    def is_running(self) -> bool:
        """Whether it shows a job that is going on."""
        return not self.stop.isHidden()

    def clear(self) -> None:
        """Show nothing."""
        self.errors.clear()
        self._show("")

    def show_running(self, text: str, done: float = 0, total: float = 0) -> None:
        """Show what is going on; without a total, that it is not known how far.

        With the job's start the errors of before it are over, but for those that are about
        something named, such as a training.
        """
        if not self.is_running:
            self._started = monotonic()
            self.errors.forget("")
        self._show(text + self._time_left(done, total))
        self.progress.setVisible(True)
        self.stop.setVisible(True)
        self.stop.setEnabled(True)
        self.progress.setRange(0, round(total * 100))
        self.progress.setValue(round(done * 100))

    def show_stopping(self) -> None:
        """Show that a stop is under way."""
        self.text.setText("Stopping…")
        self.stop.setEnabled(False)

    def show_message(self, text: str, action: str = "", on_action: object = None) -> None:
        """Show what happened, and offer the next step as a button."""
        self._show(text)
        self.action.setText(action)
        self.action.setVisible(bool(action))
        self._action = on_action

    def show_error(self, message: str, details: str = "", about: str = "") -> None:
        """Show what went wrong, beside what is going on and what is said.

        It stays until it is dismissed, or until the next job of this bar. What is about something
        named stays until `forget_error` is called with that name.
        """
        self.errors.add(message, details, about)

    def forget_error(self, about: str) -> None:
        """Drop the error that is about this: it is tried again, or is over."""
        self.errors.forget(about)

    def _show(self, text: str) -> None:
        self.text.setText(text)
        self.text.setVisible(bool(text))
        for widget in (self.progress, self.stop, self.action):
            widget.setVisible(False)

    def _time_left(self, done: float, total: float) -> str:
        passed = monotonic() - self._started
        # Before that the estimate jumps about.
        if not total or done < 0.1 * total or passed < 2:
            return ""
        left = passed / done * (total - done)
        return f" · {left:.0f} s left" if left < 90 else f" · {left / 60:.0f} min left"

    def _on_action(self) -> None:
        if callable(self._action):
            self._action()
