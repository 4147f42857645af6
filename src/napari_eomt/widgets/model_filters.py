"""What the window of all models shows, and in which order."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from napari_eomt.structures.segments import TASKS
from napari_eomt.widgets.model_table import Column, TableFilter
from napari_eomt.widgets.params_form import TASK_WORDS

_SORTS: tuple[tuple[str, Column, bool], ...] = (
    ("name", "model", False),
    ("best score", "score", True),
    ("fastest", "speed", True),
    ("smallest", "size", False),
    ("fewest parameters", "parameters", False),
    ("here first", "state", False),
)


class ModelFilters(QWidget):
    """A search, the filters and the order; the headings of a table can be clicked as well."""

    filter_changed = Signal()
    sort_changed = Signal(str, bool)  # column, whether it is descending

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search: a data set, a task, an object such as dog…")
        self.search.setClearButtonEnabled(True)
        self.search.setToolTip("All the words must be in what is known of a model (Ctrl+F).")
        self.task, self.video, self.sort = QComboBox(), QComboBox(), QComboBox()
        self.only_here = QCheckBox("On this computer only")
        self.every_format = QCheckBox("All formats")
        self.every_format.setToolTip(
            "Also the same models as their makers' code saved them. They are converted after the "
            "download."
        )
        self._fill()
        combos, checks = QHBoxLayout(), QHBoxLayout()
        for combo in (self.task, self.video, self.sort):
            combo.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            combo.setMinimumContentsLength(6)
            combos.addWidget(combo, 1)
        checks.addWidget(self.only_here)
        checks.addWidget(self.every_format)
        checks.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.search)
        layout.addLayout(combos)
        layout.addLayout(checks)
        self.search.textChanged.connect(self.filter_changed)
        for combo in (self.task, self.video):
            combo.currentIndexChanged.connect(self.filter_changed)
        for box in (self.only_here, self.every_format):
            box.toggled.connect(self.filter_changed)
        self.sort.currentIndexChanged.connect(self._on_sort)

    @property
    def wanted(self) -> TableFilter:
        """Which models are to be shown."""
        return TableFilter(
            self.search.text(),
            self.task.currentData(),
            self.only_here.isChecked(),
            self.video.currentData(),
            self.every_format.isChecked(),
        )

    def show_sort(self, column: str, is_down: bool) -> None:
        """Show the order that a click on a heading made, if the list has it."""
        found = [k for k, sort in enumerate(_SORTS) if sort[1:] == (column, is_down)]
        self.sort.blockSignals(True)
        self.sort.setCurrentIndex(found[0] if found else -1)
        self.sort.blockSignals(False)

    def _fill(self) -> None:
        self.task.addItem("Any task", None)
        for task in TASKS:
            self.task.addItem(f"Finds {TASK_WORDS[task][0]}", task)
            last = self.task.count() - 1
            self.task.setItemData(last, TASK_WORDS[task][1], Qt.ItemDataRole.ToolTipRole)
        self.task.setToolTip(
            "What the model serves: objects (instance), regions (semantic), both (panoptic)."
        )
        for text, value in (("Images, videos", None), ("Images", False), ("Videos", True)):
            self.video.addItem(text, value)
        self.video.setToolTip("Models of videos follow objects from frame to frame.")
        for text, _, _ in _SORTS:
            self.sort.addItem(f"Sort: {text}")
        self.sort.setToolTip("Scores compare only within a data set and metric: those are grouped.")

    def _on_sort(self, k: int) -> None:
        if k >= 0:
            _, column, is_down = _SORTS[k]
            self.sort_changed.emit(column, is_down)
