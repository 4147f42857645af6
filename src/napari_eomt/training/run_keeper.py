"""What a run writes into its folder: states, models, reports, and nothing that is not finite."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from napari_eomt.errors import ModelError, OutputError
from napari_eomt.folder_swap import swapping
from napari_eomt.training.check_samples import SAMPLES, save_samples
from napari_eomt.training.checkpoint import save_state
from napari_eomt.training.result import is_disk_error, reason_of, result_sidecar, save_result
from napari_eomt.training.runs import (
    ADAPTER,
    CHECKPOINTS,
    ENVIRONMENT,
    REPORTS,
    STATES,
    write_json,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_eomt.evaluation.report import Report
    from napari_eomt.training.check_samples import CheckSample
    from napari_eomt.training.checkpoint import Progressed
    from napari_eomt.training.engine import Engine
    from napari_eomt.training.runs import Run
    from napari_eomt.training.setup import Setup


class RunKeeper:
    """Writes what is to be kept; of several processes the first one does.

    Parameters
    ----------
    run : Run
    setup : Setup
    engine : Engine
    is_first : bool
    """

    def __init__(self, run: Run, setup: Setup, engine: Engine, *, is_first: bool) -> None:
        self._run, self._setup, self._engine, self._is_first = run, setup, engine, is_first
        self._params = setup.plan.resolved
        self._sidecar = result_sidecar(
            setup.learner,
            self._params,
            setup.samples.survey,
            name=run.name,
            keys=setup.split.train,
        )
        self._kept = None if setup.state is None else setup.state.progressed.step
        self._saved = self._kept  # None also if something of it has changed
        self._saved_at = time.monotonic()

    @property
    def state_age(self) -> float:
        """Seconds since the last state."""
        return time.monotonic() - self._saved_at

    def begin(self, environment: dict[str, Any]) -> None:
        """Make the folder ready.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        if not self._is_first:
            return
        self._run.forget_stop()
        path = self._run.folder / ENVIRONMENT
        try:
            write_json(path, environment)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({reason_of(error)}).") from error
        (self._run.folder / CHECKPOINTS).mkdir(exist_ok=True)

    def save(self, at: Progressed, *, is_new: bool = False) -> None:
        """Write the state, unless it was; the network is between two steps.

        Parameters
        ----------
        at : Progressed
        is_new : bool
            Whether something else than the step has changed, such as the best value.

        Raises
        ------
        ModelError
            If weights are not finite: they would take the place of good ones.
        OutputError
            If it cannot be written.
        """
        if is_new:
            self._saved = None
        if not self._is_first or self._saved == at.step:
            return
        self.check_weights(at.step)
        average = self._engine.average
        save_state(
            self._run.folder / STATES,
            self._setup.learner,
            self._engine.state(),
            at,
            None if average is None else average.tensors,
        )
        self._saved = self._kept = at.step
        self._saved_at = time.monotonic()

    def save_model(self, name: str) -> Path:
        """Write the model as it is now, "best" or "last", and return its folder.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        folder = self._run.folder / CHECKPOINTS / name
        if not self._is_first:
            return folder
        average = self._engine.average
        averaged = None if average is None else average.tensors
        save_result(folder, self._setup.learner, self._sidecar, averaged)
        if self._setup.learner.has_lora:
            self._save_adapter()
        return folder

    def save_report(self, name: str, report: Report, samples: Mapping[str, CheckSample]) -> None:
        """Write what a check has found: "before", "best" or "last".

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        folder = self._run.folder / REPORTS
        folder.mkdir(exist_ok=True)
        report.save(folder / f"{name}.json")
        save_samples(folder / f"{name}{SAMPLES}", samples)

    def check_weights(self, step: int) -> None:
        """Check that the weights are numbers.

        Raises
        ------
        ModelError
            If some are not.
        """
        if not self._engine.is_finite:
            raise self.error(step, "weights are not finite after it")

    def error(self, step: int, found: str) -> ModelError:
        """Return what is said of a run that cannot go on: what was found, kept, and can be done."""
        state = f"The state of step {self._kept}" if self._kept is not None else "No state"
        rate = f"a lower learning rate than {self._params.learning_rate:g}"
        is_half = self._engine.precision != torch.float32
        precision = ", or with --precision fp32" if is_half else ""
        return ModelError(
            f"Step {step}: {found}. {state} is kept. Begin a new run with {rate}{precision}."
        )

    def _save_adapter(self) -> None:
        # peft takes a second to import, which only who wants it pays.
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
