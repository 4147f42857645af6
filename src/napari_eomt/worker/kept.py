"""Proposals kept in the worker, within a number of bytes. Used by two threads."""

from __future__ import annotations

import threading
import weakref
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
        self._items: OrderedDict[tuple[str, int], tuple[T, int, int]] = OrderedDict()
        self._n_puts = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, key: str, frame: int, item: T | None) -> None:
        """Keep `item`, in place of what was kept for this frame; None only drops that."""
        n_bytes = 0 if item is None else item.nbytes
        with self._lock:
            self._drop((key, frame))
            if item is None or n_bytes > self.max_bytes:
                return
            while self.nbytes + n_bytes > self.max_bytes:
                self._drop(next(iter(self._items)))
            self._n_puts += 1
            self._items[key, frame] = (item, n_bytes, self._n_puts)
            self.nbytes += n_bytes

    def get(self, key: str, frame: int) -> T | None:
        """Return what is kept for a frame, which counts as its use."""
        found = self.find(key, frame)
        return None if found is None else found[0]

    def find(self, key: str, frame: int) -> tuple[T, int] | None:
        """Return what is kept for a frame, and a number that no other thing kept has, from 1."""
        with self._lock:
            if (key, frame) not in self._items:
                return None
            self._items.move_to_end((key, frame))
            item, _, number = self._items[key, frame]
        return item, number

    def forget(self, key: str) -> None:
        """Drop all frames of `key`."""
        with self._lock:
            for place in [place for place in self._items if place[0] == key]:
                self._drop(place)

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._items.clear()
            self.nbytes = 0

    def _drop(self, place: tuple[str, int]) -> None:
        _, n_bytes, _ = self._items.pop(place, (None, 0, 0))
        self.nbytes -= n_bytes


class Recent(Generic[T]):
    """The things that were used last, as long as somebody else holds them.

    Parameters
    ----------
    n : int
        How many of them.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._items: list[weakref.ref[T]] = []

    def use(self, item: T) -> list[T]:
        """Note that `item` is used, and return what is no longer among the last ones."""
        found = [ref() for ref in self._items]
        recent = [item, *(one for one in found if one is not None and one is not item)]
        self._items = [weakref.ref(one) for one in recent[: self._n]]
        return recent[self._n :]
