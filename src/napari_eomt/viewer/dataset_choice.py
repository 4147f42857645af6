"""What is to be exported: the open image, or all images of the open folder that have objects."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_eomt.annotation.document import FrameState
from napari_eomt.annotation.files import load_document, save_document
from napari_eomt.annotation.image_store import Progress
from napari_eomt.structures.segments import Status
from napari_eomt.viewer.image_source import LayerSource

if TYPE_CHECKING:
    from napari_eomt.annotation.document import Document
    from napari_eomt.viewer.dataset_export import ExportItem
    from napari_eomt.viewer.image_folder import ImageFolder
    from napari_eomt.viewer.results import Result


@dataclass(frozen=True)
class Counts:
    """What there is to export.

    Parameters
    ----------
    n_images, n_objects : int
        Frames count as images.
    n_left : int
        Objects that nobody has decided about.
    n_without : int
        Images without objects, which are left out.
    """

    n_images: int = 0
    n_objects: int = 0
    n_left: int = 0
    n_without: int = 0


def counts_of(document: Document) -> Counts:
    """Count what there is to export of one document."""
    n_objects = n_left = 0
    frames = set()
    for frame, segment in document.iter_segments():
        if segment.status is not Status.REJECTED:
            frames.add(frame)
            n_objects += 1
            n_left += not segment.is_locked
    return Counts(len(frames), n_objects, n_left, 0)


def counts_of_folder(folder: ImageFolder) -> Counts:
    """Count what there is to export of a folder's images, as of when each was open last."""
    progress = [row.progress for row in folder.rows if not row.problem]
    known = [p for p in progress if p.state is not FrameState.NEW]
    return Counts(
        len(known),
        sum(p.n_objects for p in known),
        sum(p.n_left for p in known),
        len(progress) - len(known),
    )


def first_left(folder: ImageFolder) -> int | None:
    """Return the first image of a folder with objects that nobody has decided about."""
    return next((k for k, row in enumerate(folder.rows) if row.progress.n_left), None)


@dataclass(eq=False)
class Choice:
    """What was chosen to be exported, and what is to be taken down afterwards.

    Parameters
    ----------
    items : list of ExportItem
    document : Document or None
        The open image's, as it was when the export began.
    progress : dict of int to Progress
        How far the images of the folder are by now; filled while they are written.
    """

    items: list[ExportItem] = field(default_factory=list)
    document: Document | None = None
    progress: dict[int, Progress] = field(default_factory=dict)


def choose_result(result: Result) -> Choice:
    """Choose the open image: as it is now, whatever is done meanwhile."""
    from napari_eomt.viewer.dataset_export import ExportItem

    result.view.flush()
    document = result.document.copy()
    source = LayerSource(result.image, result.roles)
    item = ExportItem(str(result.image.name), lambda: document, lambda: source, _path_of(result))
    return Choice([item], document)


def choose_folder(folder: ImageFolder, open_result: Result | None, target: Path | None) -> Choice:
    """Choose all images of a folder that have objects.

    Parameters
    ----------
    folder : ImageFolder
    open_result : Result or None
        Of the image that is open.
    target : Path or None
        The dataset's file that is written: what lies in it already, and was not touched, is not
        written again.
    """
    from napari_eomt.viewer.dataset_export import ExportItem

    choice = Choice()
    is_back = (
        folder.dataset is not None
        and target is not None
        and target.resolve() == folder.dataset.path.resolve()
    )
    for k, row in enumerate(folder.rows):
        if row.problem:
            continue
        kept = folder.document_path(k)
        name, pixels = row.name, partial(_pixels, folder, k)
        if k == folder.current and open_result is not None:
            choice.document = open_result.document.copy()
            document = choice.document
            choice.items.append(
                ExportItem(name, lambda d=document: d, pixels, row.path)  # type: ignore[misc]
            )
        elif kept is not None:
            choice.items.append(
                ExportItem(
                    name,
                    partial(_read, kept),
                    pixels,
                    row.path,
                    partial(_keep, kept, k, choice.progress),
                )
            )
        elif folder.dataset is not None and row.item is not None and not is_back:
            read = partial(folder.dataset.document, row.item)
            choice.items.append(ExportItem(name, read, pixels, row.path))
    return choice


def _path_of(result: Result) -> Path | None:
    path = result.image.source.path
    # Of what was read from a dataset it is the dataset's, which knows the image.
    return None if path is None or Path(path).suffix.lower() == ".json" else Path(path)


def _pixels(folder: ImageFolder, index: int) -> Any:
    from napari_eomt.inference.sources import open_source

    row = folder.rows[index]
    if folder.dataset is not None and row.item is not None:
        return folder.dataset.source(row.item)
    return open_source(row.path)


def _read(path: Path) -> Document:
    return load_document(path)[0]


def _keep(path: Path, index: int, progress: dict[int, Progress], document: Document) -> None:
    """Write a document that was marked as exported back to where it is kept."""
    _, ref = load_document(path)
    save_document(document, path, ref, overwrite=True)
    progress[index] = Progress.of(document, path.name)
