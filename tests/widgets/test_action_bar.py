"""Buttons, keys in the canvas and keys on the page do the same, and say what they did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari._app_model import get_app_model
from npe2 import PluginManifest
from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QLineEdit, QTableWidget, QVBoxLayout, QWidget
from tests.canvas import Hand, settle

import napari_eomt
from napari_eomt.structures.axes import AxisRoles
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation, Status
from napari_eomt.viewer.image_source import LayerSource
from napari_eomt.viewer.keymap import ACTIONS
from napari_eomt.viewer.results import Results
from napari_eomt.widgets.action_bar import ActionBar
from napari_eomt.widgets.action_runner import ActionRunner
from napari_eomt.widgets.current import Current
from napari_eomt.widgets.jobs import JobBar

H, W = 60, 80
BOXES = {1: (5, 5, 25, 25), 2: (5, 25, 25, 45), 3: (30, 5, 55, 45)}


class Bench:
    """A viewer with three objects, and what the dock makes of it."""

    def __init__(self, qtbot, viewer, n_frames=1):
        self.viewer = viewer
        shape = (H, W) if n_frames == 1 else (n_frames, H, W)
        image = viewer.add_image(np.zeros(shape, np.uint8), name="image")
        roles = AxisRoles((), 0, 1) if n_frames == 1 else AxisRoles((0,), 1, 2)
        if n_frames > 1:
            viewer.dims.set_point(0, 0)
        self.results = Results(viewer)
        self.current = Current(viewer, self.results)
        self.bar = JobBar()
        self.runner = ActionRunner(viewer, self.current, self.bar)
        self.page = QWidget()
        self.actions = ActionBar(self.runner)
        layout = QVBoxLayout(self.page)
        layout.addWidget(self.actions)
        qtbot.addWidget(self.bar)
        qtbot.addWidget(self.page)
        self.make = lambda: self._make(image, roles)
        self.current.follow(image, roles)

    def _make(self, image, roles):
        categories = [Category(1, "cell"), Category(2, "debris")]
        source = LayerSource(image, roles)
        self.result = self.results.create("key", image, roles, source, categories)
        drawn = np.zeros((H, W), np.uint16)
        for i, (y0, x0, y1, x1) in BOXES.items():
            drawn[y0:y1, x0:x1] = i
        segments = tuple(
            Segment(i, 1, 0.5, area=(b[2] - b[0]) * (b[3] - b[1]), bbox=b) for i, b in BOXES.items()
        )
        self.result.propose(0, Segmentation(drawn, segments), "Segment")
        self.session = self.result.session
        self.viewer.reset_view()

    def said(self):
        return self.bar.text.text()

    def ids(self):
        return {i for i, s in self.result.document.segments(0).items() if s.status.value[0] != "r"}

    def close(self):
        self.runner.close()
        self.current.close()
        self.results.close()


@pytest.fixture
def bench(make_napari_viewer, qtbot):
    benches = []

    def make(show=False, **options):
        bench = Bench(qtbot, make_napari_viewer(show=show), **options)
        benches.append(bench)
        return bench

    yield make
    for bench in benches:
        bench.close()


def test_buttons_live_when_there_is_something_to_do(bench):
    bench = bench()
    buttons = bench.actions.buttons
    assert not any(button.isEnabled() for button in buttons.values())
    bench.make()
    assert buttons["undo"].isEnabled()
    assert buttons["split"].isEnabled()
    assert not buttons["delete"].isEnabled()
    assert not bench.actions.entries["accept"].isEnabled()
    bench.session.select([(0, 1)])
    assert buttons["delete"].isEnabled()
    assert bench.actions.entries["accept"].isEnabled()
    assert not buttons["merge"].isEnabled()
    bench.session.select([(0, 1), (0, 2)])
    assert buttons["merge"].isEnabled()
    assert not buttons["redo"].isEnabled()
    buttons["merge"].click()
    assert bench.ids() == {1, 3}
    assert bench.said() == "Merge 2 objects"
    assert buttons["undo"].toolTip().startswith("Merge 2 objects\n")
    buttons["undo"].click()
    assert bench.ids() == {1, 2, 3}
    assert bench.said() == "Undone: Merge 2 objects"
    assert buttons["redo"].isEnabled()


def test_every_action_that_works_here_is_reachable_without_a_key(bench):
    bench = bench(n_frames=3)
    shown = {*bench.actions.buttons, *bench.actions.entries, "keys", "segment"}
    assert {a.name for a in ACTIONS if not a.name.startswith("category_")} <= shown
    assert bench.actions.help.text() == "?"
    for button in bench.actions.buttons.values():
        assert button.toolTip()
        assert button.accessibleName()


def test_actions_over_frames_show_only_with_frames(bench):
    one, many = bench(), bench(n_frames=3)
    one.make()
    many.make()
    assert not one.actions.entries["interpolate"].isVisible()
    assert many.actions.entries["interpolate"].isVisible()


def test_the_bar_wraps_at_300_pixels(bench, qtbot):
    bench = bench()
    bench.page.resize(QSize(300, 400))
    bench.page.show()
    settle()
    width = bench.actions.width()
    assert width <= 300
    buttons = [*bench.actions.buttons.values(), bench.actions.more, bench.actions.help]
    assert all(b.x() >= 0 and b.x() + b.width() <= width for b in buttons)
    assert len({b.y() for b in buttons}) > 1
    assert max(b.y() + b.height() for b in buttons) <= bench.actions.height()


def test_keys_in_the_canvas(bench, qtbot):
    bench = bench(show=True)
    bench.make()
    hand = Hand(qtbot, bench.viewer, bench.result.view.layer)
    hand.move(10, 10)  # nothing is selected: the object under the cursor is meant
    hand.press(Qt.Key.Key_D)
    assert bench.ids() == {2, 3}
    hand.press(Qt.Key.Key_U)
    assert bench.ids() == {1, 2, 3}
    hand.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert bench.ids() == set()
    hand.press(
        Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    )
    assert bench.ids() == {1, 2, 3}
    hand.press(Qt.Key.Key_N)
    assert bench.session.selection == {(0, 1)}
    hand.press(Qt.Key.Key_A)
    assert bench.result.document.segments(0)[1].status is Status.ACCEPTED
    assert bench.session.selection == {(0, 2)}
    hand.press(Qt.Key.Key_2, Qt.KeyboardModifier.AltModifier)
    assert bench.result.document.segments(0)[2].category_id == 2
    hand.press(Qt.Key.Key_K)
    assert bench.result.document.segments(0)[2].locked
    # napari's own keys are napari's.
    bench.viewer.layers.selection.active = bench.result.view.layer
    hand.press(Qt.Key.Key_P)
    assert bench.result.view.layer.mode == "paint"


def test_c_is_ours_on_our_image_and_naparis_on_others(bench, qtbot):
    bench = bench(show=True)
    bench.make()
    asked = []
    bench.runner.handle("next_candidate", lambda: asked.append(1))
    other = bench.viewer.add_image(np.arange(100).reshape(10, 10), contrast_limits=(0, 7))
    hand = Hand(qtbot, bench.viewer, bench.result.view.layer)
    bench.viewer.layers.selection.active = bench.viewer.layers["image"]
    hand.press(Qt.Key.Key_C)
    assert asked == [1]
    bench.viewer.layers.selection.active = other
    hand.press(Qt.Key.Key_C)
    assert asked == [1]
    assert other.contrast_limits == [0, 99]


def test_split_with_a_key_and_the_mouse(bench, qtbot):
    bench = bench(show=True)
    bench.make()
    hand = Hand(qtbot, bench.viewer, bench.result.view.layer)
    hand.move(40, 20)
    hand.press(Qt.Key.Key_S)
    assert bench.actions.buttons["split"].isChecked()
    assert bench.said().startswith("Split: draw a line")
    hand.drag((27, 20), (58, 20))
    assert bench.ids() == {1, 2, 3, 4}
    assert not bench.actions.buttons["split"].isChecked()
    assert bench.said() == "Split object 3 into 2"


def test_keys_on_the_page_but_not_in_a_text_field(bench, qtbot):
    bench = bench()
    bench.make()
    table, field = QTableWidget(3, 2), QLineEdit()
    bench.page.layout().addWidget(table)
    bench.page.layout().addWidget(field)
    bench.runner.bind_in(bench.page)
    bench.page.show()
    bench.page.activateWindow()
    settle()
    bench.session.select([(0, 1)])
    field.setFocus()
    qtbot.waitUntil(field.hasFocus)
    qtbot.keyClick(field, Qt.Key.Key_D)
    assert field.text() == "d"
    assert bench.ids() == {1, 2, 3}
    table.setFocus()
    qtbot.waitUntil(table.hasFocus)
    qtbot.keyClick(table, Qt.Key.Key_D)
    assert bench.ids() == {2, 3}


def test_what_cannot_be_done_is_said_in_one_line(bench):
    bench = bench()
    bench.runner.run("accept")
    assert bench.said() == "⚠ There are no objects yet: press Segment (W) first."
    bench.make()
    bench.session.select([(0, 1)])
    bench.runner.run("merge")
    assert bench.said().startswith("⚠ Merging takes two objects")
    # An error that nobody has read stays, and hides nothing.
    bench.bar.show_error("Something broke.")
    bench.runner.run("lock")
    assert bench.bar.errors.text.text() == "⚠ Something broke."
    assert bench.said() == "Lock 1 object"
    # So does the stop button of a running job, beside which there is no room.
    bench.bar.show_running("Tile 1 of 9")
    bench.runner.run("lock")
    assert not bench.bar.stop.isHidden()
    assert bench.viewer.status == "Unlock 1 object"


def test_closing_gives_the_keys_back(bench):
    bench = bench()
    bench.make()
    assert "A" in {str(key) for key in bench.viewer.keymap}
    bench.runner.close()
    assert {str(key) for key in bench.viewer.keymap} == set()
    assert {str(key) for key in bench.viewer.layers["image"].keymap} == set()


def test_napari_has_a_command_and_a_menu_item_for_every_action(make_napari_viewer, qtbot):
    """What the manifest names, the table has; chosen in a menu, it runs in the dock."""
    manifest = PluginManifest.from_file(Path(napari_eomt.__file__).with_name("napari.yaml"))
    prefix = "napari-eomt."
    listed = {
        item.command.removeprefix(prefix): item.group
        for items in manifest.contributions.menus.values()
        for item in items
    }
    table = {a.name: a for a in ACTIONS if not a.name.startswith("category_")}
    assert set(listed) == set(table)
    for name, group in listed.items():
        assert group.partition("_")[2] == table[name].group.lower()
    viewer = make_napari_viewer()
    get_app_model().commands.execute_command("napari-eomt.keys").result()
    (dock,) = viewer.window.dock_widgets.values()
    assert dock.keys.isVisible()
    get_app_model().commands.execute_command("napari-eomt.accept").result()
    assert "press Segment (W) first" in dock.bar.text.text()
    assert len(viewer.window.dock_widgets) == 1
    in_menus = {
        str(item.command.id)
        for menu in ("napari/layers/annotate", "napari/layers/segment")
        for item in get_app_model().menus.get_menu(menu)
        if hasattr(item, "command")
    }
    assert {prefix + name for name in table} <= in_menus
