"""Work on models that takes time: downloads, conversions, deletions, each in a thread."""

from __future__ import annotations

import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Event
from typing import TYPE_CHECKING, Literal, TypeAlias

from qtpy.QtCore import QObject, QTimer, Signal

from napari_eomt.errors import EomtError
from napari_eomt.models.hub_errors import DownloadError
from napari_eomt.models.hub_watch import size_text
from napari_eomt.widgets.child_program import CancelledError

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_eomt.models.hub_watch import Progress

AT_ONCE = 2
"""Works under way at a time; the line to the hub is seldom faster with more."""

POLL_MS = 100

What: TypeAlias = Literal[
    "queued", "starting", "downloading", "waiting", "checking", "converting", "deleting", "stopping"
]


@dataclass(frozen=True)
class JobState:
    """How far the work on a model has come; `done` and `total` in bytes."""

    what: What = "queued"
    done: int = 0
    total: int = 0
    bytes_per_second: float = 0.0

    @property
    def percent(self) -> int | None:
        """How far it is; None if that is not known."""
        if self.what not in ("downloading", "checking") or not self.total:
            return None
        return int(100 * self.done / self.total)

    @property
    def text(self) -> str:
        """What a row of a table says: "downloading 43 %"."""
        return self.what if self.percent is None else f"{self.what} {self.percent} %"

    @property
    def details(self) -> str:
        """What there is to say: "Downloading 312 of 1270 MB · 12.0 MB/s · 80 s left"."""
        if self.percent is None:
            return f"{self.what.capitalize()}…"
        parts = [f"{self.what.capitalize()} {size_of(self.done, self.total)}"]
        if self.bytes_per_second:
            seconds = (self.total - self.done) / self.bytes_per_second
            left = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
            parts += [f"{size_text(self.bytes_per_second)}/s", f"{left} left"]
        return " · ".join(parts)


def size_of(done: int, total: int) -> str:
    """Say how much of something is done, in MB: "312 of 1270 MB"."""
    digits = 0 if total >= 10_000_000 else 1
    return f"{done / 1e6:.{digits}f} of {total / 1e6:.{digits}f} MB"


@dataclass(frozen=True)
class JobFailure:
    """Why the work on a model failed.

    `needs_token` is for models whose makers give access on request.
    """

    name: str
    message: str
    details: str
    needs_token: bool = False


Report: TypeAlias = "Callable[[Progress], None]"
IsCancelled: TypeAlias = "Callable[[], bool]"
Work: TypeAlias = "Callable[[Report, IsCancelled], None]"


@dataclass
class _Job:
    work: Work
    state: JobState = JobState()
    cancel: Event = field(default_factory=Event)


class ModelJobs(QObject):
    """Runs work on models, at most one on each and `AT_ONCE` at a time.

    The threads know nothing of Qt: what they say is fetched by a timer, which runs only while
    there is work. So nothing of the window is touched when it closes meanwhile.
    """

    changed = Signal(str)  # name of the model whose work has come further, or begun
    ended = Signal(str)  # well, cancelled or failed
    succeeded = Signal(str)
    failed = Signal(object)  # JobFailure

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._jobs: dict[str, _Job] = {}
        self._news: SimpleQueue[tuple[str, JobState | BaseException | None]] = SimpleQueue()
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="napari-eomt models")
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._on_timer)

    @property
    def states(self) -> dict[str, JobState]:
        """How far each work is that is not at its end, by the model's name."""
        return {name: job.state for name, job in self._jobs.items()}

    def start(self, name: str, work: Work, what: What = "starting") -> None:
        """Begin the work on a model, or queue it; nothing happens if there is some already."""
        if name in self._jobs:
            return
        job = self._jobs[name] = _Job(work)
        n_at_work = sum(other.state.what != "queued" for other in self._jobs.values())
        if n_at_work < AT_ONCE:
            job.state = JobState(what)
        self._threads.submit(self._run, name, job, what)
        self._timer.start()
        self.changed.emit(name)

    def cancel(self, name: str) -> None:
        """Stop the work on a model as soon as it can be; downloads keep what they have."""
        job = self._jobs.get(name)
        if job is not None:
            job.cancel.set()
            job.state = JobState("stopping")
            self.changed.emit(name)

    def close(self) -> None:
        """Stop all work, and begin no more. Neither waits nor touches Qt."""
        for job in self._jobs.values():
            job.cancel.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self, name: str, job: _Job, what: What) -> None:
        """Do the work, in a thread."""
        end: BaseException | None = None

        def report(now: Progress) -> None:
            state = JobState(now.what, now.done, now.total, now.bytes_per_second)
            self._news.put((name, state))

        try:
            if job.cancel.is_set():
                raise CancelledError("It was cancelled before it began.")
            self._news.put((name, JobState(what)))
            job.work(report, job.cancel.is_set)
        except BaseException as error:  # noqa: BLE001  # reported as the end of the work
            end = error
        self._news.put((name, end))

    def _on_timer(self) -> None:
        ends: dict[str, BaseException | None] = {}
        changed: set[str] = set()
        while not self._news.empty():
            name, news = self._news.get()
            if not isinstance(news, JobState):
                ends[name] = news
            elif not self._jobs[name].cancel.is_set():
                self._jobs[name].state = news
                changed.add(name)
        for name in changed - set(ends):
            self.changed.emit(name)
        for name, error in ends.items():
            self._end(name, error)
        if not self._jobs:
            self._timer.stop()

    def _end(self, name: str, error: BaseException | None) -> None:
        job = self._jobs.pop(name)
        self.ended.emit(name)
        if error is None:
            self.succeeded.emit(name)
        elif not (job.cancel.is_set() and _is_cancelled(error)):
            self.failed.emit(_failure(name, error))


def _is_cancelled(error: BaseException) -> bool:
    return isinstance(error, CancelledError) or (
        isinstance(error, DownloadError) and error.kind == "cancelled"
    )


def _failure(name: str, error: BaseException) -> JobFailure:
    message = str(error)
    if not isinstance(error, EomtError):
        message = f"{name}: {type(error).__name__}: {error}. Copy the details for a report."
    details = "".join(traceback.format_exception(error))
    needs_token = isinstance(error, DownloadError) and error.kind in ("gated", "token")
    return JobFailure(name, message, details, needs_token)
