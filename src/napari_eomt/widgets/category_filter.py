"""A button that says which categories are kept, with a list to check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
    QWidgetAction,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.structures.categories import Category

_LIST_PX = (220, 260)


class CategoryFilter(QPushButton):
    """Lets the user keep some of a model's categories.

    Signals
    -------
    changed
        Another choice of the user's.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._offered: list[tuple[int, str]] | None = None
        self.search = QLineEdit()
        self.search.setPlaceholderText("Find a category")
        self.search.setClearButtonEnabled(True)
        self.list = QListWidget()
        self.list.setMinimumSize(*_LIST_PX)
        self.all, self.none = QPushButton("All"), QPushButton("None")
        content = QWidget()
        layout = QVBoxLayout(content)
        layout.addWidget(self.search)
        layout.addWidget(self.list)
        buttons = QHBoxLayout()
        buttons.addWidget(self.all)
        buttons.addWidget(self.none)
        layout.addLayout(buttons)
        menu = QMenu(self)
        action = QWidgetAction(menu)
        action.setDefaultWidget(content)
        menu.addAction(action)
        self.setMenu(menu)
        self.search.textChanged.connect(self._on_find)
        self.list.itemChanged.connect(self._on_checked)
        self.all.clicked.connect(lambda: self._check(Qt.CheckState.Checked))
        self.none.clicked.connect(lambda: self._check(Qt.CheckState.Unchecked))
        self.offer(())

    def offer(self, categories: Sequence[Category]) -> None:
        """Let the user choose among these; of others than before all are kept to begin with."""
        if self._offered == (offered := [(c.id, c.name) for c in categories]):
            return
        self._offered = offered
        self.list.blockSignals(True)
        self.list.clear()
        for category in categories:
            item = QListWidgetItem(category.name or f"category {category.id}")
            item.setFlags(Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsEnabled)
            item.setCheckState(Qt.CheckState.Checked)
            item.setData(Qt.ItemDataRole.UserRole, category.id)
            self.list.addItem(item)
        self.list.blockSignals(False)
        self._say()

    def chosen(self) -> tuple[int, ...] | None:
        """Return the ids of the categories that are kept; None for all."""
        checked = [item for item in self._items() if item.checkState() == Qt.CheckState.Checked]
        if len(checked) == self.list.count():
            return None
        return tuple(int(item.data(Qt.ItemDataRole.UserRole)) for item in checked)

    def _items(self) -> list[QListWidgetItem]:
        items = (self.list.item(row) for row in range(self.list.count()))
        return [item for item in items if item is not None]

    def _check(self, state: Qt.CheckState) -> None:
        """Check or clear what the search leaves."""
        self.list.blockSignals(True)
        for item in self._items():
            if not item.isHidden():
                item.setCheckState(state)
        self.list.blockSignals(False)
        self._on_checked()

    def _on_checked(self, *_: object) -> None:
        self._say()
        self.changed.emit()

    def _on_find(self, text: str) -> None:
        for item in self._items():
            item.setHidden(text.strip().lower() not in item.text().lower())

    def _say(self) -> None:
        kept, n = self.chosen(), self.list.count()
        self.setText(f"all {n}" if kept is None else f"{len(kept)} of {n}")
