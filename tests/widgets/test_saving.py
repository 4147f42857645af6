"""Work is saved while it goes on, comes back after a crash, and goes into files and back."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QMessageBox

from napari_eomt.annotation import operations
from napari_eomt.annotation.sessions import recoverable
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Status
from napari_eomt.viewer.image_source import LayerSource, guess_roles
from napari_eomt.viewer.results import Results
from napari_eomt.viewer.saved_work import SavedWork
from napari_eomt.widgets.current import Current
from napari_eomt.widgets.saving import SavingStrip, lost_text

MASK = np.ones((5, 6), bool)


class Bench:
    """A viewer with an image, its result, and what saves it."""

    def __init__(self, qtbot, shape=(3, 40, 50), with_result=True):
        self.qtbot = qtbot
        self.viewer = ViewerModel()
        rng = np.random.default_rng(len(shape))
        self.image = self.viewer.add_image(rng.integers(0, 255, shape, np.uint8), name="cells")
        self.roles = guess_roles(self.image)
        self.results = Results(self.viewer)
        self.current = Current(self.viewer, self.results)
        self.work = SavedWork(self.viewer, self.results)
        self.strip = SavingStrip(self.viewer, self.current, self.work)
        qtbot.addWidget(self.strip)
        self.said, self.failed = [], []
        self.strip.said.connect(self.said.append)
        self.strip.failed.connect(self.failed.append)
        self.work.problem_changed.connect(self.failed.append)
        self.current.follow(self.image, self.roles)
        if with_result:
            source = LayerSource(self.image, self.roles)
            self.results.create("k", self.image, self.roles, source, [Category(4, "cell")])

    def draw(self, frame=0, at=(3, 4)):
        session = self.current.session
        drawn = Segment(0, 4, status=Status.DRAWN)
        session.do(operations.add(session.document, frame, MASK, at, drawn))

    def wait(self):
        self.qtbot.waitUntil(lambda: not self.strip._waiting, timeout=10_000)

    def shows(self, text):
        self.qtbot.waitUntil(lambda: self.strip.state.text() == text, timeout=2000)

    def close(self):
        self.strip.close_events()
        self.current.close()
        self.work.close()
        self.results.close()


def same(one, other):
    np.testing.assert_array_equal(one.id_maps, other.id_maps)
    assert list(one.iter_segments()) == list(other.iter_segments())
    assert dict(one.categories) == dict(other.categories)


@pytest.mark.parametrize("shape", [(40, 50), (3, 40, 50), (40, 50, 3)])
def test_document_is_saved_and_opened_equal(qtbot, tmp_path, shape):
    bench = Bench(qtbot, shape)
    for k in range(3):
        bench.draw(at=(3 + 8 * k, 4))
    bench.shows("3 unsaved steps")
    bench.strip.save_to(tmp_path / "cells.eomt")
    bench.wait()
    bench.shows("")
    assert bench.said == [f"Saved: {tmp_path / 'cells.eomt'}"]
    before = bench.current.document.copy()
    bench.close()
    assert recoverable() == []
    other = Bench(qtbot, shape, with_result=False)
    other.strip.open_from(tmp_path / "cells.eomt")
    other.wait()
    assert other.failed == []
    same(other.current.document, before)
    other.shows("")
    other.draw(at=(30, 40))
    other.shows("1 unsaved step")
    other.close()


def test_steps_while_it_is_written_are_unsaved(qtbot, tmp_path):
    bench = Bench(qtbot)
    bench.draw()
    bench.strip.save_to(tmp_path / "cells.eomt")
    bench.draw(at=(20, 20))
    bench.wait()
    bench.shows("2 unsaved steps")
    bench.close()


def test_work_that_was_not_saved_is_restored_over_its_image(qtbot):
    bench = Bench(qtbot)
    for k in range(4):
        bench.draw(frame=k % 3, at=(3, 4 + 9 * k))
    bench.current.session.undo()
    before = bench.current.document.copy()
    bench.close()  # as when napari is closed: nothing is in a file
    (row,) = recoverable()
    assert lost_text(row).startswith("cells: 5 steps, ")

    again = Bench(qtbot, with_result=False)
    offered = []
    again.strip.look_for_lost_work(offered.append)
    again.wait()
    assert [r.folder for r in offered] == [row.folder]
    again.strip._fill_menu()
    titles = [action.text() for action in again.strip.menu.actions()]
    assert any(title.startswith("Restore cells: 5 steps") for title in titles)
    again.strip.restore_work(offered[0])
    again.wait()
    assert again.failed == []
    same(again.current.document, before)
    again.draw(at=(30, 30))
    again.close()
    (row,) = recoverable()
    assert row.n_unsaved == 6, "it has gone on in the same place"


def test_lost_work_can_be_discarded_when_one_is_sure(qtbot, monkeypatch):
    bench = Bench(qtbot)
    bench.draw()
    bench.close()
    again = Bench(qtbot, with_result=False)
    offered = []
    again.strip.look_for_lost_work(offered.append)
    again.wait()
    for answer, left in ((QMessageBox.StandardButton.No, 1), (QMessageBox.StandardButton.Yes, 0)):
        monkeypatch.setattr(QMessageBox, "question", lambda *_, answer=answer: answer)
        again.strip.discard_work(offered[0])
        again.wait()
        assert len(recoverable()) == left
    again.close()


def test_new_work_beside_older_unsaved_work_is_saved_apart(qtbot):
    bench = Bench(qtbot)
    bench.draw()
    bench.close()
    again = Bench(qtbot)
    assert len(again.failed) == 1
    assert "saved apart" in again.failed[0]
    again.draw(at=(20, 20))
    again.close()
    assert len(recoverable()) == 2


def test_the_second_of_two_programs_is_told(qtbot):
    bench = Bench(qtbot)
    bench.draw()
    other = Bench(qtbot)
    assert len(other.failed) == 1
    assert "open in this program already" in other.failed[0]
    other.draw(at=(20, 20))
    for one in (bench, other):
        one.close()
    assert len(recoverable()) == 2


def test_what_belongs_to_another_image_says_to_which(qtbot, tmp_path):
    bench = Bench(qtbot)
    bench.draw()
    bench.strip.save_to(tmp_path / "cells.eomt")
    bench.wait()
    other = Bench(qtbot, (40, 50), with_result=False)
    other.strip.open_from(tmp_path / "cells.eomt")
    other.wait()
    assert other.failed == ["It belongs to the image cells. Open that one first."]
    assert other.current.result is None
    other.strip.open_from(tmp_path)
    other.wait()
    assert len(other.failed) == 2
    bench.close()
    other.close()


def test_deleting_the_layer_ends_saving_and_keeps_the_work(qtbot):
    bench = Bench(qtbot)
    bench.draw()
    bench.viewer.layers.remove(bench.current.result.view.layer)
    assert bench.work.unsaved == []
    assert len(recoverable()) == 1
    bench.close()
