"""The runs that there are: shown, compared, opened from elsewhere, deleted."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QMessageBox,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_eomt.errors import DataError
from napari_eomt.training.run_places import runs_dir
from napari_eomt.training.runs import find_runs
from napari_eomt.widgets.run_tail import RunTail
from napari_eomt.widgets.run_view import score_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.widgets.run_tail import RunNews
    from napari_eomt.widgets.run_watch import Background

_HEIGHT = 130


class RunList(QWidget):
    """Lists runs, the newest first. One that is selected is shown, several are compared.

    Parameters
    ----------
    background : Background
        Reads and deletes runs.
    others : sequence of Path
        Runs that were opened from elsewhere.
    """

    chosen = Signal(list)
    """Folders of the runs to show."""
    listed = Signal(list)
    """The news of all runs, as of now."""
    said = Signal(str)
    failed = Signal(str)

    def __init__(
        self, background: Background, others: Sequence[Path] = (), parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._background = background
        self.others = list(others)
        self.table = QTreeWidget()
        self.table.setHeaderLabels(["Run", "State", "Measure"])
        self.table.setRootIsDecorated(False)
        self.table.setUniformRowHeights(True)
        self.table.setFixedHeight(_HEIGHT)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.table.setToolTip("Select a run to see it, several (Ctrl and click) to compare them.")
        header = self.table.header()
        if header is not None:
            header.setStretchLastSection(False)
            header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
            for column in (1, 2):
                header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.open = QPushButton("Open…")
        self.open.setToolTip("Show a run from another folder, such as one of the command line.")
        self.delete = QPushButton("Delete…")
        self.delete.setToolTip("Delete the selected runs with the models that came of them.")
        buttons = QHBoxLayout()
        buttons.addWidget(self.open)
        buttons.addWidget(self.delete)
        buttons.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.table)
        layout.addLayout(buttons)
        self.table.itemSelectionChanged.connect(self._on_selected)
        self.open.clicked.connect(self._on_open)
        self.delete.clicked.connect(self._on_delete)
        self._show_buttons()

    @property
    def selected(self) -> list[Path]:
        """Folders of the selected runs, as they are listed."""
        chosen = [item for item in self._items() if item.isSelected()]
        return [Path(item.data(0, Qt.ItemDataRole.UserRole)) for item in chosen]

    def refresh(self) -> None:
        """Look anew which runs there are."""
        others = tuple(self.others)
        self._background.do(lambda: _look(others), self._show)

    def open_folder(self, folder: Path) -> None:
        """Show a run from wherever it is."""
        from napari_eomt.training.runs import load_run

        def show(_: object) -> None:
            if folder not in self.others and folder.parent != runs_dir():
                self.others.append(folder)
            self.refresh()
            self.chosen.emit([folder])

        self._background.do(
            lambda: load_run(folder), show, lambda message, _: self.failed.emit(message)
        )

    def select(self, folders: Sequence[Path]) -> None:
        """Select runs, without `chosen`."""
        self.table.blockSignals(True)
        for item in self._items():
            item.setSelected(Path(item.data(0, Qt.ItemDataRole.UserRole)) in folders)
        self.table.blockSignals(False)
        self._show_buttons()

    def _items(self) -> list[QTreeWidgetItem]:
        found = (self.table.topLevelItem(k) for k in range(self.table.topLevelItemCount()))
        return [item for item in found if item is not None]

    def _show(self, news: list[RunNews]) -> None:
        selected = self.selected
        self.table.blockSignals(True)
        self.table.clear()
        for each in news:
            best = "" if each.best is None else f"{each.best[1]:.3f}"
            item = QTreeWidgetItem([each.folder.name, str(each.status), best])
            item.setData(0, Qt.ItemDataRole.UserRole, str(each.folder))
            item.setToolTip(0, str(each.folder))
            item.setToolTip(2, score_text(each))
            self.table.addTopLevelItem(item)
            item.setSelected(each.folder in selected)
        self.table.blockSignals(False)
        self._show_buttons()
        self.listed.emit(news)

    def _show_buttons(self) -> None:
        self.delete.setEnabled(bool(self.table.selectedItems()))

    def _on_selected(self) -> None:
        self._show_buttons()
        if self.selected:
            self.chosen.emit(self.selected)

    def _on_open(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Folder of a run", str(runs_dir()))
        if chosen:
            self.open_folder(Path(chosen))

    def _on_delete(self) -> None:
        folders = self.selected
        names = ", ".join(folder.name for folder in folders)
        answer = QMessageBox.question(
            self,
            "Delete runs",
            f"Delete {names} for good? The models that were learnt go as well, also those that are "
            "in use.",
        )
        if answer == QMessageBox.StandardButton.Yes:
            self.remove(folders)

    def remove(self, folders: Sequence[Path]) -> None:
        """Delete runs with all that came of them."""

        def work() -> None:
            from napari_eomt.training.runs import delete_run, load_run

            for folder in folders:
                delete_run(load_run(folder))

        def done(_: object) -> None:
            self.others = [other for other in self.others if other not in folders]
            self.said.emit("Deleted: " + ", ".join(folder.name for folder in folders))
            self.refresh()
            self.chosen.emit([])

        def refused(message: str, _: str) -> None:
            self.refresh()
            self.failed.emit(message)

        self._background.do(work, done, refused)


def _look(others: tuple[Path, ...]) -> list[RunNews]:
    found: list[RunNews] = []
    for run in find_runs(others):
        # A damaged one keeps no other from being listed; opened, it says what is wrong.
        with suppress(DataError):
            found.append(RunTail(run.folder).read())
    return found
