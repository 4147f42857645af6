"""Which of the open work a model can learn from."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from napari_eomt.annotation.document import FrameState
from napari_eomt.structures.segments import Status
from napari_eomt.training.sources import decided_frames
from napari_eomt.viewer import train_stacks
from napari_eomt.viewer.dataset_choice import choose_folder, choose_result
from napari_eomt.viewer.train_dataset import (
    LearnRow,
    WorkSource,
    typical_size,
)
from napari_eomt.viewer.train_stacks import StackSource

if TYPE_CHECKING:
    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.image_store import Progress
    from napari_eomt.viewer.image_folder import ImageFolder
    from napari_eomt.viewer.results import Result


def rows_of_result(result: Result, *, as_video: bool = False) -> tuple[LearnRow, ...]:
    """Return the open image, if anything was decided about it.

    Parameters
    ----------
    result : Result
    as_video : bool
        Whether a stack is learnt from with its tracks, not as so many images.
    """
    name = str(result.image.name)
    return _rows_of(name, name, result.document, as_video=as_video)


def rows_of_folder(
    folder: ImageFolder, open_result: Result | None, *, as_video: bool = False
) -> tuple[LearnRow, ...]:
    """Return the images of a folder of which anything was decided, as of when each was open last.

    Parameters
    ----------
    folder : ImageFolder
    open_result : Result or None
        Of the image that is open.
    as_video : bool
        See `rows_of_result`.
    """
    found: list[LearnRow] = []
    for k, row in enumerate(folder.rows):
        if k == folder.current and open_result is not None:
            found += _rows_of(row.name, row.title, open_result.document, as_video=as_video)
        elif not row.problem and is_decided(row.progress):
            n_objects = row.progress.n_objects - row.progress.n_left
            closed = LearnRow(row.name, row.title, 1, n_objects)
            found.append(train_stacks.as_video(closed, None) if as_video else closed)
    return tuple(found)


def work_of_result(result: Result, *, as_video: bool = False) -> WorkSource:
    """Return the open image with its work, as it is now, whatever is done meanwhile."""
    (item,) = choose_result(result).items
    make = StackSource if as_video else WorkSource
    return make([(row, item) for row in rows_of_result(result, as_video=as_video)])


def work_of_folder(
    folder: ImageFolder, open_result: Result | None, *, as_video: bool = False
) -> WorkSource:
    """Return the images of a folder with the work on them; see `rows_of_folder`."""
    if open_result is not None:
        open_result.view.flush()
    items = {item.name: item for item in choose_folder(folder, open_result, None).items}
    rows = rows_of_folder(folder, open_result, as_video=as_video)
    make = StackSource if as_video else WorkSource
    return make([(row, items[row.key]) for row in rows if row.key in items])


def is_decided(progress: Progress) -> bool:
    """Whether somebody has decided anything about an image."""
    is_done = progress.state in (FrameState.REVIEWED, FrameState.EXPORTED)
    return is_done or progress.n_objects > progress.n_left


def _rows_of(
    key: str, title: str, document: Document, *, as_video: bool = False
) -> tuple[LearnRow, ...]:
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
    row = LearnRow(
        key,
        title,
        len(frames),
        document.n_locked(frames),
        (height, width),
        typical_size(areas),
        found=found,
    )
    return (train_stacks.as_video(row, document) if as_video else row,)
