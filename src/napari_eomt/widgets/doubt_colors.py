"""Shows in the image what the model is unsure of, as colours of the objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QWidget

if TYPE_CHECKING:
    from napari_eomt.viewer.results import Result
    from napari_eomt.widgets.annotate import AnnotatePage
    from napari_eomt.widgets.current import Current

COLOR_MS = 150
"""How often, at most, objects are coloured anew while results come in."""


class DoubtColors(QCheckBox):
    """Colours what is still to be decided by how unsure the model is, in the current result.

    Parameters
    ----------
    current : Current
    page : AnnotatePage
        Which knows how unsure it is.
    """

    def __init__(self, current: Current, page: AnnotatePage, parent: QWidget | None = None) -> None:
        super().__init__("Colour by doubt", parent)
        self.setToolTip(
            "Colour what is still to be decided by how unsure the model is (uncertainty): dark "
            "blue is sure, yellow is not. What is decided, or drawn, is grey."
        )
        self._current, self._page = current, page
        self._colored: Result | None = None
        self._values: dict[int, float] = {}
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(COLOR_MS)
        self._timer.timeout.connect(self.show_colors)
        self.toggled.connect(self.show_colors)
        page.counted.connect(self._on_counted)

    def show_colors(self) -> None:
        """Bring the colours up to date."""
        result, rows = self._current.result, self._page.segments
        wanted = result if self.isChecked() and rows is not None else None
        if self._colored is not None and self._colored is not wanted:
            self._colored.view.color_by_uncertainty(None)
            self._colored = None
        if wanted is None or rows is None:
            return
        values = rows.uncertainties_left()
        if self._colored is not wanted or values != self._values:
            self._colored, self._values = wanted, values
            wanted.view.color_by_uncertainty(values)

    def _on_counted(self) -> None:
        if self._colored is not None and self._colored is not self._current.result:
            self.show_colors()  # at once: its layer may be gone
        elif self.isChecked():
            self._timer.start()
