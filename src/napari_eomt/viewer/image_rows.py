"""The images that a folder or a dataset has, as rows, and how far each is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_eomt.annotation.document import FrameState
from napari_eomt.annotation.image_store import Progress
from napari_eomt.errors import DataError, EomtError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_eomt.viewer.dataset_kind import Found
    from napari_eomt.viewer.dataset_open import Item, OpenDataset


@dataclass(frozen=True)
class ImageRow:
    """An image of the folder.

    Parameters
    ----------
    path : Path
    progress : Progress
        As of when it was open last.
    problem : str
        Why it cannot be read; empty if it can, or nobody has tried.
    item : Item or None
        What it is in a dataset; None of a plain folder.
    """

    path: Path
    progress: Progress = field(default_factory=Progress)
    problem: str = ""
    item: Item | None = None

    @property
    def name(self) -> str:
        """The file's name, or what a dataset calls it."""
        return self.path.name if self.item is None else self.item.name

    @property
    def title(self) -> str:
        """The name without folders, for people."""
        return self.path.name if self.item is None else self.item.title

    @property
    def is_done(self) -> bool:
        """Whether it was reviewed."""
        return self.progress.state in (FrameState.REVIEWED, FrameState.EXPORTED)


@dataclass(frozen=True, eq=False)
class Listing:
    """The images of a folder, or of a dataset.

    Parameters
    ----------
    folder : Path
    place : Path
        What the work on them is kept for: the folder, or the dataset's file.
    rows : tuple of ImageRow
    dataset : OpenDataset or None
        Where they come from, if it is one.
    """

    folder: Path
    place: Path
    rows: tuple[ImageRow, ...]
    dataset: OpenDataset | None = None


def list_images(folder: Path) -> Listing:
    """List the images of a folder or of a dataset.

    Parameters
    ----------
    folder : Path
        A folder of images, or a dataset: its folder, or its JSON file.

    Raises
    ------
    EomtError
        If there are none, or they cannot be read.
    """
    # Readers of files take a third of a second to import: not before a folder is opened.
    from napari_eomt.inference.inputs import find_images
    from napari_eomt.viewer.dataset_kind import Kind, find_annotations

    errors: list[EomtError] = []
    try:
        found = find_annotations(folder)
    except EomtError as error:
        found, errors = None, [error]
    if found is not None and found.kind in (Kind.COCO, Kind.PANOPTIC):
        return _list_dataset(found)
    paths, more = find_images([str(folder)])
    if not paths:
        raise next(iter([*errors, *more]), DataError(f"{folder}: holds no images."))
    return Listing(folder, folder, tuple(ImageRow(path) for path in paths))


def _list_dataset(found: Found) -> Listing:
    """List the images of a dataset; those whose file is not there cannot be opened."""
    from napari_eomt.viewer.dataset_frames import image_path
    from napari_eomt.viewer.dataset_open import OpenDataset

    dataset = OpenDataset(found)
    rows = []
    for item in dataset.items:
        path, problem = found.path, ""
        try:
            path = image_path(found.path, dataset.records(item)[0])
        except EomtError as error:
            problem = str(error)
        rows.append(ImageRow(path, dataset.progress(item), problem, item))
    return Listing(found.path.parent, found.path, tuple(rows), dataset)


def summary(rows: Sequence[ImageRow]) -> dict[Any, int]:
    """Count the images by how far they are; those that cannot be read under their own name."""
    counts: dict[Any, int] = dict.fromkeys([*FrameState, "unreadable"], 0)
    for row in rows:
        counts["unreadable" if row.problem else row.progress.state] += 1
    return counts
