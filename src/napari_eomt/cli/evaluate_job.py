"""What `napari-eomt evaluate` does, and says about it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import typer

from napari_eomt.cli.options import say_error
from napari_eomt.cli.progress import progress_bar
from napari_eomt.evaluation.evaluate import Source, iter_evaluate, source_of
from napari_eomt.evaluation.report import Report
from napari_eomt.evaluation.tables import comparison_table, report_table
from napari_eomt.evaluation.truth import Truth, open_truth

if TYPE_CHECKING:
    from pathlib import Path

    from napari_eomt.errors import DataError
    from napari_eomt.inference.params import PredictParams
    from napari_eomt.models.card import DTypeName
    from napari_eomt.structures.segments import Task


@dataclass
class EvaluateJob:
    """What is evaluated, and what came of it."""

    params: PredictParams
    any_category: bool
    redraw_iou: float
    quiet: bool
    debug: bool
    n_failed: int = 0
    _truth: Truth | None = field(default=None, init=False)
    _before: Report | None = field(default=None, init=False)
    _source: tuple[Source, Task, str] | None = field(default=None, init=False)

    def start(self, dataset: Path, before: Path | None) -> None:
        """Open what is compared with, before hours of work are spent.

        Raises
        ------
        DataError
            If it cannot be read.
        """
        self._truth = open_truth(dataset)
        self._before = None if before is None else Report.load(before.expanduser())

    def use_files(self, predictions: Path) -> None:
        """Evaluate predictions that are there.

        Raises
        ------
        DataError
            If they cannot be read.
        """
        self._source = source_of(predictions, self._opened, self.params)

    def use_model(
        self,
        model: str | None,
        device: str | None,
        dtype: DTypeName | None,
        input_size: int | None,
    ) -> None:
        """Evaluate a model; the settings say what is None.

        Raises
        ------
        EomtError
            If there is no such model, or it does not serve the task.
        """
        # Predictions in files need no torch.
        from napari_eomt.cli.model_run import open_segmenter

        segmenter = open_segmenter(
            model, device, dtype, self.params, quiet=self.quiet, input_size=input_size
        )
        self._source = source_of(segmenter, self._opened, self.params)

    def run(self) -> Report:
        """Predict and measure, image by image.

        Raises
        ------
        DataError
            If no image can be evaluated.
        """
        if self._source is None:
            raise RuntimeError("Nothing to evaluate was chosen.")
        source, task, name = self._source
        steps = iter_evaluate(
            self._opened,
            source,
            task=task,
            name=name,
            params=self.params,
            any_category=self.any_category,
            redraw_iou=self.redraw_iou,
            on_error=None if self.debug else self._fail,
        )
        with closing(steps), progress_bar(name, not self.quiet) as show:
            while True:
                try:
                    show(next(steps))
                except StopIteration as stop:
                    report: Report = stop.value
                    return report

    def show(self, report: Report, *, as_json: bool) -> None:
        """Print the report, and what has changed since the one of before."""
        if as_json:
            typer.echo(report.model_dump_json())
        elif not self.quiet:
            typer.echo(report_table(report))
        if self._before is not None and not self.quiet:
            # With --json, stdout is the report alone.
            typer.echo("\n" * (not as_json) + comparison_table(self._before, report), err=as_json)

    @property
    def _opened(self) -> Truth:
        if self._truth is None:
            raise RuntimeError("The dataset was not opened.")
        return self._truth

    def _fail(self, error: DataError) -> None:
        self.n_failed += 1
        say_error(error)
