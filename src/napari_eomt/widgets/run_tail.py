"""What a run has told until now, read from its folder a piece at a time. No Qt, no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_eomt.errors import DataError
from napari_eomt.training.run_log import NAME as METRICS
from napari_eomt.training.runs import Run, RunSplit, Status, load_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Curve: TypeAlias = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Steps and values, of equal length."""

LOSSES = ("loss", "mask", "dice", "classes")
_SMOOTHED = 20
"""Steps that a shown loss is the mean of, at most: single ones jump about."""
_POINTS = 1000  # of a curve; more than a plot has pixels only cost time
_SECONDS_OF = 20  # steps, whose mean tells how long the rest will take


@dataclass(frozen=True)
class RunNews:
    """A run as it is now.

    Parameters
    ----------
    folder : Path
    run : Run or None
        None until its process has read what it is to learn from.
    status : Status or None
    rows : tuple of dict
        What it has told; see `read_rows`.
    is_resumable : bool
    is_stopping : bool
        Somebody has asked it to stop.
    split : RunSplit or None
        Which images learn, and which check.

    Attributes
    ----------
    steps, checks : tuple of dict
        Of these.
    curves : dict of str to Curve
        The loss and its parts, smoothed, "learning_rate", and "score" of checks. Made here, in
        whatever thread reads the run, and not where they are drawn.
    """

    folder: Path
    run: Run | None = None
    status: Status | None = None
    rows: tuple[dict[str, Any], ...] = ()
    is_resumable: bool = False
    is_stopping: bool = False
    split: RunSplit | None = None
    steps: tuple[dict[str, Any], ...] = field(init=False, default=())
    checks: tuple[dict[str, Any], ...] = field(init=False, default=())
    curves: dict[str, Curve] = field(init=False, default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Sort the rows by what they tell."""
        object.__setattr__(self, "steps", tuple(r for r in self.rows if r["kind"] == "step"))
        object.__setattr__(self, "checks", tuple(r for r in self.rows if r["kind"] == "check"))
        self.curves["score"] = _column(self.checks, "score")
        self.curves["learning_rate"] = _thinned(*_column(self.steps, "learning_rate"))
        for name in LOSSES:
            self.curves[name] = _thinned(*_smoothed(*_column(self.steps, name)))

    @property
    def is_running(self) -> bool:
        """Whether a process works on it."""
        return self.status == "running"

    @property
    def n_steps(self) -> int:
        """How many steps there are to be; 0 if that is not known yet."""
        return 0 if self.run is None else int(self.run.plan.resolved.steps)

    @property
    def step(self) -> int:
        """How many are done."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    @property
    def metric(self) -> str:
        """The measure that states are compared by."""
        return "" if self.run is None else str(self.run.plan.resolved.metric)

    @property
    def before(self) -> float | None:
        """Measure of the model that was started from."""
        found: float | None = next((r.get("score") for r in self.checks if r["step"] == 0), None)
        return found

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and measure of the best state."""
        scored = [(r["step"], r["score"]) for r in self.checks if r.get("score") is not None]
        return max(scored, key=lambda pair: pair[1]) if scored else None

    @property
    def seconds_left(self) -> float | None:
        """How long the steps that are left will take, as the last ones tell; without checks."""
        told = (row.get("seconds") for row in self.steps[-_SECONDS_OF:])
        last = [float(seconds) for seconds in told if seconds]
        if not last or not self.n_steps:
            return None
        return sum(last) / len(last) * max(0, self.n_steps - self.step)

    @property
    def problem(self) -> str:
        """Why it failed, in its own words; empty if it did not."""
        ends = [r for r in self.rows if r["kind"] in ("start", "end")]
        last = ends[-1] if ends else {}
        return str(last.get("text", "")) if last.get("reason") == "failed" else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, each once."""
        return tuple(dict.fromkeys(str(r["text"]) for r in self.rows if r["kind"] == "note"))


class RunTail:
    """Reads a run's folder again and again; of a long log only what is new.

    Parameters
    ----------
    folder : Path
        It need not be a run yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows: list[dict[str, Any]] = []
        self._offset = 0
        self._rest = b""

    def read(self) -> RunNews:
        """Return the run as it is now.

        Raises
        ------
        DataError
            If its files are damaged, or cannot be read.
        """
        if not (self.folder / "params.json").is_file():
            return RunNews(self.folder)
        run = load_run(self.folder)
        self._read_rows()
        status = run.status(self._rows)
        if status != "running":
            # What it told at its end, between the two looks.
            self._read_rows()
            status = run.status(self._rows)
        return RunNews(
            self.folder,
            run,
            status,
            tuple(self._rows),
            status not in ("running", "finished") and _has_state(run),
            run.is_stop_requested,
            run.split,
        )

    def _read_rows(self) -> None:
        path = self.folder / METRICS
        try:
            with path.open("rb") as file:
                if file.seek(0, 2) < self._offset:  # another one of this name
                    self._offset, self._rest, self._rows = 0, b"", []
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        """Take a line; steps that were lost with a killed process are taken back."""
        try:
            row = json.loads(line)
        except ValueError:
            return  # torn when its process was killed
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            return
        if not isinstance(row.get("kind"), str):
            return
        if row["kind"] == "start":
            self._rows = [before for before in self._rows if before["step"] <= row["step"]]
        self._rows.append(row)


def _has_state(run: Run) -> bool:
    return any((run.folder / "state").glob("step-*"))


def _column(rows: Sequence[dict[str, Any]], name: str) -> Curve:
    """Return steps and values of what was told and is a number."""
    pairs = [(row["step"], row[name]) for row in rows if isinstance(row.get(name), int | float)]
    both = np.asarray(pairs, np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _smoothed(steps: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> Curve:
    """Return the mean of each value and some before it; of a short curve the values."""
    n = min(_SMOOTHED, max(1, len(values) // 10))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    last = np.arange(len(values)) + 1
    first = np.maximum(last - n, 0)
    return steps, (sums[last] - sums[first]) / (last - first)


def _thinned(steps: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> Curve:
    every = max(1, len(steps) // _POINTS)
    return steps[::every], values[::every]
