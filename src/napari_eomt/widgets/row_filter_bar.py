"""What is searched for in the table of objects, and what is left out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_eomt.widgets.segment_rows import STATUSES, RowFilter
from napari_eomt.widgets.status_icons import WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_eomt.structures.categories import Category

TYPING_MS = 150
"""Pause after a key before the table follows."""

MAX_AREA = 2_000_000_000
MIN_SPIN = 48

_Spin = TypeVar("_Spin", QSpinBox, QDoubleSpinBox)


class RowFilterBar(QWidget):
    """A field for words, and more conditions behind a button."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.text = QLineEdit()
        self.text.setPlaceholderText("Find #, category, note")
        self.text.setToolTip("Show only objects whose number, category or note has these words.")
        self.text.setClearButtonEnabled(True)
        self.here = QCheckBox("This frame")
        self.here.setToolTip("Show only objects of the frame that the viewer shows.")
        self.more = QPushButton()
        self.more.setText("Filter")
        self.more.setCheckable(True)
        self.more.setToolTip("Show only objects of a category, a status, a score or a size.")
        self.category = _combo("Show only objects of this category.")
        self.status = _combo("Show only objects of this status.")
        self.status.addItem("any but rejected", None)
        for status in STATUSES:
            self.status.addItem(WORDS[status][0], status)
        self.min_score = _score(0.0, "Least score, from 0 to 1.")
        self.max_score = _score(1.0, "Highest score, from 0 to 1.")
        self.min_area = _area("Smallest size, in pixels.")
        self.max_area = _area("Largest size, in pixels.")
        self.min_area.setSpecialValueText("any")
        self.max_area.setSpecialValueText("any")
        self.clear = QPushButton()
        self.clear.setText("Clear")
        self.clear.setToolTip("Show all objects.")
        self._n_frames, self._frame = 1, 0

        first = QHBoxLayout()
        first.setContentsMargins(0, 0, 0, 0)
        first.addWidget(self.text, 1)
        first.addWidget(self.here)
        first.addWidget(self.more)
        self.panel = QWidget()
        grid = QGridLayout(self.panel)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(4)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(3, 1)
        for row, (name, one, other) in enumerate(
            (
                ("Category", self.category, None),
                ("Status", self.status, None),
                ("Score", self.min_score, self.max_score),
                ("Area", self.min_area, self.max_area),
            )
        ):
            grid.addWidget(QLabel(name), row, 0)
            grid.addWidget(one, row, 1, 1, 1 if other is not None else 3)
            if other is not None:
                grid.addWidget(QLabel("to"), row, 2)
                grid.addWidget(other, row, 3)
        grid.addWidget(self.clear, 4, 3)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(first)
        layout.addWidget(self.panel)
        self.panel.setVisible(False)

        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(TYPING_MS)
        self._timer.timeout.connect(self.changed)
        self.text.textChanged.connect(self._timer.start)
        self.more.toggled.connect(self.panel.setVisible)
        self.here.toggled.connect(self._on_changed)
        self.clear.clicked.connect(self.reset)
        for combo in (self.category, self.status):
            combo.currentIndexChanged.connect(self._on_changed)
        for spin in (self.min_score, self.max_score, self.min_area, self.max_area):
            spin.valueChanged.connect(self._on_changed)
        self.offer_frames(1)

    def wanted(self) -> RowFilter:
        """Return what is to be shown."""
        low, high = self.min_score.value(), self.max_score.value()
        return RowFilter(
            text=self.text.text(),
            category_id=self.category.currentData(),
            status=self.status.currentData(),
            frame=self._frame if self.here.isChecked() and self._n_frames > 1 else None,
            min_score=low if low > 0 else None,
            max_score=high if high < 1 else None,
            min_area=self.min_area.value() or None,
            max_area=self.max_area.value() or None,
        )

    def offer_categories(self, categories: Iterable[Category]) -> None:
        """Let one of these be chosen; the one that is stays, if it still is there."""
        chosen = self.category.currentData()
        self.category.blockSignals(True)
        self.category.clear()
        self.category.addItem("any", None)
        for category in categories:
            self.category.addItem(category.name, category.id)
        found = self.category.findData(chosen) if chosen is not None else 0
        self.category.setCurrentIndex(max(0, found))
        self.category.blockSignals(False)
        if found < 0:
            self._on_changed()

    def offer_frames(self, n_frames: int) -> None:
        """Offer "this frame" where there are several."""
        self._n_frames = n_frames
        self.here.setVisible(n_frames > 1)

    def show_frame(self, frame: int) -> None:
        """Mean another frame by "this one"."""
        self._frame = frame
        if self.here.isChecked():
            self._on_changed()

    def reset(self) -> None:
        """Leave nothing out."""
        self.text.clear()
        self.here.setChecked(False)
        self.category.setCurrentIndex(0)
        self.status.setCurrentIndex(0)
        self.min_score.setValue(0)
        self.max_score.setValue(1)
        self.min_area.setValue(0)
        self.max_area.setValue(0)
        self._on_changed()

    def _on_changed(self) -> None:
        self._timer.stop()
        self.changed.emit()


def _combo(tip: str) -> QComboBox:
    combo = QComboBox()
    combo.setToolTip(tip)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(6)
    return combo


def _narrow(spin: _Spin) -> _Spin:
    """Let a field be as narrow as a dock asks for; by itself it is as wide as its largest value."""
    spin.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    # Its buttons would leave no room for the value; the arrow keys and the wheel are there.
    spin.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)
    spin.setStyleSheet(f"min-width: {MIN_SPIN}px;")  # napari's own is wider
    spin.setKeyboardTracking(False)
    return spin


def _score(value: float, tip: str) -> QDoubleSpinBox:
    spin = QDoubleSpinBox()
    spin.setRange(0, 1)
    spin.setSingleStep(0.05)
    spin.setValue(value)
    spin.setToolTip(tip)
    return _narrow(spin)


def _area(tip: str) -> QSpinBox:
    spin = QSpinBox()
    spin.setRange(0, MAX_AREA)
    spin.setToolTip(f"{tip} 0 is any.")
    return _narrow(spin)
