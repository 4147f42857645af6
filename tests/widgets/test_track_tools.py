"""A person corrects identities with the mouse, keys and menus; strips and paths follow."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget
from tests.canvas import Hand, settle
from tests.viewer.test_track_actions import ALL, N_FRAMES, ROWS, SIDE, fill, rows_of

from napari_eomt.annotation import operations
from napari_eomt.annotation.review_order import Order
from napari_eomt.annotation.track_lanes import DECIDED, PRESENT
from napari_eomt.annotation.tracks import TrackIndex
from napari_eomt.structures.axes import AxisRoles
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Status
from napari_eomt.viewer.image_source import LayerSource
from napari_eomt.viewer.results import Results
from napari_eomt.widgets.action_bar import ActionBar
from napari_eomt.widgets.action_runner import ActionRunner
from napari_eomt.widgets.annotate import AnnotatePage
from napari_eomt.widgets.current import Current
from napari_eomt.widgets.jobs import JobBar
from napari_eomt.widgets.review import ReviewStrip
from napari_eomt.widgets.track_tools import TrackTools

H, W = 40, 60
PRESENCE = {1: ALL, 2: ALL, 3: (0, 1, 2, 6, 7)}


class Bench:
    """A window with tracks, and the parts of the dock that are about them."""

    def __init__(self, qtbot, viewer, presence, n_frames=N_FRAMES):
        self.qtbot, self.viewer = qtbot, viewer
        self.image = viewer.add_image(np.zeros((n_frames, H, W), np.uint8), name="cells")
        roles = AxisRoles((0,), 1, 2)
        viewer.dims.set_point(0, 0)
        self.results = Results(viewer)
        self.current = Current(viewer, self.results)
        self.bar = JobBar()
        self.runner = ActionRunner(viewer, self.current, self.bar)
        self.page = AnnotatePage(viewer, self.current)
        self.actions = ActionBar(self.runner)
        self.review = ReviewStrip(self.runner, self.current)
        self.tools = TrackTools(self.runner, self.current)
        self.tools.join_page(self.page)
        self.tools.join_review(self.review)
        self.window = QWidget()
        layout = QVBoxLayout(self.window)
        for widget in (self.page, self.actions, self.review, self.bar):
            layout.addWidget(widget)
        qtbot.addWidget(self.window)
        self.current.follow(self.image, roles)
        source = LayerSource(self.image, roles)
        categories = [Category(7, "cell"), Category(3, "debris")]
        self.result = self.results.create("key", self.image, roles, source, categories)
        self.document, self.session = self.result.document, self.result.session
        for frame in range(n_frames):
            ids = [i for i, frames in presence.items() if frame in frames]
            fill(self.document, frame, ids)
        self.result.view.layer.refresh()
        # As if the document had been opened so.
        self.tools._on_result()
        self.page._on_result()
        self.review._on_result()
        self.window.resize(300, 1000)
        self.window.show()
        viewer.reset_view()
        self.settle()

    @property
    def timeline(self):
        return self.tools.strip.timeline

    @property
    def frame(self):
        return self.runner.place.frame

    def settle(self):
        """Wait until strips, paths and doubts are as the document is."""
        self.qtbot.waitUntil(lambda: not self.tools.is_busy, timeout=10_000)
        settle()

    def press(self, key):
        (binding,) = [binding for binding in self.viewer.keymap if str(binding) == key]
        self.viewer.keymap[binding](self.viewer)
        self.settle()

    def click(self, number, frame, modifier=Qt.KeyboardModifier.NoModifier):
        """Click a frame of a track's strip."""
        at = self.timeline.point_of(number, frame)
        self.qtbot.mouseClick(self.timeline.viewport(), Qt.MouseButton.LeftButton, modifier, at)
        self.settle()

    def said(self):
        return self.bar.text.text()

    def choose(self, text):
        """Choose an entry of the menu that is open."""
        menu = self.tools.corrections.menu
        (entry,) = [a for a in menu.actions() if a.text().partition("\t")[0] == text]
        entry.trigger()
        menu.close()
        self.settle()

    def marks(self, number):
        return self.tools.lanes.lane(number).tolist()

    def close(self):
        self.tools.close()
        self.review.close_result()
        self.page.close_events()
        self.runner.close()
        self.current.close()
        self.results.close()


@pytest.fixture
def bench(make_napari_viewer, qtbot):
    benches = []

    def make(presence=PRESENCE, show=False, **options):
        bench = Bench(qtbot, make_napari_viewer(show=show), presence, **options)
        benches.append(bench)
        return bench

    yield make
    for bench in benches:
        bench.close()


def test_a_switch_is_found_swapped_and_taken_back(bench):
    bench = bench()
    before = bench.document.id_maps.copy()
    bench.click(1, 4)
    assert (bench.frame, bench.session.selection) == (4, {(4, 1)})
    assert bench.timeline.numbers == [1, 2, 3], "the list stays as it is under the hand"
    bench.click(2, 4, Qt.KeyboardModifier.ShiftModifier)
    assert bench.session.selection == {(4, 1), (4, 2)}
    bench.press("Shift+X")
    assert bench.said() == "Swap 1 and 2 from frame 4"
    assert rows_of(bench.runner.place, 1) == {f: ROWS[1] if f < 4 else ROWS[2] for f in ALL}
    assert bench.tools.doubts.score((4, 1)) > 0.5
    bench.press("Alt+N")
    assert bench.said().startswith("1 of 2 doubtful · 1 in frame 4: another object is where it was")
    bench.runner.run("undo")
    bench.settle()
    np.testing.assert_array_equal(bench.document.id_maps, before)
    assert bench.tools.doubts.score((4, 1)) < 0.1
    bench.press("Alt+N")
    assert bench.said() == "No identity is doubtful."


def test_every_correction_offers_undo_for_itself_alone(bench):
    bench = bench()
    bench.click(1, 3)
    bench.press("Shift+T")
    assert bench.said() == "Cut 1 at frame 3: from there it is 4"
    assert bench.timeline.numbers == [1, 2, 3, 4]
    assert bench.bar.action.text() == "Undo"
    assert not bench.bar.action.isHidden()
    bench.bar.action.click()
    bench.settle()
    assert bench.timeline.numbers == [1, 2, 3]
    assert bench.said() == "Undone: Cut 1 at frame 3"
    bench.press("Shift+T")
    undo = bench.bar.action
    bench.session.do(operations.delete(bench.document, [(0, 2)]))
    undo.click()
    assert "Other steps came after it" in bench.said()
    assert len(TrackIndex.of(bench.document).members) == 4


def test_cut_and_join_by_the_menu_of_the_strip(bench):
    bench = bench()
    at = bench.timeline.point_of(1, 5)
    bench.timeline.menu_requested.emit(1, 5, QPoint(10, 10))
    bench.settle()
    assert not at.isNull()
    assert (bench.frame, bench.session.selection) == (5, {(5, 1)})
    bench.choose("Cut here")
    assert bench.session.selection == {(5, 4)}
    bench.press("Shift+J")
    assert "Join 4 with" in bench.tools.corrections.menu.actions()[0].text()
    bench.choose("1")
    assert bench.said() == "Join 4 and 1"
    assert sorted(TrackIndex.of(bench.document).members) == [1, 2, 3]
    assert list(TrackIndex.of(bench.document).members[1]) == list(ALL)


def test_what_cannot_be_says_why(bench):
    bench = bench()
    bench.session.select([(0, 1), (0, 2)])
    bench.press("Shift+J")
    assert "they cannot be one" in bench.said()
    bench.session.select([])
    bench.viewer.cursor.position = (0, -100, -100)
    bench.press("Shift+T")
    assert "No track is meant" in bench.said()
    bench.session.select([(0, 3)])
    bench.press("Shift+X")
    menu = bench.tools.corrections.menu
    assert [a.text().partition("\t")[0] for a in menu.actions()[1:]] == ["2", "1"], "nearest first"
    menu.close()


def test_the_category_of_a_track_is_chosen_in_a_menu(bench):
    bench = bench()
    bench.session.select([(7, 3)])
    bench.press("Alt+T")
    bench.choose("debris")
    assert {s.category_id for f, s in bench.document.iter_segments() if s.id == 3} == {3}
    assert bench.said() == "track 3 is debris now, in 5 frames"
    bench.press("Alt+A")
    assert "decided already" in bench.said(), "changed by a person"


def test_the_selection_goes_along_with_the_frames(bench):
    bench = bench()
    bench.session.select([(0, 1), (0, 3)])
    bench.viewer.dims.set_point(0, 2)
    bench.settle()
    assert bench.session.selection == {(2, 1), (2, 3)}
    bench.viewer.dims.set_point(0, 4)
    bench.settle()
    assert bench.session.selection == {(4, 1), (2, 3)}, "away, but still meant"
    bench.viewer.dims.set_point(0, 7)
    bench.settle()
    assert bench.session.selection == {(7, 1), (7, 3)}


def test_keys_go_along_the_track_in_canvas_and_strip(bench):
    bench = bench()
    bench.session.select([(0, 3)])
    bench.press("Alt+End")
    assert bench.frame == 7
    bench.press("Alt+Left")
    bench.press("Alt+Left")
    assert bench.frame == 2
    bench.press("Alt+G")
    assert bench.said() == "3 is away for 3 frames, from frame 3 on"
    bench.timeline.setFocus()
    bench.qtbot.keyClick(bench.timeline, Qt.Key.Key_Right)
    assert bench.frame == 6
    bench.qtbot.keyClick(bench.timeline, Qt.Key.Key_Home)
    assert bench.frame == 0
    bench.tools.strip.all.setChecked(True)
    bench.qtbot.keyClick(bench.timeline, Qt.Key.Key_Up)
    bench.settle()
    assert bench.session.selection == {(0, 2)}
    bench.tools.strip.buttons["track_end"].click()
    assert bench.frame == 7


def test_selected_tracks_are_listed_alone_unless_all_are_wanted(bench):
    bench = bench()
    strip = bench.tools.strip
    assert bench.timeline.numbers == [1, 2, 3]
    assert not strip.correct.isEnabled()
    bench.session.select([(0, 3)])
    bench.settle()
    assert bench.timeline.numbers == [3]
    assert strip.about.text() == "Track 3 · frames 0–7, away in 3"
    assert strip.correct.isEnabled()
    strip.all.setChecked(True)
    assert bench.timeline.numbers == [1, 2, 3]
    bench.session.select([])
    assert strip.about.text() == "3 tracks"


def test_the_strip_follows_decisions_and_is_not_there_without_tracks(bench):
    bench = bench()
    strip = bench.tools.strip
    assert strip.isVisible()
    bench.session.select([(0, 2)])
    bench.press("Alt+A")
    assert all(mark & DECIDED for mark in bench.marks(2))
    assert not any(mark & DECIDED for mark in bench.marks(1))
    tip = bench.timeline.tip_of
    assert tip(2, 4) == "Track 2 cell · frame 4: accepted"
    assert tip(3, 4) == "Track 3 · frame 4: absent"
    bench.press("U")
    assert not any(mark & DECIDED for mark in bench.marks(2))
    bench.session.select([(0, 1), (0, 2), (0, 3)])
    bench.press("Alt+D")
    assert not strip.isVisible()
    bench.press("U")
    assert strip.isVisible()
    assert bench.marks(2)[0] & PRESENT


def test_paths_come_and_go_with_their_switch_and_their_layer(bench):
    bench = bench()
    paths = bench.tools.strip.paths

    def layers():
        return [type(layer).__name__ for layer in bench.viewer.layers]

    paths.click()
    bench.settle()
    assert layers() == ["Image", "Labels", "Tracks"]
    layer = bench.viewer.layers[-1]
    assert len(layer.data) == 2 * N_FRAMES + 5
    bench.session.select([(2, 1)])
    bench.viewer.dims.set_point(0, 2)
    bench.settle()
    bench.press("Shift+D")
    assert len(layer.data) == N_FRAMES + 5 + 2
    bench.press("U")
    assert len(layer.data) == 2 * N_FRAMES + 5
    bench.viewer.layers.remove(layer)
    assert not paths.isChecked()
    paths.click()
    bench.settle()
    paths.click()
    assert layers() == ["Image", "Labels"]
    paths.click()
    bench.settle()
    bench.viewer.layers.remove(bench.result.view.layer)
    bench.settle()
    assert layers() == ["Image"]
    assert not bench.tools.strip.isVisible()


def test_the_review_goes_by_identity_where_there_are_tracks(bench):
    bench = bench()
    choice = bench.review.choice
    at = choice.orders.findData(Order.IDENTITY.value)
    assert at >= 0
    bench.session.select([(5, 1), (5, 2)])
    bench.viewer.dims.set_point(0, 5)
    bench.settle()
    bench.press("Shift+X")
    choice.frames.setCurrentIndex(1)
    choice.orders.setCurrentIndex(at)
    bench.settle()
    # Where a person has swapped them they are decided: proposals again, to be looked at.
    bench.session.do(operations.set_status(bench.document, [(5, 1), (5, 2)], Status.PROPOSED))
    bench.settle()
    assert set(bench.review.queue.keys()[:2]) == {(5, 1), (5, 2)}
    bench.session.select([])
    bench.press("N")
    assert bench.frame == 5
    assert "certain to be itself" in bench.review.about.text()
    choice.only.setChecked(True)
    bench.settle()
    assert len(bench.review.queue) == 2


def test_only_what_is_visible_is_looked_at(bench):
    bench = bench()
    timeline, lanes = bench.timeline, bench.tools.lanes

    class Many:
        n_made = 0

        def lane(self, number):
            Many.n_made += 1
            return np.full(10_000, PRESENT, np.uint8)

    assert lanes.n_made <= 3 * 4
    timeline.show_lanes(Many(), range(1, 2001), 10_000)
    timeline.viewport().grab()
    n_seen = timeline.n_painted
    assert 0 < n_seen < 40
    assert Many.n_made <= 3 * n_seen
    timeline.verticalScrollBar().setValue(1500)
    timeline.viewport().grab()
    assert timeline.n_painted <= n_seen + 1
    assert timeline.strip(1501).top() == timeline.ruler_height


def test_a_right_click_on_an_object_offers_what_can_be_done(bench):
    bench = bench(show=True)
    layer = bench.result.view.layer
    bench.viewer.layers.selection.active = layer
    layer.mode = "pan_zoom"
    hand = Hand(bench.qtbot, bench.viewer, layer)
    y, x = ROWS[2] + SIDE / 2, SIDE / 2
    hand.move(y, x)
    bench.qtbot.mouseClick(hand.native, Qt.MouseButton.RightButton, pos=hand.at(y, x))
    bench.settle()
    menu = bench.tools.corrections.menu
    assert menu is not None
    texts = [action.text().partition("\t")[0] for action in menu.actions()]
    assert {"Accept", "Delete", "Cut here", "Swap from here on…"} <= set(texts)
    assert bench.session.selection == {(0, 2)}
    bench.choose("Delete the track")
    assert 2 not in TrackIndex.of(bench.document).members


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_strips_are_painted_in_the_colours_of_the_theme(bench, theme):
    bench = bench()
    bench.viewer.theme = theme
    bench.settle()
    picture = bench.timeline.viewport().grab().toImage()
    background = picture.pixelColor(picture.width() - 1, picture.height() - 1)
    assert (background.lightness() < 128) == (theme == "dark")
    strip = bench.timeline.strip(1)
    ratio = picture.width() / bench.timeline.viewport().width()
    middle = picture.pixelColor(
        int((strip.left() + strip.width() * 0.7) * ratio), int(strip.center().y() * ratio)
    )
    assert middle != background
