"""One run, one process: whether it is running, and who runs it. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_eomt.errors import DataError, OutputError
from napari_eomt.folder_lock import FolderLock, Owner, is_locked

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 3.0  # s: whoever asks whether a run is running has the lock for a moment


class RunLock(FolderLock):
    """The right to write in a run's folder, which has to be there.

    A run that was killed is not taken for one that is running.
    """

    lock_name, owner_name = ".running.lock", ".running.json"

    def acquire(self, timeout: float = PATIENCE) -> None:
        """Take the lock; see `FolderLock.acquire`."""
        super().acquire(timeout)

    def _taken(self, owner: Owner | None) -> DataError:
        who = f"process {owner.pid} on {owner.host}" if owner else "another process"
        return DataError(
            f"{self.folder}: this run is running already, in {who}. Wait until it has ended, or "
            "stop it."
        )

    def _unusable(self, reason: str) -> OutputError:
        return OutputError(
            f"{self.folder}: the run cannot be written ({reason}). Choose a folder that you may "
            "write in."
        )


def is_running(folder: Path) -> bool:
    """Whether a process has the lock of a run now."""
    return is_locked(folder / RunLock.lock_name)
