"""What became of a model's proposals, and when the rest of them may be right."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from napari_eomt.structures.segments import Status

if TYPE_CHECKING:
    from napari_eomt.structures.segments import Segment

MIN_RIGHT = 20
"""So many in a row must have been right before the rest may be."""


class Verdict(Enum):
    """What became of a proposal."""

    LEFT = 0
    """Nobody has decided yet."""
    RIGHT = 1
    """Accepted as it is."""
    CHANGED = 2
    """Edited, rejected, deleted, or merged into another."""
    KEPT = 3
    """Locked as it is, without a decision."""

    @classmethod
    def of(cls, segment: Segment | None) -> Verdict:
        """Return what became of a proposal; None is one that a person has deleted."""
        if segment is None:
            return cls.CHANGED
        if segment.status is Status.PROPOSED:
            return cls.KEPT if segment.locked else cls.LEFT
        return cls.RIGHT if segment.status is Status.ACCEPTED else cls.CHANGED


@dataclass(frozen=True)
class Tally:
    """How many proposals of a frame, or of all, are left, and what became of the others.

    Parameters
    ----------
    n_left, n_right, n_changed, n_kept : int
        One for each verdict.
    """

    n_left: int = 0
    n_right: int = 0
    n_changed: int = 0
    n_kept: int = 0

    @property
    def n_decided(self) -> int:
        """How many are not left."""
        return self.n_right + self.n_changed + self.n_kept

    @property
    def n_all(self) -> int:
        """How many there were."""
        return self.n_left + self.n_decided

    @property
    def acceptance(self) -> float | None:
        """The part that was accepted as it is; None before the first decision."""
        judged = self.n_right + self.n_changed
        return self.n_right / judged if judged else None


@dataclass(frozen=True)
class FrameReview:
    """How a frame stands: what is left of it, and how bad that is.

    Parameters
    ----------
    frame : int
    tally : Tally
    worst, mean : float
        Uncertainty of what is left, 0 to 1; 0 if nothing is.
    """

    frame: int
    tally: Tally
    worst: float
    mean: float


@dataclass(frozen=True)
class Hint:
    """That the rest may be right.

    Parameters
    ----------
    n_right : int
        So many in a row were right: all that were decided between the surest one that had to be
        changed and the rest, by how sure the model was. `MIN_RIGHT` at least.
    n_rest : int
        How many are left of which the model is at least as sure.
    """

    n_right: int
    n_rest: int

    @property
    def share(self) -> float:
        """The part of the rest that is wrong, at most: Laplace's rule of succession.

        After n in a row that were right, the next one is wrong with probability 1 / (n + 2); at
        most, because the model is surer of it than of those.
        """
        return 1 / (self.n_right + 2)

    @property
    def n_wrong(self) -> float:
        """How many of the rest are expected to be wrong, at most."""
        return self.n_rest * self.share


class Counts:
    """The tally of each frame and of all, kept up object by object."""

    def __init__(self) -> None:
        self._rows: dict[int, list[int]] = {}
        self._total = [0] * len(Verdict)
        self.frames: set[int] = set()
        """Those that have proposals."""
        self.done: set[int] = set()
        """Of these, those in which nothing is left."""

    def add(self, frame: int, verdict: Verdict, n: int = 1) -> None:
        """Count an object in a frame; no longer, for -1."""
        row = self._rows.setdefault(frame, [0] * len(Verdict))
        row[verdict.value] += n
        self._total[verdict.value] += n
        has_any = any(row)
        for frames, belongs in (
            (self.frames, has_any),
            (self.done, has_any and not row[Verdict.LEFT.value]),
        ):
            (frames.add if belongs else frames.discard)(frame)

    def tally(self, frame: int | None) -> Tally:
        """Return the tally of a frame; of all, for None."""
        return Tally(*(self._total if frame is None else self._rows.get(frame, ())))


@dataclass
class Evidence:
    """Uncertainties, rising, of what is left, and of what turned out to be right and wrong.

    What has been decided tells about what is left: the worst come first, so that each that was
    right speaks for all of which the model is surer. It does not matter in which order a person
    came by them, and so undo needs no memory here.
    """

    left: list[float] = field(default_factory=list)
    right: list[float] = field(default_factory=list)
    wrong: list[float] = field(default_factory=list)

    def add(self, verdict: Verdict, uncertainty: float, *, is_sorted: bool = True) -> None:
        """Count an object; without `is_sorted`, `sort` is called when all are there."""
        values = self._values(verdict)
        if values is not None and is_sorted:
            insort(values, uncertainty)
        elif values is not None:
            values.append(uncertainty)

    def remove(self, verdict: Verdict, uncertainty: float) -> None:
        """Count an object no longer."""
        values = self._values(verdict)
        if values is not None:
            del values[bisect_left(values, uncertainty)]

    def sort(self) -> None:
        """Bring everything in order."""
        for values in (self.left, self.right, self.wrong):
            values.sort()

    def hint(self) -> tuple[Hint, float] | None:
        """Return that the rest may be right, and up to which uncertainty; None if it may not."""
        run = self.right[: bisect_left(self.right, self.wrong[0])] if self.wrong else self.right
        if len(run) < MIN_RIGHT:
            return None
        n_rest = bisect_right(self.left, run[-MIN_RIGHT])
        if not n_rest:
            return None
        limit = self.left[n_rest - 1]
        return Hint(len(run) - bisect_left(run, limit), n_rest), limit

    def _values(self, verdict: Verdict) -> list[float] | None:
        if verdict is Verdict.LEFT:
            return self.left
        if verdict is Verdict.RIGHT:
            return self.right
        return self.wrong if verdict is Verdict.CHANGED else None
