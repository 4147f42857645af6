"""One folder, one process that writes in it: whoever comes second is told who has it."""

from __future__ import annotations

import os
import socket
from abc import ABC, abstractmethod
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, ClassVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from napari_eomt.errors import DataError, OutputError


class Owner(BaseModel):
    """Who has a folder: process, computer, and since when, in UTC as ISO 8601 has it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    pid: int = Field(ge=0)
    host: str
    since: str

    @classmethod
    def now(cls) -> Owner:
        """Return this process."""
        since = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return cls(pid=os.getpid(), host=socket.gethostname(), since=since)

    def __str__(self) -> str:
        """Say who it is, as in "open in process 12 on host (since 2025-01-31 12:00)"."""
        since = _local(self.since)
        if self.pid == os.getpid() and self.host == socket.gethostname():
            return f"this program already (since {since})"
        return f"process {self.pid} on {self.host} (since {since})"


class FolderLock(ABC):
    """The right to write in a folder. A context manager.

    The system itself takes it back from a process that dies: a lock file that is left over locks
    nothing.

    Parameters
    ----------
    folder : Path
        It has to be there, unless `makes_folder`.
    """

    lock_name: ClassVar[str]
    """File in the folder that is locked; it stays."""
    owner_name: ClassVar[str]
    """File in the folder that says who has the lock; of use to people alone."""
    makes_folder: ClassVar[bool] = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Taken in one thread, given back in another if need be.
        self._lock = FileLock(folder / self.lock_name, thread_local=False)

    @property
    def is_held(self) -> bool:
        """Whether this one has it."""
        return self._lock.is_locked

    def acquire(self, timeout: float = 0) -> None:
        """Take the lock, unless this one has it.

        Parameters
        ----------
        timeout : float
            How long to wait for it, in seconds.

        Raises
        ------
        DataError
            If another has it.
        OutputError
            If the folder cannot be written.
        """
        if self.is_held:
            return
        try:
            if self.makes_folder:
                self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=timeout)
            with suppress(OSError):
                text = Owner.now().model_dump_json()
                (self.folder / self.owner_name).write_text(text, encoding="utf-8")
        except Timeout as error:
            raise self._taken(read_owner(self.folder / self.owner_name)) from error
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            raise self._unusable(str(reason)) from error

    def release(self) -> None:
        """Give the lock back."""
        if self.is_held:
            with suppress(OSError):
                (self.folder / self.owner_name).unlink()
            self._lock.release()

    def __enter__(self) -> Self:
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

    @abstractmethod
    def _taken(self, owner: Owner | None) -> DataError:
        """Say that another has it, and who, as far as that is known."""

    @abstractmethod
    def _unusable(self, reason: str) -> OutputError:
        """Say that the folder cannot be written, and why."""


def is_locked(path: Path) -> bool:
    """Whether a process has a lock file locked now."""
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


def read_owner(path: Path) -> Owner | None:
    """Read who has, or had, a folder; None if nobody says."""
    try:
        return Owner.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _local(when: str) -> str:
    try:
        return datetime.fromisoformat(when).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return when
