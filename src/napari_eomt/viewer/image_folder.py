"""The images of a folder, worked on one after the other in a viewer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_eomt.annotation.image_ref import ImageRef
from napari_eomt.annotation.image_store import Progress
from napari_eomt.errors import EomtError
from napari_eomt.viewer.image_rows import ImageRow, list_images
from napari_eomt.viewer.image_source import layer_array
from napari_eomt.viewer.image_work import ImageWork

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_eomt.annotation.edits import Edit
    from napari_eomt.annotation.image_store import ImageStore
    from napari_eomt.viewer.dataset_open import OpenDataset
    from napari_eomt.viewer.image_work import Keeper, Ready
    from napari_eomt.viewer.results import Result, Results


class ImageFolder:
    """Opens one image after the other, and keeps the work on each.

    What it has not opened itself it never takes away: layers of the user's stay.

    Parameters
    ----------
    viewer : ViewerModel
    results : Results
    open_store : callable
        Given a folder, returns where the work on its images is kept.
    keeper : Keeper
    """

    changed = Signal()
    """Another folder, or other rows."""
    row_changed = Signal(int)
    opened = Signal(int)
    doubted = Signal(str, int, dict)
    """What the model says of the objects in a frame: key of the result, frame, by object."""
    refused = Signal(str)
    """What could not be done, and why."""

    def __init__(
        self,
        viewer: ViewerModel,
        results: Results,
        open_store: Callable[[Path], ImageStore],
        keeper: Keeper,
    ) -> None:
        self._viewer, self._results, self._keeper = viewer, results, keeper
        self._open_store = open_store
        self._store: ImageStore | None = None
        self._layer: Image | None = None
        self._ref: ImageRef | None = None
        self._kept: Result | None = None  # as its document on the disk is
        self._followed: Result | None = None
        self._is_stale = False
        self.folder: Path | None = None
        self.dataset: OpenDataset | None = None
        """Where the rows come from, if it is a dataset."""
        self.rows: list[ImageRow] = []
        self.current: int | None = None
        self.skips_reviewed = False
        self.prefetched: Callable[[Path], Ready | None] = lambda path: None
        """Gives, and forgets, the proposals that were made for an image ahead of time."""
        self._work = ImageWork(viewer, results, keeper)
        self._work.doubted.connect(self.doubted.emit)
        self._work.noted.connect(self.refused.emit)
        results.changed.connect(self._on_results)

    def close(self) -> None:
        """Keep the work on the open image, whose layers stay, and let go of it."""
        self.keep()
        self._results.changed.disconnect(self._on_results)
        self._follow(None)

    @property
    def layer(self) -> Image | None:
        """The open image's layer."""
        return self._layer

    def open_folder(self, folder: Path) -> bool:
        """List the images of a folder or of a dataset.

        Parameters
        ----------
        folder : Path
            A folder of images, or a dataset: its folder, or its JSON file.

        Returns
        -------
        bool
            Whether there are any; `refused` says why not.
        """
        try:
            found = list_images(folder)
        except EomtError as error:
            self.refused.emit(str(error))
            return False
        if not self.leave():
            return False
        self._store = self._open_store(found.place)
        self.folder, self.dataset = found.folder, found.dataset
        progress = self._store.progress()
        self.rows = [
            replace(row, progress=progress.get(row.name, row.progress)) for row in found.rows
        ]
        self.changed.emit()
        return True

    @property
    def start(self) -> int | None:
        """Where to go on: the image that was open last, else the first that is not reviewed."""
        names = [row.name for row in self.rows]
        if self._store is not None and self._store.current in names:
            return names.index(self._store.current)
        return next((k for k, row in enumerate(self.rows) if not row.is_done), None)

    def next_index(self, step: int = 1) -> int | None:
        """Return the next image that can be read, or the one before; None at the end."""
        if not self.rows:
            return None
        index = (-1 if step > 0 else len(self.rows)) if self.current is None else self.current
        index += step
        while 0 <= index < len(self.rows):
            row = self.rows[index]
            if not row.problem and not (self.skips_reviewed and row.is_done):
                return index
            index += step
        return None

    def open_next(self, step: int = 1) -> int | None:
        """Open the next image, or the one before; those that cannot be read are passed over."""
        while (index := self.next_index(step)) is not None:
            if self.open(index):
                return index
            if not self.rows[index].problem:
                return None  # the one that is open could not be kept
        return None

    def open(self, index: int) -> bool:
        """Open an image, with the work on it, in place of the one that is open.

        Returns
        -------
        bool
            Whether it is open; `refused` says why not. Then the one that was open still is.
        """
        if index == self.current and self._layer is not None and self._layer in self._viewer.layers:
            return True
        row = self.rows[index]
        try:
            from napari_eomt.inference.sources import open_source
            from napari_eomt.viewer.image_layer import image_layer

            if self.dataset is not None and row.item is not None:
                layer = image_layer(self.dataset.source(row.item))
            else:
                layer = image_layer(open_source(row.path))
        except EomtError as error:
            self._put(index, replace(row, problem=str(error)))
            self.refused.emit(str(error))
            return False
        # Before the other one is left: then the next image is another.
        ready = None if self._shares_file(index) else self.prefetched(row.path)
        if not self.leave():
            return False
        self._put(index, replace(row, problem=""))
        self._viewer.add_layer(layer)
        self._layer, self.current = layer, index
        self._ref = ImageRef.of(layer_array(layer), str(layer.name), row.path)
        self._viewer.layers.selection.active = layer
        try:
            self._kept = self._work.show(row, layer, self._ref, ready, self._store, self.dataset)
        except EomtError as error:
            self.refused.emit(str(error))
        if self._store is not None:
            self._store.current = row.name
        self.opened.emit(index)
        return True

    def document_path(self, index: int) -> Path | None:
        """Return where the work on an image is kept; None if nothing was done there."""
        return None if self._store is None else self._store.document(self.rows[index].name)

    def record(self, progress: Mapping[int, Progress]) -> None:
        """Take down how far images are whose documents have changed on the disk."""
        if self._store is not None and progress:
            self._store.record({self.rows[k].name: value for k, value in progress.items()})
        for k, value in progress.items():
            self._put(k, replace(self.rows[k], progress=value))

    def mark_unreadable(self, path: Path, problem: str) -> None:
        """Take down that an image cannot be read, so that it is passed over."""
        for index, row in enumerate(self.rows):
            if row.path == path and index != self.current:
                self._put(index, replace(row, problem=problem))

    def keep(self) -> bool:
        """Keep the work on the open image; return whether it is kept, or there is none."""
        index, result = self.current, self._result()
        if self._store is None or index is None or self._ref is None or result is None:
            return True
        result.view.flush()
        if result is self._kept:
            return True
        try:
            path = self._store.save(self.rows[index].name, self._ref, result.document)
        except EomtError as error:
            self.refused.emit(str(error))
            return False
        if path is not None:
            self._keeper.mark_saved(result, path)
        self._kept = result
        work = "" if path is None else path.name
        self._put(index, replace(self.rows[index], progress=Progress.of(result.document, work)))
        return True

    def leave(self) -> bool:
        """Keep the work on the open image, and take its layers away; return whether it is kept."""
        if not self.keep():
            return False
        image, self._layer = self._layer, None
        ours = [r.view.layer for r in self._results if r.image is image]
        for layer in [*ours, image]:
            if layer is not None and layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self.current = self._ref = self._kept = None
        return True

    def show_progress(self) -> None:
        """Bring the open image's row up to date, if anything has been decided since."""
        result = self._result()
        if self._is_stale and self.current is not None and result is not None:
            self._is_stale = False
            row = self.rows[self.current]
            work = row.progress.work
            self._put(self.current, replace(row, progress=Progress.of(result.document, work)))

    def _result(self) -> Result | None:
        return None if self._layer is None else self._results.latest(self._layer)

    def _on_results(self) -> None:
        self._follow(self._result())

    def _follow(self, result: Result | None) -> None:
        if result is self._followed:
            return
        if self._followed is not None:
            self._followed.session.changed.disconnect(self._on_edit)
        self._followed = result
        if result is not None:
            result.session.changed.connect(self._on_edit)
            self._is_stale = True

    def _on_edit(self, edit: Edit) -> None:
        self._kept = None
        self._is_stale = True

    def _shares_file(self, index: int) -> bool:
        """Whether an image is one of several in a file: what was made ahead is of the first."""
        path = self.rows[index].path
        return self.rows[index].item is not None and any(
            row.path == path for k, row in enumerate(self.rows) if k != index
        )

    def _put(self, index: int, row: ImageRow) -> None:
        if row != self.rows[index]:
            self.rows[index] = row
            self.row_changed.emit(index)
