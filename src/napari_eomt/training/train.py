"""Teach a model what is annotated: as a function for scripts, and the parts of it for commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_eomt.errors import DataError
from napari_eomt.models.catalog import DEFAULT_MODEL
from napari_eomt.training.loop import iter_train
from napari_eomt.training.params import TrainParams
from napari_eomt.training.ranks import ranks
from napari_eomt.training.run_places import new_run_folder
from napari_eomt.training.runs import Run, check_free, create_run, load_run
from napari_eomt.training.setup import set_up, set_up_again
from napari_eomt.training.train_progress import drive
from napari_eomt.training.trunk_run import forget_trunk

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_eomt.training.opened import Annotated
    from napari_eomt.training.setup import Setup
    from napari_eomt.training.train_progress import TrainProgress


def train(
    dataset: Annotated | Path | str,
    params: TrainParams | None = None,
    *,
    model: str | Path = DEFAULT_MODEL,
    out: Path | str | None = None,
    device: str = "auto",
    val_dataset: Annotated | Path | str | None = None,
    leave_out_copies: bool = False,
    resume: bool = False,
    on_progress: Callable[[TrainProgress], None] | None = None,
    **changes: Any,
) -> Run:
    """Teach a model what is annotated.

    Parameters
    ----------
    dataset : Dataset, PanopticFile, Videos, Path or str
        Annotated images: a dataset, its folder, or its COCO file of instances or panoptic. Or
        videos with tracks: YouTube-VIS, a folder of the Cell Tracking Challenge, or documents.
    params : TrainParams, optional
    model : str or Path
        To start from, as `load_segmenter` takes it. From videos an EoMT learns to be a VidEoMT.
    out : Path or str, optional
        Folder of the run; by default a new one in `runs_dir`.
    device : str
        As torch names them; "auto" takes the best there is.
    val_dataset : Dataset, PanopticFile, Videos, Path or str, optional
        With the images that check; by default some of the dataset's own do.
    leave_out_copies : bool
        Leave out of what is learnt the images that check as well, rather than refuse both.
    resume : bool
        Go on with the run in `out`, with all that it was asked when it began.
    on_progress : callable, optional
        Called after each step, and while checking.
    **changes
        Single parameters, such as ``preset="full"`` or ``steps=500``.

    Returns
    -------
    Run
        Its `model_folder` is what `load_segmenter` takes.

    Raises
    ------
    EomtError
        If anything cannot be used, or the training cannot go on; what was saved is kept.
    """
    if resume:
        if out is None:
            raise DataError("Resuming wants the folder of the run: give `out`.")
        run = load_run(out)
        setup = set_up_again(run)
    else:
        given = {} if params is None else params.model_dump(exclude_unset=True)
        if out is None and ranks().num_processes > 1:
            raise DataError("Several processes want one folder for the run: give `out`.")
        folder = Path(out).expanduser() if out is not None else new_folder(dataset)
        check_out(folder)
        setup = set_up(
            dataset,
            TrainParams(**(given | changes)),
            model,
            device=device,
            val_dataset=val_dataset,
            leave_out_copies=leave_out_copies,
        )
        run = begin_run(folder, setup)
    steps = iter_train(setup, run)
    if on_progress is None:
        outcome = drive(steps)
    else:
        while True:
            try:
                on_progress(next(steps))
            except StopIteration as stop:
                outcome = stop.value
                break
    if outcome.reason == "finished":
        forget_trunk(run.folder / "trunk")
    return run


def check_out(folder: Path) -> None:
    """Check that a run can begin in a folder; of several processes the first looks.

    Raises
    ------
    DataError
        If there is something already.
    """
    if ranks().is_main_process:
        check_free(folder)


def begin_run(folder: Path, setup: Setup) -> Run:
    """Make a run's folder, once however many processes there are.

    Raises
    ------
    EomtError
        If there is something already, or it cannot be written.
    """
    here = ranks()
    if here.is_main_process:
        run = create_run(folder, setup.plan, setup.split)
    if here.num_processes > 1:
        here.wait_for_everyone()
    return run if here.is_main_process else load_run(folder)


def new_folder(dataset: Annotated | Path | str) -> Path:
    """Return a folder for a run of today, in `runs_dir`, that is not there."""
    path = Path(dataset) if isinstance(dataset, Path | str) else dataset.path.parent
    return new_run_folder(path.stem if path.is_file() else path.name)
