"""What changes from step to step: how queries are masked, and how fast weights learn.

Pure functions of the step; the numbers are the published ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_POWER = 0.9


@dataclass(frozen=True)
class Ramp:
    """The steps over which the queries of a block are freed of their masks.

    Parameters
    ----------
    start, end : int
        Until `start` every query is masked, from `end` on none is.
    """

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(
                f"A ramp from step {self.start} to step {self.end}: expected 0 ≤ start ≤ end."
            )

    def probability(self, step: int) -> float:
        """With which a query is masked at a step, from 1 down to 0."""
        if step < self.start:
            return 1.0
        if step >= self.end:
            return 0.0
        return float((1 - (step - self.start) / (self.end - self.start)) ** _POWER)


def even_ramps(n_steps: int, n_blocks: int) -> tuple[Ramp, ...]:
    """Spread the ramps as the published configurations do.

    Each lasts a sixth of the training; the first block's starts after a sixth, the last one's
    after four sixths, the others' evenly between.

    Parameters
    ----------
    n_steps : int
        Of the whole training.
    n_blocks : int
        That see queries.
    """
    length = _rounded(n_steps / 6)
    gap = n_steps / 2 / (n_blocks - 1) if n_blocks > 1 else 0.0
    starts = [_rounded(n_steps / 6 + block * gap) for block in range(n_blocks)]
    return tuple(Ramp(start, start + length) for start in starts)


def mask_probabilities(step: int, ramps: tuple[Ramp, ...]) -> tuple[float, ...]:
    """With which the queries of each block are masked at a step, counted from 0.

    The original sets the probabilities after each step, so that its very first one still has
    those of the loaded weights, which are 0; here the first step is the schedule's, too.
    """
    return tuple(ramp.probability(step) for ramp in ramps)


@dataclass(frozen=True)
class LearningRateSchedule:
    """Two warm-ups, first the new parts and then the backbone, and a polynomial decay.

    Parameters
    ----------
    n_steps : int
        Of the whole training.
    head_warmup : int
        Steps over which the rate of heads and queries rises from 0. The backbone's stays 0.
    backbone_warmup : int
        Steps after these over which the backbone's rises.
    power : float
        Of the decay to 0 that follows each.
    """

    n_steps: int
    head_warmup: int = 500
    backbone_warmup: int = 1000
    power: float = _POWER

    def factor(self, step: int, *, is_backbone: bool) -> float:
        """Of the learning rate at a step, counted from 0; from 0 to 1."""
        if not is_backbone:
            return self._rise_and_fall(step, 0, self.head_warmup)
        if step < self.head_warmup:
            return 0.0
        return self._rise_and_fall(step, self.head_warmup, self.backbone_warmup)

    def shortened(self) -> LearningRateSchedule:
        """Return this schedule with warm-ups of a twentieth and a tenth of it, if these are less.

        The published numbers are for tens of thousands of steps; a fine-tuning of a few hundred
        would be over before the backbone had begun.
        """
        return LearningRateSchedule(
            self.n_steps,
            min(self.head_warmup, self.n_steps // 20),
            min(self.backbone_warmup, self.n_steps // 10),
            self.power,
        )

    def _rise_and_fall(self, step: int, start: int, warmup: int) -> float:
        passed = step - start
        if passed < warmup:
            return passed / warmup
        rest = self.n_steps - start - warmup
        if rest <= 0 or step >= self.n_steps:
            return 0.0
        return float((1 - (passed - warmup) / rest) ** self.power)


def _rounded(value: float) -> int:
    # Halves up, as in the published numbers; Python's round would take them to the even one.
    return math.floor(value + 0.5)
