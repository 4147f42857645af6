"""How objects are shown: filled or as outlines, in their own colours or their categories'."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QWidget

if TYPE_CHECKING:
    from napari_eomt.viewer.results import Result

OUTLINE_PX = 2


class LookRow(QWidget):
    """Two choices, for every result that is made or shown."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.outlines = QCheckBox("Outlines")
        self.outlines.setToolTip("Show objects as outlines instead of filled.")
        self.by_category = QCheckBox("Colour by category")
        self.by_category.setToolTip("Colour objects by their category instead of each by itself.")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for box in (self.outlines, self.by_category):
            layout.addWidget(box)
            box.toggled.connect(self.changed)
        layout.addStretch(1)

    def show_on(self, result: Result | None) -> None:
        """Show a result as is chosen."""
        if result is not None:
            result.view.color_by_category(self.by_category.isChecked())
            result.view.layer.contour = OUTLINE_PX if self.outlines.isChecked() else 0
