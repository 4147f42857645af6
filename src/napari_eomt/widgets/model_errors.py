"""What went wrong with models: it stays until it is read, with the way out beside it."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from napari_eomt.widgets.download_job import JobFailure

NO_BASE = "(a delta)"
"""What the message of a DINOv3 delta without its backbone says; see `models.delta.needs_base`."""

_ADDRESS = re.compile(r"https?://[^\s<>&;,]+[^\s<>&;,.]")


class ModelErrors(QWidget):
    """Shows one failure after the other, the oldest first.

    For a model that asks for a licence there is a field for a token, which is passed on with
    `retry_requested` and kept nowhere.
    """

    retry_requested = Signal(str, str)  # name, token
    base_requested = Signal(str)  # name

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._failures: list[JobFailure] = []
        self._link_color = ""
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self.text.setOpenExternalLinks(True)
        self.token = QLineEdit()
        self.token.setEchoMode(QLineEdit.EchoMode.Password)
        self.token.setPlaceholderText("Token, hf_…")
        self.token.setToolTip(
            "Used for this download alone and kept nowhere. `hf auth login` in a terminal keeps "
            "one for all programs."
        )
        self.retry = QPushButton("Try again")
        self.base = QPushButton("Choose its base…")
        self.base.setToolTip("The folder of the DINOv3 backbone: config.json, model.safetensors.")
        self.copy_details = QPushButton("Copy details")
        self.copy_details.setToolTip("Copy the technical details, for a report.")
        self.dismiss = QPushButton("Dismiss")
        token_row = QHBoxLayout()
        token_row.addWidget(self.token, 1)
        token_row.addWidget(self.retry)
        buttons = QHBoxLayout()
        for button in (self.base, self.copy_details, self.dismiss):
            buttons.addWidget(button)
        buttons.addStretch(1)
        for button in (self.retry, self.base, self.copy_details, self.dismiss):
            button.setAutoDefault(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text)
        layout.addLayout(token_row)
        layout.addLayout(buttons)
        self.retry.clicked.connect(self._on_retry)
        self.token.returnPressed.connect(self._on_retry)
        self.base.clicked.connect(self._on_base)
        self.copy_details.clicked.connect(self._on_copy)
        self.dismiss.clicked.connect(self._next)
        self._show()

    @property
    def failures(self) -> list[JobFailure]:
        """What has not been dismissed, the oldest first."""
        return list(self._failures)

    def add(self, failure: JobFailure) -> None:
        """Show a failure, after those that are there; a model's newest takes its place."""
        self._failures = [old for old in self._failures if old.name != failure.name]
        self._failures.append(failure)
        self._show()

    def forget(self, name: str) -> None:
        """Drop what is shown of a model: it is tried again, or has come well."""
        self._failures = [old for old in self._failures if old.name != name]
        self._show()

    def show_link_color(self, color: str) -> None:
        """Show addresses in a colour that can be read in the theme."""
        self._link_color = color
        self._show()

    def _show(self) -> None:
        self.setVisible(bool(self._failures))
        self.token.clear()
        if not self._failures:
            return
        failure = self._failures[0]
        more = len(self._failures) - 1
        style = f"style='color: {self._link_color}'" if self._link_color else ""
        message = _ADDRESS.sub(
            lambda a: f"<a {style} href='{a[0]}'>{a[0]}</a>", escape(failure.message)
        )
        self.text.setText(f"⚠ {message}" + (f" <i>({more} more)</i>" if more else ""))
        self.token.setVisible(failure.needs_token)
        self.retry.setVisible(failure.needs_token)
        self.base.setVisible(NO_BASE in failure.message)

    def _next(self) -> None:
        self._failures = self._failures[1:]
        self._show()

    def _on_retry(self) -> None:
        failure, token = self._failures[0], self.token.text().strip()
        self._next()
        self.retry_requested.emit(failure.name, token)

    def _on_base(self) -> None:
        self.base_requested.emit(self._failures[0].name)

    def _on_copy(self) -> None:
        clipboard = QGuiApplication.clipboard()
        if clipboard is not None and self._failures:
            failure = self._failures[0]
            clipboard.setText(f"{failure.message}\n\n{failure.details}")
