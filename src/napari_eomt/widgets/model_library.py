"""All models as the window knows them: what is there, what is on its way, what can be done."""

from __future__ import annotations

import logging
import shutil
from secrets import token_hex
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_eomt.errors import ModelError, OutputError
from napari_eomt.models.hub_watch import Progress
from napari_eomt.models.locate import CHECKPOINTS
from napari_eomt.models.rows import ModelRow, checked_rows
from napari_eomt.models.store import (
    delete,
    disk_size,
    download,
    is_downloaded,
    local_folder,
    models_dir,
)
from napari_eomt.models.user_models import (
    add_user_model,
    adopt_old_folders,
    remove_user_model,
    rename_user_model,
)
from napari_eomt.widgets.child_program import run_program
from napari_eomt.widgets.download_job import ModelJobs

if TYPE_CHECKING:
    from pathlib import Path

    from napari_eomt.models.catalog import CatalogEntry
    from napari_eomt.widgets.download_job import IsCancelled, JobState, Report

_log = logging.getLogger(__name__)

# Names that say nothing: then the folder's is the better one.
_VAGUE = {"model", "pytorch_model", "checkpoint", "last", "best", "weights"}


class ModelLibrary(QObject):
    """The models, by name, and the work on them.

    Parameters
    ----------
    parent : QObject, optional
    """

    changed = Signal()  # which models there are, or are here
    renamed = Signal(str, str)
    progressed = Signal(str)  # name: the work on this model has come further
    arrived = Signal(str)  # name: downloaded, converted; well
    failed = Signal(object)  # JobFailure

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._rows: dict[str, ModelRow] = {}
        self._coming: dict[str, Path] = {}
        self._sources: dict[str, tuple[Path, str | None]] = {}
        self.jobs = ModelJobs(self)
        self.jobs.changed.connect(self.progressed)
        self.jobs.ended.connect(self._on_ended)
        self.jobs.succeeded.connect(self._on_succeeded)
        self.jobs.failed.connect(self.failed)
        try:
            adopt_old_folders()
        except OutputError as error:
            _log.warning("%s", error)  # what cannot be written can be listed all the same
        self._read()

    @property
    def rows(self) -> list[ModelRow]:
        """All models, and the files that are being converted into one."""
        coming = [ModelRow(name, "added", None, path) for name, path in self._coming.items()]
        return [*self._rows.values(), *coming]

    @property
    def usable(self) -> list[ModelRow]:
        """The models that are on this computer, ready to load."""
        return [row for row in self._rows.values() if row.is_usable]

    def row(self, name: str) -> ModelRow | None:
        """Return the model of this name."""
        return next((row for row in self.rows if row.name == name), None)

    def row_of_folder(self, folder: Path) -> ModelRow | None:
        """Return the model in a folder."""
        folder = folder.expanduser().resolve()
        return next((row for row in self._rows.values() if row.folder == folder), None)

    def job(self, name: str) -> JobState | None:
        """Return how far the work on a model is, if there is any."""
        return self.jobs.states.get(name)

    def refresh(self) -> None:
        """Read anew what is there: other programs download and delete models too."""
        self._read()
        self.changed.emit()

    def needs_network(self, row: ModelRow) -> bool:
        """Whether a published model must be downloaded before it can be used."""
        return row.entry is not None and not is_downloaded(row.entry)

    def size_on_disk(self, row: ModelRow) -> int:
        """Count the bytes that deleting a model would free; 0 where it cannot be deleted."""
        if row.entry is not None:
            return disk_size(row.entry)
        if not self.can_delete(row) or row.folder is None:
            return 0
        return sum(path.stat().st_size for path in row.folder.rglob("*") if path.is_file())

    def can_delete(self, row: ModelRow) -> bool:
        """Whether a model's files are the plugin's to delete: it has fetched or made them."""
        if row.name in self._coming or row.folder is None:
            return row.entry is not None and disk_size(row.entry) > 0
        return row.kind == "published" or row.folder.is_relative_to(_made_dir())

    def download(self, name: str, token: str | None = None) -> None:
        """Bring a published model here, ready to load."""
        row = self.row(name)
        if row is not None and row.entry is not None:
            entry = row.entry
            self.jobs.start(name, lambda report, stop: _fetch(entry, token, report, stop))

    def cancel(self, name: str) -> None:
        """Stop the work on a model; a download goes on from there the next time."""
        self.jobs.cancel(name)

    def delete(self, name: str) -> None:
        """Delete a model's files, in a thread: on a disk of the network it takes a while."""
        row = self.row(name)
        if row is None or not self.can_delete(row):
            return
        if row.entry is not None:
            entry = row.entry
            self.jobs.start(name, lambda report, stop: _delete(entry), "deleting")
        elif row.folder is not None:
            folder = row.folder
            self.jobs.start(name, lambda report, stop: _delete_made(name, folder), "deleting")

    def add_folder(self, folder: Path) -> str:
        """Take up the model in a folder, and return its name.

        Raises
        ------
        ModelError
            If the folder is no model.
        OutputError
            If it cannot be remembered.
        """
        name = add_user_model(folder).name
        self.refresh()
        return name

    def add_file(self, path: Path, base: Path | None = None, categories: str | None = None) -> str:
        """Convert a checkpoint in a child process, take it up, and return the name it will have.

        Parameters
        ----------
        path : Path
            Checkpoint of the original repositories, or weights in transformers' layout.
        base : Path, optional
            Backbone that a DINOv3 delta is added to.
        categories : str, optional
            Name of a list of categories of the package; by default they have numbers for names.

        Raises
        ------
        ModelError
            If it cannot be a checkpoint.
        """
        path = path.expanduser().resolve()
        if path.suffix.lower() not in CHECKPOINTS or not path.is_file():
            raise ModelError(
                f"{path.name} is no checkpoint: expected a file that ends in one of "
                f"{', '.join(CHECKPOINTS)}."
            )
        if path.name == "model.safetensors" and (path.parent / "config.json").is_file():
            return self.add_folder(path.parent)
        name = self._free_name(path)
        self._coming[name], self._sources[name] = path, (path, categories)
        arguments = [] if base is None else ["--base", str(base)]
        arguments += [] if categories is None else ["--categories", categories]
        self.jobs.start(
            name, lambda report, stop: _convert(path, name, arguments, report, stop), "converting"
        )
        self.changed.emit()
        return name

    def add_file_again(self, name: str, base: Path) -> str:
        """Do as `add_file` did under this name, with a backbone; see there."""
        path, categories = self._sources[name]
        return self.add_file(path, base, categories)

    def remove(self, name: str) -> None:
        """Forget a model that the user added; its folder stays.

        Raises
        ------
        EomtError
            If it is none of the user's, or this cannot be remembered.
        """
        remove_user_model(name)
        self.refresh()

    def rename(self, name: str, new_name: str) -> None:
        """Call a model that the user added by another name.

        Raises
        ------
        EomtError
            If the name is taken or is none, or this cannot be remembered.
        """
        rename_user_model(name, new_name)
        self._read()
        self.renamed.emit(name, new_name)
        self.changed.emit()

    def close(self) -> None:
        """Stop all work, without a touch of Qt."""
        self.jobs.close()

    def _read(self) -> None:
        self._rows = {row.name: row for row in checked_rows()}

    def _free_name(self, path: Path) -> str:
        stem = path.parent.name if path.stem in _VAGUE else path.stem
        # As user_models takes names, and folders are called.
        stem = "".join(c if c.isalnum() or c in "-_." else "-" for c in stem).strip("-.") or "model"
        name, number = stem, 1
        taken = {row.name.lower() for row in self.rows}
        while name.lower() in taken or (_made_dir() / name).exists():
            number += 1
            name = f"{stem}-{number}"
        return name

    def _on_ended(self, name: str) -> None:
        self._coming.pop(name, None)
        self.refresh()

    def _on_succeeded(self, name: str) -> None:
        row = self.row(name)
        if row is not None and row.is_usable:
            self.arrived.emit(name)


def _made_dir() -> Path:
    """Return the folder of models that were converted from the user's files."""
    return models_dir() / "added"


def _fetch(entry: CatalogEntry, token: str | None, report: Report, stop: IsCancelled) -> None:
    """Download a model and, if its format asks for it, convert it in a child process."""
    download(entry, token=token, on_progress=report, is_cancelled=stop)
    if local_folder(entry) is None:
        report(Progress(0, 0, "", "converting"))
        run_program(["download", entry.name, "--json"], stop)


def _convert(path: Path, name: str, options: list[str], report: Report, stop: IsCancelled) -> None:
    """Convert a checkpoint into a folder of our own, whole or not at all, and remember it."""
    # The child may be killed: what it leaves lies in a folder that goes in any case.
    growing = _made_dir() / f".converting-{token_hex(4)}"
    arguments = ["convert", str(path), "--out", str(growing / name), "--json", *options]
    report(Progress(0, 0, "", "converting"))
    try:
        growing.mkdir(parents=True)
        run_program(arguments, stop)
        (growing / name).rename(_made_dir() / name)
    except OSError as error:
        raise _cannot_write(_made_dir(), error) from error
    finally:
        shutil.rmtree(growing, ignore_errors=True)
    add_user_model(_made_dir() / name, note=f"Converted from {path}")


def _delete(entry: CatalogEntry) -> None:
    delete(entry)


def _delete_made(name: str, folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    remove_user_model(name)


def _cannot_write(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{folder} cannot be written ({error.strerror or error}). Free the disk, correct its "
        "permissions, or name another folder with NAPARI_EOMT_MODELS_DIR."
    )
