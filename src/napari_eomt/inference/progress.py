"""How long work reports itself: a generator that yields these and returns its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Progress:
    """How far a piece of work has come.

    Each one is also a place to stop: whoever drives the generator closes it there.
    """

    done: int
    total: int
    what: str = "tile"


def result_of(steps: Generator[Any, None, _Result]) -> _Result:
    """Do a piece of work to its end, without a look at its progress, and return what it leads to.

    Parameters
    ----------
    steps : generator
        Of progress; what it returns is the result.
    """
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: _Result = stop.value
            return result
