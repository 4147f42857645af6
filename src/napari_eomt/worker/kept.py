"""Proposals kept in the worker, within a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """Anything that knows its memory."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""


T = TypeVar("T", bound=Sized)


class Kept(Generic[T]):
    """The proposals of frames; least recently used ones go first.

    Parameters
    ----------
    max_bytes : int
        They never take more together; something larger by itself is not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.nbytes = 0
        self._items: OrderedDict[tuple[str, int], tuple[T, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, key: str, frame: int, item: T | None) -> None:
        """Keep `item`, in place of what was kept for this frame; None only drops that."""
        self._drop((key, frame))
        if item is None or item.nbytes > self.max_bytes:
            return
        n_bytes = item.nbytes
        while self.nbytes + n_bytes > self.max_bytes:
            self._drop(next(iter(self._items)))
        self._items[key, frame] = (item, n_bytes)
        self.nbytes += n_bytes

    def get(self, key: str, frame: int) -> T | None:
        """Return what is kept for a frame, which counts as its use."""
        if (key, frame) not in self._items:
            return None
        self._items.move_to_end((key, frame))
        return self._items[key, frame][0]

    def forget(self, key: str) -> None:
        """Drop all frames of `key`."""
        for place in [place for place in self._items if place[0] == key]:
            self._drop(place)

    def _drop(self, place: tuple[str, int]) -> None:
        _, n_bytes = self._items.pop(place, (None, 0))
        self.nbytes -= n_bytes
