"""The cheat-sheet has every key of the table, is searched, and can be printed."""

from __future__ import annotations

import pytest
from qtpy.QtPrintSupport import QPrinter

from napari_eomt.viewer.keymap import ACTIONS
from napari_eomt.widgets.cheat_sheet import CheatSheet


@pytest.fixture
def sheet(qtbot):
    sheet = CheatSheet()
    qtbot.addWidget(sheet)
    return sheet


def test_every_action_is_on_it(sheet):
    text = sheet.text.toPlainText()
    for action in ACTIONS:
        if not action.name.startswith("category_"):
            assert action.title in text
            assert all(key in text for key in action.keys)
            assert action.tooltip in text
    assert "Alt+1 … Alt+9" in text


def test_it_is_searched_by_key_and_by_word(sheet):
    sheet.search.setText("g")
    text = sheet.text.toPlainText()
    assert "Merge" in text
    assert "Lock" not in text
    sheet.search.setText("WATERSHED")
    assert "Split" in sheet.text.toPlainText()
    assert "Merge" not in sheet.text.toPlainText()
    sheet.search.setText("no such thing")
    assert sheet.text.toPlainText().strip() == "No key does that."
    sheet.search.clear()
    assert "Merge" in sheet.text.toPlainText()


def test_it_stays_open_beside_the_work(sheet, qtbot):
    sheet.open_beside()
    qtbot.waitUntil(sheet.isVisible)
    assert not sheet.isModal()


def test_it_prints(sheet, tmp_path):
    printer = QPrinter()
    printer.setOutputFormat(QPrinter.OutputFormat.PdfFormat)
    printer.setOutputFileName(str(tmp_path / "keys.pdf"))
    sheet.text.print(printer)
    assert (tmp_path / "keys.pdf").read_bytes().startswith(b"%PDF")
