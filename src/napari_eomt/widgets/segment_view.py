"""The rows of the table of objects: their columns, their keys, and the choice of a category."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QAbstractItemModel, QEvent, QModelIndex, QObject, QSize, Qt, Signal
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QStyledItemDelegate,
    QTableView,
    QWidget,
)

from napari_eomt.viewer.colormaps import hex_of
from napari_eomt.widgets.segment_model import NAMES
from napari_eomt.widgets.status_icons import swatch

if TYPE_CHECKING:
    from qtpy.QtGui import QKeyEvent, QResizeEvent
    from qtpy.QtWidgets import QStyleOptionViewItem

    from napari_eomt.widgets.current import Current
    from napari_eomt.widgets.segment_rows import Column

_WIDE: dict[Column, str] = {
    "score": "Score ▴▴",
    "uncertainty": "Doubt ▴▴",
    "status": "proposed",
    "area": "888,888",
    "frame": "Frame ▴▴",
    "note": "some words of note",
}
"""What a column must have room for."""

_HIDDEN_FIRST: tuple[Column, ...] = ("note", "area", "frame", "score", "uncertainty")
"""Columns that make room in a narrow dock; their values are in the tooltip."""

CATEGORY_WIDTH = 76
MIN_HEIGHT = 120
ICON_WIDTH = 22
PADDING = 10


class SegmentView(QTableView):
    """A table of whole rows whose columns fit its width."""

    delete_requested = Signal()
    shown = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._has_frames = False
        self._max_id = 999
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self.setSortingEnabled(True)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setAlternatingRowColors(False)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setTabKeyNavigation(False)  # Tab leaves the table
        self.setMinimumHeight(MIN_HEIGHT)
        self.doubleClicked.connect(self._on_double_clicked)
        header = self.horizontalHeader()
        if header is not None:
            # Else Qt asks every row whether all of a column is selected, at each repaint.
            header.setHighlightSections(False)
        rows = self.verticalHeader()
        if rows is not None:
            rows.setVisible(False)
            rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
            rows.setDefaultSectionSize(self.fontMetrics().height() + 8)

    def make_room(self, max_id: int, *, has_frames: bool) -> None:
        """Make room for ids up to this one, and for the column of frames, if there are several."""
        if max_id > self._max_id or has_frames != self._has_frames:
            self._max_id, self._has_frames = max(max_id, self._max_id), has_frames
            self._fit()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Let the columns fit."""
        super().resizeEvent(event)
        self._fit()

    def sizeHint(self) -> QSize:
        """Ask for little: what there is goes to whoever can use it."""
        return QSize(super().sizeHint().width(), MIN_HEIGHT)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Delete, look close up, or let napari have the key."""
        if event is None:
            return
        if event.matches(QKeySequence.StandardKey.Delete):
            self.delete_requested.emit()
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if self.currentIndex().isValid():
                self.shown.emit(self.currentIndex().row())
        elif event.text().isalnum() and event.modifiers() in (
            Qt.KeyboardModifier.NoModifier,
            Qt.KeyboardModifier.ShiftModifier,
        ):
            # Not Qt's search by the first letter: letters are the viewer's, A to accept.
            event.ignore()
        else:
            super().keyPressEvent(event)

    @staticmethod
    def _used(widths: dict[Column, int], hidden: set[Column]) -> int:
        return CATEGORY_WIDTH + sum(w for name, w in widths.items() if name not in hidden)

    def _on_double_clicked(self, index: QModelIndex) -> None:
        if NAMES[index.column()] not in ("category", "note"):
            self.shown.emit(index.row())

    def _fit(self) -> None:
        header = self.horizontalHeader()
        viewport = self.viewport()
        if header is None or viewport is None or header.count() != len(NAMES):
            return
        metrics = self.fontMetrics()
        widths: dict[Column, int] = {
            name: metrics.horizontalAdvance(text) + PADDING for name, text in _WIDE.items()
        }
        sign = metrics.horizontalAdvance("Status") + PADDING
        widths["status"] += ICON_WIDTH
        widths["id"] = metrics.horizontalAdvance("8" * len(str(self._max_id))) + PADDING
        hidden: set[Column] = set() if self._has_frames else {"frame"}
        for name in _HIDDEN_FIRST:
            if self._used(widths, hidden) <= viewport.width():
                break
            if name == "score":
                # Rather a sign alone for the status than neither of these numbers.
                widths["status"] = sign
                if self._used(widths, hidden) <= viewport.width():
                    break
            hidden.add(name)
        for k, name in enumerate(NAMES):
            self.setColumnHidden(k, name in hidden)
            stretches = name == "category"
            mode = QHeaderView.ResizeMode
            header.setSectionResizeMode(k, mode.Stretch if stretches else mode.Fixed)
            if not stretches:
                self.setColumnWidth(k, widths[name])


class StatusDelegate(QStyledItemDelegate):
    """Draws the sign of a status, and its word where there is room; the tooltip has both."""

    def initStyleOption(self, option: QStyleOptionViewItem | None, index: QModelIndex) -> None:
        """Leave out a word that would be cut off."""
        super().initStyleOption(option, index)
        if option is not None:
            needed = option.fontMetrics.horizontalAdvance(option.text) + ICON_WIDTH
            if needed > option.rect.width():
                option.text = ""


class CategoryDelegate(QStyledItemDelegate):
    """Chooses a category in a cell of the table.

    Parameters
    ----------
    current : Current
    parent : QObject, optional
    """

    def __init__(self, current: Current, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._current = current

    def createEditor(
        self, parent: QWidget | None, option: QStyleOptionViewItem, index: QModelIndex
    ) -> QWidget | None:
        """Return a list of the categories."""
        result = self._current.result
        if result is None:
            return None
        combo = QComboBox(parent)
        colors = result.view.category_colors
        for category in result.document.categories.values():
            combo.addItem(swatch(hex_of(colors[category.id])), category.name, category.id)
        combo.activated.connect(lambda: self._finish(combo))
        return combo

    def setEditorData(self, editor: QWidget | None, index: QModelIndex) -> None:
        """Begin with what the object is."""
        if isinstance(editor, QComboBox):
            editor.setCurrentIndex(editor.findData(index.data(Qt.ItemDataRole.EditRole)))
            editor.showPopup()

    def setModelData(
        self, editor: QWidget | None, model: QAbstractItemModel | None, index: QModelIndex
    ) -> None:
        """Give the object the chosen category."""
        if isinstance(editor, QComboBox) and model is not None:
            model.setData(index, editor.currentData(), Qt.ItemDataRole.EditRole)

    def _finish(self, combo: QComboBox) -> None:
        self.commitData.emit(combo)
        self.closeEditor.emit(combo)

    def eventFilter(self, editor: QObject | None, event: QEvent | None) -> bool:
        """Keep the editor while its list is open."""
        if (
            isinstance(editor, QComboBox)
            and event is not None
            and event.type() == QEvent.Type.FocusOut
        ):
            popup = editor.view()
            if popup is not None and popup.isVisible():
                return False
        return bool(super().eventFilter(editor, event))
