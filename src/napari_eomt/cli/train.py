"""`napari-eomt train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from napari_eomt.cli.options import INTERRUPTED, Debug, Device, clear_errors, with_params
from napari_eomt.errors import DataError
from napari_eomt.training.params import TrainParams


@with_params(TrainParams)
def train(
    out: Annotated[
        Path,
        typer.Option(
            help="Folder of the run, new or empty: what it was asked, how it goes, its state, and "
            "the models, checkpoints/best and checkpoints/last."
        ),
    ],
    params: TrainParams,
    dataset: Annotated[
        Path | None,
        typer.Argument(
            help="Annotated images: a folder with a COCO file, or a COCO file of instances or "
            "panoptic. Or videos with tracks: YouTube-VIS, a folder of the Cell Tracking "
            "Challenge, or saved documents, NAME.eomt or a folder of them. Not needed to resume.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Name or folder of the model to start from; see `napari-eomt models`. By default "
            "that of the settings, else the bundled one. An EoMT that learns from videos becomes "
            "a VidEoMT."
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run in --out from its last state, with all that it was asked.",
        ),
    ] = False,
    val: Annotated[
        Path | None,
        typer.Option(
            help="Another dataset, whose images check. By default some of the dataset's own do: "
            "see --val-fraction."
        ),
    ] = None,
    leave_out_copies: Annotated[
        bool,
        typer.Option(
            "--leave-out-copies",
            help="With --val: leave out of what is learnt the images that check as well, rather "
            "than refuse both.",
        ),
    ] = False,
    device: Device = None,
    log: Annotated[
        Literal["tensorboard", "wandb"] | None,
        typer.Option(help="Tell this program, too, how the run goes; it has to be installed."),
    ] = None,
    save_every: Annotated[
        float,
        typer.Option(min=0, help="Minutes between two states: what a kill loses at most."),
    ] = 5.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each step and each check.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    debug: Debug = False,
) -> None:
    """Teach a model what is annotated: last blocks, small additions (LoRA), or all of it.

    After Ctrl-C or SIGTERM the present step is finished and its state saved, exit code 130;
    --resume goes on from there, or from the last state if the process was killed. Several GPUs:
    the same command under `accelerate launch -m napari_eomt.cli.main`.
    """
    with clear_errors(debug):
        if dataset is None and not resume:
            raise DataError("DATASET is missing: name the folder of annotated images.")
        # Only now: --help and wrong options answer without torch.
        from napari_eomt.cli.train_job import TrainJob, check_tracker

        if log is not None:
            check_tracker(log)
        job = TrainJob(
            out=out.expanduser(), as_json=as_json, quiet=quiet, state_seconds=60 * save_every
        )
        if resume:
            job.go_on(params, dataset, model)
        elif dataset is not None:
            job.begin(
                *(dataset.expanduser(), params, model, device, val),
                leave_out_copies=leave_out_copies,
            )
        if job.run(log):
            raise typer.Exit(INTERRUPTED)
