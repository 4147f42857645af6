"""What becomes of the user's objects when a model runs: they stay, here or in a layer apart."""

from __future__ import annotations

from qtpy.QtWidgets import QComboBox, QLabel, QVBoxLayout, QWidget

from napari_eomt.widgets.run import objects_text


class Yours(QWidget):
    """Says how many objects are the user's, and asks where results go; hidden without any.

    Attributes
    ----------
    text : QLabel
    keep : QComboBox
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._n = 0
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.keep = QComboBox()
        self.keep.addItem("Keep them, replace the rest", "keep")
        self.keep.addItem("Put results in a new layer", "new")
        self.keep.setToolTip("Objects that you painted or edited are never overwritten.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text)
        layout.addWidget(self.keep)
        self.show_number(0)

    @property
    def wants_new(self) -> bool:
        """Whether results shall be in a layer apart."""
        return self._n > 0 and self.keep.currentData() == "new"

    def show_number(self, n: int) -> None:
        """Say how many there are."""
        self._n = n
        are = "is" if n == 1 else "are"
        self.text.setText(f"{objects_text(n)} {are} yours (accepted, edited or drawn).")
        for part in (self, self.text, self.keep):
            part.setVisible(n > 0)
