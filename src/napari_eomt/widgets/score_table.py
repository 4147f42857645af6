"""How good models are before and after learning, measured on the images that check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Figures = dict[str, "float | None"]

_ROWS: tuple[tuple[str, str, str], ...] = (
    (
        "idf1",
        "IDF1",
        "Of videos: in how many frames objects are found, each as the same all the time.",
    ),
    ("ap", "AP", "Mean over IoU 0.5 to 0.95 of hits / (hits + misses + false finds)."),
    ("ap50", "AP50", "The same where half of an object has to agree."),
    ("f1", "F1", "Precision and recall in one, at IoU 0.5."),
    ("pq", "PQ", "Panoptic quality: how many are found, and how well."),
    ("miou", "mIoU", "How much of each category's area agrees."),
    (
        "edits_per_100",
        "Edits",
        "Edits needed, of each 100 objects: to add, delete, redraw, and so on. Lower is better.",
    ),
)
_ROW_PX = 20


class ScoreTable(QTableWidget):
    """Figures, a row each; of one run before and after, of several a column each."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        header, side = self.horizontalHeader(), self.verticalHeader()
        if header is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
            # Names of runs differ at their ends.
            header.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        if side is not None:
            side.setDefaultSectionSize(_ROW_PX)
        self.show_columns([])

    def show_columns(self, columns: Sequence[tuple[str, Figures]]) -> None:
        """Show the figures that at least one column has; nothing if there are none.

        Parameters
        ----------
        columns : sequence of (str, dict)
            Title, and figures by their names.
        """
        rows = [row for row in _ROWS if any(f.get(row[0]) is not None for _, f in columns)]
        self.setVisible(bool(rows))
        self.setRowCount(len(rows))
        self.setColumnCount(len(columns))
        for i, (name, title, tip) in enumerate(rows):
            head = QTableWidgetItem(title)
            head.setToolTip(tip)
            self.setVerticalHeaderItem(i, head)
            values = [figures.get(name) for _, figures in columns]
            known = [value for value in values if value is not None]
            best = (min if name == "edits_per_100" else max)(known)
            for j, value in enumerate(values):
                item = QTableWidgetItem(_text(name, value))
                item.setToolTip(tip)
                if value == best and len(set(known)) > 1:
                    font = item.font()
                    font.setBold(True)
                    item.setFont(font)
                self.setItem(i, j, item)
        for j, (title, _) in enumerate(columns):
            head = QTableWidgetItem(title)
            head.setToolTip(title)
            self.setHorizontalHeaderItem(j, head)
        header = self.horizontalHeader()
        height = 0 if header is None else header.sizeHint().height()
        self.setFixedHeight(height + _ROW_PX * len(rows) + 4)


def read_figures(folder: Path, after: str = "best") -> tuple[Figures, Figures]:
    """Read the figures of a run before and after learning; those that are not there are empty.

    Parameters
    ----------
    folder : Path
        Of the run.
    after : {"best", "last"}
        Which check tells how good the model is after.

    Raises
    ------
    DataError
        If a report is damaged.
    """
    from napari_eomt.evaluation.report import Report

    found: list[Figures] = []
    for name in ("before", after):
        path = folder / "reports" / f"{name}.json"
        total: Any = Report.load(path).total if path.is_file() else None
        found.append({row: getattr(total, row, None) for row, _, _ in _ROWS})
    return found[0], found[1]


def _text(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if name == "edits_per_100" else f"{value:.3f}"
