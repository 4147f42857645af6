"""The window of all models: find one, read what it is, fetch, use, add, delete it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from qtpy.QtCore import QModelIndex, QSize, Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QInputDialog,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QSplitter,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_eomt.errors import EomtError
from napari_eomt.models.catalog import category_lists
from napari_eomt.models.locate import CHECKPOINTS
from napari_eomt.models.rows import size_text
from napari_eomt.widgets.download_job import JobFailure
from napari_eomt.widgets.model_actions import ModelActions
from napari_eomt.widgets.model_errors import ModelErrors
from napari_eomt.widgets.model_filters import ModelFilters
from napari_eomt.widgets.model_table import (
    COLUMNS,
    NAME_ROLE,
    Column,
    ModelTable,
    SortedModels,
    title_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtGui import QResizeEvent, QShowEvent

    from napari_eomt.models.rows import ModelRow
    from napari_eomt.widgets.model_library import ModelLibrary
    from napari_eomt.widgets.model_picker import ModelPicker

WIDE_PX = 820
"""From this width on the card stands beside the table, else below it."""

_UNNAMED = "something else: numbers for names"
_SIZE = (1080, 680)
_TITLE_PX = 240
# What goes first when there is no room; the title and the state always stay.
_DISPENSABLE: tuple[Column, ...] = ("speed", "input", "parameters", "task", "size", "score")


class ModelDialog(QDialog):
    """Finds, fetches and tidies up models; what happens goes on when it is closed.

    Parameters
    ----------
    library : ModelLibrary
    picker : ModelPicker
        Shows and changes which model is in use.
    parent : QWidget, optional
    """

    def __init__(
        self, library: ModelLibrary, picker: ModelPicker, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._library, self._picker = library, picker
        self._selected = picker.model
        self.setWindowTitle("Models")
        self.filters = ModelFilters()
        self.table = ModelTable(library, self)
        self.models = SortedModels(self.table, self)
        self.view = QTableView()
        self.nothing = QLabel("No model is like this.")
        self.panel = ModelActions(library, picker)
        self.errors = ModelErrors()
        self.add_folder = QPushButton("Add folder…")
        self.add_folder.setToolTip("Take up a model's folder: config.json and model.safetensors.")
        self.add_file = QPushButton("Add file…")
        self.add_file.setToolTip(
            f"Convert a checkpoint of the original code ({', '.join(CHECKPOINTS)}) and take it up."
        )
        self.close_button = QPushButton("Close")
        self._lay_out()
        self._set_up_view()
        self._connect()
        self._on_filter()
        self._on_sort("model", False)
        self.resize(*_SIZE)

    def sizeHint(self) -> QSize:
        """Return the size to open at."""
        return QSize(*_SIZE)

    def open_at(self, name: str) -> None:
        """Show the window with a model selected."""
        self._library.refresh()
        self.select(name)
        self.show()
        self.raise_()
        self.activateWindow()
        self.filters.search.setFocus()

    def select(self, name: str) -> None:
        """Select a model; nothing is selected if the filters hide it."""
        self._selected = name
        self._select_again()

    def show_colors(self, accent: str, link: str) -> None:
        """Let the primary button, and links, stand out in a theme's colours."""
        self.panel.show_colors(accent, link)
        self.errors.show_link_color(link)

    def show_failure(self, failure: JobFailure) -> None:
        """Show what went wrong until it is dismissed."""
        self.errors.add(failure)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Put the card beside the table or below it, and show the columns that fit."""
        super().resizeEvent(event)
        is_wide = self.width() >= WIDE_PX
        wanted = Qt.Orientation.Horizontal if is_wide else Qt.Orientation.Vertical
        if self._splitter.orientation() != wanted:
            self._splitter.setOrientation(wanted)
            self._share_space()
        self._fit_columns()

    def showEvent(self, event: QShowEvent | None) -> None:
        """Share the room out when it is known."""
        super().showEvent(event)
        self._share_space()
        self._fit_columns()

    def _lay_out(self) -> None:
        left = QWidget()
        left_layout = QVBoxLayout(left)
        left_layout.setContentsMargins(0, 0, 0, 0)
        left_layout.addWidget(self.view, 1)
        left_layout.addWidget(self.nothing)
        self._splitter = QSplitter(Qt.Orientation.Horizontal)
        self._splitter.addWidget(left)
        self._splitter.addWidget(self.panel)
        self._splitter.setChildrenCollapsible(False)
        bottom = QHBoxLayout()
        bottom.addWidget(self.add_folder)
        bottom.addWidget(self.add_file)
        bottom.addStretch(1)
        bottom.addWidget(self.close_button)
        layout = QVBoxLayout(self)
        layout.addWidget(self.filters)
        layout.addWidget(self._splitter, 1)
        layout.addWidget(self.errors)
        layout.addLayout(bottom)
        # Enter in the search must not press the first button there is.
        for button in (self.add_folder, self.add_file, self.close_button):
            button.setAutoDefault(False)

    def _set_up_view(self) -> None:
        view = self.view
        view.setModel(self.models)
        view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        view.setTabKeyNavigation(False)  # Tab goes on to the buttons
        view.setWordWrap(False)
        view.setShowGrid(False)
        view.setSortingEnabled(True)
        vertical = cast("QHeaderView", view.verticalHeader())
        vertical.setVisible(False)
        vertical.setDefaultSectionSize(view.fontMetrics().lineSpacing() + 8)
        header = cast("QHeaderView", view.horizontalHeader())
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setMinimumSectionSize(20)

    def _connect(self) -> None:
        self.filters.search.returnPressed.connect(self.view.setFocus)
        self.filters.filter_changed.connect(self._on_filter)
        self.filters.sort_changed.connect(self._on_sort)
        header = cast("QHeaderView", self.view.horizontalHeader())
        header.sortIndicatorChanged.connect(self._on_header)
        selection = self.view.selectionModel()
        if selection is not None:
            selection.currentRowChanged.connect(self._on_row)
        self.view.activated.connect(self._on_activated)
        self.models.modelReset.connect(self._on_reset)
        self.panel.delete.clicked.connect(self._on_delete)
        self.panel.remove.clicked.connect(self._on_remove)
        self.panel.rename.clicked.connect(self._on_rename)
        self.panel.started.connect(self.errors.forget)
        self.errors.retry_requested.connect(self._on_retry)
        self.errors.base_requested.connect(self._on_base)
        self.add_folder.clicked.connect(self._on_add_folder)
        self.add_file.clicked.connect(self._on_add_file)
        self.close_button.clicked.connect(self.close)
        self._library.arrived.connect(self.errors.forget)
        for keys, slot in (
            (QKeySequence(QKeySequence.StandardKey.Find), self.filters.search.setFocus),
            (QKeySequence("F2"), self.panel.rename.click),
        ):
            QShortcut(keys, self).activated.connect(slot)

    def _share_space(self) -> None:
        is_wide = self._splitter.orientation() == Qt.Orientation.Horizontal
        self._splitter.setSizes([620, 380] if is_wide else [400, 500])

    def _fit_columns(self) -> None:
        names = list(COLUMNS)
        viewport = self.view.viewport()
        room = (viewport.width() if viewport else self.width()) - _TITLE_PX
        header = cast("QHeaderView", self.view.horizontalHeader())
        widths = {
            name: max(self.view.sizeHintForColumn(k), header.sectionSizeHint(k))
            for k, name in enumerate(names)
            if name != "model"
        }
        sorted_by = names[self.models.sortColumn()]
        hidden: set[str] = set()
        for name in _DISPENSABLE:
            if (
                name != sorted_by
                and sum(width for other, width in widths.items() if other not in hidden) > room
            ):
                hidden.add(name)
        for k, name in enumerate(names):
            self.view.setColumnHidden(k, name in hidden)

    def _on_filter(self) -> None:
        self.models.show_only(self.filters.wanted)
        self._on_reset()

    def _on_sort(self, column: Column, is_down: bool) -> None:
        order = Qt.SortOrder.DescendingOrder if is_down else Qt.SortOrder.AscendingOrder
        self.view.sortByColumn(list(COLUMNS).index(column), order)
        self._fit_columns()

    def _on_header(self, section: int, order: Qt.SortOrder) -> None:
        self.filters.show_sort(list(COLUMNS)[section], order == Qt.SortOrder.DescendingOrder)
        self._fit_columns()

    def _on_reset(self) -> None:
        self.nothing.setVisible(self.models.rowCount() == 0)
        self._select_again()
        self._fit_columns()

    def _select_again(self) -> None:
        """Bring the table's selection, and the card, in line with the model that is selected."""
        for k in range(self.models.rowCount()):
            index = self.models.index(k, 0)
            if index.data(NAME_ROLE) == self._selected:
                self.view.setCurrentIndex(index)
                self.view.scrollTo(index)
                break
        else:
            self.view.clearSelection()
        self.panel.show_row(self._row())

    def _row(self) -> ModelRow | None:
        return self._library.row(self._selected)

    def _on_row(self, current: QModelIndex, previous: QModelIndex) -> None:
        name = current.data(NAME_ROLE)
        if isinstance(name, str) and name != self._selected:
            self._selected = name
            self.panel.show_row(self._row())

    def _on_activated(self, index: QModelIndex) -> None:
        """Use a model that is here on Enter or a double click; a download is asked for singly."""
        row = self._row()
        if row is not None and row.is_usable:
            self.panel.use.click()
        else:
            self.panel.use.setFocus()

    def _on_delete(self) -> None:
        row = self._row()
        if row is None or not self._library.can_delete(row):
            return
        freed = size_text(self._library.size_on_disk(row))
        text = f"Delete {title_of(row)} from this computer? This frees {freed}."
        if row.name == self._picker.model:
            text += f" It is in use: {self._picker.fallback} takes its place."
        if row.entry is None:
            text += " The checkpoint that it was converted from stays."
        if QMessageBox.question(self, "Delete a model", text) == QMessageBox.StandardButton.Yes:
            self._picker.leave(row.name)
            self._library.delete(row.name)

    def _on_remove(self) -> None:
        row = self._row()
        if row is not None:
            self._picker.leave(row.name)
            self._try(row.name, lambda: self._library.remove(row.name))

    def _on_rename(self) -> None:
        row = self._row()
        if row is None or row.kind != "added" or not self.panel.rename.isVisible():
            return
        name, is_wanted = QInputDialog.getText(
            self, "Rename a model", "Name", QLineEdit.EchoMode.Normal, row.name
        )
        if is_wanted and name.strip() != row.name:
            self._try(row.name, lambda: self._rename(row.name, name.strip()))

    def _rename(self, old: str, new: str) -> None:
        self._library.rename(old, new)
        self.select(new)

    def _on_retry(self, name: str, token: str) -> None:
        self._library.download(name, token or None)

    def _on_base(self, name: str) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Choose the backbone's folder")
        if folder:
            self.errors.forget(name)
            base = Path(folder)
            self._try(name, lambda: self.select(self._library.add_file_again(name, base)))

    def _on_add_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Choose a model's folder", str(Path.home()))
        if folder:
            self._try(folder, lambda: self.select(self._library.add_folder(Path(folder))))

    def _on_add_file(self) -> None:
        patterns = " ".join(f"*{suffix}" for suffix in CHECKPOINTS)
        path, _ = QFileDialog.getOpenFileName(
            self, "Choose a checkpoint", str(Path.home()), f"Checkpoints ({patterns})"
        )
        if not path:
            return
        categories, is_wanted = QInputDialog.getItem(
            self,
            "Add a checkpoint",
            "What was it trained on? Its categories are named accordingly.",
            [_UNNAMED, *category_lists()],
            0,
            False,
        )
        if is_wanted:
            named = None if categories == _UNNAMED else categories
            self._try(
                path,
                lambda: self.select(self._library.add_file(Path(path), categories=named)),
            )

    def _try(self, name: str, action: Callable[[], None]) -> None:
        try:
            action()
        except EomtError as error:
            self.errors.add(JobFailure(name, str(error), ""))
