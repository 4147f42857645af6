"""What all tables have in common: how many rows and columns there are, and their headings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt

if TYPE_CHECKING:
    from collections.abc import Mapping


class TableModel(QAbstractTableModel):
    """Rows of one kind, a fact of each in every column.

    A table says its columns and `_n_rows`; what a cell shows is its own affair.
    """

    columns: ClassVar[Mapping[Any, tuple[str, str]]]
    """By their names, the heading of each and what it means."""

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return how many rows are shown."""
        return 0 if parent is not None and parent.isValid() else self._n_rows()

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of facts."""
        return 0 if parent is not None and parent.isValid() else len(self.columns)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return the heading of a column, and what it means."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        title, tip = tuple(self.columns.values())[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return title
        return tip if role == Qt.ItemDataRole.ToolTipRole else None

    def _n_rows(self) -> int:
        raise NotImplementedError
