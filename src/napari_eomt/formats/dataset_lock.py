"""One writer for a dataset: whoever comes second is told who is writing."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from pydantic import ValidationError

from napari_eomt.annotation.session_lock import Owner
from napari_eomt.errors import DataError, OutputError

if TYPE_CHECKING:
    from pathlib import Path

LOCK, OWNER = ".writing.lock", ".writing.json"


class DatasetLock:
    """The right to write in a dataset's folder.

    The system itself takes it back from a process that dies: a lock file that is left over locks
    nothing.

    Parameters
    ----------
    folder : Path
        Of the dataset; it has to be there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Taken in one thread, given back in another if need be.
        self._lock = FileLock(folder / LOCK, thread_local=False)

    @property
    def is_held(self) -> bool:
        """Whether this one has it."""
        return self._lock.is_locked

    def acquire(self, timeout: float = 0) -> None:
        """Take the lock.

        Parameters
        ----------
        timeout : float
            How long to wait for it, in seconds.

        Raises
        ------
        DataError
            If another window or process is writing.
        OutputError
            If the folder cannot be written.
        """
        if self.is_held:
            return
        try:
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
                f"{self.folder}: the dataset is being written by {self._who()}. Wait until that "
                "has ended, or choose another folder."
            ) from error
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OutputError(
                f"{self.folder}: the dataset cannot be written ({reason}). Choose a folder that "
                "you may write in."
            ) from error

    def release(self) -> None:
        """Give the lock back."""
        if self._lock.is_locked:
            with suppress(OSError):
                (self.folder / OWNER).unlink()
            self._lock.release()

    def _who(self) -> str:
        try:
            owner = Owner.model_validate_json((self.folder / OWNER).read_bytes())
            since = datetime.fromisoformat(owner.since).astimezone().strftime("%Y-%m-%d %H:%M")
        except (OSError, ValidationError, ValueError):
            return "another program"
        if owner.pid == os.getpid() and owner.host == socket.gethostname():
            return f"this program already (since {since})"
        return f"process {owner.pid} on {owner.host} (since {since})"
