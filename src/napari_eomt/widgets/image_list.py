"""The images of a folder: how far each is, the next one, and the one before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from qtpy.QtCore import QModelIndex, Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QSizePolicy,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_eomt.annotation.document import FrameState
from napari_eomt.annotation.image_store import last_folder
from napari_eomt.viewer.image_rows import ImageRow, summary
from napari_eomt.widgets.table_model import TableModel

if TYPE_CHECKING:
    from qtpy.QtGui import QDragEnterEvent, QDropEvent

    from napari_eomt.viewer.image_folder import ImageFolder
    from napari_eomt.widgets.prefetch import Prefetch

PROGRESS_MS = 500
"""How often the open image's row follows what is decided."""

_SIGNS = {
    FrameState.NEW: ("", "new"),
    FrameState.PROPOSED: ("◐ ", "proposed"),
    FrameState.REVIEWED: ("✓ ", "reviewed"),
    FrameState.EXPORTED: ("⇪ ", "exported"),
}


class ImageTableModel(TableModel):
    """The rows of a folder.

    Parameters
    ----------
    folder : ImageFolder
    """

    columns: ClassVar = {
        "image": ("Image", "Double click, or Enter, opens it."),
        "state": ("State", "new · proposed by a model · reviewed by you · exported"),
        "objects": (
            "Objects",
            "How many there are; in brackets, how many nobody has decided about.",
        ),
    }

    def __init__(self, folder: ImageFolder, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._folder = folder

    def reset(self) -> None:
        """Show other rows."""
        self.beginResetModel()
        self.endResetModel()

    def show_row(self, row: int) -> None:
        """Show what a row is now."""
        self.dataChanged.emit(self.index(row, 0), self.index(row, len(self.columns) - 1))

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a cell shows."""
        if not index.isValid():
            return None
        row = self._folder.rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return _cell(row, index.column())
        if role == Qt.ItemDataRole.ToolTipRole:
            return row.problem or (str(row.path) if row.item is None else row.name)
        if role == Qt.ItemDataRole.FontRole and index.row() == self._folder.current:
            view = self.parent()
            font = view.font() if isinstance(view, QWidget) else None
            if font is not None:
                font.setBold(True)
            return font
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() == 2:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def _n_rows(self) -> int:
        return len(self._folder.rows)


class ImageList(QWidget):
    """Opens the images of a folder one after the other; a folder may be dropped on it.

    Parameters
    ----------
    folder : ImageFolder
    prefetch : Prefetch
    """

    said = Signal(str)
    """What happened, in one line."""
    failed = Signal(str)
    settings_changed = Signal()

    def __init__(
        self, folder: ImageFolder, prefetch: Prefetch, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._folder, self._prefetch = folder, prefetch
        self.setAcceptDrops(True)
        self.name = QLabel()
        self.name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.choose = QPushButton("Open folder…")
        self.choose.setToolTip(
            "Work on all images of a folder, or of a COCO dataset with its annotations. It can be "
            "dropped here as well."
        )
        self.last = QPushButton()
        self.hint = QLabel(
            "Work on a folder of images, or on a COCO dataset, one image after the other: what "
            "you do is kept for each, and the next one is segmented meanwhile. Drop the folder, "
            "or the dataset's JSON, here, or open it."
        )
        self.hint.setWordWrap(True)
        self.counts = QLabel()
        self.counts.setWordWrap(True)
        self.model = ImageTableModel(folder, self)
        self.table = QTableView()
        self.back, self.next = QPushButton("◀ Back"), QPushButton("Next image  O ▶")
        self.back.setToolTip("Open the image before this one. The work on this one is kept.")
        self.next.setToolTip("Open the next image. The work on this one is kept. (O)")
        self.skip = QCheckBox("Skip reviewed")
        self.skip.setToolTip("Next and Back pass over images that are reviewed or exported.")
        self.ahead = QCheckBox("Segment ahead")
        self.ahead.setChecked(prefetch.is_on)
        self.ahead.setToolTip(
            "Segment the next image while you work on this one, with the model and the values of "
            "the Segment page. What you start yourself goes first."
        )
        self.state = QLabel()
        self.state.setWordWrap(True)
        self._lay_out()
        self.choose.clicked.connect(self._on_choose)
        self.last.clicked.connect(self._on_last)
        self.table.activated.connect(self._on_activated)
        self.back.clicked.connect(lambda: self.open_next(-1))
        self.next.clicked.connect(lambda: self.open_next())
        self.skip.toggled.connect(self._on_skip)
        self.ahead.toggled.connect(self._on_ahead)
        prefetch.changed.connect(self._show_state)
        folder.changed.connect(self._on_folder)
        folder.row_changed.connect(self._on_row)
        folder.opened.connect(self._on_opened)
        folder.refused.connect(self.failed.emit)
        self._timer = QTimer(self)
        self._timer.setInterval(PROGRESS_MS)
        self._timer.timeout.connect(folder.show_progress)
        self._timer.start()
        self._on_folder()

    def close_events(self) -> None:
        """Keep the work on the open image, whose layers stay, and let go of the folder."""
        self._timer.stop()
        self._folder.close()
        self._prefetch.close_events()
        self._folder.refused.disconnect(self.failed.emit)
        self._folder.changed.disconnect(self._on_folder)
        self._folder.row_changed.disconnect(self._on_row)
        self._folder.opened.disconnect(self._on_opened)

    def open_folder(self, folder: Path) -> None:
        """Show a folder, and open the image at which to go on."""
        if self._folder.open_folder(folder):
            start = self._folder.start
            if start is None or not self._folder.open(start):
                self._folder.open_next()

    def open_next(self, step: int = 1) -> str:
        """Open the next image, or the one before; return what people read."""
        if not self._folder.rows:
            return "Open a folder of images first."
        before = self._folder.current
        index = self._folder.open_next(step)
        if index is not None:
            text = f"Image {index + 1:,} of {len(self._folder.rows):,}"
        elif self._folder.current == before:
            text = f"That is the {'last' if step > 0 else 'first'} image of the folder."
            self._folder.keep()
        else:
            text = ""
        if text:
            self.said.emit(text)
        return text

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Take a folder, or a dataset's file."""
        if event is not None and _dropped(event) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Open the folder, or the dataset, that was dropped."""
        folder = None if event is None else _dropped(event)
        if event is not None and folder is not None:
            event.acceptProposedAction()
            self.open_folder(folder)

    def _lay_out(self) -> None:
        self.table.setModel(self.model)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setWordWrap(False)
        self.table.setShowGrid(False)
        # Names in a folder begin alike.
        self.table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        vertical, horizontal = self.table.verticalHeader(), self.table.horizontalHeader()
        if vertical is not None and horizontal is not None:
            vertical.hide()
            vertical.setDefaultSectionSize(self.fontMetrics().height() + 6)
            horizontal.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
            for column in (1, 2):
                horizontal.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        top, move, how = QHBoxLayout(), QHBoxLayout(), QHBoxLayout()
        top.addWidget(self.name, 1)
        top.addWidget(self.choose)
        move.addWidget(self.back, 1)
        move.addWidget(self.next, 2)
        how.addWidget(self.skip)
        how.addWidget(self.ahead)
        how.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.addWidget(self.hint)
        layout.addLayout(top)
        layout.addWidget(self.last)
        layout.addWidget(self.counts)
        layout.addWidget(self.table, 1)
        layout.addLayout(move)
        layout.addLayout(how)
        layout.addWidget(self.state)
        layout.addStretch(0)

    def _on_folder(self) -> None:
        has_rows = bool(self._folder.rows)
        last = None if has_rows else last_folder()
        self.hint.setVisible(not has_rows)
        self.last.setVisible(last is not None)
        if last is not None:
            self.last.setText(f"Go on with {last.name}")
            self.last.setToolTip(str(last))
        for widget in (self.counts, self.table, self.back, self.next, self.skip, self.ahead):
            widget.setVisible(has_rows)
        folder, dataset = self._folder.folder, self._folder.dataset
        name = "" if folder is None else folder.name
        self.name.setText(name if dataset is None else f"{name} · {dataset.path.name}")
        self.name.setToolTip(str(folder or "") if dataset is None else str(dataset.path))
        self.model.reset()
        self._show_counts()

    def _on_row(self, index: int) -> None:
        self.model.show_row(index)
        self._show_counts()

    def _on_opened(self, index: int) -> None:
        self.model.show_row(index)
        self.table.selectRow(index)
        self.table.scrollTo(self.model.index(index, 0))
        self._show_counts()

    def _show_counts(self) -> None:
        rows, counts = self._folder.rows, summary(self._folder.rows)
        parts = [
            f"{counts[state]:,} {word}" for state, (_, word) in _SIGNS.items() if counts[state]
        ]
        if counts["unreadable"]:
            parts.append(f"{counts['unreadable']:,} cannot be read")
        total = "1 image" if len(rows) == 1 else f"{len(rows):,} images"
        self.counts.setText(f"{total}: {' · '.join(parts)}" if rows else "")
        self.back.setEnabled(self._folder.next_index(-1) is not None)
        self.next.setEnabled(self._folder.next_index() is not None)
        self._show_state()

    def _show_state(self) -> None:
        self.state.setText(self._prefetch.text)
        self.state.setVisible(bool(self._prefetch.text))

    def _on_choose(self) -> None:
        start = str(self._folder.folder or Path.home())
        chosen = QFileDialog.getExistingDirectory(self, "Open a folder of images", start)
        if chosen:
            self.open_folder(Path(chosen))

    def _on_last(self) -> None:
        folder = last_folder()
        if folder is not None:
            self.open_folder(folder)

    def _on_activated(self, index: QModelIndex) -> None:
        self._folder.open(index.row())

    def _on_skip(self, on: bool) -> None:
        self._folder.skips_reviewed = on
        self._prefetch.update()
        self._show_counts()
        self.settings_changed.emit()

    def _on_ahead(self, on: bool) -> None:
        self._prefetch.is_on = on
        self.settings_changed.emit()


def _cell(row: ImageRow, column: int) -> str:
    if column == 0:
        return row.title
    if row.problem:
        return "⚠ unreadable" if column == 1 else ""
    progress = row.progress
    if column == 1:
        return "".join(_SIGNS[progress.state])
    if progress.state is FrameState.NEW:
        return ""
    left = f" ({progress.n_left:,})" if progress.n_left else ""
    return f"{progress.n_objects:,}{left}"


def _dropped(event: QDragEnterEvent | QDropEvent) -> Path | None:
    """Return the one folder, or file of a dataset, that is dropped."""
    data = event.mimeData()
    urls = [] if data is None else data.urls()
    if len(urls) != 1 or not urls[0].isLocalFile():
        return None
    path = Path(urls[0].toLocalFile())
    return path if path.is_dir() or path.suffix.lower() == ".json" else None
