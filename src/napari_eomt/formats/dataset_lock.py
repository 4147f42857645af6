"""One writer for a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_eomt.errors import DataError, OutputError
from napari_eomt.folder_lock import FolderLock

if TYPE_CHECKING:
    from napari_eomt.folder_lock import Owner


class DatasetLock(FolderLock):
    """The right to write in a dataset's folder, which has to be there."""

    lock_name, owner_name = ".writing.lock", ".writing.json"

    def _taken(self, owner: Owner | None) -> DataError:
        return DataError(
            f"{self.folder}: the dataset is being written by {owner or 'another program'}. Wait "
            "until that has ended, or choose another folder."
        )

    def _unusable(self, reason: str) -> OutputError:
        return OutputError(
            f"{self.folder}: the dataset cannot be written ({reason}). Choose a folder that you "
            "may write in."
        )
