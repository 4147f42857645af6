"""What napari opens while the dock is there: annotated images become sessions, folders are ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

from qtpy.QtCore import QEvent, QObject, QTimer, Signal

from napari_eomt.errors import EomtError
from napari_eomt.viewer.dataset_kind import Kind, find_annotations
from napari_eomt.viewer.dataset_metadata import DOCUMENT, OPENED, ours, with_ours

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from qtpy.QtCore import QMimeData
    from qtpy.QtWidgets import QWidget

    from napari_eomt.viewer.results import Results
    from napari_eomt.viewer.saved_work import SavedWork

PLUGIN = "napari-eomt"


class OpenedImages(QObject):
    """Takes over annotated images that are opened, and folders that are dropped on the canvas.

    Parameters
    ----------
    viewer : ViewerModel
    results : Results
    work : SavedWork
    dock : QWidget
        In whose window the canvas is.
    """

    failed = Signal(str)
    taken_over = Signal()
    """An annotated image has a session."""

    def __init__(
        self, viewer: ViewerModel, results: Results, work: SavedWork, dock: QWidget
    ) -> None:
        super().__init__(dock)
        self._viewer, self._results, self._work, self._dock = viewer, results, work, dock
        # Weakly: the window may go without a word to the dock.
        self._canvas: ref[QWidget] | None = None
        # Not while napari is adding layers: the image may come after its objects.
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._take_over)
        viewer.layers.events.inserted.connect(self._on_inserted)
        results.changed.connect(self._on_results)
        self._timer.start()

    def close_events(self) -> None:
        """Let go of the viewer and the canvas."""
        self._timer.stop()
        self._detach()

    def release(self) -> None:
        """Let go of the viewer, without a touch of Qt."""
        self._viewer.layers.events.inserted.disconnect(self._on_inserted)
        self._results.changed.disconnect(self._on_results)

    def attach(self) -> None:
        """Find the canvas of the window that the dock is in now."""
        # Here: napari's own window takes long to import, and is there by now.
        from napari.qt import QtViewer

        self._detach()
        window = self._dock.window()
        canvas = None if window is None else window.findChild(QtViewer)
        if canvas is not None:
            canvas.installEventFilter(self)
            self._canvas = ref(canvas)

    def open(self, path: Path) -> bool:
        """Open a dataset or a document; return whether it is one, `failed` says what is wrong.

        napari itself opens files alone, not folders.
        """
        try:
            found = find_annotations(path)
            if found is None:
                return False
            file = found.path
            if found.kind is Kind.DOCUMENT:
                file = file / "document.json"
            self._viewer.open(str(file), plugin=PLUGIN)
        except EomtError as error:
            self.failed.emit(str(error))
        except Exception as error:
            # napari wraps whatever a reader raises.
            if not isinstance(error.__cause__, EomtError):
                raise
            self.failed.emit(str(error.__cause__))
        return True

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Open a folder that is dropped, if it is one of ours."""
        if event is None or event.type() != QEvent.Type.Drop:
            return False
        if self._canvas is None or watched is not self._canvas():
            return False
        drop: Any = event
        folder = dropped_folder(drop.mimeData())
        return folder is not None and self.open(folder)

    def _detach(self) -> None:
        canvas = None if self._canvas is None else self._canvas()
        if canvas is not None:
            canvas.removeEventFilter(self)
        self._canvas = None

    def _on_results(self) -> None:
        """Let napari's own menu save all that is known about the objects of a layer."""
        for result in self._results:
            layer = result.view.layer
            about = ours(layer)
            if about.get(DOCUMENT) is not result.document:
                about = {k: v for k, v in about.items() if k != OPENED}
                layer.metadata = with_ours(layer, about | {DOCUMENT: result.document})

    def _on_inserted(self) -> None:
        self._timer.start()

    def _take_over(self) -> None:
        from napari_eomt.viewer.dataset_sessions import take_over, waiting

        for opened in waiting(self._viewer):
            try:
                take_over(self._viewer, self._work, opened)
            except EomtError as error:
                self.failed.emit(str(error))
            else:
                self.taken_over.emit()


def dropped_folder(data: QMimeData | None) -> Path | None:
    """Return the one folder that is dropped."""
    urls = [] if data is None else data.urls()
    if len(urls) != 1 or not urls[0].isLocalFile():
        return None
    path = Path(urls[0].toLocalFile())
    return path if path.is_dir() else None
