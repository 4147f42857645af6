"""Saving documents, opening them, and what is left of a session that did not end well."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMenu,
    QMessageBox,
    QPushButton,
    QWidget,
)

from napari_eomt.annotation.files import load_document, save_document
from napari_eomt.annotation.sessions import clean_up, discard, recoverable, restore
from napari_eomt.errors import EomtError
from napari_eomt.viewer.saved_work import image_ref

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.components import ViewerModel

    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.image_ref import ImageRef
    from napari_eomt.annotation.sessions import Recoverable
    from napari_eomt.viewer.results import Result
    from napari_eomt.viewer.saved_work import SavedWork
    from napari_eomt.widgets.current import Current

POLL_MS = 50
SUFFIX = ".eomt"


class SavingStrip(QWidget):
    """Save and open, whether there is unsaved work, and work that can be restored.

    Files are read and written in a thread; the window goes on meanwhile.

    Parameters
    ----------
    viewer : ViewerModel
    current : Current
    work : SavedWork
    """

    said = Signal(str)
    failed = Signal(str)

    def __init__(
        self,
        viewer: ViewerModel,
        current: Current,
        work: SavedWork,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._current, self._work = viewer, current, work
        self._pool = ThreadPoolExecutor(1, "napari-eomt-files")
        self._waiting: list[tuple[Future[Any], Callable[[Any], None], Callable[[], object]]] = []
        self._folders: dict[str, Path] = {}  # where each result was saved or opened last
        self._lost: list[Recoverable] = []
        self.save = QPushButton("Save…")
        self.save.setToolTip(
            "Save categories, objects and all decisions as a document (a folder NAME.eomt). While "
            "you work everything is kept anyway, and offered again after a crash."
        )
        self.open = QPushButton("Open")
        self.open.setToolTip("Open a document that was saved, or work that was not.")
        self.menu = QMenu(self.open)
        self.open.setMenu(self.menu)
        self.menu.aboutToShow.connect(self._fill_menu)
        self.state = QLabel()
        buttons = QHBoxLayout(self)
        buttons.setContentsMargins(0, 0, 0, 0)
        buttons.addWidget(self.save)
        buttons.addWidget(self.open)
        buttons.addWidget(self.state, 1)
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._on_poll)
        self.save.clicked.connect(self._on_save)
        self._fill_menu()
        # After whoever else is told of a step: only then it is counted.
        self._state_timer = QTimer(self)
        self._state_timer.setSingleShot(True)
        self._state_timer.timeout.connect(self._show_state)
        current.result_changed.connect(self._later_show_state)
        current.document_changed.connect(self._later_show_state)
        work.saved_changed.connect(self._later_show_state)
        self._show_state()

    def close_events(self) -> None:
        """Stop waiting; what is being written is written to its end."""
        self._timer.stop()
        self._work.saved_changed.disconnect(self._later_show_state)
        self._pool.shutdown(wait=True)

    def look_for_lost_work(self, offer: Callable[[Recoverable], None]) -> None:
        """Look, in the background, for sessions that did not end well; `offer` gets the last."""

        def look() -> list[Recoverable]:
            clean_up()
            return [row for row in recoverable() if not row.problem and row.image is not None]

        def show(rows: list[Recoverable]) -> None:
            self._lost = rows
            if rows:
                offer(rows[0])

        self._later(look, show)

    def restore_work(self, row: Recoverable) -> None:
        """Bring a session back: over its image, which is opened if it is not there."""
        if row.image is None:
            return
        layer = self._find_image(row.image)
        if layer is None:
            return

        def show(document: Document) -> None:
            self._work.adopt(document, layer, row.folder)
            self._lost.remove(row)
            self.said.emit(f"The work on {layer.name} is restored, to its last step.")

        self._later(lambda: restore(row.folder), show)

    def discard_work(self, row: Recoverable) -> None:
        """Remove a session that did not end well, if the person is sure."""
        name = row.folder.name if row.image is None else row.image.name
        answer = QMessageBox.question(
            self, "Discard the work", f"Discard {row.n_unsaved} steps of work on {name} for good?"
        )
        if answer == QMessageBox.StandardButton.Yes:
            self._lost.remove(row)
            self._later(lambda: discard(row.folder), lambda _: self.said.emit("Discarded."))

    def save_to(self, folder: Path) -> None:
        """Save the current document."""
        result = self._current.result
        if result is not None:
            self._save(result, folder)

    def save_all(
        self,
        results: Sequence[Result],
        then: Callable[[], object],
        given_up: Callable[[], object] = lambda: None,
    ) -> None:
        """Save several documents, each where it was saved or opened last, else where one says.

        Parameters
        ----------
        results : sequence of Result
        then : callable
            Called when all of them are written.
        given_up : callable
            Called instead if a person does not say where, or one cannot be written; `failed`
            says why.
        """
        places = []
        for result in results:
            folder = self._folders.get(result.key) or self._ask_folder(result)
            if folder is None:
                given_up()
                return
            places.append((result, folder))
        left = {result.key for result, _ in places}

        def written(key: str) -> None:
            left.discard(key)
            if not left:
                then()

        for result, folder in places:
            self._save(result, folder, partial(written, result.key), given_up)

    def _save(
        self,
        result: Result,
        folder: Path,
        then: Callable[[], object] = lambda: None,
        given_up: Callable[[], object] = lambda: None,
    ) -> None:
        result.view.flush()
        document, image = result.document.copy(), image_ref(result.image)
        steps = result.session.n_steps

        def show(_: object) -> None:
            self._folders[result.key] = folder
            # What was done while it was written is in no file yet.
            if result.session.n_steps == steps:
                self._work.mark_saved(result, folder)
            self.said.emit(f"Saved: {folder}")
            then()

        self._later(lambda: save_document(document, folder, image, overwrite=True), show, given_up)

    def open_from(self, folder: Path) -> None:
        """Open a document, over its image."""

        def show(found: tuple[Document, ImageRef | None]) -> None:
            document, image = found
            layer = self._current.image if image is None else self._find_image(image)
            if layer is None:
                return
            result = self._work.adopt(document, layer)
            self._folders[result.key] = folder
            self._work.mark_saved(result, folder)
            self.said.emit(f"Opened: {folder}")

        self._later(lambda: load_document(folder), show)

    def _find_image(self, image: ImageRef) -> Any:
        layer = self._work.image_like(image)
        if layer is None and image.path is not None and Path(image.path).exists():
            self._open_image(image.path)
            layer = self._work.image_like(image)
        if layer is None:
            where = f" ({image.path})" if image.path else ""
            self.failed.emit(f"It belongs to the image {image.name}{where}. Open that one first.")
        return layer

    def _open_image(self, path: str) -> None:
        if Path(path).suffix.lower() != ".json":
            self._viewer.open(path)
            return
        # Of a dataset: its image is wanted, not its objects as they are in the file.
        from napari_eomt.viewer.dataset_sessions import waiting

        self._viewer.open(path, plugin="napari-eomt")
        for opened in waiting(self._viewer):
            self._viewer.layers.remove(opened.labels)

    def _later(
        self,
        work: Callable[[], Any],
        then: Callable[[Any], None],
        given_up: Callable[[], object] = lambda: None,
    ) -> None:
        self._waiting.append((self._pool.submit(work), then, given_up))
        self._timer.start()

    def _on_poll(self) -> None:
        while self._waiting and self._waiting[0][0].done():
            future, then, given_up = self._waiting.pop(0)
            try:
                then(future.result())
            except EomtError as error:
                self.failed.emit(str(error))
                given_up()
        if not self._waiting:
            self._timer.stop()

    def _on_save(self) -> None:
        result = self._current.result
        folder = None if result is None else self._ask_folder(result)
        if folder is not None:
            self.save_to(folder)

    def _ask_folder(self, result: Result) -> Path | None:
        """Ask where a document shall be saved: beside its image, unless it is somewhere already."""
        path, name = result.image.source.path, str(result.image.name)
        beside = Path(path).with_suffix(SUFFIX) if path else Path.home() / f"{name}{SUFFIX}"
        start = self._folders.get(result.key, beside)
        title = f"Save the work on {name}"
        chosen, _ = QFileDialog.getSaveFileName(self, title, str(start))
        if not chosen:
            return None
        folder = Path(chosen)
        return folder if folder.suffix == SUFFIX else folder.with_name(folder.name + SUFFIX)

    def _fill_menu(self) -> None:
        self.menu.clear()
        self.menu.addAction("Document…", self._on_open)
        for row in self._lost:
            self.menu.addSeparator()
            self.menu.addAction(f"Restore {lost_text(row)}", partial(self.restore_work, row))
            self.menu.addAction("Discard it…", partial(self.discard_work, row))

    def _on_open(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Open a document", str(Path.home()))
        if chosen:
            self.open_from(Path(chosen))

    def _later_show_state(self, *_: object) -> None:
        self._state_timer.start(0)

    def _show_state(self) -> None:
        result = self._current.result
        self.save.setEnabled(result is not None)
        n = next((n for other, n in self._work.unsaved if other is result), 0)
        self.state.setText(f"{n:,} unsaved steps" if n > 1 else "1 unsaved step" if n else "")


def lost_text(row: Recoverable) -> str:
    """Return which work was lost, in a few words."""
    name = row.folder.name if row.image is None else row.image.name
    steps = "1 step" if row.n_unsaved == 1 else f"{row.n_unsaved:,} steps"
    return f"{name}: {steps}, {row.last.astimezone():%d %b %H:%M}"
