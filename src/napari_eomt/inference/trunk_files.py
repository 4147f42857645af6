"""What trunks have made, in files: bounded, checked when read, shared by several processes."""

from __future__ import annotations

import struct
import threading
import time
import zlib
from collections import OrderedDict
from contextlib import suppress
from secrets import token_hex
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADER_BYTES = 32
"""Of a file, before its tokens: so many that these are aligned."""

_MAGIC = b"EoT1"
_HEADER = struct.Struct("<4sIIII12x")
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_SUFFIX, _PARTIAL = ".tokens", ".writing-"
_STALE_S = 3600.0
_SCANS = 8


class TrunkFiles:
    """Tokens by key in a folder; the least recently used make room. For several threads.

    Files that others write into the folder are found, now or later: keys tell the content, so that
    they cannot be stale. A file that is damaged is taken for one that is not there, and deleted.
    When the disk fills up nothing more is written; `notes` says so.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    max_bytes : int
        Bound of all files; for several processes each looks at the folder now and then.
    may_replace : bool
        Whether what is written may take the place of what is there.

    Attributes
    ----------
    notes : list of str
        What the user should know; whoever shows one takes it out.
    """

    def __init__(self, folder: Path, max_bytes: int, *, may_replace: bool = True) -> None:
        self.notes: list[str] = []
        self._folder, self._max_bytes, self._may_replace = folder, max_bytes, may_replace
        # Bytes, and the job that used them last.
        self._files: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._used = self._written = self._job = 0
        self._can_write = True
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._give_up(error)
            return
        for partial in folder.glob(f"{_PARTIAL}*"):
            with suppress(OSError):
                # A younger one may be somebody else's, who is about to finish it.
                if time.time() - partial.stat().st_mtime > _STALE_S:
                    partial.unlink()
        self._scan()

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, key: str) -> bool:
        return key in self._files

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            return iter(list(self._files))

    @property
    def used(self) -> int:
        """Bytes of all files."""
        return self._used

    def begin_job(self) -> None:
        """From now on, what is used is not deleted for what is written until the next job.

        Of more views than there is room for, looked at one after the other and then again, the
        least recently used would always be the one that comes next.
        """
        self._job += 1

    def read(self, key: str) -> torch.Tensor | None:
        """Return the tokens of a key, (n, C), on the CPU; None if there are none."""
        path = self._path(key)
        try:
            content = np.fromfile(path, np.uint8)
        except OSError:
            with self._lock:
                self._drop(key)
            return None
        tokens = _decoded(content)
        if tokens is None:
            self._forget(key)
            return None
        with suppress(OSError):
            path.touch()  # for the order in which others find them
        with self._lock:
            self._drop(key)
            self._add(key, content.nbytes)
        return tokens

    def write(self, key: str, tokens: torch.Tensor) -> None:
        """Keep tokens, (n, C), of a CPU; others make room."""
        size = tokens.nbytes + HEADER_BYTES
        if not self._can_write or size > self._max_bytes:
            return
        with self._lock:
            is_scan_due = self._written > self._max_bytes // _SCANS
        if is_scan_due:
            self._scan()
        if not self._make_room(size):
            return
        path = self._path(key)
        partial = path.with_name(f"{_PARTIAL}{token_hex(6)}{_SUFFIX}")
        try:
            with partial.open("xb") as file:
                for part in _encoded(tokens):
                    file.write(part)
            partial.replace(path)
        except OSError as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            self._give_up(error)
            return
        with self._lock:
            self._drop(key)
            self._add(key, size)
            self._written += size

    def _make_room(self, size: int) -> bool:
        while True:
            with self._lock:
                if self._used + size <= self._max_bytes or not self._files:
                    return True
                key, (_, job) = next(iter(self._files.items()))
            if not self._may_replace or (self._job and job == self._job):
                return False
            self._forget(key)

    def _forget(self, key: str) -> None:
        with self._lock:
            self._drop(key)
        # On Windows a file that somebody reads stays; a later scan finds it.
        with suppress(OSError):
            self._path(key).unlink(missing_ok=True)

    def _scan(self) -> None:
        """Look at what there is: others write into the folder, and delete."""
        found = []
        with suppress(OSError):
            for path in self._folder.glob(f"*{_SUFFIX}"):
                if path.name.startswith(_PARTIAL):
                    continue
                with suppress(OSError):
                    status = path.stat()
                    found.append((status.st_mtime_ns, path.stem, status.st_size))
        with self._lock:
            jobs = {key: job for key, (_, job) in self._files.items()}
            self._files.clear()
            self._used = self._written = 0
            for _, key, size in sorted(found):
                self._files[key] = (size, jobs.get(key, 0))
                self._used += size
            surplus = list(self._files)
        for key in surplus:
            if self._used <= self._max_bytes:
                break
            self._forget(key)

    def _add(self, key: str, size: int) -> None:
        self._files[key] = (size, self._job)
        self._used += size

    def _drop(self, key: str) -> None:
        size, _ = self._files.pop(key, (0, 0))
        self._used -= size

    def _give_up(self, error: OSError) -> None:
        self._can_write = False
        self.notes.append(
            f"{self._folder}: {error.strerror or error}. What the first blocks of the model have "
            "made is kept in memory alone from here on: work goes on, more slowly."
        )

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{_SUFFIX}"


def _encoded(tokens: torch.Tensor) -> tuple[bytes, memoryview]:
    kept = tokens.contiguous()
    # numpy knows no bfloat16.
    body = kept.view(torch.uint8).numpy().data.cast("B")
    fields = (_MAGIC, _DTYPES.index(kept.dtype), *kept.shape)
    # Everything but the checksum itself is checked.
    checksum = zlib.crc32(body, zlib.crc32(_HEADER.pack(*fields, 0)))
    return _HEADER.pack(*fields, checksum), body


def _decoded(content: npt.NDArray[np.uint8]) -> torch.Tensor | None:
    """Return the tokens of a file's content; None if it is damaged."""
    if content.nbytes <= HEADER_BYTES:
        return None
    magic, dtype, n, width, checksum = _HEADER.unpack(content[:HEADER_BYTES].tobytes())
    if magic != _MAGIC or dtype >= len(_DTYPES):
        return None
    body = content[HEADER_BYTES:]
    if body.nbytes != n * width * _DTYPES[dtype].itemsize:
        return None
    if zlib.crc32(body.data, zlib.crc32(_HEADER.pack(magic, dtype, n, width, 0))) != checksum:
        return None
    return torch.from_numpy(body).view(_DTYPES[dtype]).reshape(n, width)
