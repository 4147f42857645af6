"""The strip leads from object to object, by keys alone, and says when to stop."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from tests.annotation.test_review import doubt
from tests.canvas import settle

from napari_eomt.annotation import operations
from napari_eomt.annotation.document import FrameState
from napari_eomt.annotation.review_order import Order, carried_over
from napari_eomt.structures.axes import AxisRoles
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation, Status
from napari_eomt.viewer.image_source import LayerSource
from napari_eomt.viewer.results import Results
from napari_eomt.viewer.review_place import COMFORTABLE_PX, TINY_PX
from napari_eomt.widgets.action_runner import ActionRunner
from napari_eomt.widgets.current import Current
from napari_eomt.widgets.jobs import JobBar
from napari_eomt.widgets.review import ReviewStrip

STEP, SIDE = 12, 8


class Bench:
    """A viewer with squares in rows of ten, one for each score, and the strip."""

    def __init__(self, qtbot, viewer, *frames, size=None):
        self.viewer = viewer
        n_rows = max(-(-len(scores) // 10) for scores in frames)
        height, width = size or (n_rows * STEP, 10 * STEP)
        shape = (height, width) if len(frames) == 1 else (len(frames), height, width)
        image = viewer.add_image(np.zeros(shape, np.uint8), name="image")
        roles = AxisRoles((), 0, 1) if len(frames) == 1 else AxisRoles((0,), 1, 2)
        if len(frames) > 1:
            viewer.dims.set_point(0, 0)
        self.results = Results(viewer)
        self.current = Current(viewer, self.results)
        self.bar = JobBar()
        self.runner = ActionRunner(viewer, self.current, self.bar)
        self.strip = ReviewStrip(self.runner, self.current)
        qtbot.addWidget(self.bar)
        qtbot.addWidget(self.strip)
        self.current.follow(image, roles)
        source = LayerSource(image, roles)
        self.result = self.results.create("key", image, roles, source, [Category(1, "cell")])
        self.session, self.document = self.result.session, self.result.document
        for frame, scores in enumerate(frames):
            self.result.propose(frame, self.squares(scores), "Segment")
        viewer.reset_view()

    def squares(self, scores):
        id_map = np.zeros(self.document.image_shape, np.uint16)
        segments = []
        for k, score in enumerate(scores):
            y, x = k // 10 * STEP, k % 10 * STEP
            id_map[y : y + SIDE, x : x + SIDE] = k + 1
            box = (y, x, y + SIDE, x + SIDE)
            segments.append(Segment(k + 1, 1, score, area=SIDE**2, bbox=box))
        return Segmentation(id_map, tuple(segments))

    def press(self, key):
        """Press a key as the canvas hands it on."""
        (binding,) = [binding for binding in self.viewer.keymap if str(binding) == key]
        self.viewer.keymap[binding](self.viewer)
        settle()

    def close(self):
        self.strip.close_result()
        self.runner.close()
        self.current.close()
        self.results.close()


@pytest.fixture
def bench(make_napari_viewer, qtbot):
    benches = []

    def make(*frames, show=False, **options):
        bench = Bench(qtbot, make_napari_viewer(show=show), *frames, **options)
        benches.append(bench)
        return bench

    yield make
    for bench in benches:
        bench.close()


def test_a_review_by_keys_alone(bench):
    bench = bench([0.9, 0.3, 0.5])
    strip, session = bench.strip, bench.session
    assert strip.place.text() == "3 to review"
    bench.press("N")
    assert session.selection == {(0, 2)}
    assert strip.place.text() == "1 of 3 to review"
    assert strip.about.text() == "#2 cell · 0.30 certain"
    assert "1 of 3 to review" in bench.bar.text.text()
    bench.press("A")
    assert session.selection == {(0, 3)}
    assert strip.place.text() == "1 of 2 to review"
    assert strip.progress.value() == 1
    assert strip.rate.text() == "1 of 3 · 100 % accepted unchanged"
    bench.press("Shift+N")
    assert session.selection == {(0, 1)}
    bench.press("R")
    assert session.selection == {(0, 3)}
    assert strip.rate.text() == "2 of 3 · 50 % accepted unchanged"
    bench.press("A")
    assert session.selection == frozenset()
    assert "Nothing is left to review" in bench.bar.text.text()
    statuses = [s.status for s in bench.document.segments(0).values()]
    assert statuses == [Status.REJECTED, Status.ACCEPTED, Status.ACCEPTED]
    bench.press("U")
    assert session.selection == {(0, 3)}, "what is to be decided again"
    bench.press("U")
    assert session.selection == {(0, 1)}
    assert strip.place.text() == "2 of 2 to review"


def test_buttons_do_what_the_keys_do(bench, qtbot):
    bench = bench([0.9, 0.3, 0.5])
    strip = bench.strip
    assert not strip.accept.isEnabled()
    for button in (strip.next, strip.next, strip.previous):
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert bench.session.selection == {(0, 2)}
    qtbot.mouseClick(strip.accept, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(strip.reject, Qt.MouseButton.LeftButton)
    assert bench.document.segments(0)[2].status is Status.ACCEPTED
    assert bench.document.segments(0)[3].status is Status.REJECTED
    for button in (strip.next, strip.previous, strip.accept, strip.reject):
        assert button.toolTip()
        assert button.accessibleName()


def test_deleting_goes_on_and_painting_does_not(bench):
    bench = bench([0.9, 0.3, 0.5])
    bench.press("N")
    bench.press("D")
    assert bench.session.selection == {(0, 3)}
    layer = bench.result.view.layer
    layer.mode = "paint"
    layer.selected_label = 3
    layer.paint((SIDE, 2 * STEP), 3)
    settle()
    assert bench.document.segments(0)[3].status is Status.EDITED
    assert bench.session.selection == {(0, 3)}
    assert bench.strip.place.text() == "1 to review"
    bench.press("N")
    assert bench.session.selection == {(0, 1)}


def test_many_that_are_selected_are_accepted_and_it_goes_on(bench):
    bench = bench([0.9, 0.3, 0.5, 0.7])
    bench.session.select([(0, 2), (0, 3)])
    bench.press("A")
    assert bench.session.selection == {(0, 4)}
    assert bench.session.undo_name == "Accept 2 objects"


def test_twenty_right_ones_offer_to_accept_the_rest(bench, qtbot):
    bench = bench([k / 100 for k in range(1, 51)])
    strip = bench.strip
    for _ in range(20):
        assert strip.advice.isHidden()
        bench.press("N") if not bench.session.selection else None
        bench.press("A")
    assert not strip.advice.isHidden()
    assert strip.advice_text.text() == (
        "20 in a row were right. Of the 30 left, of which the model is surer, about 1 should be "
        "wrong."
    )
    assert strip.advice_text.toolTip().startswith("At most 4.5 %")
    assert strip.advice_button.text() == "Accept the rest"
    n = bench.session.n_steps
    qtbot.mouseClick(strip.advice_button, Qt.MouseButton.LeftButton)
    assert bench.session.n_steps == n + 1
    assert {s.status for s in bench.document.segments(0).values()} == {Status.ACCEPTED}
    assert bench.document.state(0) is FrameState.REVIEWED
    assert strip.advice.isHidden()
    assert strip.progress.value() == strip.progress.maximum() == 50
    bench.press("U")
    assert strip.place.text().endswith("of 30 to review")
    bench.press("R")
    assert strip.advice.isHidden(), "something was wrong"


def test_what_is_decided_is_marked_as_reviewed(bench, qtbot):
    bench = bench([0.5], [0.6])
    strip = bench.strip
    bench.press("N")
    bench.press("A")
    assert strip.advice_text.text() == "Everything in this frame is decided."
    qtbot.mouseClick(strip.advice_button, Qt.MouseButton.LeftButton)
    assert bench.document.state(0) is FrameState.REVIEWED
    assert strip.advice.isHidden()
    bench.press("U")
    assert bench.document.state(0) is FrameState.PROPOSED
    assert not strip.advice.isHidden()


def test_all_frames_in_one_order(bench):
    bench = bench([0.5, 0.9], [0.1, 0.8])
    strip = bench.strip
    assert not strip.choice.frames.isHidden()
    assert strip.place.text() == "2 to review"
    strip.choice.choose(all_frames=True)
    assert strip.place.text() == "4 to review"
    bench.press("N")
    assert bench.current.frame == 1
    assert [f for f, _ in bench.session.selection] == [1]
    bench.press("A")
    assert bench.current.frame == 0
    assert "0 of 2 frames done" in strip.rate.text()
    strip.choice.choose(order=Order.FRAMES, all_frames=True)
    assert [f for f, _ in strip.queue.keys()] == [1, 0, 0]  # noqa: SIM118 - no dict
    strip.choice.choose()
    assert strip.place.text() == "1 of 2 to review"
    bench.viewer.dims.set_point(0, 1)
    assert strip.place.text() == "1 to review"


def test_only_what_is_uncertain(bench):
    bench = bench([0.9, 0.3, 0.4])
    strip = bench.strip
    changes = []
    strip.choice_changed.connect(lambda: changes.append(1))
    strip.choice.only.click()
    assert strip.choice.limit.isEnabled()
    assert strip.place.text() == "2 uncertain"
    strip.choice.limit.setValue(0.35)
    assert strip.place.text() == "1 uncertain"
    bench.press("N")
    bench.press("A")
    assert "Nothing uncertain is left" in bench.bar.text.text()
    assert "2 objects the model is surer" in strip.advice_text.text()
    strip.advice_button.click()
    assert strip.place.text() == "2 to review"
    assert len(changes) == 3


def test_orders_as_they_are_called(bench):
    bench = bench([0.3, 0.9, 0.5])
    orders = bench.strip.choice.orders
    assert orders.count() == 4, "a single image has no frames to order"
    orders.setCurrentIndex(orders.findText("As in the image"))
    assert [i for _, i in bench.strip.queue.keys()] == [1, 2, 3]  # noqa: SIM118 - no dict
    assert all(orders.itemData(k, Qt.ItemDataRole.ToolTipRole) for k in range(4))


def test_what_the_model_doubts_is_said(bench, qtbot):
    bench = bench([0.9, 0.95])
    strip = bench.strip
    # Of a second run: ids are others than those of the proposal.
    bench.session.do(operations.delete(bench.document, [(0, 1)]))
    proposed = bench.squares([0.9, 0.95, 0.97])
    bench.result.propose(0, proposed, "Segment")
    doubts = [doubt(0.1), doubt(0.2), doubt(0.8, softness=0.7)]
    found = carried_over(bench.document, 0, proposed, doubts)
    at = {int(bench.document.id_map(0)[0, STEP * k]): doubts[k] for k in range(3)}
    assert found == {(0, i): unsure for i, unsure in at.items()}
    strip.know_doubts("key", 0, found)
    qtbot.waitUntil(lambda: strip.queue.doubt(next(iter(found))) is not None)
    bench.press("N")
    assert strip.about.text().endswith("0.20 certain, least of its outline")


@pytest.mark.parametrize("factor", [0.01, 50])
def test_the_view_makes_objects_neither_tiny_nor_too_large(bench, factor):
    bench = bench([0.9, 0.3, 0.5], show=True)
    camera = bench.viewer.scene.camera
    camera.zoom *= factor
    bench.press("N")
    on_screen = SIDE * camera.zoom
    if factor < 1:
        assert on_screen == pytest.approx(COMFORTABLE_PX)
    else:
        assert TINY_PX < on_screen < 0.9 * min(bench.viewer.canvas.size)
    assert tuple(camera.center)[-2:] == pytest.approx(((SIDE - 1) / 2, STEP + (SIDE - 1) / 2))
    zoom = camera.zoom
    bench.press("N")
    assert camera.zoom == zoom, "comfortable as it is"


def test_without_a_result_nothing_can_be_done(bench):
    bench = bench([0.3])
    strip = bench.strip
    bench.current.follow(None, None)
    assert strip.queue is None
    assert not strip.isEnabled()
    assert strip.place.text() == "Nothing to review"
    assert strip.go(1) == ""
    assert strip.accept_current() == ""


def test_it_is_as_narrow_as_the_dock(bench, qtbot):
    bench = bench([k / 100 for k in range(1, 51)], [0.5])
    for _ in range(21):
        bench.press("N") if not bench.session.selection else None
        bench.press("A")
    strip = bench.strip
    strip.choice.only.setChecked(True)
    assert strip.minimumSizeHint().width() <= 280
