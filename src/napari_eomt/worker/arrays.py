"""Arrays from process to process: a few memory files that have no name anywhere.

Named shared memory stays in ``/dev/shm`` when its owner is killed before it can unlink it, and
containers often allow 64 MB there. These slots are files without a name (``memfd`` on Linux, an
already deleted temporary file elsewhere) whose descriptors the worker inherits: the kernel frees
them with the last process that holds them, however it ended. They are read and written, not
mapped: a full memory is then an `OSError`, not a bus error, and no array looks into memory that
the other side is about to reuse. There and back, 4 MB take 0.6 ms.

A slot belongs to one side at a time. Who has written to it tells the other, and does not touch
it again until it is told back. Windows cannot inherit a file without a name as simply; there a
slot is a named mapping, which the system frees in the same way.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class StoredArray:
    """Where an array was put.

    Parameters
    ----------
    slot : int
    shape : tuple of int
    dtype : str
        numpy's, with the byte order.
    name : str
        Of the mapping, on Windows; else empty.
    """

    slot: int
    shape: tuple[int, ...]
    dtype: str
    name: str = ""


def _as_bytes(array: npt.NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


if sys.platform == "win32":
    import mmap
    from uuid import uuid4

    class Slots:
        """Places for one array each; see the module."""

        def __init__(self, handles: Sequence[int]) -> None:
            self._mappings: list[mmap.mmap | None] = [None for _ in handles]

        @classmethod
        def create(cls, n: int) -> Slots:
            return cls(range(n))

        @property
        def handles(self) -> tuple[int, ...]:
            return tuple(range(len(self._mappings)))

        def write(self, slot: int, array: npt.NDArray[Any]) -> StoredArray:
            array = np.ascontiguousarray(array)
            # A mapping cannot grow, and lives as long as a process has it open: a new one each
            # time, kept by its writer until the slot comes back.
            name = f"napari-eomt-{uuid4().hex}"
            self.clear(slot)
            mapping = mmap.mmap(-1, max(array.nbytes, 1), tagname=name)
            mapping[: array.nbytes] = _as_bytes(array)
            self._mappings[slot] = mapping
            return StoredArray(slot, array.shape, array.dtype.str, name)

        def read(self, stored: StoredArray) -> npt.NDArray[Any]:
            array = np.empty(stored.shape, np.dtype(stored.dtype))
            with mmap.mmap(-1, max(array.nbytes, 1), tagname=stored.name) as mapping:
                _as_bytes(array)[:] = mapping[: array.nbytes]
            return array

        def clear(self, slot: int) -> None:
            mapping, self._mappings[slot] = self._mappings[slot], None
            if mapping is not None:
                mapping.close()

        def close(self) -> None:
            for slot in range(len(self._mappings)):
                self.clear(slot)

else:

    class Slots:
        """Places for one array each; see the module.

        Parameters
        ----------
        handles : sequence of int
            File descriptors, which the slots own from now on.
        """

        def __init__(self, handles: Sequence[int]) -> None:
            self._files = [io.FileIO(handle, "r+") for handle in handles]
            # A descriptor closed under a writer may by then be somebody else's file.
            self._writing = threading.Lock()

        @classmethod
        def create(cls, n: int) -> Slots:
            """Make `n` empty slots."""
            return cls([_memory_file() for _ in range(n)])

        @property
        def handles(self) -> tuple[int, ...]:
            """What the other process needs to inherit, and to make its `Slots` from."""
            return tuple(file.fileno() for file in self._files)

        def write(self, slot: int, array: npt.NDArray[Any]) -> StoredArray:
            """Put an array into a slot.

            Raises
            ------
            OSError
                If there is no memory for it.
            ValueError
                If the slots are closed.
            """
            array = np.ascontiguousarray(array)
            file, data = self._files[slot], _as_bytes(array)
            with self._writing:
                # The position is shared with the other process, which has moved it.
                file.seek(0)
                while data:
                    data = data[file.write(data) :]  # one call writes 2 GB at most
                file.truncate(array.nbytes)
            return StoredArray(slot, array.shape, array.dtype.str)

        def read(self, stored: StoredArray) -> npt.NDArray[Any]:
            """Return a copy of the array that was put there."""
            array = np.empty(stored.shape, np.dtype(stored.dtype))
            file, data = self._files[stored.slot], _as_bytes(array)
            file.seek(0)
            while data:
                n = file.readinto(data)
                if not n:
                    raise OSError(f"Slot {stored.slot} holds less than was announced.")
                data = data[n:]
            return array

        def clear(self, slot: int) -> None:
            """Give the memory of a slot back."""
            self._files[slot].truncate(0)

        def close(self) -> None:
            """Give all memory back. The slots cannot be used afterwards."""
            with self._writing:
                for file in self._files:
                    file.close()


def _memory_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("napari-eomt")
    with tempfile.TemporaryFile(prefix="napari-eomt-") as file:
        return os.dup(file.fileno())
