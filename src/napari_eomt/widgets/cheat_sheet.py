"""All keys on a page: made from the table of actions, to search and to print."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from napari_eomt.viewer.keymap import ACTIONS, Action

if TYPE_CHECKING:
    from qtpy.QtCore import QEvent

_DRAWING = (
    ("1 … 7", "napari's tools: erase, paint, polygon, fill, pick, move, transform"),
    ("[ ]", "smaller and larger brush"),
    ("M", "new object: what is painted next"),
    ("Space", "move the picture while it is held"),
    ("Shift+wheel", "next and previous candidate, while candidates are shown"),
    ("Shift+drag", "around or across an object: the candidate that fits it best"),
)
_SIZE = (420, 620)


class CheatSheet(QDialog):
    """A small window beside the work, which stays open."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("EoMT: keys")
        self.setModal(False)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search, such as “split” or “G”")
        self.search.setClearButtonEnabled(True)
        self.text = QTextBrowser()
        self.text.setOpenLinks(False)
        self.print_ = QPushButton("Print…")
        self.print_.setToolTip("Print what is shown, or save it as PDF.")
        close = QPushButton("Close")
        # Enter in the search field shall not press a button.
        self.print_.setAutoDefault(False)
        close.setAutoDefault(False)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(self.print_)
        row.addWidget(close)
        layout = QVBoxLayout(self)
        layout.addWidget(self.search)
        layout.addWidget(self.text, 1)
        layout.addLayout(row)
        self.search.textChanged.connect(self._show)
        self.print_.clicked.connect(self._on_print)
        close.clicked.connect(self.close)
        self.resize(*_SIZE)
        self._show()

    def open_beside(self) -> None:
        """Show it in front, ready to search."""
        self.show()
        self.raise_()
        self.activateWindow()
        self.search.setFocus(Qt.FocusReason.OtherFocusReason)

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow the theme's colours."""
        super().changeEvent(event)
        if event is not None and event.type() == event.Type.PaletteChange:
            self._show()

    def _show(self) -> None:
        words = self.search.text().strip().lower()
        rows: list[str] = []
        group = ""
        for action in _unfolded():
            if not _matches(words, action.keys, action.title, action.tooltip, action.group):
                continue
            if action.group != group:
                group = action.group
                rows.append(_heading(group))
            rows.append(_row(" or ".join(action.keys), action.title, action.tooltip))
        drawing = [(k, does) for k, does in _DRAWING if _matches(words, (k,), does, "", "drawing")]
        if drawing:
            rows.append(_heading("Mouse and drawing"))
            rows += [_row(key, does, "") for key, does in drawing]
        if not rows:
            rows.append("<tr><td>No key does that.</td></tr>")
        self.text.setHtml(f"<table cellspacing='0' cellpadding='3'>{''.join(rows)}</table>")

    def _on_print(self) -> None:
        # Here, not above: a system without a printer has no need of it.
        from qtpy.QtPrintSupport import QPrintDialog, QPrinter

        printer = QPrinter(QPrinter.PrinterMode.HighResolution)
        dialog = QPrintDialog(printer, self)
        if dialog.exec() == QDialog.DialogCode.Accepted:
            self.text.print(printer)


def _unfolded() -> list[Action]:
    """Return the table with the keys of the categories in one row."""
    shown = []
    for action in ACTIONS:
        if not action.name.startswith("category_"):
            shown.append(action)
        elif action.name == "category_1":
            shown.append(
                Action(
                    "categories",
                    ("Alt+1 … Alt+9",),
                    "Category",
                    "Give the objects a category; with none, draw in it from now on.",
                    action.needs,
                    action.group,
                )
            )
    return shown


def _matches(words: str, keys: tuple[str, ...], *texts: str) -> bool:
    if not words or words in {key.lower() for key in keys}:
        return True
    # A letter alone is a key, not a part of every word.
    return len(words) > 1 and any(words in text.lower() for text in (*keys, *texts))


def _heading(text: str) -> str:
    return f"<tr><td colspan='2'><br><b>{escape(text)}</b></td></tr>"


def _row(key: str, title: str, tooltip: str) -> str:
    more = f"<br><small>{escape(tooltip)}</small>" if tooltip else ""
    return (
        f"<tr><td width='130'><b><tt>{escape(key)}</tt></b></td><td>{escape(title)}{more}</td></tr>"
    )
