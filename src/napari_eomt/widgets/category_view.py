"""The rows of the list of categories, one of which is highlighted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

if TYPE_CHECKING:
    from qtpy.QtGui import QKeyEvent


class CategoryView(QTableView):
    """A table of whole rows, one of which is highlighted."""

    used = Signal()
    remove_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.EditKeyPressed)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        rows = self.verticalHeader()
        if rows is not None:
            rows.setVisible(False)
            rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
            rows.setDefaultSectionSize(self.fontMetrics().height() + 8)
            self.setMinimumHeight(self.height_of(3))

    def height_of(self, n: int) -> int:
        """Return the height of so many rows, with the heading, in pixels."""
        header, rows = self.horizontalHeader(), self.verticalHeader()
        if header is None or rows is None:
            return 0
        return header.sizeHint().height() + n * rows.defaultSectionSize() + 2 * self.frameWidth()

    def fit(self, *, has_frames: bool) -> None:
        """Give the name what the others leave; of several frames there are two counts."""
        header = self.horizontalHeader()
        if header is None:
            return
        metrics = self.fontMetrics()
        count = "8,888 / 88,888" if has_frames else "88,888"
        for k, text in enumerate((None, "thing ", count, "Alt+9 ")):
            mode = QHeaderView.ResizeMode
            header.setSectionResizeMode(k, mode.Stretch if text is None else mode.Fixed)
            if text is not None:
                header.resizeSection(k, metrics.horizontalAdvance(text) + 12)

    def sizeHint(self) -> QSize:
        """Ask for little: what there is goes to whoever can use it."""
        return QSize(super().sizeHint().width(), self.height_of(3))

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Enter and Space use the highlighted category, Delete removes it."""
        if event is None:
            return
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.used.emit()
        elif event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
            self.remove_requested.emit()
        else:
            super().keyPressEvent(event)
