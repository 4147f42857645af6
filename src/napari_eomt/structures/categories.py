"""Categories: what a segment can be, and how it is coloured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Category:
    """What a segment can be.

    Parameters
    ----------
    id : int
        As the data set counts; any int.
    name : str
    is_thing : bool
        Countable things (True) or stuff (False).
    color : str
        "#RRGGBB"; empty takes the next one of the palette.
    """

    id: int
    name: str
    is_thing: bool = True
    color: str = ""


def stuff_labels(categories: Iterable[Category]) -> frozenset[int]:
    """Return the labels (positions, as in the class logits) of the stuff categories."""
    return frozenset(k for k, category in enumerate(categories) if not category.is_thing)
