"""Writing a journal so that a full disk, or one that is gone for a while, loses nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from napari_eomt.annotation.journal import VERSION, Head, encode
from napari_eomt.folder_swap import sync_folder

if TYPE_CHECKING:
    from pathlib import Path

    from napari_eomt.annotation.edits import Edit
    from napari_eomt.annotation.journal import Saved


class JournalLostError(OSError):
    """The file, or what was written of it, is not there any more: edits need a new snapshot."""


class JournalFile:
    """A journal that is being written; of one thread alone.

    Records stay in memory until the disk has them for certain. After an error everything since
    then is written again, at the next call: what a failed write or flush has left is not known.

    Parameters
    ----------
    path : Path
        Replaced, if there is one.
    generation, follows : int
        See `Head`.
    """

    def __init__(self, path: Path, generation: int, follows: int | None) -> None:
        self.path, self.generation = path, generation
        self._handle: int | None = None
        self._tail = [encode(Head(version=VERSION, generation=generation, follows=follows))]
        self._n_written = 0  # records of the tail
        self._n_safe = 0  # bytes before the tail
        self.n_records = 0

    @property
    def size(self) -> int:
        """In bytes, once all is written."""
        return self._n_safe + sum(map(len, self._tail))

    @property
    def is_synced(self) -> bool:
        """Whether the disk has every record."""
        return not self._tail

    def append(self, record: Edit | Saved) -> None:
        """Take up a record; the disk has it after `sync`."""
        self._tail.append(encode(record))
        self.n_records += 1

    def write(self) -> None:
        """Hand all records to the system, which keeps them if this process is killed.

        Raises
        ------
        OSError
            If it cannot; call again later.
        """
        try:
            handle = self._open() if self._handle is None else self._handle
            while self._n_written < len(self._tail):
                rest = memoryview(self._tail[self._n_written])
                while rest:
                    rest = rest[os.write(handle, rest) :]
                self._n_written += 1
        except OSError:
            self._drop()
            raise

    def sync(self) -> None:
        """Write all records to the disk itself, which keeps them through a power cut.

        Raises
        ------
        OSError
            If it cannot; call again later.
        """
        self.write()
        if self._handle is None or not self._tail:
            return
        try:
            os.fsync(self._handle)
            self._check_there(self._handle)
        except OSError:
            self._drop()
            raise
        self._n_safe += sum(map(len, self._tail))
        self._tail.clear()
        self._n_written = 0

    def close(self) -> None:
        """Let go of the file; records that are not written yet are kept for a next `write`."""
        self._drop()

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0)
        if self._n_safe:
            flags &= ~os.O_CREAT
        try:
            handle = os.open(self.path, flags, 0o666)
        except FileNotFoundError as error:
            raise JournalLostError(error.errno, "The journal is gone") from error
        self._handle = handle
        if os.fstat(handle).st_size < self._n_safe:
            raise JournalLostError(0, "The journal has lost its end")
        os.ftruncate(handle, self._n_safe)
        os.lseek(handle, self._n_safe, os.SEEK_SET)
        if not self._n_safe:
            sync_folder(self.path.parent)
        return handle

    def _check_there(self, handle: int) -> None:
        """See whether the file still has its name: of a removed one nobody ever reads."""
        try:
            is_there = os.path.samestat(os.stat(self.path), os.fstat(handle))
        except FileNotFoundError:
            is_there = False
        if not is_there:
            raise JournalLostError(0, "The journal is gone")

    def _drop(self) -> None:
        self._n_written = 0
        if self._handle is not None:
            handle, self._handle = self._handle, None
            os.close(handle)
