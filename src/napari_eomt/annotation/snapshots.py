"""Writing a session's snapshots in a thread, while its journal goes on."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from napari_eomt.annotation.content import Content
from napari_eomt.annotation.generations import replay, write_snapshot
from napari_eomt.errors import DataError, EomtError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_eomt.annotation.image_ref import ImageRef

_log = logging.getLogger(__name__)


class _Cancelled(Exception):
    """The snapshot is not wanted any more."""


def reason(error: Exception) -> str:
    """Return in a few words why something could not be written."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class Snapshots:
    """Writes one snapshot at a time.

    Parameters
    ----------
    folder : Path
    image : ImageRef
    started : str
        See `generations.Note`.
    retry : float
        Seconds after which a first snapshot is tried again.
    on_end : callable
        Called in the thread, when one is written or `problem` is new, with whether what lies on
        the disk cannot be used, so that only a snapshot of the document itself helps.
    """

    def __init__(
        self,
        folder: Path,
        image: ImageRef,
        started: str,
        retry: float,
        on_end: Callable[[bool], None],
    ) -> None:
        self._folder, self._image, self._started = folder, image, started
        self._retry, self._on_end = retry, on_end
        self.thread: threading.Thread | None = None
        self._stop = threading.Event()
        self.problem = ""
        self.is_based = False
        """Whether the disk has what the journals begin with."""

    @property
    def is_idle(self) -> bool:
        """Whether a further snapshot can be made."""
        return self.is_based and (self.thread is None or not self.thread.is_alive())

    def begin(self, generation: int, content: Content, n_unsaved: int) -> None:
        """Write the snapshot that a generation begins with, however often it takes."""
        self.cancel()
        self.is_based = False
        self._start(lambda: self._write_first(generation, content, n_unsaved))

    def compact(self, generation: int) -> None:
        """Write the snapshot of a generation from the generations before it."""
        self._start(lambda: self._write_next(generation))

    def cancel(self) -> None:
        """End what is being written; the old snapshot stays."""
        self._stop.set()
        if self.thread is not None:
            self.thread.join()

    def _start(self, job: Callable[[], None]) -> None:
        self._stop = threading.Event()
        self.thread = threading.Thread(target=job, name="eomt-snapshot", daemon=True)
        self.thread.start()

    def _write_first(self, generation: int, content: Content, n_unsaved: int) -> None:
        while not self._stop.is_set():
            try:
                self._write(generation, content, n_unsaved)
            except _Cancelled:
                return
            except Exception as error:  # noqa: BLE001 - without it there is nothing to go back to
                if not isinstance(error, OSError):
                    _log.exception("The first snapshot could not be written.")
                self.problem = reason(error)
                self._on_end(False)
                self._stop.wait(self._retry)
            else:
                self.problem, self.is_based = "", True
                self._on_end(False)
                return

    def _write_next(self, generation: int) -> None:
        try:
            document, state = replay(self._folder, generation)
            if state.n_unread or state.generation != generation - 1:
                raise DataError("The journal is damaged on the disk")
            self._write(generation, Content.of(document, copy=False), state.n_unsaved)
        except _Cancelled:
            return
        except EomtError as error:
            self.problem = str(error)
            self._on_end(True)
        except Exception:  # noqa: BLE001 - the journals hold it all; tried again with the next
            _log.warning("A snapshot of %s could not be written.", self._folder, exc_info=True)
        else:
            self._on_end(False)

    def _write(self, generation: int, content: Content, n_unsaved: int) -> None:
        def check(_: int) -> None:
            if self._stop.is_set():
                raise _Cancelled

        write_snapshot(
            self._folder, generation, content, n_unsaved, self._image, self._started, check
        )
