"""The part of the Correct page that is about tracks: what is selected, the way along it, strips."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_eomt.viewer.keymap import BY_NAME
from napari_eomt.widgets.timeline import Timeline

if TYPE_CHECKING:
    from qtpy.QtGui import QShowEvent

JUMPS = {
    "track_start": "|◀",
    "track_previous": "◀",
    "track_next": "▶",
    "track_end": "▶|",
    "track_gap": "Gap",
    "next_doubt": "Doubt",
}


class TrackStrip(QWidget):
    """The timeline with what belongs to it; hidden where there are no tracks."""

    asked = Signal(str)
    """A button means this action of the table."""
    menu_asked = Signal()
    paths_toggled = Signal(bool)
    all_toggled = Signal()
    seen = Signal()
    """It was hidden, and is shown now."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.about = QLabel()
        self.about.setWordWrap(True)
        self.all = QCheckBox("All")
        self.all.setToolTip(
            "List all tracks also while some are selected; else these alone are listed."
        )
        self.paths = QCheckBox("Paths")
        self.paths.setToolTip(
            "Show where each object has been, as a layer of tracks over the image (centroids)."
        )
        self.timeline = Timeline()
        self.timeline.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.buttons: dict[str, QToolButton] = {}
        jumps = QHBoxLayout()
        jumps.setContentsMargins(0, 0, 0, 0)
        jumps.setSpacing(1)
        for name, text in JUMPS.items():
            button = QToolButton()
            button.setText(text)
            button.setToolTip(BY_NAME[name].hint)
            button.setAccessibleName(BY_NAME[name].title)
            button.clicked.connect(partial(self._on_button, name))
            self.buttons[name] = button
            jumps.addWidget(button)
        self.correct = QPushButton("Track…")
        self.correct.setToolTip("Cut, join, swap, delete, accept: what can be done to the track.")
        self.correct.clicked.connect(self.menu_asked)
        jumps.addStretch(1)
        jumps.addWidget(self.correct)
        head = QHBoxLayout()
        head.setContentsMargins(0, 0, 0, 0)
        head.addWidget(self.about, 1)
        head.addWidget(self.all, 0, Qt.AlignmentFlag.AlignTop)
        head.addWidget(self.paths, 0, Qt.AlignmentFlag.AlignTop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.setSpacing(3)
        layout.addLayout(head)
        layout.addWidget(self.timeline, 1)
        layout.addLayout(jumps)
        self.timeline.asked.connect(self.asked)
        self.paths.toggled.connect(self.paths_toggled)
        self.all.toggled.connect(self.all_toggled)
        self.hide()

    def show_possible(self, *, is_selected: bool) -> None:
        """Let the buttons that need a selected track be pressed, or not."""
        for name, button in self.buttons.items():
            button.setEnabled(is_selected or name == "next_doubt")
        self.correct.setEnabled(is_selected)

    def set_paths(self, is_on: bool) -> None:
        """Show whether the layer of paths is there, without asking for it."""
        self.paths.blockSignals(True)
        self.paths.setChecked(is_on)
        self.paths.blockSignals(False)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Tell of it."""
        super().showEvent(event)
        self.seen.emit()

    def _on_button(self, name: str, checked: bool = False) -> None:
        self.asked.emit(name)
