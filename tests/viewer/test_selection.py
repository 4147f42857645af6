"""Clicks select, what is selected is outlined, and what is looked for comes into view."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from tests.canvas import Hand
from tests.result_bench import BOXES, ResultBench

from napari_eomt.annotation import operations
from napari_eomt.viewer.outlines import Outline
from napari_eomt.viewer.selection import OVERLAY, ClickSelection, outline_of, show_segment

SHIFT = Qt.KeyboardModifier.ShiftModifier


def unit_edges(outline):
    """Return an outline's edges cut into pieces of one pixel, with their directions."""
    pieces = set()
    for start, end in outline.edges:
        n = round(float(np.abs(end - start).sum()))
        step = (end - start) / n
        pieces |= {(tuple(start + k * step), tuple(start + (k + 1) * step)) for k in range(n)}
    return pieces


def definition(id_map, origin=(0, 0)):
    """An edge of a pixel belongs to the outline if the pixel behind it is another segment."""
    edges = set()
    padded = np.pad(id_map, 1)
    for y, x in np.argwhere(padded):
        # Clockwise on the screen, so that the inside lies to the right.
        for dy, dx, start, end in (
            (-1, 0, (-0.5, -0.5), (-0.5, 0.5)),
            (0, 1, (-0.5, 0.5), (0.5, 0.5)),
            (1, 0, (0.5, 0.5), (0.5, -0.5)),
            (0, -1, (0.5, -0.5), (-0.5, -0.5)),
        ):
            if padded[y + dy, x + dx] != padded[y, x]:
                at = np.array([y - 1, x - 1]) + origin
                edges.add((tuple(at + start), tuple(at + end)))
    return edges


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_outlines_equal_their_definition(dtype):
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (1, 7), (7, 1), (9, 13)):
        id_map = rng.integers(0, 4, shape).astype(dtype)
        assert unit_edges(outline_of(id_map, (3, 5))) == definition(id_map, (3, 5))
    assert not outline_of(np.zeros((4, 4), dtype))


def test_an_outline_of_a_mask_is_the_candidates():
    mask = np.random.default_rng(1).random((8, 9)) < 0.5
    ours = unit_edges(outline_of(mask.view(np.uint8), (2, 2)))
    assert ours == unit_edges(Outline.around(mask, (2, 2)))


def test_straight_pieces_are_one_edge():
    square = np.zeros((9, 9), np.uint16)
    square[2:6, 3:8] = 1
    assert len(outline_of(square).edges) == 4


@pytest.fixture
def stack():
    bench = ResultBench(ViewerModel(), 3)
    yield bench
    bench.close()


def outlined(bench):
    return unit_edges(bench.result.outline.outlines.shown)


def box_of(i):
    id_map = np.zeros((60, 80), np.uint8)
    y0, x0, y1, x1 = BOXES[i]
    id_map[y0:y1, x0:x1] = 1
    return definition(id_map)


def test_what_is_selected_in_the_shown_frame_is_outlined(stack):
    assert outlined(stack) == set()
    stack.session.select([(0, 1), (1, 6)])
    assert outlined(stack) == box_of(1)
    stack.viewer.dims.set_point(0, 1)
    assert outlined(stack) == box_of(2)  # ids run on: 6 is the second of its frame
    stack.viewer.dims.set_point(0, 2)
    assert outlined(stack) == set()
    stack.viewer.dims.set_point(0, 0)
    assert outlined(stack) == box_of(1)
    stack.session.select([])
    assert outlined(stack) == set()


def test_outlines_follow_edits(stack):
    session = stack.session
    session.select([(0, 1), (0, 2)])
    session.do(operations.delete(stack.document, [(0, 2)]))
    assert outlined(stack) == box_of(1)
    with stack.layer.block_history():
        stack.layer.data_setitem((np.array([0]), np.array([5]), np.array([5])), 0)
    expected = np.zeros((60, 80), np.uint8)
    expected[5:25, 5:25] = 1
    expected[5, 5] = 0
    assert outlined(stack) == definition(expected)
    session.undo()
    session.undo()
    assert outlined(stack) == box_of(1)


def test_rejected_objects_have_no_outline(stack):
    stack.session.select([(0, 1)])
    stack.session.do(operations.reject(stack.document, [(0, 1)]))
    assert outlined(stack) == set()


def test_many_are_outlined_as_few_are(stack, monkeypatch):
    keys = [(0, 1), (0, 2), (0, 3)]
    stack.session.select(keys)
    few = outlined(stack)
    stack.session.select([])
    monkeypatch.setattr("napari_eomt.viewer.selection._ONE_BY_ONE", 1)
    stack.session.select(keys)
    assert outlined(stack) == few


def test_the_overlay_goes_with_the_result(stack):
    layer = stack.layer
    assert f"napari_eomt_{OVERLAY}" in layer._overlays
    stack.close()
    assert f"napari_eomt_{OVERLAY}" not in layer._overlays
    assert [type(shown).__name__ for shown in stack.viewer.layers] == ["Image", "Labels"]


GEOMETRIES = {
    "plain": {},
    "turned": {"rotate": 30, "scale": (0.5, 0.25), "translate": (40, -3)},
    "sheared": {"shear": [0.3], "affine": np.array([[0, 1.5, 5], [1, 0, -2], [0, 0, 1]])},
}


@pytest.fixture(params=GEOMETRIES)
def clicked(request, make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    bench = ResultBench(viewer, **GEOMETRIES[request.param])
    bench.clicks = ClickSelection(viewer, lambda: bench.result)
    viewer.layers.selection.active = bench.layer
    viewer.reset_view()
    bench.hand = Hand(qtbot, viewer, bench.layer)
    yield bench
    bench.clicks.close()
    bench.close()


def test_clicks_select(clicked):
    hand, session = clicked.hand, clicked.session
    hand.click(15, 15)
    assert session.selection == {(0, 1)}
    hand.click(15, 35)
    assert session.selection == {(0, 2)}
    hand.click(40, 20, SHIFT)
    assert session.selection == {(0, 2), (0, 3)}
    hand.click(15, 35, SHIFT)
    assert session.selection == {(0, 3)}
    hand.click(2, 2, SHIFT)
    assert session.selection == {(0, 3)}
    hand.click(2, 2)
    assert session.selection == frozenset()
    assert session.n_steps == 1


@pytest.mark.parametrize("clicked", ["plain"], indirect=True)
def test_what_is_no_click_selects_nothing(clicked):
    hand, session, viewer = clicked.hand, clicked.session, clicked.viewer
    session.select([(0, 4)])
    before = viewer.scene.camera.center
    hand.drag((15, 15), (25, 30))
    assert viewer.scene.camera.center != before
    assert session.selection == {(0, 4)}
    viewer.reset_view()
    clicked.layer.mode = "paint"
    hand.click(15, 15)
    assert session.selection == {(0, 4)}
    clicked.layer.mode = "pan_zoom"
    clicked.layer.visible = False
    hand.click(15, 15)
    assert session.selection == {(0, 4)}
    clicked.layer.visible = True
    viewer.add_points([(1, 1)])
    hand.click(15, 15)
    assert session.selection == {(0, 4)}
    viewer.layers.selection.active = clicked.image
    hand.click(15, 15)
    assert session.selection == {(0, 1)}


@pytest.mark.parametrize("clicked", ["plain"], indirect=True)
def test_outlines_are_seen_on_any_brightness(clicked, qtbot):
    viewer = clicked.viewer
    for brightness in (0, 128, 255):
        clicked.image.data = np.full((60, 80), brightness, np.uint8)
        clicked.image.contrast_limits = (0, 255)
        clicked.layer.opacity = 0
        clicked.session.select([])
        qtbot.wait(50)
        without = viewer.screenshot(flash=False).astype(int)
        clicked.session.select([(0, 3)])
        qtbot.wait(50)
        change = np.abs(viewer.screenshot(flash=False).astype(int) - without).max(2)
        assert (change > 100).sum() > 100, brightness
    clicked.clicks.close()


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_objects_come_into_view(geometry):
    viewer = ViewerModel()
    bench = ResultBench(viewer, **GEOMETRIES[geometry])
    show_segment(viewer, bench.result, (0, 3))
    y0, x0, y1, x1 = BOXES[3]
    expected = bench.layer.data_to_world(((y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2))
    assert viewer.scene.camera.center[-2:] == pytest.approx(expected)
    zoom = viewer.scene.camera.zoom
    show_segment(viewer, bench.result, (0, 4), close=True)
    assert viewer.scene.camera.zoom != zoom
    bench.close()


def test_frames_come_into_view(stack):
    show_segment(stack.viewer, stack.result, (2, 10))
    assert stack.current.frame == 2
    show_segment(stack.viewer, stack.result, (2, 99))  # there is none
    assert stack.current.frame == 2
    # Beside a layer of more dimensions the axes are the last ones.
    stack.viewer.add_image(np.zeros((4, 3, 60, 80), np.uint8))
    show_segment(stack.viewer, stack.result, (1, 6))
    assert stack.current.frame == 1


def test_in_three_dimensions_the_object_that_is_seen_is_meant(stack):
    stack.viewer.dims.ndisplay = 3
    view = stack.result.view
    key = view.key_at((-5, 15, 15), np.array([1.0, 0, 0]), [0, 1, 2])
    assert key == (0, 1)
    assert view.key_at((-5, 1, 1), np.array([1.0, 0, 0]), [0, 1, 2]) is None
    stack.session.select([(0, 1)])
    assert outlined(stack) == set()
