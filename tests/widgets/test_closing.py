"""Closing a window, or the dock in it, asks about unsaved work; nothing is lost either way."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QMessageBox
from tests.annotation.random_edits import state
from tests.result_bench import CATEGORIES, segmentation

from napari_eomt.annotation.files import load_document
from napari_eomt.annotation.sessions import recoverable, restore
from napari_eomt.viewer.image_source import LayerSource, guess_roles
from napari_eomt.widgets.dock import EomtDock

WAIT_MS = 20_000


class Bench:
    """A window with the dock and unsaved work in it, and a folder in which to save it."""

    def __init__(self, qtbot, viewer, client, folder, monkeypatch):
        self.qtbot, self.viewer, self.folder = qtbot, viewer, folder
        self.dock = EomtDock(viewer, client=client)
        self.panel = viewer.window.add_dock_widget(self.dock, area="right")
        self.window = viewer.window._qt_window
        # What is left of it is looked at after it has closed.
        self.window.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
        self.chosen = str(folder)
        self.n_asked_where = 0
        monkeypatch.setattr(QFileDialog, "getSaveFileName", self._save_file_name)
        self.results = [self.add_result("one")]
        qtbot.waitUntil(lambda: self.dock.guard._window is self.window)

    def _save_file_name(self, *_):
        self.n_asked_where += 1
        return self.chosen, ""

    def add_result(self, name):
        rng = np.random.default_rng(len(name))
        image = self.viewer.add_image(rng.integers(0, 255, (60, 80), np.uint8), name=name)
        roles = guess_roles(image)
        source = LayerSource(image, roles)
        result = self.dock.results.create(name, image, roles, source, CATEGORIES)
        result.propose(0, segmentation(), "Segment")
        return result

    @property
    def question(self):
        return self.dock.guard.question

    def say(self, text):
        (button,) = [b for b in self.question.buttons() if b.text() == text]
        button.click()

    def is_closed(self):
        self.qtbot.waitUntil(lambda: not self.window.isVisible(), timeout=WAIT_MS)


@pytest.fixture
def bench(make_napari_viewer, qtbot, client, tmp_path, monkeypatch):
    viewer = make_napari_viewer(show=True)
    bench = Bench(qtbot, viewer, client, tmp_path / "a.eomt", monkeypatch)
    yield bench
    if bench.question is not None:
        bench.say("Cancel")
    bench.dock.shutdown()
    vars(bench).clear()


def kept():
    return [state(restore(row.folder)) for row in recoverable()]


def test_cancel_leaves_everything_as_it_is(bench):
    before = state(bench.results[0].document)
    assert not bench.window.close()
    assert "one is not saved" in bench.question.text()
    assert not bench.window.close(), "asked once, however often one closes"
    assert len(bench.window.findChildren(QMessageBox)) == 1
    bench.say("Cancel")
    assert bench.window.isVisible()
    assert state(bench.results[0].document) == before
    bench.results[0].session.undo()
    assert not bench.window.close(), "it is asked again"
    bench.say("Cancel")


def test_kept_work_is_offered_the_next_time(bench):
    before = state(bench.results[0].document)
    bench.window.close()
    bench.say("Keep for next time")
    bench.is_closed()
    bench.dock.shutdown()
    assert kept() == [before]


def test_saved_work_is_in_the_file(bench, monkeypatch):
    other = bench.add_result("other")
    places = iter([bench.folder, bench.folder.with_name("b")])
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(next(places)), ""))
    before = {r.image.name: state(r.document) for r in (*bench.results, other)}
    bench.window.close()
    assert "one, other" in bench.question.text()
    bench.say("Save")
    bench.is_closed()
    bench.dock.shutdown()
    for folder, name in ((bench.folder, "one"), (bench.folder.with_name("b.eomt"), "other")):
        document, image = load_document(folder)
        assert image.name == name
        assert state(document) == before[name]
    assert recoverable() == []


def test_it_is_saved_where_it_was_saved_before(bench):
    bench.dock.saving.save.click()
    bench.qtbot.waitUntil(lambda: not bench.dock.work.unsaved, timeout=WAIT_MS)
    bench.results[0].session.undo()
    bench.window.close()
    bench.say("Save")
    bench.is_closed()
    assert bench.n_asked_where == 1
    assert not load_document(bench.folder)[0].id_maps.any()


def test_who_does_not_say_where_stays(bench):
    bench.chosen = ""
    bench.window.close()
    bench.say("Save")
    bench.qtbot.wait(50)
    assert bench.window.isVisible()
    assert bench.question is None


def test_what_cannot_be_written_keeps_the_window_open(bench, tmp_path):
    tmp_path.joinpath("file").touch()
    bench.chosen = str(tmp_path / "file" / "a.eomt")
    bench.window.close()
    bench.say("Save")
    bench.qtbot.waitUntil(lambda: bench.dock.bar.has_error, timeout=WAIT_MS)
    bench.qtbot.wait(50)
    assert bench.window.isVisible()
    assert len(bench.dock.work.unsaved) == 1


def test_saved_work_is_not_asked_about(bench):
    bench.dock.saving.save.click()
    bench.qtbot.waitUntil(lambda: not bench.dock.work.unsaved, timeout=WAIT_MS)
    assert bench.window.close()
    assert bench.question is None


def test_a_program_closes_the_viewer_without_a_question(bench):
    before = state(bench.results[0].document)
    bench.viewer.close()
    assert bench.question is None
    bench.dock.shutdown()
    assert kept() == [before]


@pytest.mark.parametrize("answer", ["Save", "Keep for next time", "Cancel"])
def test_the_dock_s_own_cross_asks_as_well(bench, answer):
    before = state(bench.results[0].document)
    bench.panel.title.close_button.click()
    assert bench.question is not None
    bench.say(answer)
    if answer == "Cancel":
        bench.qtbot.wait(50)
        assert bench.dock.parent() is not None
        assert not bench.dock._has_left
        return
    bench.qtbot.waitUntil(lambda: bench.dock._has_left, timeout=WAIT_MS)
    assert bench.window.isVisible()
    assert kept() == ([] if answer == "Save" else [before])
    if answer == "Save":
        assert state(load_document(bench.folder)[0]) == before
    # The window is nobody's any more.
    assert bench.window.close()
