"""Errors in the job bar stay until they are read, and hide nothing that is said later."""

from __future__ import annotations

import pytest
from qtpy.QtGui import QGuiApplication

from napari_eomt.widgets.jobs import JobBar


@pytest.fixture
def bar(qtbot):
    bar = JobBar()
    qtbot.addWidget(bar)
    bar.resize(280, 200)
    bar.show()
    return bar


def test_an_error_and_what_is_said_later_are_both_there(bar):
    bar.show_error("The image cannot be read. Choose another.")
    bar.show_message("3 objects are locked.", "Undo", lambda: None)
    assert bar.errors.text.text() == "⚠ The image cannot be read. Choose another."
    assert bar.text.text() == "3 objects are locked."
    for widget in (bar.errors.text, bar.errors.dismiss, bar.text, bar.action):
        assert widget.isVisible()
    assert bar.errors.geometry().bottom() < bar.text.geometry().top()
    assert bar.errors.dismiss.toolTip()
    bar.errors.dismiss.click()
    assert not bar.has_error
    assert bar.text.text() == "3 objects are locked."
    assert bar.text.isVisible()


def test_an_error_within_a_job_leaves_its_stop_button(bar, qtbot):
    bar.show_running("Tile 1 of 9", 1, 9)
    bar.show_error("The disk is full.")
    assert bar.stop.isVisible()
    assert bar.progress.value() == 100
    bar.show_running("Tile 2 of 9", 2, 9)
    assert bar.errors.text.text() == "⚠ The disk is full."
    with qtbot.waitSignal(bar.stop_requested):
        bar.stop.click()


def test_the_next_job_ends_what_was_wrong_before_but_for_what_is_named(bar):
    bar.show_error("Memory ran out.")
    bar.show_error("run-1: the loss is not finite.", about="learning")
    bar.show_running("Starting…")
    assert bar.errors.text.text() == "⚠ run-1: the loss is not finite."
    bar.forget_error("something else")
    assert bar.has_error
    bar.forget_error("learning")
    assert not bar.has_error
    assert bar.stop.isVisible()


def test_the_newest_error_is_shown_and_those_before_it_come_back(bar):
    bar.show_error("First.", "line 1")
    bar.show_error("Second.", "line 2")
    bar.show_error("Second.", "line 3")  # said twice, it is one
    assert bar.errors.text.text() == "⚠ Second. (1 more)"
    bar.errors.copy_details.click()
    assert QGuiApplication.clipboard().text() == "Second.\n\nline 3"
    bar.errors.dismiss.click()
    assert bar.errors.text.text() == "⚠ First."
    bar.show_error("Again.", about="learning")
    bar.show_error("Once more.", about="learning")
    bar.errors.dismiss.click()
    assert bar.errors.text.text() == "⚠ First."
    bar.errors.dismiss.click()
    assert not bar.errors.isVisible()
