"""The table of objects: found, sorted, selected, and changed in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QItemSelection, QItemSelectionModel, QModelIndex, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QLabel, QVBoxLayout, QWidget

from napari_eomt.annotation import operations
from napari_eomt.widgets.row_filter_bar import RowFilterBar
from napari_eomt.widgets.segment_model import NAMES, SegmentModel
from napari_eomt.widgets.segment_view import CategoryDelegate, SegmentView, StatusDelegate

if TYPE_CHECKING:
    from napari_eomt.annotation.edits import Edit
    from napari_eomt.widgets.current import Current
    from napari_eomt.widgets.segment_rows import Indices, SegmentRows


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
        self.view = SegmentView()
        self.view.setModel(self.model)
        self.view.setItemDelegateForColumn(NAMES.index("category"), CategoryDelegate(current, self))
        self.view.setItemDelegateForColumn(NAMES.index("status"), StatusDelegate(self))
        # As in the review: the worst first.
        self.view.sortByColumn(NAMES.index("uncertainty"), Qt.SortOrder.DescendingOrder)
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

    def update_doubts(self, changed: Indices) -> None:
        """Show what a model says of its proposals, of which these rows have changed."""
        if len(changed):
            self._following(lambda: self.model.update_rows(changed))
            self.show_selection()

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
