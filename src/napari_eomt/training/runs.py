"""The folder of a training run: what it was asked, how it goes, what came of it. No torch."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from napari_eomt import __version__
from napari_eomt.atomic import replacing
from napari_eomt.damaged import first_problem
from napari_eomt.errors import DataError, OutputError
from napari_eomt.folder_swap import whole
from napari_eomt.formats.json_file import read_json
from napari_eomt.training.params import TrainParams
from napari_eomt.training.run_lock import is_running
from napari_eomt.training.run_log import NAME as METRICS
from napari_eomt.training.run_log import Row, read_rows
from napari_eomt.training.run_places import runs_dir

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT: Literal["napari-eomt run"] = "napari-eomt run"
PARAMS, ENVIRONMENT, SPLIT, STOP = "params.json", "environment.json", "split.json", "stop"
STATES, CHECKPOINTS, REPORTS, ADAPTER = "state", "checkpoints", "reports", "adapter"

Status: TypeAlias = Literal["running", "finished", "stopped", "failed", "interrupted"]
"""Interrupted: its process ended without a word, killed or by a power cut."""


class RunPlan(BaseModel):
    """What a run was asked.

    Parameters
    ----------
    dataset : str
        Its COCO file.
    val_dataset : str
        COCO file of the images that check; empty if they are of the same dataset.
    model : str
        Name or folder of the model that it started from.
    device : str
    params : TrainParams
        As they were given.
    resolved : TrainParams
        What "auto" came to; see `resolve`.
    created : str
        When, as ISO 8601 has it, in UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["napari-eomt run"] = FORMAT
    version: str = __version__
    created: str = ""
    dataset: str
    val_dataset: str = ""
    model: str
    device: str = "auto"
    params: TrainParams
    resolved: TrainParams


class RunSplit(BaseModel):
    """The images of each part, by their keys in the dataset; see `split_images`.

    Parameters
    ----------
    train, val : tuple of str
        Keys of the images that learn and that check.
    names : dict of str to str
        What the dataset calls the images, by their keys.
    val_names : dict of str to str
        The same of the images that check, if they are of another dataset: there a key is another
        image. Else empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: tuple[str, ...]
    val: tuple[str, ...]
    names: dict[str, str] = {}
    val_names: dict[str, str] = {}

    def val_name(self, key: str) -> str:
        """Return what an image that checks is called."""
        return (self.val_names or self.names).get(key, f"image {key}")


@dataclass(frozen=True)
class Run:
    """A run's folder. Everything is read anew when it is asked for: the run may be running.

    Parameters
    ----------
    folder : Path
    plan : RunPlan
    """

    folder: Path
    plan: RunPlan

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    def rows(self) -> list[Row]:
        """Read what the run has told; see `read_rows`."""
        return read_rows(self.folder / METRICS)

    def status(self, rows: list[Row] | None = None) -> Status:
        """Say how the run is doing.

        Parameters
        ----------
        rows : list of Row, optional
            What it has told, if that was read just now.
        """
        if is_running(self.folder):
            return "running"
        rows = self.rows() if rows is None else rows
        last = next((row for row in reversed(rows) if row["kind"] in ("start", "end")), {})
        reason = last.get("reason")
        if reason in ("finished", "stopped", "failed"):
            found: Status = reason
            return found
        return "interrupted"

    @property
    def is_resumable(self) -> bool:
        """Whether the run can go on: it has not finished, is not running, and has a state."""
        return self.status() not in ("running", "finished") and bool(
            list((self.folder / STATES).glob("step-*"))
        )

    @property
    def best(self) -> Path | None:
        """Folder of the best model until now; None if none was checked."""
        return self._checkpoint("best")

    @property
    def last(self) -> Path | None:
        """Folder of the model as it was last written; None if none was."""
        return self._checkpoint("last")

    @property
    def model_folder(self) -> Path | None:
        """Folder of the model to use: the best, or without checks the last."""
        return self.best or self.last

    @property
    def split(self) -> RunSplit:
        """The images that learn and that check.

        Raises
        ------
        DataError
            If the file is damaged.
        """
        file = self.folder / SPLIT
        try:
            return RunSplit(**_read(file))
        except (ValidationError, TypeError) as error:
            raise DataError(
                f"{file} is damaged: {first_problem(error)}. Begin a new run."
            ) from error

    def request_stop(self) -> None:
        """Ask the run to stop after the present step, with its state saved.

        Raises
        ------
        OutputError
            If that cannot be written.
        """
        try:
            (self.folder / STOP).touch()
        except OSError as error:
            raise OutputError(
                f"{self.folder / STOP}: cannot be written ({error.strerror or error}). End the "
                "process of the run instead."
            ) from error

    @property
    def is_stop_requested(self) -> bool:
        """Whether somebody wants the run to stop."""
        return (self.folder / STOP).exists()

    def forget_stop(self) -> None:
        """Take back the wish to stop."""
        with suppress(OSError):
            (self.folder / STOP).unlink(missing_ok=True)

    def _checkpoint(self, name: str) -> Path | None:
        folder = whole(self.folder / CHECKPOINTS / name)
        return folder if folder.is_dir() else None


def create_run(folder: Path, plan: RunPlan, split: RunSplit) -> Run:
    """Begin a run.

    Parameters
    ----------
    folder : Path
        Made if it is not there; else it has to be empty.
    plan : RunPlan
    split : RunSplit

    Raises
    ------
    DataError
        If there is something already.
    OutputError
        If it cannot be written.
    """
    check_free(folder)
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    plan = plan.model_copy(update={"created": created})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / SPLIT, split.model_dump(mode="json"))
        # Last: with it the folder is a run.
        write_json(folder / PARAMS, plan.model_dump(mode="json"))
    except OSError as error:
        raise OutputError(
            f"{folder}: the run cannot be written ({error.strerror or error}). Choose a folder "
            "that you may write in."
        ) from error
    return Run(folder, plan)


def check_free(folder: Path) -> None:
    """Check that a run can begin in a folder, before work is spent.

    Raises
    ------
    DataError
        If there is a run already, or something else.
    """
    if (folder / PARAMS).exists():
        raise DataError(
            f"{folder} has a run already. Go on with it (--resume), or choose another folder."
        )
    if folder.is_dir() and any(
        path.name not in (SPLIT,) and not path.name.startswith(".") for path in folder.iterdir()
    ):
        raise DataError(f"{folder} is not empty. Choose a new folder for the run.")
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file. Choose a new folder for the run.")


def load_run(path: Path | str) -> Run:
    """Open a run, which may be running.

    Parameters
    ----------
    path : Path or str
        Its folder.

    Raises
    ------
    DataError
        If it is none, or its files are damaged.
    """
    folder = Path(path).expanduser()
    file = folder / PARAMS
    if not file.is_file():
        raise DataError(f"{folder} is no run: it has no {PARAMS}. Choose the folder of a training.")
    content = _read(file)
    try:
        return Run(folder, RunPlan(**content))
    except (ValidationError, TypeError) as error:
        raise DataError(
            f"{file}: {first_problem(error)}. Was it written by another version "
            f"({content.get('version')})? Begin a new run."
        ) from error


def list_runs(folder: Path | str) -> list[Run]:
    """Return the runs in a folder, the newest first; damaged ones are left out."""
    found: list[Run] = []
    try:
        paths = [path for path in Path(folder).expanduser().iterdir() if path.is_dir()]
    except OSError:
        return []
    for path in sorted(paths):
        with suppress(DataError):
            found.append(load_run(path))
    return sorted(found, key=lambda run: run.plan.created, reverse=True)


def find_runs(others: Iterable[Path] = ()) -> list[Run]:
    """Return the runs in the folder of runs and in some other places, the newest first.

    Parameters
    ----------
    others : iterable of Path
        Runs that were opened from elsewhere; those that are gone are left out.
    """
    found = {run.folder.resolve(): run for run in list_runs(runs_dir())}
    for folder in others:
        with suppress(DataError):
            found.setdefault(folder.resolve(), load_run(folder))
    return sorted(found.values(), key=lambda run: run.plan.created, reverse=True)


def delete_run(run: Run) -> None:
    """Delete a run with all that came of it.

    Raises
    ------
    DataError
        If it is running.
    OutputError
        If something cannot be deleted.
    """
    if is_running(run.folder):
        raise DataError(f"{run.name} is running. Stop it first.")
    try:
        shutil.rmtree(run.folder)
    except OSError as error:
        raise OutputError(
            f"{run.folder}: cannot be deleted ({error.strerror or error}). Close what has it open."
        ) from error


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(content).__name__}.")
    return content
