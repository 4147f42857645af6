"""The segments of the current document as a table model: virtual, sorted, filtered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from qtpy.QtCore import QModelIndex, QObject, Qt

from napari_eomt.annotation import operations
from napari_eomt.viewer.colormaps import hex_of
from napari_eomt.widgets.segment_rows import Column, Indices, RowFilter, SegmentRows
from napari_eomt.widgets.status_icons import status_icon, status_word, swatch
from napari_eomt.widgets.table_model import TableModel

if TYPE_CHECKING:
    from napari_eomt.annotation.edits import Edit
    from napari_eomt.annotation.session import Key
    from napari_eomt.structures.segments import Segment
    from napari_eomt.widgets.current import Current

COLUMNS: dict[Column, tuple[str, str]] = {
    "id": ("#", "The object's number: the value of its pixels in the layer (segment id)."),
    "category": ("Category", "What it is. Double-click or F2 changes it."),
    "score": ("Score", "How sure the model was, from 0 to 1. Empty where a person drew it."),
    "uncertainty": (
        "Doubt",
        (
            "How unsure the model is, from 0 to 1: of its category and outline, of what else it "
            "sees there, and of what overlaps it (uncertainty). The review goes by it. Empty where "
            "a person drew it."
        ),
    ),
    "status": ("Status", "What has been decided about it, and by whom."),
    "area": ("Area", "Its size, in pixels."),
    "frame": ("Frame", "Where in the stack it lies, from 0."),
    "note": ("Note", "Your words about it. Double-click or F2 changes them."),
}
NAMES = tuple(COLUMNS)

MAX_MOVED = 64
"""Rows that come, go or move one by one; when there are more, the whole table is shown anew."""

_NUMBERS = frozenset(("id", "score", "uncertainty", "area", "frame"))
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_NOWHERE = -1


class SegmentModel(TableModel):
    """Shows `SegmentRows` in the order of one column, less what a filter leaves out.

    Sorting and filtering are done here, in numpy: QSortFilterProxyModel asks for each value in
    Python, which takes seconds for 50,000 rows.

    Parameters
    ----------
    current : Current
    parent : QObject, optional
    """

    columns: ClassVar = {
        name: (title, f"{tip} Click to sort.") for name, (title, tip) in COLUMNS.items()
    }

    def __init__(self, current: Current, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._current = current
        self._segments: SegmentRows | None = None
        self._filter = RowFilter()
        self._column: Column = "uncertainty"
        self._is_up = False
        self._order: Indices = np.zeros(0, np.intp)
        self._places: Indices | None = None
        self._colors: dict[int, str] = {}
        self.text_color = "#808080"

    @property
    def order(self) -> Indices:
        """The rows of `SegmentRows` that are shown, from the top."""
        return self._order

    @property
    def row_filter(self) -> RowFilter:
        """What is left out."""
        return self._filter

    def show_rows(self, segments: SegmentRows | None) -> None:
        """Show another document's segments, or none."""
        self.beginResetModel()
        self._segments = segments
        self._filter = replace(self._filter, category_id=None, frame=None)
        self._take_colors()
        self._set_order(self._wanted())
        self.endResetModel()

    def show_only(self, row_filter: RowFilter) -> None:
        """Show what passes a filter."""
        if row_filter != self._filter:
            self.beginResetModel()
            self._filter = row_filter
            self._set_order(self._wanted())
            self.endResetModel()

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column."""
        self._column, self._is_up = NAMES[column], order == Qt.SortOrder.AscendingOrder
        self.beginResetModel()
        self._set_order(self._wanted())
        self.endResetModel()

    def update(self, edit: Edit, changed: Indices) -> None:
        """Show an edit.

        Parameters
        ----------
        edit : Edit
        changed : (n,) int
            The rows of `SegmentRows` that it has changed.
        """
        if edit.categories:
            self._take_colors()
        self.update_rows(changed, all_rows=bool(edit.categories))

    def update_rows(self, changed: Indices, *, all_rows: bool = False) -> None:
        """Show that rows of `SegmentRows` have changed; or perhaps all of them."""
        before = self._order
        wanted = self._wanted()
        if np.array_equal(before, wanted):
            self._redraw(None if all_rows else changed)
            return
        if len(changed) > MAX_MOVED or all_rows:
            self.beginResetModel()
            self._set_order(wanted)
            self.endResetModel()
            return
        self._remove(np.flatnonzero(np.isin(before, changed)))
        self._insert(wanted, np.flatnonzero(np.isin(wanted, changed)))
        if not np.array_equal(self._order, wanted):
            self.beginResetModel()
            self._set_order(wanted)
            self.endResetModel()

    def place(self, key: Key) -> int | None:
        """Return the row in which a segment is shown, from the top; None if it is not."""
        row = None if self._segments is None else self._segments.row(key)
        place = _NOWHERE if row is None else int(self._all_places()[row])
        return None if place == _NOWHERE else place

    def places(self, keys: frozenset[Key]) -> Indices:
        """Return the rows in which segments are shown, from the top; rising."""
        if self._segments is None:
            return np.zeros(0, np.intp)
        places = self._all_places()[self._segments.rows(keys)]
        return np.sort(places[places != _NOWHERE])

    def key(self, place: int) -> Key:
        """Return (frame, segment id) of what is shown in a row."""
        if self._segments is None:
            raise IndexError("There are no rows.")
        return self._segments.key(int(self._order[place]))

    def keys(self, places: Indices) -> list[Key]:
        """Return (frame, segment id) of what is shown in rows."""
        return [] if self._segments is None else self._segments.keys(self._order[places].tolist())

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a fact of a segment."""
        if not index.isValid() or self._segments is None:
            return None
        row, column = int(self._order[index.row()]), NAMES[index.column()]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return int(_RIGHT) if column in _NUMBERS else None
        if role not in _ROLES:
            return None
        segment = self._segments.segment(row)
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(row, column)
        if role == Qt.ItemDataRole.DecorationRole:
            if column == "category":
                return swatch(self._colors.get(segment.category_id, "#808080"))
            return (
                status_icon(status_word(segment)[0], self.text_color)
                if column == "status"
                else None
            )
        if role == Qt.ItemDataRole.EditRole:
            return segment.category_id if column == "category" else segment.note
        return self._tip(row)

    def setData(self, index: QModelIndex, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Give a segment another category or note, as an edit that can be undone."""
        if role != Qt.ItemDataRole.EditRole or not index.isValid():
            return False
        key = self.key(index.row())
        column = NAMES[index.column()]
        if column == "category":
            return self._current.edit(operations.recategorise, [key], int(value))
        if column == "note":
            return self._current.edit(operations.set_note, [key], str(value).strip())
        return False

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Return what can be done with a cell."""
        # Asked for every row while all are selected: hence no call of Qt's.
        if not index.isValid():
            return Qt.ItemFlag.NoItemFlags
        return _FLAGS[index.column()]

    def _n_rows(self) -> int:
        return len(self._order)

    def _text(self, row: int, column: Column) -> str:
        if self._segments is None:
            return ""
        segment, (frame, _) = self._segments.segment(row), self._segments.key(row)
        if column == "category":
            return self._name(segment)
        if column in ("score", "uncertainty"):
            sure = segment.score if column == "score" else self._segments.uncertainty(row)
            return "" if sure is None else f"{sure:.2f}"
        if column == "status":
            return status_word(segment)[0]
        if column == "note":
            return segment.note
        value = {"id": segment.id, "area": segment.area, "frame": frame}[column]
        return f"{value:,}" if column == "area" else str(value)

    def _tip(self, row: int) -> str:
        if self._segments is None:
            return ""
        segment, (frame, _) = self._segments.segment(row), self._segments.key(row)
        score = "" if segment.score is None else f" · score {segment.score:.3f}"
        doubt = self._segments.uncertainty(row)
        score += "" if doubt is None else f" · doubt {doubt:.2f}"
        has_frames = self._segments.document.frame_shape
        where = f" · frame {frame}" if has_frames else ""
        source = f"<br>From {segment.source}." if segment.source else ""
        note = f"<br><i>{segment.note}</i>" if segment.note else ""
        return (
            f"<b>#{segment.id} {self._name(segment)}</b>{score} · {segment.area:,} px²{where}<br>"
            f"{status_word(segment)[1]}{source}{note}"
        )

    def _name(self, segment: Segment) -> str:
        category = (
            None
            if self._segments is None
            else self._segments.document.categories.get(segment.category_id)
        )
        return f"category {segment.category_id}" if category is None else category.name

    def _take_colors(self) -> None:
        result = self._current.result
        self._colors = (
            {}
            if result is None
            else {i: hex_of(rgb) for i, rgb in result.view.category_colors.items()}
        )

    def _wanted(self) -> Indices:
        if self._segments is None:
            return np.zeros(0, np.intp)
        return self._segments.shown(self._filter, self._column, is_up=self._is_up)

    def _set_order(self, order: Indices) -> None:
        self._order, self._places = order, None

    def _all_places(self) -> Indices:
        """Return where each row of `SegmentRows` is shown."""
        n = 0 if self._segments is None else self._segments.n_rows
        # There may be rows by now that the order does not show.
        if self._places is None or len(self._places) < n:
            self._places = np.full(n, _NOWHERE, np.intp)
            self._places[self._order] = np.arange(len(self._order))
        return self._places

    def _redraw(self, rows: Indices | None) -> None:
        """Draw rows of `SegmentRows` anew; None: all of them."""
        last = len(NAMES) - 1
        places = self._all_places()[rows] if rows is not None else np.zeros(0, np.intp)
        places = places[places != _NOWHERE]
        if rows is None or len(places) > MAX_MOVED:
            places = np.array([0, len(self._order) - 1]) if len(self._order) else places
            ranges = [places.tolist()] if len(places) else []
        else:
            ranges = [[place, place] for place in places.tolist()]
        for top, bottom in ranges:
            self.dataChanged.emit(self.index(top, 0), self.index(bottom, last))

    def _remove(self, places: Indices) -> None:
        for place in places[::-1].tolist():
            self.beginRemoveRows(QModelIndex(), place, place)
            self._set_order(np.delete(self._order, place))
            self.endRemoveRows()

    def _insert(self, wanted: Indices, places: Indices) -> None:
        for place in places.tolist():
            self.beginInsertRows(QModelIndex(), place, place)
            self._set_order(np.insert(self._order, place, wanted[place]))
            self.endInsertRows()


_ROLES = frozenset(
    (
        Qt.ItemDataRole.DisplayRole,
        Qt.ItemDataRole.DecorationRole,
        Qt.ItemDataRole.EditRole,
        Qt.ItemDataRole.ToolTipRole,
    )
)

_SHOWN = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemNeverHasChildren
_FLAGS = tuple(
    _SHOWN | Qt.ItemFlag.ItemIsEditable if name in ("category", "note") else _SHOWN
    for name in NAMES
)
