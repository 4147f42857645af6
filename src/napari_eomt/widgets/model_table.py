"""The models as a table that is searched, filtered and sorted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from qtpy.QtCore import (
    QModelIndex,
    QObject,
    QSortFilterProxyModel,
    Qt,
)

from napari_eomt.models.card import ARCHITECTURES
from napari_eomt.models.rows import MISSING, ModelRow, count_text, size_text
from napari_eomt.widgets.params_form import TASK_WORDS
from napari_eomt.widgets.table_model import TableModel

if TYPE_CHECKING:
    from napari_eomt.structures.segments import Task
    from napari_eomt.widgets.model_library import ModelLibrary

Column: TypeAlias = Literal[
    "model", "task", "input", "parameters", "size", "score", "speed", "state"
]

COLUMNS: dict[Column, tuple[str, str]] = {
    "model": ("Model", "What it is called."),
    "task": ("Task", "What it was trained for."),
    "input": ("Input", "Side of the square that the model sees, in pixels."),
    "parameters": ("Params", "Number of parameters: more know more, and take longer."),
    "size": ("Size", "To download, or on the disk."),
    "score": (
        "Score",
        "As its makers measured it. Compares only within a data set and metric; sorting groups.",
    ),
    "speed": ("Images/s", "As its makers measured it, on the hardware that the card names."),
    "state": ("State", "Whether the model is on this computer."),
}
_NAMES: tuple[Column, ...] = tuple(COLUMNS)
_RIGHT: frozenset[Column] = frozenset({"input", "parameters", "size", "speed"})

NAME_ROLE = Qt.ItemDataRole.UserRole
"""The model's name, which is what it is known by."""


def title_of(row: ModelRow) -> str:
    """Return what people call a model: a published one's title, else its name."""
    if row.entry is None:
        return row.name
    # The same in another format would have the same title.
    form = f" ({row.entry.format})" if row.entry.alternative_to else ""
    return row.entry.title + form


def state_of(row: ModelRow) -> str:
    """Say in a word or two whether a model can be used."""
    if row.problem:
        return "missing" if row.problem == MISSING else "damaged"
    if row.kind == "bundled":
        return "bundled"
    if row.is_here:
        return "here"
    return "gated" if row.entry is not None and row.entry.gated else "not here"


def search_text(row: ModelRow) -> str:
    """Return all words that a model is found by: names, task, data set, categories."""
    parts: list[str] = [row.name, title_of(row), row.kind, state_of(row)]
    if row.card is not None:
        card = row.card
        parts += [card.description, card.architecture, ARCHITECTURES[card.architecture]]
        parts += [card.licence, f"{card.input_size}px", "video" if card.is_video else "image"]
        for task in card.tasks:
            parts += [task, TASK_WORDS[task][0]]
        parts += [category.name for category in card.categories]
    if row.entry is not None:
        entry = row.entry
        parts += [entry.hub_id, entry.dataset, entry.categories, entry.backbone, entry.note]
    return " ".join(parts).lower()


class ModelTable(TableModel):
    """All models of the library, a row each.

    Parameters
    ----------
    library : ModelLibrary
    parent : QObject, optional
    """

    columns = COLUMNS

    def __init__(self, library: ModelLibrary, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._library = library
        self._rows: list[ModelRow] = library.rows
        self._texts = [search_text(row) for row in self._rows]
        library.changed.connect(self._on_changed)
        library.progressed.connect(self._on_progressed)

    @property
    def rows(self) -> list[ModelRow]:
        """The models in the order of the library."""
        return self._rows

    def search_text(self, k: int) -> str:
        """Return the words of the row at `k`."""
        return self._texts[k]

    def is_busy(self, k: int) -> bool:
        """Whether there is work on the model of the row at `k`."""
        return self._library.job(self._rows[k].name) is not None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a fact of a model."""
        if not index.isValid():
            return None
        row, column = self._rows[index.row()], _NAMES[index.column()]
        if role == NAME_ROLE:
            return row.name
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(row, column)
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tip(row, column)
        if role == Qt.ItemDataRole.TextAlignmentRole and column in _RIGHT:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def _n_rows(self) -> int:
        return len(self._rows)

    def _text(self, row: ModelRow, column: Column) -> str:
        card, entry = row.card, row.entry
        if column == "model":
            return title_of(row)
        if column == "state":
            job = self._library.job(row.name)
            return state_of(row) if job is None else job.text
        if column == "score":
            return f"{entry.score.metric} {entry.score.value:.1f}" if entry and entry.score else ""
        if column == "speed":
            return f"{entry.speed.images_per_second:g}" if entry and entry.speed else ""
        if card is None:
            return ""
        if column == "task":
            return TASK_WORDS[card.tasks[0]][0] + (" · video" if card.is_video else "")
        if column == "input":
            return str(card.input_size)
        return count_text(card.n_parameters) if column == "parameters" else size_text(card.n_bytes)

    def _tip(self, row: ModelRow, column: Column) -> str:
        card, entry = row.card, row.entry
        if column == "task" and card is not None:
            return TASK_WORDS[card.tasks[0]][1]
        if column == "score" and entry is not None and entry.score is not None:
            return f"{entry.score.metric} on {entry.score.dataset}, in percent"
        if column == "speed" and entry is not None and entry.speed is not None:
            return f"on {entry.speed.hardware}"
        if column == "state" and (row.problem or row.folder):
            return row.problem or str(row.folder)
        if column == "state" and entry is not None and entry.gated:
            return "Its makers ask to accept a licence before the download."
        return title_of(row) if column == "model" else ""

    def _on_changed(self) -> None:
        self.beginResetModel()
        self._rows = self._library.rows
        self._texts = [search_text(row) for row in self._rows]
        self.endResetModel()

    def _on_progressed(self, name: str) -> None:
        for k, row in enumerate(self._rows):
            if row.name == name:
                index = self.index(k, _NAMES.index("state"))
                self.dataChanged.emit(index, index)


@dataclass(frozen=True)
class TableFilter:
    """Which models are shown.

    Parameters
    ----------
    words : str
        All of which must be in what is known of the model.
    task : Task or None
        That it serves.
    only_here : bool
        Only what is on this computer, or on its way.
    video : bool or None
        Only models of videos (True), or none (False).
    every_format : bool
        Also the same published models in other formats.
    """

    words: str = ""
    task: Task | None = None
    only_here: bool = False
    video: bool | None = None
    every_format: bool = False

    def match(self, row: ModelRow, text: str, *, is_busy: bool) -> bool:
        """Whether a model of these words is shown."""
        card = row.card
        return (
            all(word in text for word in self.words.lower().split())
            and (self.task is None or (card is not None and self.task in card.tasks))
            and (not self.only_here or row.kind != "published" or row.folder is not None or is_busy)
            and (self.video is None or (card is not None and card.is_video == self.video))
            and (self.every_format or is_busy or not row.is_hidden)
        )


class SortedModels(QSortFilterProxyModel):
    """The table's rows, filtered and sorted.

    Parameters
    ----------
    table : ModelTable
    parent : QObject, optional
    """

    def __init__(self, table: ModelTable, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._filter = TableFilter()
        self._table = table
        self.setSourceModel(table)

    def show_only(self, wanted: TableFilter) -> None:
        """Show what passes a filter."""
        self._filter = wanted
        self.invalidateFilter()

    def filterAcceptsRow(self, source_row: int, source_parent: QModelIndex) -> bool:
        """Whether a row passes the filter."""
        row = self._table.rows[source_row]
        return self._filter.match(
            row, self._table.search_text(source_row), is_busy=self._table.is_busy(source_row)
        )

    def lessThan(self, left: QModelIndex, right: QModelIndex) -> bool:
        """Compare two rows; what has no value comes last, and scores stay with their like."""
        column = _NAMES[left.column()]
        is_up = self.sortOrder() == Qt.SortOrder.AscendingOrder
        one = _sort_key(self._table.rows[left.row()], column, is_up=is_up)
        other = _sort_key(self._table.rows[right.row()], column, is_up=is_up)
        return one < other


def _sort_key(row: ModelRow, column: Column, *, is_up: bool) -> tuple[Any, ...]:
    """Return what a row is sorted by.

    Qt turns the order around for descending; what shall not turn is turned back here.
    """
    card, entry = row.card, row.entry
    value: Any = None
    group = ""
    if column == "model":
        value = ({"bundled": 0, "added": 1, "published": 2}[row.kind], title_of(row).lower())
    elif column == "state":
        value = ("bundled", "here", "damaged", "missing", "gated", "not here").index(state_of(row))
        value = (not row.is_usable, value)
    elif column == "score" and entry is not None and entry.score is not None:
        group, value = f"{entry.score.dataset} {entry.score.metric}", entry.score.value
    elif column == "speed" and entry is not None and entry.speed is not None:
        value = entry.speed.images_per_second
    elif column == "task" and card is not None:
        value = (card.is_video, card.tasks[0])
    elif column == "input" and card is not None:
        value = card.input_size
    elif column == "parameters" and card is not None:
        value = card.n_parameters
    elif column == "size" and card is not None:
        value = card.n_bytes
    is_last = (value is None) == is_up
    letters = tuple(ord(c) if is_up else -ord(c) for c in group) + ((0,) if is_up else (1,))
    return (is_last, letters, 0 if value is None else value)
