"""Which image a document belongs to: found again after a crash, or told from another one."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_eomt.annotation.rows import Count, Row, plain_text

if TYPE_CHECKING:
    from pathlib import Path

_N_BLOCKS, _BLOCK = 8, 64


class ImageRef(Row):
    """What an image is called, where it lies, and what it is like."""

    name: str
    path: str | None = None
    shape: tuple[Count, ...]
    dtype: str
    fingerprint: str

    @classmethod
    def of(cls, data: Any, name: str, path: str | Path | None = None) -> ImageRef:
        """Describe an image.

        Parameters
        ----------
        data : array
            With `shape`, `dtype` and numpy's indexing; of a lazy one a few chunks are read.
        name : str
        path : str or Path, optional
            The file, if known.
        """
        return cls(
            name=plain_text(name),
            path=None if path is None else plain_text(str(path)),
            shape=tuple(int(n) for n in data.shape),
            dtype=str(np.dtype(data.dtype)),
            fingerprint=fingerprint(data),
        )

    @property
    def key(self) -> str:
        """Name of the folder in which the work on this image is saved."""
        readable = re.sub(r"[^A-Za-z0-9_-]+", "-", self.name).strip("-")[:40] or "image"
        what = "\0".join((self.path or self.name, str(self.shape), self.dtype, self.fingerprint))
        return f"{readable}-{hashlib.sha256(what.encode()).hexdigest()[:16]}"

    def shows_the_same(self, other: ImageRef) -> bool:
        """Whether both have equal pixels, as far as the fingerprint tells, whatever their names."""
        mine = (self.shape, self.dtype, self.fingerprint)
        return mine == (other.shape, other.dtype, other.fingerprint)


def fingerprint(data: Any) -> str:
    """Return a number, in hexadecimal, that is another for other pixels, nearly always.

    Made from eight blocks of up to 64 × 64 pixels along the diagonal, so that an image of any
    size, on disk or in memory, takes milliseconds. Pixels changed elsewhere do not show.
    """
    digest = hashlib.sha256(f"{tuple(data.shape)} {np.dtype(data.dtype)}".encode())
    # Of a colour image the last two axes are x and colour: still pixels of every block.
    sizes = [1] * max(0, len(data.shape) - 2) + [_BLOCK] * min(2, len(data.shape))
    for k in range(_N_BLOCKS):
        block = []
        for n, size in zip(data.shape, sizes, strict=True):
            start = round(max(0, n - size) * k / (_N_BLOCKS - 1))
            block.append(slice(start, start + size))
        digest.update(np.ascontiguousarray(np.asarray(data[tuple(block)])).tobytes())
    return digest.hexdigest()[:32]
