"""How long work reports itself: a generator that yields these and returns its result."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a piece of work has come.

    Each one is also a place to stop: whoever drives the generator closes it there.
    """

    done: int
    total: int
    what: str = "tile"
