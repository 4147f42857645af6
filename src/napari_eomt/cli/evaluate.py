"""`napari-eomt evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_eomt.cli.options import (
    BAD_INPUT,
    Debug,
    Device,
    InputSize,
    Precision,
    clear_errors,
    with_params,
)
from napari_eomt.inference.params import PredictParams


@with_params(PredictParams)
def evaluate(
    dataset: Annotated[
        Path,
        typer.Argument(
            help="Annotated images: a folder with a COCO file, or a COCO file of instances or "
            "panoptic.",
        ),
    ],
    params: PredictParams,
    model: Annotated[
        str | None,
        typer.Option(
            help="Name or folder of the model; see `napari-eomt models`. By default that of the "
            "settings, else the bundled one."
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Evaluate these instead of a model's: a folder of label images as `napari-eomt "
            "predict` writes them, COCO's results, a COCO file, or a panoptic one."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the report to this file, as JSON, with every image's figures."),
    ] = None,
    before: Annotated[
        Path | None,
        typer.Option(help="A report of the same images: show what has changed since."),
    ] = None,
    ignore_categories: Annotated[
        bool,
        typer.Option("--ignore-categories", help="Take all objects for one category."),
    ] = False,
    redraw_below: Annotated[
        float,
        typer.Option(
            min=0.5,
            max=1,
            help="IoU below which an object that was found is counted as to be redrawn.",
        ),
    ] = 0.75,
    device: Device = None,
    dtype: Precision = None,
    input_size: InputSize = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON instead of a table.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    debug: Debug = False,
) -> None:
    """Measure how good a model is on annotated images: AP, F1, PQ, mIoU, edits needed.

    Images that cannot be evaluated are named and left out; the exit code is then 2. AP is TP / (TP
    + FP + FN) averaged over images, as in microscopy; COCO's AP is told apart from it.
    """
    with clear_errors(debug):
        if params.contrast == "auto" and params.contrast_limits is not None:
            params = params.model_copy(update={"contrast": "limits"})
        # Only now: --help and wrong options answer without torch.
        from napari_eomt.cli.evaluate_job import EvaluateJob

        job = EvaluateJob(
            params=params,
            any_category=ignore_categories,
            redraw_iou=redraw_below,
            quiet=quiet,
            debug=debug,
        )
        job.start(dataset.expanduser(), before)
        if predictions is not None:
            job.use_files(predictions)
        else:
            job.use_model(model, device, dtype, input_size)
        report = job.run()
        job.show(report, as_json=as_json)
        if out is not None:
            report.save(out.expanduser())
        if job.n_failed:
            raise typer.Exit(BAD_INPUT)
