"""A run from its first step, or from where it stopped, to its last."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import distributed

from napari_eomt.errors import ModelError, OutputError
from napari_eomt.folder_swap import swapping
from napari_eomt.models.load import resolve_device, resolve_dtype
from napari_eomt.training.check import Checker, score_of
from napari_eomt.training.check_samples import SAMPLES, save_samples
from napari_eomt.training.checkpoint import Progressed, save_state
from napari_eomt.training.engine import Engine
from napari_eomt.training.environment import describe_environment
from napari_eomt.training.free_memory import free_memory
from napari_eomt.training.memory import fitting_micro_batch
from napari_eomt.training.ranks import missing_ranks, ranks
from napari_eomt.training.result import is_disk_error, reason_of, result_sidecar, save_result
from napari_eomt.training.run_lock import RunLock
from napari_eomt.training.run_log import NAME as METRICS
from napari_eomt.training.run_log import RunLog
from napari_eomt.training.runs import (
    ADAPTER,
    CHECKPOINTS,
    ENVIRONMENT,
    REPORTS,
    STATES,
    Run,
    write_json,
)
from napari_eomt.training.supply import Supply
from napari_eomt.training.train_progress import Outcome, TrainProgress
from napari_eomt.training.trunk_run import keep_trunk

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari_eomt.evaluation.report import Report
    from napari_eomt.training.samples import Sample
    from napari_eomt.training.setup import Setup
    from napari_eomt.training.step import StepReport
    from napari_eomt.training.train_progress import Tracker

STATE_SECONDS = 300.0
"""Between two states: what a kill loses at most."""

_MAX_BAD = {True: 25, False: 5}  # steps in a row without effect, with fp16's scaler and without
_SMOOTHING = 0.9


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
        self._setup, self._run, self._log, self._ranks = setup, run, log, here
        self._should_stop, self._state_seconds = should_stop, state_seconds
        self._trackers = list(trackers)
        self._params = params = setup.plan.resolved
        self._n_steps, self._interval = int(params.steps), int(params.validation_interval)
        state = setup.state
        self.at = state.progressed.model_copy() if state is not None else Progressed()
        self._kept = self.at.step if state is not None else None
        self._saved = self._kept  # None also if something of it has changed
        self._saved_at = time.monotonic()
        # Several processes have a device each.
        device = here.device if here.num_processes > 1 else resolve_device(setup.plan.device)
        precision = resolve_dtype(params.precision, device)
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
        self._engine.kept = keep_trunk(learner, params, precision, folder)
        self._checker = (
            Checker(setup.val_dataset, setup.split.val, params, str(device))
            if setup.split.val
            else None
        )
        self._sidecar = result_sidecar(
            learner,
            params,
            setup.samples.survey,
            name=run.name,
            n_images=len(setup.split.train),
        )
        self._seconds = 0.0
        self._before: float | None = None
        self._scores: dict[str, float | None] | None = None
        missing = missing_ranks()
        self._notes: list[str] = [*setup.notes, *([missing] if missing else [])]
        if self._checker is not None:
            self._notes += self._checker.notes
        self._environment = describe_environment(device, precision, here.num_processes)

    def iterate(self) -> Generator[TrainProgress, None, Outcome]:
        run, params = self._run, self._params
        if self._ranks.is_main_process:
            run.forget_stop()
            self._write(run.folder / ENVIRONMENT, self._environment)
            (run.folder / CHECKPOINTS).mkdir(exist_ok=True)
        self.tell(
            "start",
            n_steps=self._n_steps,
            metric=params.metric,
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
                if time.monotonic() - self._saved_at >= self._state_seconds:
                    self.save()
        finally:
            supply.close()
        if self._checker is None or self.at.checked != self.at.step:
            self._write_result("last")
        self.save()
        self.tell("end", reason=reason, best=self.at.best, best_step=self.at.best_step)
        return Outcome(run, reason, self.at.step, self._before, self.at.best, self.at.best_step)

    def save(self) -> None:
        """Write the state, unless it was; the network is between two steps.

        Raises
        ------
        ModelError
            If weights are not finite: they would take the place of good ones.
        OutputError
            If it cannot be written.
        """
        if not self._ranks.is_main_process or self._saved == self.at.step:
            return
        self._check_weights()
        average = self._engine.average
        save_state(
            self._run.folder / STATES,
            self._setup.learner,
            self._engine.state(),
            self.at,
            None if average is None else average.tensors,
        )
        self._saved = self._kept = self.at.step
        self._saved_at = time.monotonic()

    def tell(self, kind: str, **values: Any) -> None:
        if self._ranks.is_main_process:
            self._log.write(kind, self.at.step, **values)

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
        self._track(values)
        return self._progress("step", losses=report, notes=self._new_notes())

    def _check(self) -> Generator[TrainProgress, None, None]:
        """Check the model as it is; give up if a stop is wanted, and do it after resuming."""
        is_whole = True
        self._check_weights()
        if self._checker is not None and self._ranks.is_main_process:
            steps = self._checker.iter_check(self._write_result("last"))
            while True:
                try:
                    done = next(steps)
                except StopIteration as stop:
                    self._take(stop.value)
                    break
                yield self._progress("check", check=done, notes=self._new_notes())
                if self._should_stop() or self._run.is_stop_requested:
                    steps.close()
                    is_whole = False
                    break
        if is_whole:
            self.at.checked = self.at.step
        # Also of a check that was given up: the others wait for the word of the first.
        self._wait()
        self._share()
        if self.at.checked != self.at.step:
            return
        self._saved = None  # the best value is a part of the state
        self.save()
        yield self._progress("checked", notes=self._new_notes())

    def _take(self, report: Report) -> None:
        metric = self._params.metric
        score = score_of(report, metric)
        total = report.total
        self._scores = {name: getattr(total, name) for name in ("ap", "ap50", "f1", "pq", "miou")}
        if self.at.step == 0:
            self._before = score
        is_better = score is not None and (self.at.best is None or score > self.at.best)
        if is_better:
            self.at.best, self.at.best_step, self.at.n_worse = score, self.at.step, 0
            self._write_result("best")
        else:
            self.at.n_worse += 1
        folder = self._run.folder / REPORTS
        folder.mkdir(exist_ok=True)
        names = [
            "last",
            *(["best"] if is_better else []),
            *(["before"] if not self.at.step else []),
        ]
        for name in names:
            report.save(folder / f"{name}.json")
            if self._checker is not None:
                save_samples(folder / f"{name}{SAMPLES}", self._checker.samples)
        self.tell("check", **self._scores, score=score, is_best=is_better)
        self._track({f"check/{k}": v for k, v in self._scores.items() if v is not None})

    def _track(self, values: dict[str, Any]) -> None:
        for tracker in list(self._trackers):
            try:
                tracker.log(values, step=self.at.step)
            except Exception as error:  # noqa: BLE001 - of another program, which no run needs
                self._trackers.remove(tracker)
                self._notes.append(
                    f"{type(tracker).__name__} is told no more of the run: {reason_of(error)}."
                )

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
        raise self._error(self.at.step + 1, found)

    def _check_weights(self) -> None:
        if not self._engine.is_finite:
            raise self._error(self.at.step, "weights are not finite after it")

    def _error(self, step: int, found: str) -> ModelError:
        state = f"The state of step {self._kept}" if self._kept is not None else "No state"
        rate = f"a lower learning rate than {self._params.learning_rate:g}"
        is_half = self._engine.precision != torch.float32
        precision = ", or with --precision fp32" if is_half else ""
        return ModelError(
            f"Step {step}: {found}. {state} is kept. Begin a new run with {rate}{precision}."
        )

    def _write_result(self, name: str) -> Any:
        folder = self._run.folder / CHECKPOINTS / name
        if not self._ranks.is_main_process:
            return folder
        average = self._engine.average
        averaged = None if average is None else average.tensors
        save_result(folder, self._setup.learner, self._sidecar, averaged)
        if self._setup.learner.has_lora:
            self._write_adapter()
        return folder

    def _write_adapter(self) -> None:
        from napari_eomt.training.lora import save_adapter

        folder = self._run.folder / ADAPTER
        try:
            with swapping(folder) as temporary:
                model = self._setup.learner.network.model
                save_adapter(model, temporary, self._setup.plan.model)
        except Exception as error:
            if not is_disk_error(error):
                raise
            raise OutputError(
                f"{folder}: the adapter cannot be written ({reason_of(error)}). Free the disk, "
                "then resume."
            ) from error

    def _is_check_due(self) -> bool:
        if self._checker is None or self.at.checked == self.at.step:
            return False
        return self.at.step % self._interval == 0 or self.at.step >= self._n_steps

    def _is_patience_over(self) -> bool:
        return 0 < self._params.patience <= self.at.n_worse

    def _is_stop_wanted(self) -> bool:
        wanted = self._should_stop() or (
            self._ranks.is_main_process and self._run.is_stop_requested
        )
        if self._ranks.num_processes > 1:
            flag = torch.tensor(int(wanted), device=self._engine.device)
            distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
            wanted = bool(flag)
        return wanted

    def _share(self) -> None:
        """Tell the other processes what the first has found in a check."""
        if self._ranks.num_processes > 1:
            box = [self.at.model_dump()]
            distributed.broadcast_object_list(box, src=0)
            self.at = Progressed(**box[0])

    def _wait(self) -> None:
        if self._ranks.num_processes > 1:
            self._ranks.wait_for_everyone()

    def _micro_batch(self, device: torch.device, precision: torch.dtype) -> int:
        params, share = self._params, self._supply.share
        asked = self._run.plan.resolved.micro_batch
        if self._setup.state is not None and params.micro_batch == asked:
            return min(self.at.micro_batch, share)
        if params.micro_batch != "auto":
            return min(params.micro_batch, share)
        card = self._setup.learner.card
        return fitting_micro_batch(card, params, share, free_memory(device), precision.itemsize)

    def _known_before(self) -> float | None:
        rows = [row for row in self._run.rows() if row["kind"] == "check" and row["step"] == 0]
        return rows[-1]["score"] if rows else None

    def _new_notes(self) -> tuple[str, ...]:
        kept = self._engine.kept
        sources = [self._notes, self._engine.notes, kept.cache.notes if kept else []]
        notes = [note for source in sources for note in source]
        for source in sources:
            source.clear()
        for note in notes:
            self.tell("note", text=note)
        return tuple(notes)

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

    def _write(self, path: Any, content: dict[str, Any]) -> None:
        try:
            write_json(path, content)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({reason_of(error)}).") from error
