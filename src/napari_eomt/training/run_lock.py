"""One run, one process: whether it is running, and who runs it. No torch."""

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

LOCK, OWNER = ".running.lock", ".running.json"

_PATIENCE = 3.0  # s: whoever asks whether a run is running has the lock for a moment


class RunLock:
    """The right to write in a run's folder.

    The system itself takes it back from a process that dies, so that a run that was killed is not
    taken for one that is running.

    Parameters
    ----------
    folder : Path
        Of the run; it has to be there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Taken in one thread, given back in another if need be.
        self._lock = FileLock(folder / LOCK, thread_local=False)

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        DataError
            If the run is running.
        OutputError
            If the folder cannot be written.
        """
        try:
            self._lock.acquire(timeout=_PATIENCE)
            owner = Owner(
                pid=os.getpid(),
                host=socket.gethostname(),
                since=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            )
            # Of use to people alone: the lock does not need it.
            with suppress(OSError):
                (self.folder / OWNER).write_text(owner.model_dump_json(), encoding="utf-8")
        except Timeout as error:
            owner_now = owner_of(self.folder)
            who = f"process {owner_now.pid} on {owner_now.host}" if owner_now else "another process"
            raise DataError(
                f"{self.folder}: this run is running already, in {who}. Wait until it has ended, "
                "or stop it."
            ) from error
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OutputError(
                f"{self.folder}: the run cannot be written ({reason}). Choose a folder that you "
                "may write in."
            ) from error

    def release(self) -> None:
        """Give the lock back."""
        if self._lock.is_locked:
            with suppress(OSError):
                (self.folder / OWNER).unlink()
            self._lock.release()


def is_running(folder: Path) -> bool:
    """Whether a process has the lock of a run now."""
    path = folder / LOCK
    if not path.exists():
        return False
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False  # a folder that cannot be written: nobody writes in it
    lock.release()
    return False


def owner_of(folder: Path) -> Owner | None:
    """Return who runs, or ran, a run; None if nobody says."""
    try:
        return Owner.model_validate_json((folder / OWNER).read_bytes())
    except (OSError, ValidationError):
        return None
