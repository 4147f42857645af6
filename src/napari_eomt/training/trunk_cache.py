"""Arrays kept in memory and, beyond a bound, in files that are mapped when they are read."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from secrets import token_hex
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from pathlib import Path

_PARTIAL = ".writing-"
_HEADER = 128  # bytes of a .npy file before its array


class TrunkCache:
    """Tokens by key, within bounds; the least recently used go to disk, and from there away.

    Files of an earlier run are found again: keys tell the content, so that they cannot be stale.
    A file that cannot be read is taken for one that is not there, and when the disk fills up the
    cache goes on in memory; `notes` says so.

    Parameters
    ----------
    memory_bytes : int
        Bound of what is kept in memory.
    folder : Path, optional
        For the files; made if it is not there. By default there are none.
    disk_bytes : int
        Bound of what is kept in files.
    dtype : torch.dtype
        To keep in: float32 is exact, float16 and bfloat16 take half the room. Of ViT-L at 640 px
        an image takes 6.6 MB in float32.

    Attributes
    ----------
    notes : list of str
        What the user should know; whoever shows one takes it out.
    """

    def __init__(
        self,
        memory_bytes: int,
        folder: Path | None = None,
        disk_bytes: int = 0,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise ValueError(f"Tokens are kept as float32, float16 or bfloat16, not {dtype}.")
        self.dtype = dtype
        self.notes: list[str] = []
        self._memory: OrderedDict[str, torch.Tensor] = OrderedDict()
        self._files: OrderedDict[str, int] = OrderedDict()
        self._memory_bytes, self._disk_bytes = memory_bytes, disk_bytes
        self._in_memory = self._on_disk = 0
        self._folder = folder if disk_bytes > 0 else None
        self._can_write = self._folder is not None
        self._suffix = f".{str(dtype).removeprefix('torch.')}.npy"
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._find_files(self._folder)

    def __len__(self) -> int:
        return len(self._memory) + len(self._files)

    def __contains__(self, key: str) -> bool:
        return key in self._memory or key in self._files

    @property
    def memory_used(self) -> int:
        """Bytes in memory."""
        return self._in_memory

    @property
    def disk_used(self) -> int:
        """Bytes in files."""
        return self._on_disk

    def get(self, key: str) -> torch.Tensor | None:
        """Return what is kept under a key, on the CPU, not to be written to; None if nothing is."""
        if key in self._memory:
            self._memory.move_to_end(key)
            return self._memory[key]
        if key not in self._files:
            return None
        self._files.move_to_end(key)
        path = self._path(key)
        try:
            # Copy-on-write: torch wants writable memory. The system keeps in memory what it has
            # room for; promoting it to ours would write another to disk on each step.
            array = np.load(path, mmap_mode="c")
        except (OSError, ValueError, EOFError):
            self._forget_file(key)
            return None
        with suppress(OSError):
            path.touch()  # for the order in which a later run finds them
        return torch.from_numpy(array).view(self.dtype)

    def put(self, key: str, tokens: torch.Tensor) -> None:
        """Keep tokens, (n, C), under a key; others make room."""
        if key in self:
            return
        # A copy, or it would keep alive the whole batch that it is a part of.
        kept = tokens.detach().to("cpu", self.dtype, copy=True).contiguous()
        self._memory[key] = kept
        self._in_memory += kept.nbytes
        while self._in_memory > self._memory_bytes and self._memory:
            oldest, moved = self._memory.popitem(last=False)
            self._in_memory -= moved.nbytes
            self._write(oldest, moved)

    def _write(self, key: str, tokens: torch.Tensor) -> None:
        if not self._can_write or tokens.nbytes + _HEADER > self._disk_bytes:
            return
        while self._files and self._on_disk + tokens.nbytes + _HEADER > self._disk_bytes:
            self._forget_file(next(iter(self._files)))
        path = self._path(key)
        partial = path.with_name(f"{_PARTIAL}{token_hex(6)}.npy")
        bits = tokens.view(torch.int16) if self.dtype == torch.bfloat16 else tokens
        try:
            np.save(partial, bits.numpy())
            partial.replace(path)
            size = path.stat().st_size
        except OSError as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            self.notes.append(
                f"{self._folder}: {error.strerror or error}. What the trunk has made is kept in "
                "memory alone from here on: training goes on, more slowly."
            )
            self._can_write = False
            return
        self._files[key] = size
        self._on_disk += size

    def _forget_file(self, key: str) -> None:
        self._on_disk -= self._files.pop(key)
        # On Windows a file that is mapped somewhere stays; a later run finds and bounds it.
        with suppress(OSError):
            self._path(key).unlink(missing_ok=True)

    def _find_files(self, folder: Path) -> None:
        for partial in folder.glob(f"{_PARTIAL}*.npy"):
            with suppress(OSError):
                partial.unlink()
        found = []
        for path in folder.glob(f"*{self._suffix}"):
            with suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime_ns, path.name, status.st_size))
        for _, name, size in sorted(found):
            self._files[name.removesuffix(self._suffix)] = size
            self._on_disk += size
        while self._on_disk > self._disk_bytes:
            self._forget_file(next(iter(self._files)))

    def _path(self, key: str) -> Path:
        if self._folder is None:
            raise ValueError("This cache keeps no files.")
        return self._folder / f"{key}{self._suffix}"
