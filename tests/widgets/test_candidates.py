"""Candidates under a real mouse, answered by a source that takes its time as a worker does."""

from __future__ import annotations

import os

import numpy as np
import pytest
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget
from tests.canvas import Hand, settle

from napari_eomt.structures.axes import AxisRoles
from napari_eomt.structures.candidates import Candidate, Patch, Split
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation, Status
from napari_eomt.synthetic import drawn_nuclei
from napari_eomt.viewer.candidate_tool import region
from napari_eomt.viewer.image_source import LayerSource
from napari_eomt.viewer.place import Place
from napari_eomt.viewer.results import Results
from napari_eomt.widgets.action_bar import ActionBar
from napari_eomt.widgets.action_runner import ActionRunner
from napari_eomt.widgets.candidate_finder import CandidateFinder
from napari_eomt.widgets.candidate_source import CandidateSource
from napari_eomt.widgets.candidates import CandidateBar
from napari_eomt.widgets.current import Current
from napari_eomt.widgets.jobs import JobBar
from napari_eomt.widgets.model_advice import ModelAdvice
from napari_eomt.worker.messages import WorkerState

H, W = 60, 80
SHOWN = (20, 20, 40, 40)
PROPOSED = [
    # box, score, category: the first is what is shown, a bit larger; the last ones are hidden.
    ((18, 18, 41, 41), 0.9, 1),
    ((20, 20, 30, 40), 0.6, 1),
    ((15, 15, 50, 60), 0.3, 2),
    ((45, 2, 58, 15), 0.2, 1),
]
DELAY_MS = 5


class FakeSource(CandidateSource):
    """Answers about rectangles, a little later."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.is_gone = False
        self.candidates = [
            Candidate(
                query=(0, q), parts=((0, q),), score=score, category_id=category, is_thing=True,
                categories=((category, score), (3 - category, 0.05)), box=box,
                area=(box[2] - box[0]) * (box[3] - box[1]), probability=0.9,
                outlines=(corners(box),),
            )
            for q, (box, score, category) in enumerate(PROPOSED)
        ]  # fmt: skip

    def at(self, key, frame, point):
        y, x = point
        found = [
            c for c in self.candidates if c.box[0] <= y < c.box[2] and c.box[1] <= x < c.box[3]
        ]
        return self._answer(("at", frame, point), tuple(found))

    def inside(self, key, frame, polygon):
        y, x = np.array(polygon).T
        box = np.array([y.min(), x.min(), y.max(), x.max()])
        found = sorted(self.candidates, key=lambda c: np.abs(np.array(c.box) - box).sum())
        return self._answer(("inside", frame, polygon), tuple(found))

    def hidden(self, key, frame):
        return self._answer(("hidden", frame), tuple(self.candidates[3:]))

    def mask(self, key, frame, candidate):
        y0, x0, y1, x1 = candidate.box
        return self._answer(("mask",), Patch((y0, x0), np.ones((y1 - y0, x1 - x0), bool)))

    def split(self, key, frame, mask, origin):
        half = np.zeros((2, *mask.shape), np.float32)
        half[0, :, : mask.shape[1] // 2] = half[1, :, mask.shape[1] // 2 :] = 0.9
        return self._answer(("split",), Split(origin, half, tuple(self.candidates[:2])))

    def _answer(self, question, answer):
        self.asked.append(question)
        number = len(self.asked)
        signal = self.missing if self.is_gone else self.answered
        values = (number,) if self.is_gone else (number, answer)
        QTimer.singleShot(DELAY_MS, lambda: signal.emit(*values))
        return number


def corners(box):
    y0, x0, y1, x1 = box
    return np.array(
        [[y0 - 0.5, x0 - 0.5], [y0 - 0.5, x1 - 0.5], [y1 - 0.5, x1 - 0.5], [y1 - 0.5, x0 - 0.5]],
        np.float32,
    )


class Bench:
    def __init__(self, qtbot, viewer, n_frames=1):
        self.qtbot, self.viewer = qtbot, viewer
        shape = (H, W) if n_frames == 1 else (n_frames, H, W)
        image = viewer.add_image(np.zeros(shape, np.uint8), name="image")
        roles = AxisRoles((), 0, 1) if n_frames == 1 else AxisRoles((0,), 1, 2)
        if n_frames > 1:
            viewer.dims.set_point(0, 0)
        self.results = Results(viewer)
        self.current = Current(viewer, self.results)
        self.bar = JobBar()
        self.runner = ActionRunner(viewer, self.current, self.bar)
        self.source = FakeSource()
        self.finder = CandidateFinder(self.runner, self.current, self.source)
        self.actions = ActionBar(self.runner)
        self.advice = ModelAdvice(self.runner, self.source)
        self.candidates = CandidateBar(self.runner, self.current, self.finder, self.advice)
        self.page = QWidget()
        layout = QVBoxLayout(self.page)
        layout.addWidget(self.actions)
        layout.addWidget(self.candidates)
        qtbot.addWidget(self.page)
        qtbot.addWidget(self.bar)
        self.page.resize(300, 300)
        self.page.show()
        self.current.follow(image, roles)
        categories = [Category(1, "cell"), Category(2, "debris")]
        self.result = self.results.create(
            "key", image, roles, LayerSource(image, roles), categories
        )
        drawn = np.zeros((H, W), np.uint16)
        drawn[20:40, 20:40] = 1
        segmentation = Segmentation(drawn, (Segment(1, 1, 0.8, area=400, bbox=SHOWN),))
        self.result.propose(0, segmentation, "Segment")
        self.session, self.document = self.result.session, self.result.document
        viewer.reset_view()
        self.hand = Hand(qtbot, viewer, self.result.view.layer)

    def segments(self):
        return dict(self.document.segments(0))

    def outline(self, name="candidate"):
        return self.result.view.layer._overlays[f"napari_eomt_{name}"].shown

    def wait(self, text):
        self.qtbot.waitUntil(lambda: text in self.candidates.text.text(), timeout=3000)

    def close(self):
        self.finder.close()
        self.runner.close()
        self.current.close()
        self.results.close()


@pytest.fixture
def bench(make_napari_viewer, qtbot):
    benches = []

    def make(**options):
        benches.append(Bench(qtbot, make_napari_viewer(show=True), **options))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


def box_of(outline):
    if not len(outline.edges):
        return None
    y, x = outline.edges[..., 0], outline.edges[..., 1]
    return tuple(round(float(v) + 0.5) for v in (y.min(), x.min(), y.max(), x.max()))


def test_pointing_outlines_the_best_and_keys_and_wheel_go_through_the_others(bench, qtbot):
    bench = bench()
    bench.hand.move(25, 30)
    bench.hand.press(Qt.Key.Key_C)
    bench.wait("candidate 1 of 3 · cell 0.90")
    qtbot.waitUntil(lambda: box_of(bench.outline()) == PROPOSED[0][0])
    bench.hand.press(Qt.Key.Key_C)
    bench.wait("candidate 2 of 3 · cell 0.60")
    qtbot.waitUntil(lambda: box_of(bench.outline()) == PROPOSED[1][0])
    bench.hand.press(Qt.Key.Key_C)
    bench.wait("candidate 3 of 3 · debris 0.30")
    bench.hand.press(Qt.Key.Key_C, Qt.KeyboardModifier.ShiftModifier)
    bench.wait("candidate 2 of 3")
    zoom = bench.viewer.scene.camera.zoom
    bench.hand.wheel(25, 30, -1, Qt.KeyboardModifier.ShiftModifier)
    bench.wait("candidate 3 of 3")
    bench.hand.wheel(25, 30, 1, Qt.KeyboardModifier.ShiftModifier)
    bench.wait("candidate 2 of 3")
    assert bench.viewer.scene.camera.zoom == zoom
    # Whoever has turned to the second stays with it while the mouse is over it, no longer.
    bench.hand.move(26, 32)
    bench.wait("candidate 2 of 3")
    bench.hand.move(35, 32)
    bench.wait("candidate 1 of 2")
    bench.hand.move(5, 5)
    bench.wait("Point at something")
    assert not bench.outline()


@pytest.mark.parametrize("how", ["T", "Enter", "click", "button"])
def test_taking_gives_a_proposal_another_outline(bench, qtbot, how):
    bench = bench()
    bench.hand.move(25, 30)
    bench.hand.press(Qt.Key.Key_C)
    qtbot.waitUntil(lambda: bool(bench.outline()))
    n = bench.session.n_steps
    if how == "T":
        bench.hand.press(Qt.Key.Key_T)
    elif how == "Enter":
        bench.hand.press(Qt.Key.Key_Return)
    elif how == "button":
        bench.candidates.take.click()
    else:
        bench.hand.click(25, 30)
    qtbot.waitUntil(lambda: bench.session.n_steps == n + 1)
    assert bench.bar.text.text() == "Object 1 took the outline of cell 0.90"
    (segment,) = bench.segments().values()
    assert (segment.id, segment.bbox, segment.status) == (1, PROPOSED[0][0], Status.EDITED)
    assert bench.session.selection == {(0, 1)}
    bench.session.undo()
    assert bench.segments()[1].bbox == SHOWN


def test_taking_something_else_adds_an_object_that_no_model_changes(bench, qtbot):
    bench = bench()
    bench.hand.move(50, 10)
    bench.hand.press(Qt.Key.Key_C)
    bench.wait("candidate 1 of 1 · cell 0.20")
    bench.hand.press(Qt.Key.Key_T)
    qtbot.waitUntil(lambda: len(bench.segments()) == 2)
    new = bench.segments()[2]
    assert (new.category_id, new.status, new.bbox) == (1, Status.ACCEPTED, PROPOSED[3][0])
    assert new.is_locked
    assert bench.bar.text.text() == "Took cell 0.20 as object 2"


def test_a_locked_object_keeps_its_pixels(bench, qtbot):
    bench = bench()
    bench.session.select([(0, 1)])
    bench.runner.run("lock")
    bench.hand.move(18, 18)
    bench.hand.press(Qt.Key.Key_C)
    bench.wait("candidate 1 of 2")
    qtbot.waitUntil(lambda: bool(bench.outline()))
    bench.hand.press(Qt.Key.Key_T)
    qtbot.waitUntil(lambda: len(bench.segments()) == 2)
    id_map = bench.document.id_map(0)
    assert (id_map[20:40, 20:40] == 1).all()
    assert bench.segments()[2].area == 23 * 23 - 400


def test_a_fast_mouse_asks_only_for_where_it_is(bench, qtbot):
    bench = bench()
    bench.finder.turn(True)
    settle()
    bench.source.asked.clear()
    for x in range(20, 60):
        bench.finder.pointed((25.0, float(x)))
    assert len(bench.source.asked) == 1
    qtbot.waitUntil(lambda: ("at", 0, (25.0, 59.0)) in bench.source.asked)
    qtbot.wait(60)
    assert [question for question in bench.source.asked if question[0] == "at"] == [
        ("at", 0, (25.0, 20.0)),
        ("at", 0, (25.0, 59.0)),
    ]
    bench.wait("candidate 1 of 1 · debris")


def test_what_a_new_run_proposes_here_is_shown_without_a_move(bench, qtbot):
    bench = bench()
    bench.hand.move(25, 30)
    bench.hand.press(Qt.Key.Key_C)
    bench.wait("candidate 1 of 3 · cell 0.90")
    bench.source.candidates = bench.source.candidates[2:]
    drawn = np.zeros((H, W), np.uint16)
    drawn[15:50, 15:60] = 1
    again = Segmentation(drawn, (Segment(1, 2, 0.3, area=35 * 45, bbox=(15, 15, 50, 60)),))
    bench.result.propose(0, again, "Segment")
    bench.wait("candidate 1 of 1 · debris 0.30")
    qtbot.waitUntil(lambda: box_of(bench.outline()) == PROPOSED[2][0])


def test_shift_drag_takes_what_fits(bench, qtbot):
    bench = bench()
    centre = bench.viewer.scene.camera.center
    bench.hand.move(3, 3)
    bench.candidates.toggle.click()
    shift = Qt.KeyboardModifier.ShiftModifier
    # Across it: the box. napari's wheel and pan stay as they are.
    bench.hand.drag((44, 1), (58, 16), modifier=shift)
    qtbot.waitUntil(lambda: len(bench.segments()) == 2)
    assert bench.segments()[2].bbox == PROPOSED[3][0]
    assert bench.viewer.scene.camera.center == centre
    assert not bench.outline("lasso")
    bench.session.undo()
    # Around it.
    bench.hand.drag((44, 1), (44, 16), (59, 16), (59, 1), (45, 1), modifier=shift)
    qtbot.waitUntil(lambda: len(bench.segments()) == 2)
    polygon = next(q for q in reversed(bench.source.asked) if q[0] == "inside")[2]
    assert len(polygon) > 8
    # Without Shift the picture moves, and nothing is taken.
    bench.session.undo()
    bench.hand.drag((50, 10), (40, 30))
    qtbot.wait(50)
    assert len(bench.segments()) == 1
    assert bench.viewer.scene.camera.center != centre


def test_a_path_across_means_its_box_and_a_path_around_itself():
    across = [(0.0, 0.0), (2.0, 3.0), (4.0, 6.0)]
    assert region(across) == [(0, 0), (0, 6), (4, 6), (4, 0)]
    around = [(0.0, 0.0), (0.0, 6.0), (4.0, 6.0), (4.0, 0.0)]
    assert region(around) == around


def test_hidden_proposals_show_and_are_taken_by_a_click(bench, qtbot):
    bench = bench()
    bench.hand.press(Qt.Key.Key_H)
    qtbot.waitUntil(lambda: "1 hidden proposal: click" in bench.bar.text.text())
    assert box_of(bench.outline("hidden")) == PROPOSED[3][0]
    assert bench.candidates.hidden.isChecked()
    bench.hand.click(30, 60)
    qtbot.wait(50)
    assert len(bench.segments()) == 1
    bench.hand.click(50, 10)
    qtbot.waitUntil(lambda: len(bench.segments()) == 2)
    # What has become an object changes what is hidden.
    n = bench.source.asked.count(("hidden", 0))
    qtbot.waitUntil(lambda: bench.source.asked.count(("hidden", 0)) > n, timeout=3000)
    bench.hand.press(Qt.Key.Key_H)
    assert "napari_eomt_hidden" not in bench.result.view.layer._overlays


def test_the_model_splits_and_knows_categories(bench, qtbot):
    bench = bench()
    bench.session.select([(0, 1)])
    bench.runner.run("split_by_model")
    qtbot.waitUntil(lambda: len(bench.segments()) == 2)
    assert bench.bar.text.text() == "Split object 1 into 2, as the model sees it"
    ids = bench.document.id_map(0)
    assert ids[30, 21] != ids[30, 38]
    bench.session.undo()
    bench.session.select([(0, 1)])
    bench.runner.run("likely_categories")
    qtbot.waitUntil(bench.candidates.menu.isVisible)
    entries = [a for a in bench.candidates.menu.actions() if not a.isSeparator()]
    assert [entry.text() for entry in entries] == ["cell\t90%", "debris\t5%"]
    entries[1].trigger()
    assert bench.segments()[1].category_id == 2
    bench.candidates.menu.close()


def test_when_nothing_is_kept_it_says_so_and_offers_to_run_again(bench, qtbot):
    bench = bench()
    bench.source.is_gone = True
    bench.hand.move(25, 30)
    bench.hand.press(Qt.Key.Key_C)
    bench.wait("no longer at hand")
    assert bench.candidates.again.isVisible()
    assert not bench.candidates.take.isVisible()
    with qtbot.waitSignal(bench.candidates.segment_requested):
        bench.candidates.again.click()
    bench.source.is_gone = False
    bench.hand.move(26, 31)
    bench.wait("candidate 1 of 3")
    assert not bench.candidates.again.isVisible()
    # Also where no candidates are shown.
    bench.finder.turn(False)
    bench.source.is_gone = True
    bench.session.select([(0, 1)])
    bench.runner.run("split_by_model")
    bench.wait("no longer at hand")
    assert bench.candidates.again.isVisible()


def test_the_keyboard_alone_finds_candidates_of_what_it_selected(bench, qtbot):
    bench = bench()
    bench.runner.run("next")
    assert bench.session.selection == {(0, 1)}
    bench.runner.run("next_candidate")
    bench.wait("candidate 1 of 3 · cell 0.90")
    assert bench.finder.candidate.query == (0, 0)


def test_it_ends_without_a_trace(bench, qtbot):
    bench = bench()
    layer, viewer = bench.result.view.layer, bench.viewer
    before = (
        set(layer._overlays),
        [list(c) for c in (viewer.mouse_drag_callbacks, viewer.mouse_wheel_callbacks)],
        {str(key) for key in viewer.keymap},
    )
    bench.hand.move(25, 30)
    bench.hand.press(Qt.Key.Key_C)
    bench.hand.press(Qt.Key.Key_H)
    bench.wait("candidate 1")
    bench.hand.press(Qt.Key.Key_H)
    bench.hand.press(Qt.Key.Key_Escape)
    assert not bench.finder.is_on
    after = (
        set(layer._overlays),
        [list(c) for c in (viewer.mouse_drag_callbacks, viewer.mouse_wheel_callbacks)],
        {str(key) for key in viewer.keymap},
    )
    assert after == before


def test_frames_and_results_have_candidates_of_their_own(bench, qtbot):
    bench = bench(n_frames=3)
    bench.hand.move(25, 30)
    bench.hand.press(Qt.Key.Key_C)
    bench.wait("candidate 1 of 3")
    bench.viewer.dims.set_point(0, 1)
    bench.wait("Point at something")
    assert not bench.outline()
    bench.hand.move(26, 30)
    bench.wait("candidate 1 of 3")
    assert bench.source.asked[-1][:2] == ("at", 1)
    bench.viewer.layers.remove(bench.result.view.layer)
    assert not bench.finder.is_on
    assert not bench.candidates.toggle.isEnabled()


def test_the_split_tool_and_a_brush_have_the_mouse_first(bench, qtbot):
    bench = bench()
    bench.candidates.toggle.click()
    bench.hand.move(2, 2)
    qtbot.wait(40)
    n = len(bench.source.asked)
    bench.hand.press(Qt.Key.Key_S)
    bench.hand.drag((10, 30), (50, 30))
    assert len(bench.segments()) == 2
    qtbot.wait(40)
    # The edit asks anew, once, where the mouse was before the tool had it.
    assert set(bench.source.asked) == {("at", 0, (2.0, 2.0))}
    assert len(bench.source.asked) <= n + 1
    n = len(bench.source.asked)
    layer = bench.result.view.layer
    bench.viewer.layers.selection.active = layer
    layer.mode = "paint"
    bench.hand.move(30, 25)
    qtbot.wait(40)
    assert len(bench.source.asked) == n


def test_the_worker_answers(make_napari_viewer, qtbot):
    """From the image through the bundled model to an object, with a mouse and keys."""
    viewer = make_napari_viewer(show=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-eomt", "EoMT")
    nuclei, _ = drawn_nuclei((150, 170), n=12, seed=3)
    viewer.add_image(nuclei)
    done = []
    dock.jobs.finished.connect(lambda event: done.append(event.n_frames))
    dock.page.segment.click()
    qtbot.waitUntil(lambda: 1 in done, timeout=90_000)
    dock.tabs.setCurrentIndex(1)
    result = dock.current.result
    segment = max(result.document.segments(0).values(), key=lambda s: s.area)
    y, x = Place(viewer, result).middle_of((0, segment.id))
    before = result.document.id_map(0) == segment.id
    hand = Hand(qtbot, viewer, result.view.layer)
    hand.move(y, x)
    hand.press(Qt.Key.Key_C)
    qtbot.waitUntil(lambda: "candidate 1 of" in dock.candidates.text.text(), timeout=10_000)
    assert "nucleus" in dock.candidates.text.text()
    hand.press(Qt.Key.Key_T)
    qtbot.waitUntil(lambda: segment.id in {i for _, i in result.session.selection})
    after = result.document.id_map(0) == segment.id
    assert (before & after).sum() / (before | after).sum() > 0.9
    assert result.document.segments(0)[segment.id].status is Status.EDITED
    hand.press(Qt.Key.Key_U)
    np.testing.assert_array_equal(result.document.id_map(0) == segment.id, before)
    # A process that has died keeps nothing.
    pid = dock.jobs.client.pid
    os.kill(pid, 9)
    qtbot.waitUntil(lambda: dock.jobs.client.pid not in (pid, None), timeout=90_000)
    qtbot.waitUntil(lambda: dock.jobs.client.state is WorkerState.WARM, timeout=90_000)
    hand.move(y + 2, x + 2)
    qtbot.waitUntil(dock.candidates.again.isVisible, timeout=10_000)
    dock.candidates.again.click()
    qtbot.waitUntil(lambda: done.count(1) == 2, timeout=90_000)
    hand.move(y, x)
    qtbot.waitUntil(lambda: "candidate 1 of" in dock.candidates.text.text(), timeout=10_000)
    viewer.window.remove_dock_widget(dock)
