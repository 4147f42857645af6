"""One session, one process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_eomt.errors import DataError, OutputError
from napari_eomt.folder_lock import FolderLock

if TYPE_CHECKING:
    from napari_eomt.folder_lock import Owner

LOCK = "lock"


class SessionLock(FolderLock):
    """The right to write in a session's folder, which is made if it is not there."""

    lock_name, owner_name, makes_folder = LOCK, "owner.json", True

    def _taken(self, owner: Owner | None) -> DataError:
        return DataError(
            f"{self.folder.name}: the work on this image is open in {owner or 'another window'}. "
            "Close it there, or open another image here."
        )

    def _unusable(self, reason: str) -> OutputError:
        return OutputError(
            f"{self.folder}: the folder of the saved work cannot be used ({reason}). Name another "
            "in NAPARI_EOMT_SESSIONS_DIR."
        )
