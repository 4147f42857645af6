"""Waiting for the network: with progress, an end when it is wished for, and second tries."""

from __future__ import annotations

import time
from collections import deque
from contextlib import closing
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from napari_eomt.models.hub_errors import DownloadError, is_http, is_passing

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

T = TypeVar("T")

What: TypeAlias = Literal["downloading", "waiting", "checking", "converting"]

ATTEMPTS = 5
"""Times that the hub is asked while no byte comes; with any byte the count begins anew."""

POLL = 0.1
"""Seconds between two looks at whether the download was cancelled."""

_SHOW_EVERY = 0.1  # s; a callback for each of the network's 64 KB would be 16,000 a gigabyte
_SPEED_OVER = 5.0  # s


@dataclass(frozen=True)
class Progress:
    """How far a model has come.

    Parameters
    ----------
    done, total : int
        Bytes of all files of the repository, whether they were here before or not.
    file : str
        The one at work.
    what : {"downloading", "waiting", "checking", "converting"}
        Waiting is for a busy server, or for another program that fetches the same file.
    bytes_per_second : float
        Of the last seconds; 0 while nothing comes.
    """

    done: int
    total: int
    file: str
    what: What
    bytes_per_second: float = 0.0


def size_text(n_bytes: float) -> str:
    """Write a number of bytes as people read it: "317.4 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000 or unit == "GB":
            break
        n_bytes /= 1000
    return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"


class Watch:
    """Reports how far a fetch has come, and ends it when it is cancelled."""

    def __init__(
        self,
        on_progress: Callable[[Progress], None] | None = None,
        is_cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self.done = self.total = 0
        self._on_progress, self._is_cancelled = on_progress, is_cancelled
        self._shown = 0.0
        self._state: tuple[str, What] | None = None
        self._received = 0
        self._samples: deque[tuple[float, int]] = deque()

    def check(self) -> None:
        """Raise a `DownloadError` if the fetch was cancelled."""
        if self._is_cancelled is not None and self._is_cancelled():
            raise DownloadError(
                "The download was cancelled. What was fetched is kept: the next one goes on from "
                "there.",
                "cancelled",
            )

    def receive(self, n_bytes: int, file: str) -> None:
        """Count bytes that came over the network."""
        self.done += n_bytes
        self._received += n_bytes
        self.show(file, "downloading")

    def show(self, file: str, what: What) -> None:
        """Report, unless the same thing was reported just now."""
        now = time.monotonic()
        is_news = (file, what) != self._state or self.done == self.total
        if self._on_progress is None or not (is_news or now - self._shown >= _SHOW_EVERY):
            return
        self._shown, self._state = now, (file, what)
        self._samples.append((now, self._received))
        while now - self._samples[0][0] > _SPEED_OVER:
            self._samples.popleft()
        since, received = self._samples[0]
        speed = (self._received - received) / (now - since) if now > since else 0.0
        self._on_progress(
            Progress(self.done, self.total, file, what, speed if what == "downloading" else 0.0)
        )

    def wait(self, seconds: float) -> None:
        """Wait, unless the fetch is cancelled meanwhile."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.check()
            time.sleep(min(POLL, left))


def watched(
    items: Callable[[], Generator[T, None, None]], watch: Watch
) -> Generator[T, None, None]:
    """Yield what a generator yields that runs in a thread of its own.

    So that waiting for the network ends when the user wants it to: a blocking read cannot be
    interrupted, but it can be left alone. The thread ends with the read, after the read's
    timeout at the latest, and holds neither file nor lock.
    """
    box: Queue[tuple[bool, T | Exception | None]] = Queue(maxsize=64)
    is_left = Event()

    def put(is_last: bool, item: T | Exception | None) -> bool:
        while not is_left.is_set():
            try:
                box.put((is_last, item), timeout=POLL)
                return True
            except Full:
                continue
        return False

    def run() -> None:
        try:
            with closing(items()) as generator:
                for item in generator:
                    if not put(False, item):
                        return
            put(True, None)
        except Exception as error:  # noqa: BLE001, of whatever kind: it is raised where we wait
            put(True, error)

    Thread(target=run, name="hub", daemon=True).start()
    try:
        while True:
            watch.check()
            try:
                is_last, item = box.get(timeout=POLL)
            except Empty:
                continue
            if isinstance(item, Exception):
                raise item
            if is_last:
                return
            yield item  # type: ignore[misc]  # only the last may be None
    finally:
        is_left.set()


def ask(question: Callable[[], T], watch: Watch, attempts: int = ATTEMPTS) -> T:
    """Call what talks to the hub; again, after a while, if the fault may pass."""

    def once() -> Generator[T, None, None]:
        yield question()

    failures = 0
    while True:
        try:
            return next(watched(once, watch))
        except Exception as error:
            failures += 1
            if not is_http(error) or failures >= attempts or not is_passing(error):
                raise
            watch.show("", "waiting")
            watch.wait(pause_after(error, failures))


def pause_after(error: Exception, failures: int) -> float:
    """Return how many seconds to wait: as the server asks, else twice as long each time."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        asked = error.response.headers.get("Retry-After", "")
        if asked.isdigit():
            return min(float(asked), 60.0)
    return min(2.0 ** (failures - 1), 8.0)
