"""The list of categories: what is drawn next, what objects become, and what there is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QItemSelectionModel, QModelIndex, QPoint, Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QColorDialog,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_eomt.annotation import operations
from napari_eomt.annotation.category_files import load_categories, new_categories
from napari_eomt.errors import EomtError
from napari_eomt.structures.categories import Category
from napari_eomt.widgets.category_model import NAMES, CategoryModel
from napari_eomt.widgets.category_view import CategoryView
from napari_eomt.widgets.status_icons import swatch

if TYPE_CHECKING:
    from napari_eomt.annotation.session import Session
    from napari_eomt.viewer.results import Result
    from napari_eomt.widgets.current import Current
    from napari_eomt.widgets.segment_rows import SegmentRows

MAX_ROWS = 6
"""So many categories are shown without scrolling, until a person makes room for more."""

SEARCH_FROM = 13
"""So many categories are looked for with words."""

FILES = "Categories (*.json *.txt *.csv);;All files (*)"


class CategoryList(QWidget):
    """Lists the categories; the highlighted one is that of what is drawn next.

    Parameters
    ----------
    current : Current
    """

    said = Signal(str)
    """What happened, in one line."""

    def __init__(self, current: Current, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._current = current
        self._result: Result | None = None
        self._segments: SegmentRows | None = None
        self._is_following = False
        self._given: tuple[Session, int] | None = None
        self._removing: int | None = None
        self.model = CategoryModel(current, self)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Find a category")
        self.search.setToolTip("Show only categories whose name has these words.")
        self.search.setClearButtonEnabled(True)
        self.add = _button("+", "Add a category, and name it.")
        self.remove = _button("−", "Remove the highlighted category.")
        self.color = _button("Colour…", "Change the colour of the highlighted category.")
        self.load = _button(
            "Import…", "Add the categories of a file: COCO's JSON, a JSON list, a name a line."
        )
        self.view = CategoryView()
        self.view.setModel(self.model)
        self.view.fit(has_frames=False)
        self.question = QLabel()
        self.question.setWordWrap(True)
        self.into = QComboBox()
        self.into.setToolTip("The category that the objects become.")
        self.into.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.into.setMinimumContentsLength(6)
        self.confirm, self.cancel = QPushButton("Remove"), QPushButton("Keep")
        self.confirm.setToolTip("Change the objects and remove the category: one step of undo.")
        self.cancel.setToolTip("Change nothing.")
        self._lay_out()
        self.view.clicked.connect(self._on_clicked)
        self.view.doubleClicked.connect(self._on_double_clicked)
        self.view.used.connect(self.use)
        self.view.remove_requested.connect(self.ask_removal)
        self.view.customContextMenuRequested.connect(self._on_menu)
        selection = self.view.selectionModel()
        if selection is not None:
            selection.currentRowChanged.connect(self._on_row)
        self.search.textChanged.connect(self._on_search)
        self.add.clicked.connect(self.add_category)
        self.remove.clicked.connect(self.ask_removal)
        self.color.clicked.connect(self.choose_color)
        self.load.clicked.connect(self._on_import)
        self.confirm.clicked.connect(self._on_remove)
        self.cancel.clicked.connect(self._end_removal)
        self.refresh()

    @property
    def wanted_height(self) -> int:
        """How high it would like to be, in pixels: its rows, if they are not many."""
        n = min(max(self.model.rowCount(), 3), MAX_ROWS)
        view = self.view.height_of(n)
        return self.sizeHint().height() - self.view.sizeHint().height() + view

    def show_rows(self, segments: SegmentRows | None) -> None:
        """Show another document's categories, with the counts of its objects."""
        self.close_result()
        self._segments, self._result = segments, self._current.result
        if self._result is not None:
            self._result.view.category_changed.connect(self._on_brush)
        document = self._current.document
        self.view.fit(has_frames=document is not None and document.n_frames > 1)
        self.search.clear()
        self._end_removal()
        self.refresh()

    def close_result(self) -> None:
        """Let go of the result."""
        if self._result is not None:
            self._result.view.category_changed.disconnect(self._on_brush)
            self._result = None

    def refresh(self) -> None:
        """Show what the document's categories are now."""
        before, self._is_following = self._is_following, True
        self.model.refresh()
        self._is_following = before
        self.show_counts()
        self._highlight()
        document = self._current.document
        n = 0 if document is None else len(document.categories)
        self.search.setVisible(n >= SEARCH_FROM)
        self.remove.setEnabled(n > 1)
        if document is not None and self._removing not in document.categories:
            self._end_removal()

    def show_counts(self) -> None:
        """Count the objects anew."""
        if self._segments is not None:
            self.model.show_counts(
                self._segments.counts(self._current.frame), self._segments.counts()
            )

    def use(self, category_id: int | None = None) -> None:
        """Draw in a category from now on, and give it to the objects that are selected.

        Parameters
        ----------
        category_id : int, optional
            By default the highlighted one.
        """
        result = self._result
        category_id = self._highlighted() if category_id is None else category_id
        if result is None or category_id is None:
            return
        result.view.category_id = category_id
        keys = [(frame, segment.id) for frame, segment in result.session.selected]
        if keys and self._current.edit(operations.recategorise, keys, category_id):
            self._given = (result.session, result.session.n_steps)

    def add_category(self) -> None:
        """Add a category, draw in it, and let it be named."""
        result = self._result
        if result is None:
            return
        known = result.document.categories
        names = {category.name for category in known.values()}
        name = next(
            f"category {k}" for k in range(1, len(known) + 2) if f"category {k}" not in names
        )
        category = Category(max(0, *known) + 1, name)
        self.search.clear()
        self._current.edit(operations.add_categories, [category])
        result.view.category_id = category.id
        place = self.model.place(category.id)
        if place is not None:
            self.view.edit(self.model.index(place, 0))

    def choose_color(self) -> None:
        """Let another colour be chosen for the highlighted category."""
        category = self._category()
        if category is None:
            return
        dialog = QColorDialog(QColor(self.model.color(category.id)), self)
        # Not the system's own, which hangs on some desktops when it is opened from a dock.
        dialog.setOption(QColorDialog.ColorDialogOption.DontUseNativeDialog)
        dialog.setWindowTitle(f"Colour of {category.name}")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.colorSelected.connect(lambda color: self.recolor(category.id, color.name()))
        dialog.open()

    def recolor(self, category_id: int, color: str) -> None:
        """Give a category a colour, "#RRGGBB"."""
        self._change(category_id, color=color.upper())

    def toggle_kind(self, category_id: int) -> None:
        """Make things stuff, or stuff things."""
        document = self._current.document
        if document is not None:
            is_thing = document.categories[category_id].is_thing
            self._change(category_id, is_thing=not is_thing)

    def ask_removal(self) -> None:
        """Remove the highlighted category; if it has objects, ask what they become."""
        category, document = self._category(), self._current.document
        if category is None or document is None:
            return
        n = sum(segment.category_id == category.id for _, segment in document.iter_segments())
        if not n or len(document.categories) == 1:
            self._current.edit(operations.remove_category, category.id)
            return
        self._removing = category.id
        are = "1 object is" if n == 1 else f"{n:,} objects are"
        self.question.setText(f"{are} {category.name}. Before it is removed, make them")
        self.into.clear()
        for other in document.categories.values():
            if other.id != category.id:
                self.into.addItem(swatch(self.model.color(other.id)), other.name, other.id)
        self.panel.setVisible(True)
        self.into.setFocus()

    def import_file(self, path: Path) -> None:
        """Add the categories of a file, and say what was added and what was left out."""
        document = self._current.document
        if document is None:
            return
        try:
            added, notes = new_categories(load_categories(path), document.categories)
        except EomtError as error:
            self._current.refused.emit(str(error))
            return
        if added:
            self._current.edit(operations.add_categories, added)
        text = (
            f"{path.name}: {len(added):,} {'category' if len(added) == 1 else 'categories'} added"
        )
        if notes:
            more = f"; and {len(notes) - 5:,} more" if len(notes) > 5 else ""
            text += f". Left out: {'; '.join(notes[:5])}{more}"
        self.said.emit(f"{text}.")

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setContentsMargins(0, 0, 0, 0)
        head.addWidget(self.add)
        head.addWidget(self.remove)
        head.addWidget(self.color)
        head.addStretch(1)
        head.addWidget(self.load)
        self.panel = QWidget()
        removal = QVBoxLayout(self.panel)
        removal.setContentsMargins(0, 0, 0, 0)
        removal.addWidget(self.question)
        row = QHBoxLayout()
        row.addWidget(self.into, 1)
        row.addWidget(self.confirm)
        row.addWidget(self.cancel)
        removal.addLayout(row)
        self.panel.setVisible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.search)
        layout.addWidget(self.view, 1)
        layout.addLayout(head)
        layout.addWidget(self.panel)

    def _change(self, category_id: int, **fields: object) -> None:
        document = self._current.document
        if document is not None:
            category = replace(document.categories[category_id], **fields)  # type: ignore[arg-type]
            self._current.edit(operations.change_category, category)

    def _highlighted(self) -> int | None:
        index = self.view.currentIndex()
        return self.model.categories[index.row()].id if index.isValid() else None

    def _category(self) -> Category | None:
        document, category_id = self._current.document, self._highlighted()
        return None if document is None or category_id is None else document.categories[category_id]

    def _highlight(self) -> None:
        """Highlight the category of what is drawn next."""
        place = None if self._result is None else self.model.place(self._result.view.category_id)
        selection = self.view.selectionModel()
        if selection is None:
            return
        before, self._is_following = self._is_following, True
        if place is None:
            selection.clear()
        elif place != self.view.currentIndex().row() or not selection.hasSelection():
            flags = QItemSelectionModel.SelectionFlag
            index = self.model.index(place, 0)
            selection.setCurrentIndex(index, flags.ClearAndSelect | flags.Rows)
            self.view.scrollTo(index)
        self._is_following = before

    def _on_brush(self, category_id: int) -> None:
        self._highlight()

    def _on_row(self, now: QModelIndex, before: QModelIndex) -> None:
        """Draw in what the arrow keys have gone to; objects stay what they are."""
        if not self._is_following and self._result is not None and now.isValid():
            self._result.view.category_id = self.model.categories[now.row()].id

    def _on_clicked(self, index: QModelIndex) -> None:
        self._given = None
        self.use(self.model.categories[index.row()].id)

    def _on_double_clicked(self, index: QModelIndex) -> None:
        # The first of the two clicks has given the category to the objects: that was not meant.
        if self._given is not None:
            session, n_steps = self._given
            if session is self._current.session and session.n_steps == n_steps:
                session.undo()
            self._given = None
        if NAMES[index.column()] == "kind":
            self.toggle_kind(self.model.categories[index.row()].id)
        else:
            self.view.edit(self.model.index(index.row(), 0))

    def _on_search(self, words: str) -> None:
        before, self._is_following = self._is_following, True
        self.model.search(words)
        self._is_following = before
        self._highlight()

    def _on_import(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Import categories", "", FILES)
        if name:
            self.import_file(Path(name))

    def _on_remove(self) -> None:
        removing, into = self._removing, self.into.currentData()
        self._end_removal()
        if removing is not None:
            self._current.edit(operations.remove_category, removing, into)

    def _end_removal(self) -> None:
        self._removing = None
        self.panel.setVisible(False)

    def _on_menu(self, position: QPoint) -> None:
        index = self.view.indexAt(position)
        category = self.model.categories[index.row()] if index.isValid() else self._category()
        if category is None:
            return
        place = self.model.place(category.id) or 0
        self.view.selectRow(place)
        menu = QMenu(self)
        kind = "stuff (an area)" if category.is_thing else "things (counted one by one)"
        for text, slot in (
            ("Rename\tF2", lambda: self.view.edit(self.model.index(place, 0))),
            ("Colour…", self.choose_color),
            (f"Make it {kind}", lambda: self.toggle_kind(category.id)),
            ("Select its objects", lambda: self._select_objects(category.id)),
            ("Remove\tDel", self.ask_removal),
        ):
            action = menu.addAction(text)
            if action is not None:
                action.triggered.connect(slot)
        viewport = self.view.viewport()
        if viewport is not None:
            menu.popup(viewport.mapToGlobal(position))

    def _select_objects(self, category_id: int) -> None:
        session = self._current.session
        if session is not None:
            segments = session.document.segments(self._current.frame)
            session.select(
                (self._current.frame, i)
                for i, s in segments.items()
                if s.category_id == category_id
            )


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    if len(text) == 1:
        button.setFixedWidth(button.fontMetrics().height() * 2)
    return button
