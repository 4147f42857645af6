"""The Correct page in its dock: what it works on, what it says when there is nothing."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from tests.annotation.random_edits import state
from tests.canvas import Hand
from tests.result_bench import CATEGORIES, ResultBench, segmentation

from napari_eomt.annotation import operations
from napari_eomt.annotation.files import load_document
from napari_eomt.annotation.shapes import split_by_line
from napari_eomt.settings import load_settings
from napari_eomt.structures.axes import AxisRoles
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Status
from napari_eomt.viewer.image_source import LayerSource, guess_roles
from napari_eomt.widgets.dock import EomtDock


@pytest.fixture
def dock(viewer, qtbot, client):
    return opened(viewer, qtbot, client)


def opened(viewer, qtbot, client):
    dock = EomtDock(viewer, client=client)
    qtbot.addWidget(dock, before_close_func=lambda dock: dock.shutdown())
    return dock


def add_result(dock, viewer, name="image", *, roles=None, shape=(60, 80)):
    image = viewer.add_image(np.zeros(shape, np.uint8), name=name)
    roles = guess_roles(image) if roles is None else roles
    source = LayerSource(image, roles)
    result = dock.results.create(name, image, roles, source, CATEGORIES)
    result.propose(0, segmentation(), "Segment")
    result.view.show_table()
    return result


def test_an_empty_page_says_what_comes_next(viewer, dock, monkeypatch):
    page = dock.annotate
    opened = []
    monkeypatch.setattr(type(viewer), "open_sample", lambda _, *args: opened.append(args))
    assert page.content.isHidden()
    assert page.draw.isHidden()
    assert "Open an image" in page.hint.text()
    page.start.click()
    assert opened == [("napari-eomt", "nuclei_fluorescence_large")]
    ran = []
    page.segment_requested.connect(lambda: ran.append(1))
    viewer.add_image(np.zeros((60, 80), np.uint8))
    assert page.start.text() == "Segment"
    assert not page.draw.isHidden()
    page.start.click()
    assert ran == [1]
    assert dock.page.is_running
    dock.page.runs.stop()
    add_result(dock, viewer, "other")
    assert page.start.isHidden()
    assert not page.content.isHidden()
    viewer.layers.remove(dock.current.result.view.layer)
    assert not page.start.isHidden()


@pytest.mark.parametrize("n_frames", [0, 3])
def test_objects_are_drawn_without_a_model(make_napari_viewer, qtbot, client, tmp_path, n_frames):
    viewer = make_napari_viewer(show=True)
    dock = opened(viewer, qtbot, client)
    shape = (n_frames, 60, 80) if n_frames else (60, 80)
    image = viewer.add_image(np.zeros(shape, np.uint8), name="image")
    if n_frames:
        viewer.dims.set_point(0, 1)
    frame = 1 if n_frames else 0
    dock.show_page("correct")
    dock.annotate.draw.click()
    result = dock.current.result
    layer = result.view.layer
    assert viewer.layers.selection.active is layer
    assert dock.image.layer is image
    assert (layer.mode, layer.selected_label) == ("paint", 1)
    assert [c.name for c in result.document.categories.values()] == ["nucleus"]
    assert not dock.annotate.content.isHidden()
    assert dock.annotate.draw.isHidden()
    assert "M takes the next number" in dock.bar.text.text()
    assert dock.work.unsaved == []
    hand = Hand(qtbot, viewer, layer)
    hand.drag((20, 20), (20, 40))
    hand.press(Qt.Key.Key_M)
    hand.drag((40, 20), (40, 40))
    segments = result.document.segments(frame)
    assert {i: s.status for i, s in segments.items()} == {1: Status.DRAWN, 2: Status.DRAWN}
    assert dock.annotate.table.model.rowCount() == 2
    assert set(layer.features["index"]) == {1, 2}
    dock.annotate.categories.add_category()
    result.session.select([(frame, 2)])
    layer.mode = "pan_zoom"
    hand.press(Qt.Key.Key_2, Qt.KeyboardModifier.AltModifier)
    assert layer.features["category"].nunique() == 2
    before = state(result.document)
    dock.saving.save_to(tmp_path / "drawn.eomt")
    qtbot.waitUntil(lambda: dock.work.unsaved == [], timeout=10_000)
    assert state(load_document(tmp_path / "drawn.eomt")[0]) == before
    for _ in range(4):
        hand.press(Qt.Key.Key_U)
    assert not result.document.segments(frame)
    assert not layer.data.any()


def test_the_page_is_remembered_and_reached_by_keys(viewer, dock, qtbot, client):
    assert dock.tabs.currentIndex() == 0
    bar = dock.tabs.tabBar()
    bar.setFocus()
    qtbot.keyClick(bar, Qt.Key.Key_Right)
    assert dock.tabs.currentWidget().widget() is dock.annotate
    dock.shutdown()
    assert load_settings().page == "correct"
    again = opened(viewer, qtbot, client)
    assert again.tabs.currentWidget().widget() is again.annotate


def test_the_correct_page_takes_the_result_s_layer_in_hand(viewer, dock):
    result = add_result(dock, viewer)
    viewer.layers.selection.active = result.image
    dock.tabs.setCurrentIndex(1)
    assert viewer.layers.selection.active is result.view.layer
    assert dock.image.layer is result.image


def test_the_image_follows_the_layer_of_its_result(viewer, dock):
    one, other = add_result(dock, viewer, "one"), add_result(dock, viewer, "other")
    assert dock.current.result is other
    viewer.layers.selection.active = one.view.layer
    assert dock.image.layer is one.image
    assert dock.current.result is one
    dock.image.pin.setChecked(True)
    viewer.layers.selection.active = other.view.layer
    assert dock.current.result is one
    dock.image.pin.setChecked(False)
    viewer.layers.selection.active = other.image
    assert dock.current.result is other


def test_the_axes_of_a_result_come_back_with_its_image(viewer, dock):
    roles = AxisRoles((), 1, 2, channel=0)
    result = add_result(dock, viewer, roles=roles, shape=(2, 60, 80))
    assert dock.current.result is result
    dock.page.axes.show_roles(guess_roles(result.image))
    assert dock.current.result is None  # as two frames there is none
    viewer.add_image(np.zeros((60, 80), np.uint8), name="other")
    assert dock.current.result is None
    viewer.layers.selection.active = result.image
    assert dock.page.axes.roles == roles
    assert dock.current.result is result


def test_of_two_results_the_one_whose_layer_was_selected(viewer, dock):
    first = add_result(dock, viewer)
    source = LayerSource(first.image, first.roles)
    second = dock.results.create("second", first.image, first.roles, source, CATEGORIES)
    assert dock.current.result is second
    viewer.layers.selection.active = first.view.layer
    assert dock.current.result is first
    viewer.layers.selection.active = first.image
    assert dock.current.result is first
    viewer.layers.remove(first.view.layer)
    assert dock.current.result is second


@pytest.fixture
def bench():
    bench = ResultBench(ViewerModel(), 3)
    yield bench
    bench.close()


def test_current_tells_what_happens(bench):
    told = []
    current = bench.current
    current.result_changed.connect(lambda: told.append("result"))
    current.frame_changed.connect(lambda frame: told.append(("frame", frame)))
    current.selection_changed.connect(lambda: told.append("selection"))
    current.document_changed.connect(lambda edit: told.append(edit.name))
    bench.viewer.dims.set_point(0, 2)
    bench.session.select([(0, 1)])
    assert current.edit(operations.set_note, [(0, 1)], "odd")
    assert not current.edit(operations.set_note, [(0, 1)], "odd")
    assert told == [("frame", 2), "selection", "Note on 1 object"]
    told.clear()
    old = bench.session
    bench.make()
    assert told == ["result", "Segment"]
    told.clear()
    old.do(operations.delete(old.document, [(0, 1)]))
    assert told == []
    current.follow(None, None)
    assert (current.result, current.session, current.document, current.frame) == (None,) * 3 + (0,)
    assert not current.edit(operations.delete, [(0, 1)])


def test_what_cannot_be_done_is_said(bench):
    said = []
    bench.current.refused.connect(said.append)
    assert not bench.current.edit(operations.merge, [(0, 1)])
    assert "Merging takes two objects" in said[0]
    assert not bench.current.edit(operations.delete, [(0, 77)])
    assert "no object 77" in said[1]


def test_a_stroke_under_way_is_a_step_before_the_edit(bench):
    layer = bench.layer
    layer.mode = "paint"
    layer._begin_stroke()
    layer._draw(90, (0, 50, 70), (0, 50, 75))
    assert bench.current.edit(split_by_line, (0, 3), [(28, 20), (57, 20)])
    layer._commit_stroke()
    assert bench.segment(90).status is Status.DRAWN
    assert bench.session.undo_name.startswith("Split")
    bench.session.undo()
    assert bench.segment(90).status is Status.DRAWN
    bench.session.undo()
    assert 90 not in bench.document.segments(0)


def test_more_ids_than_16_bits_hold_end_nothing(bench):
    result = bench.result
    bench.document.hold(65_534)
    mask = np.ones((2, 2), bool)
    segment = bench.segment(1)
    for k in range(3):
        bench.session.do(operations.add(bench.document, 0, mask, (50, 5 * k), segment))
    assert bench.layer.data.dtype == np.uint32
    assert bench.current.result is result


def test_what_is_drawn_by_category_has_its_colour_while_it_is_drawn(bench):
    view = bench.result.view
    view.color_by_category(True)
    view.category_id = 3
    expected = [*view.category_colors[3], 1]
    assert bench.layer.get_color(90) == pytest.approx(expected)
    bench.layer.paint((0, 50, 70), 90)
    assert bench.layer.get_color(90) == pytest.approx(expected)
    view.category_id = 7
    assert bench.layer.get_color(90) == pytest.approx(expected)
    bench.session.do(operations.recategorise(bench.document, [(0, 90)], 9))
    assert bench.layer.get_color(90) == pytest.approx([*view.category_colors[9], 1])
    bench.session.undo()
    assert bench.layer.get_color(90) == pytest.approx(expected)


def test_canvas_and_table_select_together(make_napari_viewer, qtbot, client):
    viewer = make_napari_viewer(show=True)
    dock = EomtDock(viewer, client=client)
    viewer.window.add_dock_widget(dock, area="right")
    result = add_result(dock, viewer)
    dock.tabs.setCurrentIndex(1)
    viewer.reset_view()
    hand = Hand(qtbot, viewer, result.view.layer)
    hand.click(40, 20)
    assert result.session.selection == {(0, 3)}
    table = dock.annotate.table
    (index,) = table.view.selectionModel().selectedRows()
    assert table.model.key(index.row()) == (0, 3)
    row = table.model.place((0, 4))
    where = table.view.visualRect(table.model.index(row, 0)).center()
    qtbot.mouseClick(table.view.viewport(), Qt.MouseButton.LeftButton, pos=where)
    assert result.session.selection == {(0, 4)}
    assert viewer.scene.camera.center[-2:] == pytest.approx((34.5, 54.5))
    qtbot.keyClick(table.view, Qt.Key.Key_Delete)
    assert 4 not in result.document.segments(0)
    dock.shutdown()
    assert viewer.mouse_drag_callbacks == [] or all(
        "ClickSelection" not in repr(callback) for callback in viewer.mouse_drag_callbacks
    )


def test_the_dock_is_no_wider_than_it_may_be(viewer, dock, qtbot):
    add_result(dock, viewer)
    dock.tabs.setCurrentIndex(1)
    dock.annotate.table.filter.more.setChecked(True)
    dock.show()
    dock.resize(300, 900)
    assert dock.minimumSizeHint().width() <= 300
    assert dock.annotate.minimumSizeHint().width() <= 300


def test_categories_take_the_room_that_they_need(viewer, dock, qtbot):
    dock.resize(320, 1000)
    dock.show()
    dock.tabs.setCurrentIndex(1)
    result = add_result(dock, viewer)
    page = dock.annotate
    qtbot.wait(20)
    view = page.categories.view
    assert not view.verticalScrollBar().isVisible()
    assert view.height() < page.table.view.height()
    more = [Category(20 + k, f"kind {k}") for k in range(30)]
    result.session.do(operations.add_categories(result.document, more))
    qtbot.wait(20)
    assert view.verticalScrollBar().isVisible()
    assert view.height() < page.table.view.height()
    # A person's own arrangement stays.
    page.lists.setSizes([400, 200])
    page.lists.splitterMoved.emit(400, 1)
    height = view.height()
    result.session.undo()
    qtbot.wait(20)
    assert view.height() == pytest.approx(height, abs=40)
