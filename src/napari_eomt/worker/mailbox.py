"""The events that wait to be polled, and a bell for whoever would rather not ask all the time."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from napari_eomt.worker.messages import Event, JobProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Mailbox:
    """Keeps events in order; used by several threads, none of which waits here.

    Whoever watches it is called once when events come, and not again before they are taken: a
    window that is busy finds one call waiting, not hundreds.
    """

    def __init__(self) -> None:
        # Reentrant: the garbage collector may close a forgotten client from within.
        self._lock = threading.RLock()
        self._events: deque[Event] = deque()
        self._ring: Callable[[], object] | None = None
        self._has_rung = False

    def put(self, *events: Event) -> None:
        """Add events."""
        self.put_all(events)

    def put_all(self, events: Iterable[Event]) -> None:
        """Add events."""
        with self._lock:
            self._events.extend(events)
            self._tell()

    def put_progress(self, event: JobProgress) -> None:
        """Add progress in place of the progress before, if nothing came in between.

        Whoever polls late wants to know the latest only.
        """
        with self._lock:
            if self._events and isinstance(self._events[-1], JobProgress):
                self._events.pop()
            self._events.append(event)
            self._tell()

    def take(self) -> list[Event]:
        """Return the events since the last call."""
        with self._lock:
            events = list(self._events)
            self._events.clear()
            self._has_rung = False
        return events

    def watch(self, ring: Callable[[], object]) -> None:
        """Call `ring` when events come, in the thread that they come from; it must not wait.

        It takes the place of one that was given before, and is called now if events wait.
        """
        with self._lock:
            self._ring, self._has_rung = ring, False
            self._tell()

    def unwatch(self, ring: Callable[[], object]) -> None:
        """Call `ring` no more; another one that took its place stays."""
        with self._lock:
            if self._ring == ring:
                self._ring = None

    def _tell(self) -> None:
        if self._events and not self._has_rung and self._ring is not None:
            self._has_rung = True
            self._ring()
