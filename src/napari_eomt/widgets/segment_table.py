"""The table of objects: found, sorted, selected, and changed in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import (
    QAbstractItemModel,
    QEvent,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QObject,
    QSize,
    Qt,
    Signal,
)
from qtpy.QtGui import QKeyEvent, QKeySequence, QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QLabel,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_eomt.annotation import operations
from napari_eomt.viewer.colormaps import hex_of
from napari_eomt.widgets.row_filter_bar import RowFilterBar
from napari_eomt.widgets.segment_model import NAMES, SegmentModel
from napari_eomt.widgets.status_icons import swatch

if TYPE_CHECKING:
    from napari_eomt.annotation.edits import Edit
    from napari_eomt.widgets.current import Current
    from napari_eomt.widgets.segment_rows import Column, Indices, SegmentRows

_WIDE: dict[Column, str] = {
    "score": "Score ▴▴",
    "status": "proposed",
    "area": "888,888",
    "frame": "Frame ▴▴",
    "note": "some words of note",
}
"""What a column must have room for."""

_HIDDEN_FIRST: tuple[Column, ...] = ("note", "area", "frame", "score")
"""Columns that make room in a narrow dock; their values are in the tooltip."""

CATEGORY_WIDTH = 76
MIN_HEIGHT = 120
ICON_WIDTH = 22
PADDING = 10


class SegmentTable(QWidget):
    """Lists the current document's objects; its selection is the session's.

    Parameters
    ----------
    current : Current
    """

    shown = Signal(int, int, bool)
    """The viewer shall show this object: frame, segment id, and whether close up."""

    def __init__(self, current: Current, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._current = current
        self._is_following = False
        self._n_all = 0
        self.filter = RowFilterBar()
        self.model = SegmentModel(current, self)
        self.view = _View()
        self.view.setModel(self.model)
        self.view.setItemDelegateForColumn(NAMES.index("category"), CategoryDelegate(current, self))
        self.view.sortByColumn(NAMES.index("score"), Qt.SortOrder.AscendingOrder)
        self.count = QLabel()
        self.count.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.filter)
        layout.addWidget(self.view, 1)
        layout.addWidget(self.count)
        self.model.modelReset.connect(self.show_selection)
        self.filter.changed.connect(self._on_filter)
        self.view.delete_requested.connect(self.delete_selected)
        self.view.shown.connect(self._on_shown)
        selection = self._selection_model()
        selection.selectionChanged.connect(self._on_selected)
        selection.currentRowChanged.connect(self._on_current)
        self.view.clicked.connect(self._on_clicked)
        current.selection_changed.connect(self.show_selection)
        current.frame_changed.connect(self._on_frame)
        self._show_count()

    def show_rows(self, segments: SegmentRows | None) -> None:
        """List another document's objects."""
        document = self._current.document
        self.filter.offer_categories([] if document is None else document.categories.values())
        self.filter.offer_frames(1 if document is None else document.n_frames)
        self.filter.show_frame(self._current.frame)
        if document is not None:
            self.view.make_room(document.next_id, has_frames=document.n_frames > 1)
        self._n_all = 0 if segments is None else segments.n_objects
        self._following(lambda: self.model.show_rows(segments))
        self._on_filter()

    def update_rows(self, edit: Edit, changed: Indices, n_all: int) -> None:
        """Show an edit.

        Parameters
        ----------
        edit : Edit
        changed : (n,) int
            The rows of `SegmentRows` that it has changed.
        n_all : int
            How many objects there are.
        """
        self._n_all = n_all
        document = self._current.document
        if document is not None:
            self.view.make_room(document.next_id, has_frames=document.n_frames > 1)
        if edit.categories and document is not None:
            self.filter.offer_categories(document.categories.values())
        self._following(lambda: self.model.update(edit, changed))
        self.show_selection()
        self._show_count()

    def show_text_color(self, color: str) -> None:
        """Draw signs in the colour of the theme's text ("#RRGGBB")."""
        self.model.text_color = color
        viewport = self.view.viewport()
        if viewport is not None:
            viewport.update()

    def show_selection(self) -> None:
        """Select the rows of what is selected in the session, and scroll to it."""
        session = self._current.session
        keys = frozenset() if session is None else session.selection
        self._show_count()
        places = self.model.places(keys)
        if np.array_equal(places, self._places()):
            return

        def follow() -> None:
            flags = QItemSelectionModel.SelectionFlag
            self._selection_model().select(self._ranges(places), flags.ClearAndSelect | flags.Rows)
            if len(places):
                index = self.model.index(int(places[0]), 0)
                # From here the arrow keys go on.
                self._selection_model().setCurrentIndex(index, flags.NoUpdate)
                self.view.scrollTo(index, QAbstractItemView.ScrollHint.EnsureVisible)

        self._following(follow)

    def delete_selected(self) -> None:
        """Delete the selected objects that are listed, as one step."""
        keys = self.model.keys(self._places())
        if keys:
            self._current.edit(operations.delete, keys)

    def _following(self, change: Any) -> None:
        """Change what is shown without taking it for a person's doing."""
        before, self._is_following = self._is_following, True
        try:
            change()
        finally:
            self._is_following = before

    def _on_filter(self) -> None:
        wanted = self.filter.wanted()
        self._following(lambda: self.model.show_only(wanted))
        self.show_selection()
        self._show_count()

    def _on_frame(self, frame: int) -> None:
        self.filter.show_frame(frame)

    def _on_selected(self) -> None:
        session = self._current.session
        if not self._is_following and session is not None:
            session.select(self.model.keys(self._places()))

    def _on_current(self, now: QModelIndex, before: QModelIndex) -> None:
        if not self._is_following and now.isValid() and before.isValid():
            self._show(now.row())

    def _on_clicked(self, index: QModelIndex) -> None:
        self._show(index.row())

    def _on_shown(self, place: int) -> None:
        self._show(place, close=True)

    def _show(self, place: int, *, close: bool = False) -> None:
        frame, segment_id = self.model.key(place)
        self.shown.emit(frame, segment_id, close)

    def _selection_model(self) -> QItemSelectionModel:
        model = self.view.selectionModel()
        assert model is not None, "the view has a model"  # noqa: S101
        return model

    def _places(self) -> Indices:
        """Return the rows that are selected in the view; rising."""
        selection = self._selection_model().selection()
        parts = [selection[k] for k in range(selection.count())]
        ranges = [np.arange(part.top(), part.bottom() + 1) for part in parts]
        return np.unique(np.concatenate(ranges)) if ranges else np.zeros(0, np.intp)

    def _ranges(self, places: Indices) -> QItemSelection:
        selection = QItemSelection()
        if len(places):
            breaks = np.flatnonzero(np.diff(places) > 1) + 1
            for run in np.split(places, breaks):
                top = self.model.index(int(run[0]), 0)
                selection.select(top, self.model.index(int(run[-1]), len(NAMES) - 1))
        return selection

    def _show_count(self) -> None:
        n, n_all = self.model.rowCount(), self._n_all
        text = "1 object" if n_all == 1 else f"{n_all:,} objects"
        text = text if n == n_all else f"{n:,} shown of {text}"
        session = self._current.session
        n_selected = 0 if session is None else len(session.selection)
        self.count.setText(f"{text} · {n_selected:,} selected" if n_selected else text)
        self.count.setVisible(session is not None)


class _View(QTableView):
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
        widths["status"] += ICON_WIDTH
        widths["id"] = metrics.horizontalAdvance("8" * len(str(self._max_id))) + PADDING
        hidden: set[Column] = set() if self._has_frames else {"frame"}
        for name in _HIDDEN_FIRST:
            used = sum(width for other, width in widths.items() if other not in hidden)
            if used + CATEGORY_WIDTH <= viewport.width():
                break
            hidden.add(name)
        for k, name in enumerate(NAMES):
            self.setColumnHidden(k, name in hidden)
            stretches = name == "category"
            mode = QHeaderView.ResizeMode
            header.setSectionResizeMode(k, mode.Stretch if stretches else mode.Fixed)
            if not stretches:
                self.setColumnWidth(k, widths[name])


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
