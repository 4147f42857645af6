"""What went wrong in jobs: it stays until it is read, and hides nothing that is said later."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget


@dataclass(frozen=True)
class _JobError:
    message: str
    details: str
    about: str


class JobErrors(QWidget):
    """Shows the newest error; those before it come back when it is dismissed."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._errors: list[_JobError] = []
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.copy_details = QPushButton("Copy details")
        self.copy_details.setToolTip("Copy the error with its technical details, for a report.")
        self.dismiss = QPushButton("Dismiss")
        self.dismiss.setToolTip("Close this error. One that came before it is shown again.")
        buttons = QHBoxLayout()
        buttons.addWidget(self.copy_details)
        buttons.addWidget(self.dismiss)
        buttons.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text)
        layout.addLayout(buttons)
        self.copy_details.clicked.connect(self._on_copy)
        self.dismiss.clicked.connect(self._on_dismiss)
        self._show()

    def add(self, message: str, details: str = "", about: str = "") -> None:
        """Show an error before those that are there.

        Parameters
        ----------
        message, details : str
        about : str
            What it is about: it takes the place of the one that was about the same. Those that
            are about nothing named stay beside each other, each once.
        """
        new = _JobError(message, details, about)
        self._errors = [
            old for old in self._errors if (old.about != about if about else old.message != message)
        ]
        self._errors.append(new)
        self._show()

    def forget(self, about: str) -> None:
        """Drop what was about this: it is tried again, or is over."""
        self._errors = [old for old in self._errors if old.about != about]
        self._show()

    def clear(self) -> None:
        """Drop all."""
        self._errors = []
        self._show()

    def _show(self) -> None:
        self.setVisible(bool(self._errors))
        if not self._errors:
            self.text.clear()
            return
        n_more = len(self._errors) - 1
        self.text.setText(f"⚠ {self._errors[-1].message}" + (f" ({n_more} more)" if n_more else ""))

    def _on_dismiss(self) -> None:
        self._errors = self._errors[:-1]
        self._show()

    def _on_copy(self) -> None:
        clipboard = QGuiApplication.clipboard()
        if clipboard is not None and self._errors:
            last = self._errors[-1]
            clipboard.setText("\n\n".join(filter(None, (last.message, last.details))))
