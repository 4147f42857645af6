"""The categories of the current document as a table model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from qtpy.QtCore import QModelIndex, QObject, Qt

from napari_eomt.annotation import operations
from napari_eomt.viewer.colormaps import hex_of
from napari_eomt.widgets.status_icons import swatch
from napari_eomt.widgets.table_model import TableModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_eomt.structures.categories import Category
    from napari_eomt.widgets.current import Current

CategoryColumn: TypeAlias = Literal["name", "kind", "count", "key"]
COLUMNS: dict[CategoryColumn, tuple[str, str]] = {
    "name": ("Category", "Click: draw in it, and give it to the objects that are selected."),
    "kind": (
        "Kind",
        "A thing is counted, stuff is an area (thing or stuff). Double-click changes it.",
    ),
    "count": ("Objects", "How many objects there are: in this frame / in all frames."),
    "key": ("Key", "Gives it to the objects that are selected; with none, draws in it."),
}
NAMES = tuple(COLUMNS)
ID_ROLE = int(Qt.ItemDataRole.UserRole)
N_KEYS = 9


class CategoryModel(TableModel):
    """Shows the categories in their order, with their colours and how many objects they have.

    Parameters
    ----------
    current : Current
    parent : QObject, optional
    """

    columns = COLUMNS

    def __init__(self, current: Current, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._current = current
        self._categories: list[Category] = []
        self._keys: dict[int, int] = {}
        self._colors: dict[int, str] = {}
        self._here: Mapping[int, int] = {}
        self._all: Mapping[int, int] = {}
        self._words = ""

    @property
    def categories(self) -> list[Category]:
        """What is shown, from the top."""
        return self._categories

    def refresh(self) -> None:
        """Show the current document's categories."""
        result = self._current.result
        known = [] if result is None else list(result.document.categories.values())
        shown = [c for c in known if all(word in c.name.lower() for word in self._words.split())]
        colors = (
            {}
            if result is None
            else {i: hex_of(rgb) for i, rgb in result.view.category_colors.items()}
        )
        is_same = [c.id for c in shown] == [c.id for c in self._categories]
        if not is_same:
            self.beginResetModel()
        self._categories, self._colors = shown, colors
        self._keys = {c.id: k for k, c in enumerate(known[:N_KEYS], start=1)}
        if not is_same:
            self.endResetModel()
        elif shown:
            self.dataChanged.emit(self.index(0, 0), self.index(len(shown) - 1, len(NAMES) - 1))

    def show_counts(self, here: Mapping[int, int], in_all: Mapping[int, int]) -> None:
        """Show how many objects each category has, in the frame and in all frames."""
        self._here, self._all = here, in_all
        if self._categories:
            column = NAMES.index("count")
            last = len(self._categories) - 1
            self.dataChanged.emit(self.index(0, column), self.index(last, column))

    def search(self, words: str) -> None:
        """Show only categories whose name has these words."""
        self._words = words.lower()
        self.refresh()

    def place(self, category_id: int) -> int | None:
        """Return the row of a category; None if it is not shown."""
        for k, category in enumerate(self._categories):
            if category.id == category_id:
                return k
        return None

    def color(self, category_id: int) -> str:
        """Return a category's colour, "#RRGGBB"."""
        return self._colors[category_id]

    def n_objects(self, category_id: int) -> int:
        """Return how many objects a category has in all frames."""
        return self._all.get(category_id, 0)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a fact of a category."""
        if not index.isValid():
            return None
        category, column = self._categories[index.row()], NAMES[index.column()]
        if role == ID_ROLE:
            return category.id
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(category, column)
        if role == Qt.ItemDataRole.EditRole:
            return category.name
        if role == Qt.ItemDataRole.DecorationRole and column == "name":
            return swatch(self._colors[category.id])
        if role == Qt.ItemDataRole.TextAlignmentRole and column == "count":
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"<b>{category.name}</b> (id {category.id})<br>{COLUMNS[column][1]}"
        return None

    def setData(self, index: QModelIndex, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Rename a category, as an edit that can be undone."""
        name = " ".join(str(value).split())
        if role != Qt.ItemDataRole.EditRole or not index.isValid():
            return False
        category, document = self._categories[index.row()], self._current.document
        if not name or name == category.name or document is None:
            return False
        others = (c for c in document.categories.values() if c.id != category.id)
        if any(c.name.casefold() == name.casefold() for c in others):
            self._current.refused.emit(
                f"There is a category {name} already. Take another name, or remove "
                f"{category.name}: its objects can become {name}."
            )
            return False
        return self._current.edit(operations.change_category, replace(category, name=name))

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Return what can be done with a cell."""
        flags = super().flags(index)
        if index.isValid() and NAMES[index.column()] == "name":
            flags |= Qt.ItemFlag.ItemIsEditable
        return flags

    def _n_rows(self) -> int:
        return len(self._categories)

    def _text(self, category: Category, column: CategoryColumn) -> str:
        if column == "name":
            return category.name
        if column == "kind":
            return "thing" if category.is_thing else "stuff"
        if column == "key":
            return f"Alt+{self._keys[category.id]}" if category.id in self._keys else ""
        document = self._current.document
        text = f"{self.n_objects(category.id):,}"
        if document is not None and document.n_frames > 1:
            return f"{self._here.get(category.id, 0):,} / {text}"
        return text
