"""What `napari-eomt train` does, and says about it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import typer

from napari_eomt.cli.progress import download_bar
from napari_eomt.cli.train_progress import train_bar
from napari_eomt.errors import DataError
from napari_eomt.models.catalog import DEFAULT_MODEL
from napari_eomt.models.load import resolve_device
from napari_eomt.models.locate import locate
from napari_eomt.settings import load_settings
from napari_eomt.training.heap import keep_freed_memory
from napari_eomt.training.loop import iter_train
from napari_eomt.training.params import TrainParams
from napari_eomt.training.ranks import ranks
from napari_eomt.training.runs import load_run
from napari_eomt.training.setup import Setup, set_up, set_up_again
from napari_eomt.training.train import begin_run, check_out
from napari_eomt.training.train_progress import Outcome, TrainProgress
from napari_eomt.training.trunk_run import forget_trunk
from napari_eomt.worker.threads import default_threads

if TYPE_CHECKING:
    from napari_eomt.training.runs import Run


@dataclass
class TrainJob:
    """A run, and what is said about it."""

    out: Path
    as_json: bool
    quiet: bool
    state_seconds: float
    _setup: Setup | None = field(default=None, init=False)
    _run: Run | None = field(default=None, init=False)

    def begin(
        self,
        dataset: Path,
        params: TrainParams,
        model: str | None,
        device: str | None,
        val: Path | None,
        *,
        leave_out_copies: bool = False,
    ) -> None:
        """Prepare a new run; the settings say what is None.

        Raises
        ------
        EomtError
            If anything of it cannot be used.
        """
        check_out(self.out)
        settings = load_settings()
        name = model or settings.model or DEFAULT_MODEL
        with download_bar(name, not self.quiet) as show:
            locate(name, on_progress=show)
        torch.set_num_threads(default_threads())
        self._setup = set_up(
            dataset,
            params,
            name,
            device=device or settings.device,
            val_dataset=None if val is None else val.expanduser(),
            leave_out_copies=leave_out_copies,
        )
        self._run = begin_run(self.out, self._setup)

    def go_on(self, params: TrainParams, dataset: Path | None, model: str | None) -> None:
        """Prepare to go on with a run.

        Raises
        ------
        EomtError
            If there is none, or it was asked something else.
        """
        run = load_run(self.out)
        if run.status() == "finished":
            raise DataError(
                f"{self.out}: this run has finished. To learn more, begin another run with "
                f"--model {run.model_folder}."
            )
        if model is not None and model != run.plan.model:
            raise DataError(
                f"{self.out}: this run started from {run.plan.model}, not from {model}. Leave out "
                "--model, or begin a new run."
            )
        if dataset is not None and not _is_same(dataset.expanduser(), Path(run.plan.dataset)):
            raise DataError(
                f"{self.out}: this run learns from {run.plan.dataset}, not from {dataset}. Leave "
                "it out, or begin a new run."
            )
        plain = TrainParams()
        given = {
            name: value
            for name in TrainParams.model_fields
            if (value := getattr(params, name)) != getattr(plain, name)
        }
        torch.set_num_threads(default_threads())
        self._setup, self._run = set_up_again(run, given), run

    def run(self, log: str | None = None) -> bool:
        """Train; return whether the run was stopped before its end.

        Raises
        ------
        EomtError
            If it cannot go on.
        """
        if self._setup is None or self._run is None:
            raise RuntimeError("Nothing to train was prepared.")
        opened = [] if log is None else [_open_tracker(log, self._run, self._setup)]
        is_first = ranks().is_main_process
        if resolve_device(self._setup.plan.device).type == "cpu":
            keep_freed_memory()
        try:
            with (
                _stopping() as should_stop,
                train_bar(self._run.name, is_first and not self.quiet and not self.as_json) as show,
            ):
                steps = iter_train(
                    self._setup,
                    self._run,
                    should_stop=should_stop,
                    state_seconds=self.state_seconds,
                    trackers=opened,
                )
                while True:
                    try:
                        progress = next(steps)
                    except StopIteration as stop:
                        outcome: Outcome = stop.value
                        break
                    show(progress)
                    if is_first:
                        self._tell(progress)
        finally:
            for tracker in opened:
                tracker.finish()
        if outcome.reason == "finished":
            forget_trunk(self._run.folder / "trunk")
        if is_first:
            self._sum_up(outcome)
        return outcome.reason == "stopped"

    def _tell(self, progress: TrainProgress) -> None:
        metric = self._metric
        if self.as_json:
            if progress.what != "check":
                row = {k: v for k, v in asdict(progress).items() if v not in (None, ())}
                typer.echo(json.dumps(row))
            return
        if self.quiet:
            return
        for note in progress.notes:
            typer.echo(note, err=True)
        if progress.what == "checked":
            score = (progress.scores or {}).get(metric)
            typer.echo(
                f"step {progress.step} of {progress.n_steps}: {metric} {_number(score)}, best "
                f"{_number(progress.best)}",
                err=True,
            )

    def _sum_up(self, outcome: Outcome) -> None:
        run = outcome.run
        if self.as_json:
            content = {
                "run": str(run.folder),
                "reason": outcome.reason,
                "step": outcome.step,
                "before": outcome.before,
                "best": outcome.best,
                "best_step": outcome.best_step,
                "model": None if run.model_folder is None else str(run.model_folder),
            }
            typer.echo(json.dumps(content))
            return
        if self.quiet:
            return
        if outcome.reason == "stopped":
            typer.echo(
                f"stopped after step {outcome.step}, its state is saved: --resume goes on", err=True
            )
        what = f"{run.folder}: {outcome.step} steps"
        if outcome.best is not None:
            what += f", {self._metric} {_number(outcome.before)} → {_number(outcome.best)}"
            what += f" at step {outcome.best_step}"
        if run.model_folder is not None:
            what += f" → {run.model_folder}"
        typer.echo(what)
        if outcome.best_step == 0 and outcome.reason == "finished":
            typer.echo(
                "No step was better than the model at the start. Annotate more images, or take "
                "another preset.",
                err=True,
            )

    @property
    def _metric(self) -> str:
        return "" if self._setup is None else str(self._setup.plan.resolved.metric)


@contextmanager
def _stopping() -> Iterator[Callable[[], bool]]:
    """Yield what tells whether Ctrl-C or SIGTERM came; a second Ctrl-C ends at once."""
    asked = False

    def stop(number: int, _: object) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_tracker(name: str) -> None:
    """Check that a program that is to be told is there, before a run is begun.

    Raises
    ------
    DataError
        If its package is not installed.
    """
    from accelerate.tracking import get_available_trackers

    if name not in {str(getattr(each, "value", each)) for each in get_available_trackers()}:
        raise DataError(f"--log {name}: {name} is not installed. `pip install {name}`.")


def _open_tracker(name: str, run: Run, setup: Setup) -> Any:
    """Open a tracker of accelerate's.

    Raises
    ------
    DataError
        If it cannot start.
    """
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind = LOGGER_TYPE_TO_CLASS[name]
    folder = run.folder / "log"
    options = {"logging_dir": folder} if kind.requires_logging_directory else {}
    try:
        tracker: Any = kind(run.name, **options)
        if hasattr(tracker, "start"):  # newer versions of accelerate open it late
            tracker.start()
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"--log {name}: {name} cannot start ({reason}). Mend that, or leave --log out."
        ) from error
    values = setup.plan.resolved.model_dump(mode="json")
    plain = {k: v for k, v in values.items() if isinstance(v, bool | int | float | str)}
    tracker.store_init_configuration(plain)
    return tracker


def _is_same(given: Path, known: Path) -> bool:
    given, known = given.resolve(), known.resolve()
    return given in (known, known.parent, known.parent.parent)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
