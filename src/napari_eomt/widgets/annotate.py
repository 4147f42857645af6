"""The Correct page: categories, the table of objects, and what can be done to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from napari_eomt.widgets.current import Current


class AnnotatePage(QWidget):
    """Shows the current result's categories and objects; without one, what to do next.

    Parameters
    ----------
    current : Current
    """

    segment_requested = Signal()
    sample_requested = Signal()

    def __init__(self, current: Current, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._current = current
        self.hint = QLabel()
        self.hint.setWordWrap(True)
        self.start = QPushButton()
        self.content = QWidget()
        self.bottom = QVBoxLayout()
        self.bottom.setContentsMargins(0, 0, 0, 0)
        content = QVBoxLayout(self.content)
        content.setContentsMargins(0, 0, 0, 0)
        content.addLayout(self.bottom)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.addWidget(self.hint)
        layout.addWidget(self.start)
        layout.addWidget(self.content, 1)
        layout.addStretch(0)
        self.start.clicked.connect(self._on_start)
        current.result_changed.connect(self._on_result)
        self.show_start()

    def add_part(self, widget: QWidget) -> None:
        """Put a widget below the table of objects."""
        self.bottom.addWidget(widget)

    def show_start(self) -> None:
        """Say what to do next where there is no result."""
        has_image = self._current.image is not None
        has_result = self._current.result is not None
        if has_image:
            self.hint.setText(
                "Nothing to correct yet. Let the model find objects in this image first; then "
                "they are listed here."
            )
            self.start.setText("Segment")
            self.start.setToolTip("Find the objects of the image with the model (W).")
        else:
            self.hint.setText(
                "Open an image (File → Open, or drop it here), or begin with a sample."
            )
            self.start.setText("Open sample")
            self.start.setToolTip("Open a fluorescence image of nuclei that comes with the plugin.")
        for widget in (self.hint, self.start):
            widget.setVisible(not has_result)
        self.content.setVisible(has_result)

    def _on_start(self) -> None:
        (self.sample_requested if self._current.image is None else self.segment_requested).emit()

    def _on_result(self) -> None:
        self.show_start()
