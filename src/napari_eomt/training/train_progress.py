"""How a training reports itself, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from napari_eomt.inference.progress import result_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_eomt.inference.progress import Progress
    from napari_eomt.training.runs import Run
    from napari_eomt.training.step import StepReport


class Tracker(Protocol):
    """Who else is told how a run goes, such as TensorBoard."""

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        """Take some numbers of a step."""


@dataclass(frozen=True)
class TrainProgress:
    """How far a run has come; each is also a place to stop.

    Parameters
    ----------
    what : {"step", "check", "checked"}
        A step was taken, an image was checked on, or all were.
    step, n_steps : int
        Done, and in all.
    losses : StepReport or None
        Of the step.
    learning_rate : float
        Of the heads.
    seconds : float
        A step takes, in the running mean.
    check : Progress or None
        How far the check has come.
    scores : dict of str to (float or None)
        Of the check that ended last, among them that by which states are compared.
    best : float or None
        Of these, the best until now.
    notes : tuple of str
        What the user should know since the progress before.
    """

    what: Literal["step", "check", "checked"]
    step: int
    n_steps: int
    losses: StepReport | None = None
    learning_rate: float = 0.0
    seconds: float = 0.0
    check: Progress | None = None
    scores: dict[str, float | None] | None = None
    best: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Parameters
    ----------
    run : Run
    reason : {"finished", "stopped"}
        A run that was stopped can go on.
    step : int
        That are done.
    before, best : float or None
        Measure of the model that was started from, and of the best state.
    best_step : int or None
    """

    run: Run
    reason: Literal["finished", "stopped"]
    step: int
    before: float | None
    best: float | None
    best_step: int | None


def drive(steps: Generator[TrainProgress, None, Outcome]) -> Outcome:
    """Run a training to its end, and return what came of it."""
    return result_of(steps)
