"""A part of a page that folds away."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLayout, QSizePolicy, QToolButton, QVBoxLayout, QWidget


class Fold(QWidget):
    """A headline that shows or hides what is below it.

    superqt's QCollapsible animates its height and cuts off what grows inside it later.
    """

    toggled = Signal(bool)

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.head = QToolButton()
        self.head.setText(title)
        self.head.setCheckable(True)
        self.head.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.head.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.head.setAutoRaise(True)
        self.content = QWidget()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.head)
        layout.addWidget(self.content)
        self.head.toggled.connect(self._on_toggled)
        self._on_toggled(False)

    def set_content_layout(self, layout: QLayout) -> None:
        """Set what is shown when it is open."""
        layout.setContentsMargins(12, 0, 0, 4)
        self.content.setLayout(layout)

    @property
    def is_open(self) -> bool:
        """Whether the content is shown."""
        return bool(self.head.isChecked())

    def set_open(self, is_open: bool) -> None:
        """Show or hide the content."""
        self.head.setChecked(is_open)

    def _on_toggled(self, is_open: bool) -> None:
        arrow = Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow
        self.head.setArrowType(arrow)
        self.content.setVisible(is_open)
        self.toggled.emit(is_open)
