"""What the trunk of a model makes of views, kept: in memory and, beyond that, in files."""

from __future__ import annotations

import queue
import shutil
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import torch

from napari_eomt.inference.trunk_files import TrunkFiles
from napari_eomt.settings import cache_dir

if TYPE_CHECKING:
    from pathlib import Path

_SHARE_OF_DISK = 0.25
_SHARE_OF_BYTES, _MAX_MEMORY = 0.25, 256 * 2**20
_MAX_WAITING = 64 * 2**20
"""Bytes that wait to be written: what a slow disk has no time for is not written."""


class TrunkCache:
    """Tokens by key, within bounds; the least recently used go first.

    What memory has no room for goes to files. Or, with `is_durable`, everything does at once, by a
    thread of its own, so that a later process finds it.

    Parameters
    ----------
    memory_bytes : int
        Bound of what is kept in memory.
    folder : Path, optional
        For the files; made if it is not there. By default there are none. See `TrunkFiles`.
    disk_bytes : int
        Bound of what is kept in files.
    dtype : torch.dtype, optional
        To keep in: float32 is exact, float16 and bfloat16 take half the room. Of ViT-L at 640 px
        an image takes 6.6 MB in float32. By default tokens are kept as they come.
    is_durable : bool
        Whether all that is put goes to files.
    may_replace : bool
        Whether a file that is written may take the place of others.
    """

    def __init__(
        self,
        memory_bytes: int,
        folder: Path | None = None,
        disk_bytes: int = 0,
        *,
        dtype: torch.dtype | None = torch.float32,
        is_durable: bool = False,
        may_replace: bool = True,
    ) -> None:
        if dtype not in (None, torch.float32, torch.float16, torch.bfloat16):
            raise ValueError(f"Tokens are kept as float32, float16 or bfloat16, not {dtype}.")
        self.dtype = dtype
        self._memory: OrderedDict[str, torch.Tensor] = OrderedDict()
        self._memory_bytes, self._in_memory = memory_bytes, 0
        has_files = folder is not None and disk_bytes > 0
        self._files = (
            TrunkFiles(folder, disk_bytes, may_replace=may_replace)
            if folder is not None and has_files
            else None
        )
        self._waiting: queue.Queue[tuple[str, torch.Tensor]] | None = (
            queue.Queue() if is_durable and has_files else None
        )
        self._n_waiting = 0
        self._counting = threading.Lock()
        self._writer: threading.Thread | None = None
        self._no_notes: list[str] = []

    def __len__(self) -> int:
        files = () if self._files is None else self._files
        return len(self._memory) + sum(key not in self._memory for key in files)

    def __contains__(self, key: str) -> bool:
        return key in self._memory or (self._files is not None and key in self._files)

    @property
    def notes(self) -> list[str]:
        """What the user should know; whoever shows one takes it out."""
        return self._no_notes if self._files is None else self._files.notes

    @property
    def memory_used(self) -> int:
        """Bytes in memory."""
        return self._in_memory

    @property
    def disk_used(self) -> int:
        """Bytes in files."""
        return 0 if self._files is None else self._files.used

    def begin_job(self) -> None:
        """See `TrunkFiles.begin_job`."""
        if self._files is not None:
            self._files.begin_job()

    def get(self, key: str) -> torch.Tensor | None:
        """Return what is kept under a key, on the CPU, not to be written to; None if nothing is."""
        if key in self._memory:
            self._memory.move_to_end(key)
            return self._memory[key]
        if self._files is None:
            return None
        # Not promoted to our memory: the system keeps the files that it has room for, and what
        # would make room here may have to be written.
        found = self._files.read(key)
        return found if found is None or self.dtype is None else found.to(self.dtype)

    def put(self, key: str, tokens: torch.Tensor) -> None:
        """Keep tokens, (n, C), under a key; others make room."""
        if key in self:
            return
        # A copy, or it would keep alive the whole batch that it is a part of.
        kept = tokens.detach().to("cpu", self.dtype or tokens.dtype, copy=True).contiguous()
        self._memory[key] = kept
        self._in_memory += kept.nbytes
        if self._waiting is not None:
            self._write_later(self._waiting, key, kept)
        while self._in_memory > self._memory_bytes and self._memory:
            oldest, moved = self._memory.popitem(last=False)
            self._in_memory -= moved.nbytes
            if self._waiting is None and self._files is not None:
                self._files.write(oldest, moved)

    def release_memory(self) -> None:
        """Let go of what is in memory; of what is durable, once it is written."""
        self.flush()
        self._memory.clear()
        self._in_memory = 0

    def flush(self) -> None:
        """Wait until what was put is written, if it is durable."""
        if self._waiting is not None and self._writer is not None:
            self._waiting.join()

    def _write_later(
        self, waiting: queue.Queue[tuple[str, torch.Tensor]], key: str, tokens: torch.Tensor
    ) -> None:
        with self._counting:
            if self._n_waiting + tokens.nbytes > _MAX_WAITING:
                return
            self._n_waiting += tokens.nbytes
        if self._writer is None:
            self._writer = threading.Thread(target=self._write, name="trunk files", daemon=True)
            self._writer.start()
        waiting.put((key, tokens))

    def _write(self) -> None:
        if self._waiting is None or self._files is None:
            raise RuntimeError("There are no files to write.")
        while True:
            key, tokens = self._waiting.get()
            try:
                self._files.write(key, tokens)
            finally:
                with self._counting:
                    self._n_waiting -= tokens.nbytes
                self._waiting.task_done()


def open_trunk_cache(
    disk_bytes: int, memory_bytes: int | None = None, *, may_replace: bool = True
) -> TrunkCache | None:
    """Open the cache that all predictions of this user share.

    Parameters
    ----------
    disk_bytes : int
        Bound of its files, which is never more than a quarter of the free disk. 0 is no cache at
        all.
    memory_bytes : int, optional
        Of what is in memory as well; by default a quarter of the bound, 256 MB at most.
    may_replace : bool
        Whether what is new may take the place of what is there: not of a training, whose images
        are many and not those that somebody looks at.
    """
    if disk_bytes <= 0:
        return None
    folder = cache_dir() / "trunk"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        disk = min(disk_bytes, int(_SHARE_OF_DISK * shutil.disk_usage(folder).free))
    except OSError:
        disk = 0
    if memory_bytes is None:
        memory_bytes = min(_MAX_MEMORY, int(_SHARE_OF_BYTES * disk_bytes))
    return TrunkCache(
        memory_bytes, folder, disk, dtype=None, is_durable=True, may_replace=may_replace
    )
