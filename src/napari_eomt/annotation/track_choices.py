"""Which other tracks a person may mean, the nearest first: to swap with, to join, to go on as."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.session import Key
    from napari_eomt.annotation.tracks import TrackIndex

N_CHOICES = 8

FRAME_COST = 0.5
"""How far, in sizes of the object, a frame in between counts."""


class Purpose(str, Enum):
    """What another track is looked for."""

    SWAP = "swap"
    """It is in the frame too."""
    IDENTITY = "identity"
    """It is nowhere where the track is from the frame on."""
    JOIN = "join"
    """It is nowhere where the track is."""
    PARENT = "parent"
    """It begins before the track does."""


@dataclass(frozen=True)
class Choice:
    """Another track, and where it is seen from the one that is meant.

    Parameters
    ----------
    number : int
    frame : int
        The frame in which it is next to the track.
    distance : float
        Between the middles of their boxes, in pixels.
    """

    number: int
    frame: int
    distance: float


def track_choices(
    document: Document, index: TrackIndex, number: int, frame: int, purpose: Purpose
) -> list[Choice]:
    """Return the tracks that come into question, the nearest first, `N_CHOICES` at most.

    Parameters
    ----------
    document : Document
    index : TrackIndex
    number : int
        The track that is meant.
    frame : int
        Where a person is.
    purpose : Purpose
    """
    own = index.members[number]
    at = next(iter(own)) if purpose is Purpose.PARENT else _nearest(own, frame)
    y, x, size = _place(document, (at, own[at]))
    found = []
    for other, members in index.members.items():
        if other == number or not _fits(purpose, own, members, frame):
            continue
        then = _nearest(members, at if purpose is not Purpose.IDENTITY else at - 1)
        there = _place(document, (then, members[then]))
        distance = float(np.hypot(there[0] - y, there[1] - x))
        cost = distance / size + FRAME_COST * max(0, abs(then - at) - 1)
        found.append((cost, Choice(other, then, distance)))
    found.sort(key=lambda row: (row[0], row[1].number))
    return [choice for _, choice in found[:N_CHOICES]]


def _fits(purpose: Purpose, own: dict[int, int], other: dict[int, int], frame: int) -> bool:
    if purpose is Purpose.SWAP:
        return frame in other
    if purpose is Purpose.PARENT:
        return next(iter(other)) < next(iter(own))
    shared = own.keys() & other.keys()
    return not shared if purpose is Purpose.JOIN else all(f < frame for f in shared)


def _nearest(members: dict[int, int], frame: int) -> int:
    return frame if frame in members else min(members, key=lambda f: abs(f - frame))


def _place(document: Document, key: Key) -> tuple[float, float, float]:
    """Return the middle of a segment's box, and how large it is, in pixels."""
    y0, x0, y1, x1 = document.segments(key[0])[key[1]].bbox
    return (y0 + y1) / 2, (x0 + x1) / 2, max(1.0, float(np.sqrt((y1 - y0) * (x1 - x0))))
