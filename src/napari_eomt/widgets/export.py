"""The Export page: what is written, how, for whom, and where."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QUrl, Signal
from qtpy.QtGui import QDesktopServices, QGuiApplication
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QRadioButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_eomt.viewer.dataset_choice import (
    Choice,
    Counts,
    choose_folder,
    choose_result,
    counts_of,
    counts_of_folder,
)
from napari_eomt.widgets.export_form import ExportForm
from napari_eomt.widgets.export_run import ExportRun
from napari_eomt.widgets.model_actions import primary_style

if TYPE_CHECKING:
    from napari_eomt.annotation.edits import Edit
    from napari_eomt.viewer.dataset_export import ExportDone
    from napari_eomt.viewer.image_folder import ImageFolder
    from napari_eomt.widgets.current import Current


class ExportPage(QWidget):
    """Writes the open image, or all images of the open folder, as a dataset.

    Parameters
    ----------
    current : Current
    folder : ImageFolder
    saved : dict
        The form's values of last time.
    """

    review_requested = Signal()
    """The objects that nobody has decided about shall be shown."""
    said = Signal(str)
    """What happened, in one line."""
    settings_changed = Signal()

    def __init__(
        self,
        current: Current,
        folder: ImageFolder,
        saved: dict[str, Any],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._current, self._folder = current, folder
        self._choice: Choice | None = None
        self._details = ""
        self._done: ExportDone | None = None
        self.run = ExportRun(self)
        self.hint = _text(
            "Nothing to export yet. Segment the image, draw objects, or open a dataset; then they "
            "can be written here for other programs, and for training."
        )
        self.one = QRadioButton("This image")
        self.all = QRadioButton("All images of the folder")
        self.one.setToolTip("The image that is open, with all its frames.")
        self.all.setToolTip("All images of the folder that have objects, each as you left it.")
        self.one.setChecked(True)
        self.counts = _text("")
        self.go = QPushButton("Go there")
        self.go.setToolTip("Show the objects that nobody has decided about, on the Correct page.")
        self.form = ExportForm(saved)
        self.export = QPushButton("Export")
        self.export.setToolTip("Write it. What is in the folder is whole at any time.")
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(10)
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Stop before the next image. The folder is as it was before.")
        self.message = _text("")
        self.open = QPushButton("Open folder")
        self.open.setToolTip("Show what was written in the system's file manager.")
        self.copy = QPushButton("Copy command")
        self.copy_details = QPushButton("Copy details")
        self.copy_details.setToolTip("Copy the technical details, for a report.")
        self._lay_out()
        self.one.toggled.connect(self.refresh)
        self.go.clicked.connect(self._on_go)
        self.form.changed.connect(self._on_form)
        self.form.choose.clicked.connect(self._on_choose)
        self.export.clicked.connect(self.start)
        self.cancel.clicked.connect(self._on_cancel)
        self.open.clicked.connect(self._on_open)
        self.copy.clicked.connect(lambda: _copy(self._command()))
        self.copy_details.clicked.connect(lambda: _copy(self._details))
        self.run.progressed.connect(self._on_progress)
        self.run.finished.connect(self._on_finished)
        self.run.failed.connect(self._on_failed)
        self.run.stopped.connect(self._on_stopped)
        current.result_changed.connect(self._on_result)
        current.document_changed.connect(self._on_edited)
        folder.changed.connect(self._on_folder)
        folder.row_changed.connect(self._on_row)
        self._on_result()

    def close_events(self) -> None:
        """Stop what is being written, and let go of the folder."""
        self.run.close()
        self._folder.changed.disconnect(self._on_folder)
        self._folder.row_changed.disconnect(self._on_row)

    def show_colors(self, accent: str) -> None:
        """Let the primary button stand out in a theme's colour."""
        self.export.setStyleSheet(primary_style(accent))

    @property
    def is_of_folder(self) -> bool:
        """Whether all images of the folder are meant."""
        return self.all.isChecked() and bool(self._folder.rows)

    @property
    def n_left(self) -> int:
        """How many objects nobody has decided about, of what would be written."""
        return self._counts().n_left

    def start(self) -> None:
        """Write what is chosen."""
        from napari_eomt.viewer.dataset_export import export, target_of

        folder, params = self.form.folder, self.form.params()
        result = self._current.result
        if self.run.is_running:
            return
        if folder is None:
            self._say("Choose a folder to write to first.", is_error=True)
            return
        if self.is_of_folder:
            self._folder.keep()
            dataset = self._folder.dataset
            origins = [None if dataset is None else str(dataset.path)]
            target = target_of(folder, params.form, origins)
            is_open = result is not None and result.image is self._folder.layer
            self._choice = choose_folder(self._folder, result if is_open else None, target)
        elif result is not None:
            self._choice = choose_result(result)
        else:
            return
        if not self._choice.items:
            self._say("Nothing has changed: there is nothing to write.")
            return
        items = self._choice.items
        self._done = None
        self._say("Starting…")
        self.run.start(lambda tell: export(items, folder, params, tell))
        self.refresh()

    def refresh(self) -> None:
        """Show what would be written now, and whether it can be."""
        has_result, rows = self._current.result is not None, self._folder.rows
        self.all.setText(
            f"All {len(rows):,} images of the folder" if rows else "All images of the folder"
        )
        self.all.setVisible(bool(rows))
        if not rows and self.all.isChecked():
            self.one.setChecked(True)
        counts = self._counts()
        can = counts.n_images > 0
        self.hint.setVisible(not has_result and not rows)
        self.one.setVisible(has_result or bool(rows))
        self.one.setEnabled(has_result)
        self.counts.setText(_counted(counts) if can else "No objects yet.")
        self.counts.setVisible(has_result or bool(rows))
        self.go.setVisible(counts.n_left > 0)
        busy = self.run.is_running
        for widget in (self.form, self.export):
            widget.setVisible(has_result or bool(rows))
            widget.setEnabled(not busy)
        self.export.setEnabled(can and not busy)
        self.progress.setVisible(busy)
        self.cancel.setVisible(busy)
        done = self._done is not None and not busy
        self.open.setVisible(done)
        self.copy.setVisible(done)
        if done:
            self.copy.setToolTip(f"Copy the command that does the same:\n{self._command()}")

    def _counts(self) -> Counts:
        if self.is_of_folder:
            self._folder.show_progress()
            return counts_of_folder(self._folder)
        document = self._current.document
        return Counts() if document is None else counts_of(document)

    def _lay_out(self) -> None:
        what, run, after = QHBoxLayout(), QHBoxLayout(), QHBoxLayout()
        what.addWidget(self.counts, 1)
        what.addWidget(self.go)
        run.addWidget(self.progress, 1)
        run.addWidget(self.cancel)
        for button in (self.open, self.copy, self.copy_details):
            after.addWidget(button)
        after.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        for widget in (self.hint, self.one, self.all):
            layout.addWidget(widget)
        layout.addLayout(what)
        layout.addWidget(self.form)
        layout.addWidget(self.export)
        layout.addLayout(run)
        layout.addWidget(self.message)
        layout.addLayout(after)
        layout.addStretch(1)
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._say("")

    def _say(self, text: str, *, is_error: bool = False, details: str = "") -> None:
        self._details = f"{text}\n\n{details}" if details else text
        self.message.setText(("⚠ " if is_error else "") + text)
        self.message.setVisible(bool(text))
        self.copy_details.setVisible(is_error and bool(details))

    def _command(self) -> str:
        from napari_eomt.viewer.dataset_export import command_line

        form = self.form.params().form
        out = self.form.folder or Path()
        return command_line(self._documents(), out, form)

    def _documents(self) -> Path:
        """Return where documents of what was written are, or would be saved."""
        if self.is_of_folder and self._folder.current is not None:
            path = self._folder.document_path(self._folder.current)
            if path is not None:
                return path.parent
        result = self._current.result
        name = "NAME" if result is None else Path(str(result.image.name)).stem
        path = None if result is None else result.image.source.path
        return Path(f"{name}.eomt") if path is None else Path(path).with_name(f"{name}.eomt")

    def _on_result(self) -> None:
        document, result = self._current.document, self._current.result
        if document is not None and document.origin is not None:
            self.form.suggest(Path(document.origin.path).parent)
        elif result is not None and result.image.source.path is not None:
            self.form.suggest(Path(result.image.source.path).parent / "dataset")
        self.refresh()

    def _on_edited(self, edit: Edit) -> None:
        if self.isVisible() or edit.states:
            self.refresh()

    def showEvent(self, event: Any) -> None:
        """Count anew: nobody looked meanwhile."""
        super().showEvent(event)
        self.refresh()

    def _on_folder(self) -> None:
        folder, dataset = self._folder.folder, self._folder.dataset
        if self._folder.rows:
            self.all.setChecked(True)
        if folder is not None:
            self.form.suggest(folder / "dataset" if dataset is None else dataset.path.parent)
        self.refresh()

    def _on_row(self, index: int) -> None:
        if self.isVisible():
            self.refresh()

    def _on_form(self) -> None:
        self._done = None
        self._say("")
        self.settings_changed.emit()
        self.refresh()

    def _on_choose(self) -> None:
        start = str(self.form.folder or Path.home())
        chosen = QFileDialog.getExistingDirectory(self, "Folder to write to", start)
        if chosen:
            self.form.show_folder(Path(chosen))

    def _on_go(self) -> None:
        if self.is_of_folder and self._folder.current is not None:
            progress = self._folder.rows[self._folder.current].progress
            if not progress.n_left:
                from napari_eomt.viewer.dataset_choice import first_left

                index = first_left(self._folder)
                if index is not None and not self._folder.open(index):
                    return
        self.review_requested.emit()

    def _on_cancel(self) -> None:
        self.cancel.setEnabled(False)
        self._say("Stopping…")
        self.run.stop()

    def _on_progress(self, n: int, total: int, text: str) -> None:
        self.progress.setRange(0, total)
        self.progress.setValue(n)
        self._say(f"{n:,} of {total:,}: {text}" if total > 1 else text)

    def _on_finished(self, done: ExportDone) -> None:
        choice, self._choice = self._choice, None
        self._done = done
        objects = "1 object" if done.n_objects == 1 else f"{done.n_objects:,} objects"
        images = "1 image" if done.n_images == 1 else f"{done.n_images:,} images"
        text = f"{objects} of {images} written: {done.path}"
        self._end()
        self._say("\n".join((text, *done.notes)))
        self.said.emit(f"Exported: {text}")
        if choice is not None:
            self._mark(choice)

    def _mark(self, choice: Choice) -> None:
        from napari_eomt.viewer.dataset_export import exported

        self._folder.record(choice.progress)
        result = self._current.result
        if choice.document is None or result is None:
            return
        # What was decided while it was written is not in the files.
        is_same = list(result.document.iter_segments()) == list(choice.document.iter_segments())
        if is_same:
            result.session.do(exported(result.document))

    def _on_failed(self, message: str, details: str) -> None:
        self._end()
        self._say(message, is_error=True, details=details)

    def _on_stopped(self) -> None:
        self._end()
        self._say("Stopped. Nothing was written.")

    def _end(self) -> None:
        self.cancel.setEnabled(True)
        self.progress.reset()
        self.refresh()

    def _on_open(self) -> None:
        if self._done is not None:
            folder = self._done.path if self._done.path.is_dir() else self._done.path.parent
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))


def _text(text: str) -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label


def _counted(counts: Counts) -> str:
    images = "1 image" if counts.n_images == 1 else f"{counts.n_images:,} images"
    objects = "1 object" if counts.n_objects == 1 else f"{counts.n_objects:,} objects"
    parts = [images, objects]
    if counts.n_left:
        parts.append(f"{counts.n_left:,} not reviewed")
    if counts.n_without:
        parts.append(f"{counts.n_without:,} without objects")
    return " · ".join(parts)


def _copy(text: str) -> None:
    clipboard = QGuiApplication.clipboard()
    if clipboard is not None:
        clipboard.setText(text)
