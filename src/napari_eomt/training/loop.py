"""A run from its first step, or from where it stopped, to its last."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from napari_eomt.errors import OutputError
from napari_eomt.models.load import resolve_device
from napari_eomt.training.check import Checker, score_of
from napari_eomt.training.checkpoint import Progressed
from napari_eomt.training.engine import Engine
from napari_eomt.training.environment import describe_environment
from napari_eomt.training.free_memory import free_memory
from napari_eomt.training.memory import fitting_micro_batch
from napari_eomt.training.precision import resolve_precision, resolve_trunk_precision
from napari_eomt.training.ranks import any_rank, missing_ranks, ranks, said_by_first
from napari_eomt.training.result import reason_of
from napari_eomt.training.run_keeper import RunKeeper
from napari_eomt.training.run_lock import RunLock
from napari_eomt.training.run_log import NAME as METRICS
from napari_eomt.training.run_log import RunLog
from napari_eomt.training.run_teller import RunTeller
from napari_eomt.training.supply import Supply
from napari_eomt.training.train_progress import Outcome, TrainProgress
from napari_eomt.training.trunk_run import keep_trunk
from napari_eomt.training.video_check import VideoChecker
from napari_eomt.training.video_opened import Videos

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    import torch

    from napari_eomt.evaluation.report import Report
    from napari_eomt.training.runs import Run
    from napari_eomt.training.samples import Sample
    from napari_eomt.training.setup import Setup
    from napari_eomt.training.step import StepReport
    from napari_eomt.training.train_progress import Tracker

STATE_SECONDS = 300.0
"""Between two states: what a kill loses at most."""

_MAX_BAD = {True: 25, False: 5}  # steps in a row without effect, with fp16's scaler and without
_SMOOTHING = 0.9
_SCORES = ("ap", "ap50", "f1", "pq", "miou")


def iter_train(
    setup: Setup,
    run: Run,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    state_seconds: float = STATE_SECONDS,
    trackers: Sequence[Tracker] = (),
) -> Generator[TrainProgress, None, Outcome]:
    """Train; whoever closes the generator between two steps stops the run with its state saved.

    Parameters
    ----------
    setup : Setup
    run : Run
        Its folder.
    should_stop : callable
        Asked after each step, as is the run's own file.
    state_seconds : float
        Between two states.
    trackers : sequence of Tracker

    Raises
    ------
    EomtError
        If the loss is not finite any more, memory does not suffice, the disk is full, or an image
        cannot be read. The last state is kept.
    """
    here = ranks()
    lock = RunLock(run.folder)
    if here.is_main_process:
        lock.acquire()
    try:
        with RunLog(run.folder / METRICS) as log:
            loop = _Loop(setup, run, log, here, should_stop, state_seconds, trackers)
            try:
                return (yield from loop.iterate())
            except GeneratorExit:
                loop.save()
                loop.tell("end", reason="stopped")
                raise
            except BaseException as error:
                reason = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
                with suppress(OutputError):
                    loop.tell("end", reason=reason, text=reason_of(error))
                raise
    finally:
        if here.is_main_process:
            lock.release()


class _Loop:
    def __init__(
        self,
        setup: Setup,
        run: Run,
        log: RunLog,
        here: Any,
        should_stop: Callable[[], bool],
        state_seconds: float,
        trackers: Sequence[Tracker],
    ) -> None:
        self._setup, self._run, self._ranks = setup, run, here
        self._should_stop, self._state_seconds = should_stop, state_seconds
        is_first = self._is_first = bool(here.is_main_process)
        self._teller = RunTeller(log, trackers, is_first=is_first)
        self._params = params = setup.plan.resolved
        self._n_steps, self._interval = int(params.steps), int(params.validation_interval)
        state = setup.state
        self.at = state.progressed.model_copy() if state is not None else Progressed()
        # Several processes have a device each.
        device = here.device if here.num_processes > 1 else resolve_device(setup.plan.device)
        precision = resolve_precision(params.precision, device)
        learner = setup.learner
        self._supply = Supply(
            setup.samples,
            params,
            learner.card,
            rank=here.process_index,
            n_ranks=here.num_processes,
        )
        self.at.micro_batch = self._micro_batch(device, precision)
        self._engine = Engine(learner, params, device, precision, self.at.micro_batch)
        if state is not None:
            self._engine.restore(state.optimizer, state.averaged, self.at.n_averaged)
        folder = run.folder / "trunk" / str(here.process_index)
        kept_in = resolve_trunk_precision(precision, device)
        self._engine.kept = keep_trunk(learner, params, kept_in, folder)
        self._checker = _checker(setup, str(device)) if setup.split.val else None
        self._keeper = RunKeeper(run, setup, self._engine, is_first=is_first)
        self._seconds = 0.0
        self._before: float | None = None
        self._scores: dict[str, float | None] | None = None
        missing = missing_ranks()
        self._teller.note([*setup.notes, *([missing] if missing else [])])
        if self._checker is not None:
            self._teller.note(self._checker.notes)
        self._environment = describe_environment(device, precision, here.num_processes)

    def iterate(self) -> Generator[TrainProgress, None, Outcome]:
        self._keeper.begin(self._environment)
        self.tell(
            "start",
            n_steps=self._n_steps,
            metric=self._params.metric,
            micro_batch=self.at.micro_batch,
            device=str(self._engine.device),
        )
        self._before = self._known_before()
        reason: Literal["finished", "stopped"] = "finished"
        supply = self._supply.iter_steps(self.at.step, self._n_steps)
        try:
            while True:
                if self._is_check_due():
                    yield from self._check()
                if self._is_stop_wanted():
                    reason = "stopped"
                    break
                if self.at.step >= self._n_steps or self._is_patience_over():
                    break
                yield self._step(next(supply))
                if self._keeper.state_age >= self._state_seconds:
                    self.save()
        finally:
            supply.close()
        if self._checker is None or self.at.checked != self.at.step:
            self._keeper.save_model("last")
        self.save()
        self.tell("end", reason=reason, best=self.at.best, best_step=self.at.best_step)
        return Outcome(
            self._run, reason, self.at.step, self._before, self.at.best, self.at.best_step
        )

    def save(self) -> None:
        """Write the state, unless it was; see `RunKeeper.save`."""
        self._keeper.save(self.at)

    def tell(self, kind: str, **values: Any) -> None:
        """Write a row to the log."""
        self._teller.tell(kind, self.at.step, **values)

    def _step(self, samples: list[Sample]) -> TrainProgress:
        started = time.perf_counter()
        report = self._engine.step(self.at.step, samples, self._supply)
        self._judge(report, samples)
        self.at.step += 1
        self.at.micro_batch = self._engine.micro_batch
        if self._engine.average is not None:
            self.at.n_averaged = self._engine.average.n_steps
        seconds = time.perf_counter() - started
        known = self._seconds or seconds
        self._seconds = _SMOOTHING * known + (1 - _SMOOTHING) * seconds
        values = {
            "loss": report.loss,
            "mask": report.mask,
            "dice": report.dice,
            "classes": report.classes,
            "gradient_norm": report.gradient_norm,
            "learning_rate": self._engine.learning_rate,
        }
        self.tell("step", **values, seconds=round(seconds, 4))
        self._teller.track(self.at.step, values)
        return self._progress("step", losses=report, notes=self._new_notes())

    def _check(self) -> Generator[TrainProgress, None, None]:
        """Check the model as it is; give up if a stop is wanted, and do it after resuming."""
        is_whole = True
        self._keeper.check_weights(self.at.step)
        if self._checker is not None and self._is_first:
            steps = self._checker.iter_check(self._keeper.save_model("last"))
            while True:
                try:
                    done = next(steps)
                except StopIteration as stop:
                    self._take(stop.value, self._checker)
                    break
                yield self._progress("check", check=done, notes=self._new_notes())
                if self._should_stop() or self._run.is_stop_requested:
                    steps.close()
                    is_whole = False
                    break
        if is_whole:
            self.at.checked = self.at.step
        # Also of a check that was given up: the others wait for the word of the first.
        self.at = Progressed(**said_by_first(self.at.model_dump(), self._ranks))
        if self.at.checked != self.at.step:
            return
        self._keeper.save(self.at, is_new=True)  # the best value is a part of it
        yield self._progress("checked", notes=self._new_notes())

    def _take(self, report: Report, checker: Checker | VideoChecker) -> None:
        metric = self._params.metric
        score = score_of(report, metric)
        total = report.total
        self._scores = {name: getattr(total, name) for name in _SCORES}
        if total.idf1 is not None:
            self._scores["idf1"] = total.idf1
        if self.at.step == 0:
            self._before = score
        is_better = score is not None and (self.at.best is None or score > self.at.best)
        if is_better:
            self.at.best, self.at.best_step, self.at.n_worse = score, self.at.step, 0
            self._keeper.save_model("best")
        else:
            self.at.n_worse += 1
        is_told = {"last": True, "best": is_better, "before": not self.at.step}
        for name, is_this in is_told.items():
            if is_this:
                self._keeper.save_report(name, report, checker.samples)
        self.tell("check", **self._scores, score=score, is_best=is_better)
        known = {f"check/{k}": v for k, v in self._scores.items() if v is not None}
        self._teller.track(self.at.step, known)

    def _judge(self, report: StepReport, samples: Sequence[Sample]) -> None:
        """Stop where numbers have gone: the weights are still those of the step before."""
        is_finite = math.isfinite(report.loss)
        has_scaler = self._engine.scaler is not None
        self.at.n_bad = self.at.n_bad + 1 if report.is_skipped else 0
        if (is_finite or has_scaler) and self.at.n_bad < _MAX_BAD[has_scaler]:
            return
        names = sorted({self._setup.split.names.get(s.key, s.key) for s in samples})
        parts = {"mask": report.mask, "dice": report.dice, "class": report.classes}
        bad = [name for name, value in parts.items() if not math.isfinite(value)]
        what = f"its {' and '.join(bad)} part" if bad else "its gradient"
        few = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        found = f"the loss is not finite ({what}), learning from {few}"
        if self._engine.is_finite:
            self.save()
        raise self._keeper.error(self.at.step + 1, found)

    def _is_check_due(self) -> bool:
        if self._checker is None or self.at.checked == self.at.step:
            return False
        return self.at.step % self._interval == 0 or self.at.step >= self._n_steps

    def _is_patience_over(self) -> bool:
        return 0 < self._params.patience <= self.at.n_worse

    def _is_stop_wanted(self) -> bool:
        wanted = self._should_stop() or (self._is_first and self._run.is_stop_requested)
        return any_rank(wanted, self._ranks, self._engine.device)

    def _micro_batch(self, device: torch.device, precision: torch.dtype) -> int:
        params, share = self._params, self._supply.share
        asked = self._run.plan.resolved.micro_batch
        if self._setup.state is not None and params.micro_batch == asked:
            return min(self.at.micro_batch, share)
        if params.micro_batch != "auto":
            return min(params.micro_batch, share)
        card = self._setup.learner.card
        # On a CPU much is kept in float32 beside what is not.
        n_bytes = 4 if device.type == "cpu" else precision.itemsize
        return fitting_micro_batch(card, params, share, free_memory(device), n_bytes)

    def _known_before(self) -> float | None:
        rows = [row for row in self._run.rows() if row["kind"] == "check" and row["step"] == 0]
        return rows[-1]["score"] if rows else None

    def _new_notes(self) -> tuple[str, ...]:
        kept = self._engine.kept
        others = [self._engine.notes, *([kept.cache.notes] if kept else [])]
        return self._teller.take_notes(self.at.step, *others)

    def _progress(self, what: Any, **values: Any) -> TrainProgress:
        return TrainProgress(
            what,
            self.at.step,
            self._n_steps,
            learning_rate=self._engine.learning_rate,
            seconds=self._seconds,
            scores=self._scores,
            best=self.at.best,
            **values,
        )


def _checker(setup: Setup, device: str) -> Checker | VideoChecker:
    params, keys = setup.plan.resolved, setup.split.val
    if isinstance(setup.val_dataset, Videos):
        return VideoChecker(setup.val_dataset, keys, params, device)
    return Checker(setup.val_dataset, keys, params, device)
