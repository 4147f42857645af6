"""Which of the open work a model can learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_eomt.annotation.document import FrameState
from napari_eomt.viewer.dataset_choice import choose_folder, choose_result
from napari_eomt.viewer.train_dataset import LearnRow, WorkSource, decided_frames

if TYPE_CHECKING:
    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.image_store import Progress
    from napari_eomt.viewer.dataset_export import ExportItem
    from napari_eomt.viewer.image_folder import ImageFolder
    from napari_eomt.viewer.results import Result


def work_of_result(result: Result) -> WorkSource:
    """Return the open image, as it is now, if anything was decided about it."""
    (item,) = choose_result(result).items
    return WorkSource(_rows_of(item, str(result.image.name), result.document))


def work_of_folder(folder: ImageFolder, open_result: Result | None) -> WorkSource:
    """Return the images of a folder of which anything was decided, each as it was left.

    Parameters
    ----------
    folder : ImageFolder
    open_result : Result or None
        Of the image that is open.
    """
    choice = choose_folder(folder, open_result, None)
    rows = {row.name: row for row in folder.rows}
    pairs: list[tuple[LearnRow, ExportItem]] = []
    for item in choice.items:
        row = rows[item.name]
        if choice.document is not None and folder.current is not None:
            is_open = row is folder.rows[folder.current]
            if is_open:
                pairs += _rows_of(item, row.title, choice.document)
                continue
        if is_decided(row.progress):
            n = row.progress.n_objects - row.progress.n_left
            pairs.append((LearnRow(row.name, row.title, 1, n), item))
    return WorkSource(pairs)


def is_decided(progress: Progress) -> bool:
    """Whether somebody has decided anything about an image."""
    is_done = progress.state in (FrameState.REVIEWED, FrameState.EXPORTED)
    return is_done or progress.n_objects > progress.n_left


def _rows_of(item: ExportItem, title: str, document: Document) -> list[tuple[LearnRow, ExportItem]]:
    frames = decided_frames(document)
    if not frames:
        return []
    return [(LearnRow(item.name, title, len(frames), document.n_locked(frames)), item)]
