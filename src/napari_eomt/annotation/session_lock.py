"""One session, one process: whoever comes second is told who has it."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from pydantic import ValidationError

from napari_eomt.annotation.rows import Count, Row
from napari_eomt.errors import DataError, OutputError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

LOCK, OWNER = "lock", "owner.json"


class Owner(Row):
    """Who has a session."""

    pid: Count
    host: str
    since: str


class SessionLock:
    """The right to write in a session's folder.

    The system itself takes it back from a process that dies. A context manager.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Taken in one thread, given back in another if need be.
        self._lock = FileLock(folder / LOCK, thread_local=False)

    def acquire(self, timeout: float = 0) -> None:
        """Take the lock.

        Parameters
        ----------
        timeout : float
            How long to wait for it, in seconds.

        Raises
        ------
        DataError
            If another window or process has it.
        OutputError
            If the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=timeout)
            owner = Owner(
                pid=os.getpid(),
                host=socket.gethostname(),
                since=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            )
            # Of use to people alone: the lock does not need it.
            with suppress(OSError):
                (self.folder / OWNER).write_text(owner.model_dump_json(), encoding="utf-8")
        except Timeout as error:
            raise DataError(
                f"{self.folder.name}: the work on this image is open in {self._who()}. Close it "
                "there, or open another image here."
            ) from error
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OutputError(
                f"{self.folder}: the folder of the saved work cannot be used ({reason}). Name "
                "another in NAPARI_EOMT_SESSIONS_DIR."
            ) from error

    def release(self) -> None:
        """Give the lock back."""
        if self._lock.is_locked:
            with suppress(OSError):
                (self.folder / OWNER).unlink()
            self._lock.release()

    def __enter__(self) -> SessionLock:
        """Take the lock."""
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the lock back."""
        self.release()

    def _who(self) -> str:
        try:
            owner = Owner.model_validate_json((self.folder / OWNER).read_bytes())
        except (OSError, ValidationError):
            return "another window"
        if owner.pid == os.getpid() and owner.host == socket.gethostname():
            return f"this program already (since {_local(owner.since)})"
        return f"process {owner.pid} on {owner.host} (since {_local(owner.since)})"


def _local(when: str) -> str:
    try:
        return datetime.fromisoformat(when).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return when
