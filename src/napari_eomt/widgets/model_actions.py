"""One model with what can be done with it: use, download, delete, rename, remove."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_eomt.models.rows import size_text
from napari_eomt.widgets.model_card_view import ModelCardView

if TYPE_CHECKING:
    from napari_eomt.models.rows import ModelRow
    from napari_eomt.widgets.download_job import JobState
    from napari_eomt.widgets.model_library import ModelLibrary
    from napari_eomt.widgets.model_picker import ModelPicker


def primary_style(color: str) -> str:
    """Return the style of a primary button in a theme's colour."""
    # Whichever of black and white has the more contrast on it.
    text = "black" if QColor(color).lightnessF() > 0.6 else "white"
    return (
        f"QPushButton:enabled {{ background: {color}; color: {text}; }}"
        "QPushButton { font-weight: bold; padding: 6px; }"
    )


class ModelActions(QWidget):
    """Shows a model's card, how far the work on it is, and the buttons that make sense now.

    Parameters
    ----------
    library : ModelLibrary
    picker : ModelPicker
    """

    started = Signal(str)  # name of the model that is fetched

    def __init__(
        self, library: ModelLibrary, picker: ModelPicker, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._library, self._picker = library, picker
        self._row: ModelRow | None = None
        self._shown: tuple[ModelRow | None, int] = (None, 0)
        self.card = ModelCardView()
        self.progress_text = QLabel()
        self.progress_text.setWordWrap(True)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(10)
        self.use = QPushButton("Use")
        self.download = QPushButton("Download")
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Stop. A download keeps what it has, and goes on from there.")
        self.delete = QPushButton("Delete…")
        self.delete.setToolTip("Delete the model's files from this computer.")
        self.rename = QPushButton("Rename…")
        self.rename.setToolTip("Call this model of yours by another name (F2).")
        self.remove = QPushButton("Remove")
        self.remove.setToolTip("Take this model of yours off the list. Its folder stays.")

        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(self.card)
        running = QHBoxLayout()
        running.addWidget(self.progress, 1)
        running.addWidget(self.cancel)
        buttons = QHBoxLayout()
        for button in (self.download, self.rename, self.remove, self.delete):
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            buttons.addWidget(button)
        for button in (self.use, self.cancel, self.download, self.rename, self.remove, self.delete):
            button.setAutoDefault(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scroll, 1)
        layout.addWidget(self.progress_text)
        layout.addLayout(running)
        layout.addWidget(self.use)
        layout.addLayout(buttons)
        self.use.clicked.connect(self._on_use)
        self.download.clicked.connect(self._on_download)
        self.cancel.clicked.connect(self._on_cancel)
        library.progressed.connect(self._on_progressed)
        picker.changed.connect(self._show_buttons)
        self.show_row(None)

    def show_row(self, row: ModelRow | None) -> None:
        """Show a model, or that none is selected."""
        shown = (row, 0 if row is None else self._library.size_on_disk(row))
        if shown != self._shown:  # it would lose what is typed in its search
            self.card.show_row(*shown)
        self._row, self._shown = row, shown
        self._show_buttons()

    def show_colors(self, accent: str, link: str) -> None:
        """Let the primary button, and links, stand out in a theme's colours."""
        self.use.setStyleSheet(primary_style(accent))
        self.card.show_link_color(link)

    def _show_buttons(self) -> None:
        row = self._row
        job = None if row is None else self._library.job(row.name)
        is_free = row is not None and job is None
        is_published = row is not None and row.entry is not None
        is_wanted = row is not None and self._picker.wanted == row.name
        self.progress_text.setVisible(job is not None)
        self.progress.setVisible(job is not None)
        self.cancel.setVisible(job is not None)
        if job is not None:
            then = "\nIt will be used as soon as it is ready." if is_wanted else ""
            self.progress_text.setText(job.details + then)
            self.progress.setRange(0, 0 if job.percent is None else 100)
            self.progress.setValue(job.percent or 0)
            self.cancel.setEnabled(job.what not in ("stopping", "deleting"))
        is_fetchable = is_published and row is not None and not row.is_here
        self.use.setVisible(row is not None and (is_free or self._can_wait(row, job)))
        self.download.setVisible(is_fetchable and is_free)
        self.delete.setVisible(is_free and row is not None and self._library.can_delete(row))
        is_added = is_free and row is not None and row.kind == "added"
        self.rename.setVisible(is_added)
        self.remove.setVisible(is_added)
        self._label(row, is_free=is_free, is_fetchable=is_fetchable)

    def _can_wait(self, row: ModelRow, job: JobState | None) -> bool:
        """Whether there is something to wait for that will end in a model to use."""
        is_leaving = job is None or job.what in ("stopping", "deleting")
        return row.entry is not None and not is_leaving and self._picker.wanted != row.name

    def _label(self, row: ModelRow | None, *, is_free: bool, is_fetchable: bool) -> None:
        is_in_use = row is not None and row.name == self._picker.model
        self.use.setText("In use" if is_in_use else "Use")
        self.use.setEnabled(row is not None and row.is_usable and is_free and not is_in_use)
        if row is None or row.entry is None or not is_fetchable:
            return
        self.use.setEnabled(True)
        if not is_free:
            self.use.setText("Use when it is ready")
            return
        if not self._library.needs_network(row):
            self.use.setText("Convert and use")
            self.download.setText("Convert")
            return
        # What is here in part need not come again.
        n_here = self._library.size_on_disk(row)
        left = size_text(max(0, row.entry.n_bytes - n_here))
        self.use.setText(f"{'Resume' if n_here else 'Download'} and use · {left}")
        self.download.setText("Resume" if n_here else "Download")

    def _on_use(self) -> None:
        row = self._row
        if row is None:
            return
        if row.is_usable:
            self._picker.choose(row.name)
            return
        self._picker.choose_when_here(row.name)
        if self._library.job(row.name) is None:
            self._on_download()
        self._show_buttons()

    def _on_download(self) -> None:
        if self._row is not None:
            self.started.emit(self._row.name)
            self._library.download(self._row.name)

    def _on_cancel(self) -> None:
        if self._row is not None:
            if self._picker.wanted == self._row.name:
                self._picker.choose_when_here("")
            self._library.cancel(self._row.name)

    def _on_progressed(self, name: str) -> None:
        if self._row is not None and name == self._row.name:
            self._show_buttons()
