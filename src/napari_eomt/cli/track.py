"""`napari-eomt track`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_eomt.cli.options import (
    Debug,
    Device,
    InputSize,
    Precision,
    clean_stop,
    clear_errors,
    with_params,
)
from napari_eomt.errors import DataError
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.track_params import TrackParams

_FORMATS = ("tiff", "csv", "ctc", "ytvis")


@with_params(PredictParams, track=TrackParams)
def track(
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="A stack, a video file, a folder of images, or a quoted pattern such as "
            "'frames/*.png'; images in the order of their names.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results. Made if it is not there.")],
    params: PredictParams,
    track: TrackParams,
    model: Annotated[
        str | None,
        typer.Option(
            help="Name or folder of the model; see `napari-eomt models`. A VidEoMT follows things "
            "by itself, frames of others are linked by overlap. By default that of the settings, "
            "else the bundled one."
        ),
    ] = None,
    output_format: Annotated[
        str,
        typer.Option(
            "--format",
            help="One or more of tiff (NAME.tif: labels, T × Y × X, whose ids are those of "
            "tracks), csv (NAME.csv: a row for each track in each frame), ctc (NAME_RES: Cell "
            "Tracking Challenge), ytvis (NAME.json: YouTube-VIS), with commas.",
        ),
    ] = "tiff,csv",
    device: Device = None,
    dtype: Precision = None,
    input_size: InputSize = None,
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Compile the model for this machine first: takes a minute, pays on a GPU from "
            "some hundred frames on.",
        ),
    ] = False,
    frames: Annotated[
        str, typer.Option(help="Frames to track: all, or a slice from 0 like 0:100 or ::2.")
    ] = "all",
    axes: Annotated[
        str | None,
        typer.Option(
            help="A letter for each axis of a stack, such as TYX, ZYX or TYXC. By default what "
            "the file says."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a run of this command was stopped.")
    ] = False,
    save_every: Annotated[
        int,
        typer.Option(
            min=1,
            help="Frames after which the state is written: a run that was killed loses so many "
            "at most. Ctrl-C loses none.",
            metavar="N",
        ),
    ] = 50,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace results; by default such an input is skipped."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    debug: Debug = False,
) -> None:
    """Track what is in a stack or a video: each object keeps one id through time.

    Memory does not grow with the number of frames (of the formats ctc and ytvis, only when they
    are written). After Ctrl-C, exit code 130, the same command with --resume goes on.
    """
    with clear_errors(debug), clean_stop():
        if params.contrast == "auto" and params.contrast_limits is not None:
            params = params.model_copy(update={"contrast": "limits"})
        formats = tuple(dict.fromkeys(output_format.replace(",", " ").split()))
        unknown = [name for name in formats if name not in _FORMATS]
        if unknown or not formats:
            raise DataError(
                f"--format {output_format}: there is no format {', '.join(unknown) or '“”'}. "
                f"Choose of {', '.join(_FORMATS)}."
            )
        # Only now: --help and wrong options answer without torch.
        from napari_eomt.cli.track_job import TrackJob

        TrackJob(
            params=params,
            track=track,
            source=source,
            out=out.expanduser(),
            formats=formats,
            frames=frames,
            axes=axes,
            resume=resume,
            overwrite=overwrite,
            save_every=save_every,
            as_json=as_json,
            quiet=quiet,
        ).run(model, device, dtype, input_size=input_size, compiled=compiled)
