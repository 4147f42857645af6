"""`napari-eomt predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from napari_eomt.cli.options import (
    BAD_INPUT,
    Debug,
    Device,
    InputSize,
    Precision,
    clean_stop,
    clear_errors,
    with_params,
)
from napari_eomt.inference.params import PredictParams


@with_params(PredictParams)
def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Images, stacks, OME-Zarr, folders of these, or quoted patterns such as "
            "'data/*.tif'.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for the results: for each image NAME.tif, the labels, and NAME.csv, "
            "the segments. Made if it is not there."
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
    output_format: Annotated[
        Literal["tiff"], typer.Option("--format", help="Format of the label images.")
    ] = "tiff",
    device: Device = None,
    dtype: Precision = None,
    input_size: InputSize = None,
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Compile the model for this machine first: takes a minute, pays on a GPU from "
            "some hundred images on.",
        ),
    ] = False,
    frames: Annotated[
        str, typer.Option(help="Frames of a stack: all, a number from 0, or a slice like 0:10.")
    ] = "all",
    axes: Annotated[
        str | None,
        typer.Option(
            help="A letter for each axis of the images, such as TZCYX, CYX or YXC: Y and X are "
            "rows and columns, C or S channels, others are stepped through. By default what the "
            "file says."
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look into folders of folders.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace results; by default such images are skipped."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each image.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    debug: Debug = False,
) -> None:
    """Segment images: writes a label TIFF and a table of segments for each.

    Bad images are named and left out; the exit code is then 2. After Ctrl-C, exit code 130,
    what was finished is kept, and the same command goes on from there.
    """
    with clear_errors(debug), clean_stop():
        if params.contrast == "auto" and params.contrast_limits is not None:
            params = params.model_copy(update={"contrast": "limits"})
        # Only now: --help and wrong options answer without torch.
        from napari_eomt.cli.predict_job import PredictJob

        job = PredictJob(
            params=params,
            out=out.expanduser(),
            frames=frames,
            axes=axes,
            overwrite=overwrite,
            as_json=as_json,
            quiet=quiet,
            debug=debug,
        )
        job.run(
            inputs,
            recursive,
            model,
            device,
            dtype,
            input_size=input_size,
            compiled=compiled,
        )
        if job.n_failed:
            raise typer.Exit(BAD_INPUT)
