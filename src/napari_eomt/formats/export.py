"""A copy of a dataset for another tool: images, and one COCO file as that tool reads it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_eomt.atomic import replacing
from napari_eomt.errors import DataError, OutputError
from napari_eomt.formats.coco_file import save_coco
from napari_eomt.formats.dataset_lock import DatasetLock
from napari_eomt.formats.presets import PRESETS, Preset, prepare
from napari_eomt.formats.safe_paths import inside

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from napari_eomt.formats.coco_checks import Record
    from napari_eomt.formats.dataset import Dataset


@dataclass(frozen=True)
class Exported:
    """What was written.

    Parameters
    ----------
    path : Path
        The COCO file.
    n_images, n_annotations : int
    notes : tuple of str
        What is not as in the dataset, and what the tool does not hold; for people.
    """

    path: Path
    n_images: int
    n_annotations: int
    notes: tuple[str, ...]


def iter_export(
    dataset: Dataset, folder: Path | str, preset: Preset | str, *, with_images: bool = True
) -> Generator[int, None, Exported]:
    """Write a copy of a dataset as another tool takes it.

    The images come first and the COCO file last, in one step: a copy that was cut short has
    none, or the one of before.

    Parameters
    ----------
    dataset : Dataset
    folder : Path or str
        Of the copy, not of the dataset itself.
    preset : Preset or str
        The tool, or its name in `PRESETS`.
    with_images : bool
        Whether the images are copied, or only the COCO file is written.

    Yields
    ------
    int
        How many images are copied.

    Raises
    ------
    DataError
        If there is no such tool, an image is missing, or the folder is the dataset's own.
    OutputError
        If something cannot be written.
    """
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise DataError(f"There is no tool '{preset}'; choose one of {', '.join(PRESETS)}.")
        preset = PRESETS[preset]
    folder = Path(folder)
    if folder.resolve() == dataset.folder.resolve():
        raise DataError(f"{folder} is the dataset itself. Choose another folder for its copy.")
    prepared = prepare(dataset.file, preset)
    path, images = folder / preset.json_name, folder / preset.image_folder
    try:
        for part in (path.parent, images) if with_images else (path.parent,):
            part.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    lock = DatasetLock(folder)
    lock.acquire()
    try:
        if with_images:
            for n, record in enumerate(prepared.file.images, start=1):
                _copy(
                    dataset.image_path(record["id"]),
                    inside(images, record["file_name"], record["id"]),
                )
                yield n
        n_written = 0

        def counted() -> Iterator[Record]:
            nonlocal n_written
            for record in prepared.iter():
                n_written += 1
                yield record

        save_coco(prepared.file, path, counted())
    finally:
        lock.release()
    notes = (*prepared.notes, *preset.loses)
    return Exported(path, len(prepared.file.images), n_written, notes)


def export_copy(
    dataset: Dataset, folder: Path | str, preset: Preset | str, *, with_images: bool = True
) -> Exported:
    """Write a copy of a dataset as another tool takes it, see `iter_export`."""
    steps = iter_export(dataset, folder, preset, with_images=with_images)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            done: Exported = end.value
            return done


def _copy(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)
    except OSError as error:
        raise _unwritable(target, error) from error


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path}: the copy cannot be written ({error.strerror or error}). Free the disk, or choose "
        "another folder."
    )
