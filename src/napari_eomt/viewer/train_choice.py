"""Which of the open work a model can learn from."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from napari_eomt.annotation.document import FrameState
from napari_eomt.structures.segments import Status
from napari_eomt.training.sources import decided_frames
from napari_eomt.viewer.dataset_choice import choose_folder, choose_result
from napari_eomt.viewer.train_dataset import (
    LearnRow,
    WorkSource,
    typical_size,
)

if TYPE_CHECKING:
    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.image_store import Progress
    from napari_eomt.viewer.image_folder import ImageFolder
    from napari_eomt.viewer.results import Result


def rows_of_result(result: Result) -> tuple[LearnRow, ...]:
    """Return the open image, if anything was decided about it."""
    name = str(result.image.name)
    return _rows_of(name, name, result.document)


def rows_of_folder(folder: ImageFolder, open_result: Result | None) -> tuple[LearnRow, ...]:
    """Return the images of a folder of which anything was decided, as of when each was open last.

    Parameters
    ----------
    folder : ImageFolder
    open_result : Result or None
        Of the image that is open.
    """
    found: list[LearnRow] = []
    for k, row in enumerate(folder.rows):
        if k == folder.current and open_result is not None:
            found += _rows_of(row.name, row.title, open_result.document)
        elif not row.problem and is_decided(row.progress):
            n_objects = row.progress.n_objects - row.progress.n_left
            found.append(LearnRow(row.name, row.title, 1, n_objects))
    return tuple(found)


def work_of_result(result: Result) -> WorkSource:
    """Return the open image with its work, as it is now, whatever is done meanwhile."""
    (item,) = choose_result(result).items
    return WorkSource([(row, item) for row in rows_of_result(result)])


def work_of_folder(folder: ImageFolder, open_result: Result | None) -> WorkSource:
    """Return the images of a folder with the work on them; see `rows_of_folder`."""
    if open_result is not None:
        open_result.view.flush()
    items = {item.name: item for item in choose_folder(folder, open_result, None).items}
    rows = rows_of_folder(folder, open_result)
    return WorkSource([(row, items[row.key]) for row in rows if row.key in items])


def is_decided(progress: Progress) -> bool:
    """Whether somebody has decided anything about an image."""
    is_done = progress.state in (FrameState.REVIEWED, FrameState.EXPORTED)
    return is_done or progress.n_objects > progress.n_left


def _rows_of(key: str, title: str, document: Document) -> tuple[LearnRow, ...]:
    frames = decided_frames(document)
    if not frames:
        return ()
    locked = [
        s
        for frame in frames
        for s in document.segments(frame).values()
        if s.is_locked and s.status is not Status.REJECTED
    ]
    found = Counter(document.categories[s.category_id] for s in locked)
    areas = [float(s.area) for frame in frames for s in document.segments(frame).values()]
    height, width = document.id_map(frames[0]).shape
    return (
        LearnRow(
            key,
            title,
            len(frames),
            document.n_locked(frames),
            (height, width),
            typical_size(areas),
            found=found,
        ),
    )
