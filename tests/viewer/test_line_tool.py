"""Splitting with the mouse in a real canvas."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from tests.canvas import Hand

from napari_eomt.structures.axes import AxisRoles
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation
from napari_eomt.viewer.image_source import LayerSource, guess_roles
from napari_eomt.viewer.keymap import KeyBindings
from napari_eomt.viewer.line_tool import LineTool
from napari_eomt.viewer.place import Place
from napari_eomt.viewer.results import Results

H, W = 60, 80
ROTATED = {"rotate": 30, "scale": (0.5, 0.5), "translate": (4, -3)}


class Bench:
    """A viewer with one object, a line tool, and a hand."""

    def __init__(self, qtbot, viewer, shape=(H, W), frame=0, **options):
        self.viewer = viewer
        image = viewer.add_image(np.zeros(shape, np.uint8), **options)
        roles = guess_roles(image) if len(shape) == 2 else AxisRoles((0,), 1, 2)
        self.results = Results(viewer)
        self.result = self.results.create(
            "key", image, roles, LayerSource(image, roles), [Category(1, "cell")]
        )
        self.place = Place(viewer, self.result)
        self.place.show_frame(frame)
        drawn = np.zeros((H, W), np.uint16)
        drawn[20:40, 20:60] = 1
        self.result.propose(
            frame, Segmentation(drawn, (Segment(1, 1, area=800, bbox=(20, 20, 40, 60)),)), "Segment"
        )
        self.said = []
        self.keys = KeyBindings(viewer, lambda name: None)
        self.keys.follow([image, self.result.view.layer])
        self.tool = LineTool(self.keys, lambda text, is_error: self.said.append((text, is_error)))
        viewer.reset_view()
        self.hand = Hand(qtbot, viewer, self.result.view.layer)

    @property
    def id_map(self):
        return self.result.document.id_map(self.place.frame)

    def start(self):
        self.before = self.state()
        self.tool.start(self.place)

    def state(self):
        """What the tool must leave as it was."""
        viewer = self.viewer
        return (
            [
                list(callbacks)
                for callbacks in (
                    viewer.mouse_drag_callbacks,
                    viewer.mouse_move_callbacks,
                    viewer.mouse_wheel_callbacks,
                    viewer.mouse_double_click_callbacks,
                )
            ],
            {str(key) for key in viewer.keymap},
            {str(key) for key in self.result.view.layer.keymap},
            viewer.scene.camera.mouse_pan,
            str(viewer.layers.selection.active.mode),
            viewer.cursor.style,
            set(self.result.view.layer._overlays),
            len(viewer.layers),
        )


@pytest.fixture
def bench(make_napari_viewer, qtbot):
    def make(**options):
        return Bench(qtbot, make_napari_viewer(show=True), **options)

    return make


@pytest.mark.parametrize(
    "options", [{}, ROTATED, {"shape": (5, H, W), "frame": 3, "scale": (4, 2, 1)}]
)
def test_a_drag_across_splits(bench, options):
    bench = bench(**options)
    camera = bench.viewer.scene.camera.center
    bench.start()
    bench.hand.drag((10, 40), (50, 40))
    ids = bench.id_map
    assert set(np.unique(ids)) == {0, 1, 2}
    assert (ids > 0).sum() == 800
    assert ids[30, 25] != ids[30, 55]
    columns = np.nonzero(ids[30] == ids[30, 55])[0]
    assert abs(int(columns[0]) - 40) <= 2
    assert bench.said[-1] == ("Split object 1 into 2", False)
    assert not bench.tool.is_on
    assert bench.state() == bench.before
    assert bench.viewer.scene.camera.center == camera  # the drag did not pan
    bench.result.session.undo()
    assert set(np.unique(bench.id_map)) == {0, 1}


def test_two_clicks_within_the_object_split(bench):
    bench = bench()
    bench.start()
    bench.hand.click(30, 25)
    assert bench.tool.is_on
    bench.hand.click(30, 55)
    assert bench.id_map[30, 25] != bench.id_map[30, 55]
    assert not bench.tool.is_on
    assert bench.state() == bench.before


@pytest.mark.parametrize("ending", ["enter", "double click"])
def test_clicks_make_a_line(bench, ending):
    bench = bench()
    bench.start()
    zoom = bench.viewer.scene.camera.zoom
    bench.hand.click(10, 30)
    bench.hand.click(30, 40)
    if ending == "enter":
        bench.hand.click(50, 30)
        bench.hand.press(Qt.Key.Key_Return)
    else:
        bench.hand.click(50, 30)
        bench.hand.double_click(50, 30)
    assert set(np.unique(bench.id_map)) == {0, 1, 2}
    assert not bench.tool.is_on
    assert bench.viewer.scene.camera.zoom == zoom
    assert bench.state() == bench.before


def test_what_is_drawn_shows_and_escape_takes_it_away(bench):
    bench = bench()
    n_steps = bench.result.session.n_steps
    bench.start()
    overlay = bench.result.view.layer._overlays["napari_eomt_line"]
    bench.hand.click(10, 40)
    bench.hand.move(50, 41)
    assert overlay.visible
    np.testing.assert_allclose(overlay.shown.edges[0], [[10, 40], [50, 41]], atol=0.6)
    bench.hand.press(Qt.Key.Key_Escape)
    assert not bench.tool.is_on
    assert bench.state() == bench.before
    assert bench.result.session.n_steps == n_steps


def test_a_line_that_divides_nothing_says_so_and_may_be_drawn_again(bench):
    bench = bench()
    bench.start()
    bench.hand.drag((2, 2), (2, 70))
    assert bench.said[-1][1]
    assert "crosses no object" in bench.said[-1][0]
    assert bench.tool.is_on
    bench.hand.drag((10, 40), (50, 40))
    assert set(np.unique(bench.id_map)) == {0, 1, 2}


def test_a_brush_does_not_paint_meanwhile_and_comes_back(bench):
    bench = bench()
    layer = bench.result.view.layer
    bench.viewer.layers.selection.active = layer
    layer.mode = "paint"
    layer.selected_label = 9
    bench.start()
    bench.hand.drag((10, 40), (50, 40))
    assert 9 not in bench.id_map
    assert layer.mode == "paint"
    assert bench.state() == bench.before


def test_it_ends_with_its_layer_and_stays_out_of_three_dimensions(bench):
    bench = bench()
    bench.start()
    bench.viewer.layers.remove(bench.result.view.layer)
    assert not bench.tool.is_on
    bench.viewer.dims.ndisplay = 3
    bench.tool.start(bench.place)
    assert not bench.tool.is_on
    assert bench.said[-1][1]
