"""The line on the Segment page counts what the review then shows."""

from __future__ import annotations

import numpy as np
import pytest
from napari.utils.theme import get_theme
from tests.result_bench import CATEGORIES, segmentation

from napari_eomt.annotation import operations
from napari_eomt.structures.segments import Status
from napari_eomt.structures.uncertainty import Uncertainty
from napari_eomt.viewer.image_source import LayerSource, guess_roles
from napari_eomt.widgets.dock import EomtDock


@pytest.fixture
def dock(viewer, qtbot, client):
    dock = EomtDock(viewer, client=client)
    qtbot.addWidget(dock, before_close_func=lambda dock: dock.shutdown())
    return dock


def add_result(dock, viewer, n_frames=0):
    shape = (n_frames, 60, 80) if n_frames else (60, 80)
    image = viewer.add_image(np.zeros(shape, np.uint8), name="image")
    roles = guess_roles(image)
    source = LayerSource(image, roles)
    result = dock.results.create("key", image, roles, source, CATEGORIES)
    for frame in range(max(1, n_frames)):
        result.propose(frame, segmentation(), "Segment")
    result.view.show_table()
    return result


def test_the_line_counts_and_its_link_shows_these_the_worst_first(dock, viewer, qtbot):
    line = dock.page.summary
    assert line.isHidden()
    dock.page.summary.show_link_color("")
    result = add_result(dock, viewer)

    def shows(text):
        qtbot.waitUntil(lambda: line.text() == text, timeout=2000)

    link = '<a href="review">{} uncertain</a>'.format
    shows(f"4 objects · {link(2)}")
    line.show_seconds("key", 1.84)
    shows(f"4 objects · {link(2)} · 1.8 s")
    dock.doubts.know("key", 0, {(0, 1): Uncertainty(0.8, 0, 0, 0, 0)})
    shows(f"4 objects · {link(3)} · 1.8 s")
    line.linkActivated.emit("review")
    assert dock.tabs.currentWidget().widget() is dock.annotate
    assert dock.review.place.text() == "1 of 3 uncertain"
    # Nobody vouches for the fourth, which has no score.
    assert result.session.selection == {(0, 4)}
    assert dock.review.queue.keys() == [(0, 4), (0, 1), (0, 2)]
    edit = operations.set_status(result.document, [(0, 4), (0, 2)], Status.ACCEPTED)
    result.session.do(edit)
    shows(f"4 objects · {link(1)} · 1.8 s")
    result.session.do(operations.delete(result.document, [(0, 1)]))
    shows("3 objects · none uncertain · 1.8 s")
    assert dock.review.place.text() == "0 uncertain"
    viewer.layers.remove(result.view.layer)
    qtbot.waitUntil(line.isHidden, timeout=2000)
    assert not dock.doubts.of("key"), "what is gone is forgotten"


def test_of_a_stack_all_frames_are_counted_and_reviewed(dock, viewer, qtbot):
    result = add_result(dock, viewer, n_frames=3)
    line = dock.page.summary
    color = get_theme(viewer.theme).text.as_hex()
    text = f'12 objects in 3 frames · <a href="review" style="color: {color}">6 uncertain</a>'
    qtbot.waitUntil(lambda: line.text() == text, timeout=2000)
    line.linkActivated.emit("review")
    assert dock.review.choice.all_frames
    assert len(dock.review.queue) == 6
    ((_, worst),) = result.session.selected
    assert worst.score is None


def test_doubts_are_colours_until_they_are_settled(dock, viewer, qtbot):
    result = add_result(dock, viewer)
    layer, session = result.view.layer, result.session
    before = layer.get_color(1)
    box = dock.doubt_colors
    box.click()
    light = {i: sum(layer.get_color(i)[:3]) for i in (1, 2, 3, 4)}
    assert light[4] > light[2] > light[3] > light[1], "1, 0.7, 0.4 and 0.1"
    dock.doubts.know("key", 0, {(0, 1): Uncertainty(0.99, 0, 0, 0, 0)})
    qtbot.waitUntil(lambda: sum(layer.get_color(1)[:3]) > light[2], timeout=2000)
    grey = pytest.approx([0.5, 0.5, 0.5, 1])
    session.do(operations.set_status(result.document, [(0, 1)], Status.ACCEPTED))
    qtbot.waitUntil(lambda: list(layer.get_color(1)) == grey, timeout=2000)
    layer.paint((50, 70), 90)
    assert list(layer.get_color(90)) == grey, "drawn, by nobody's doubt"
    # What is chosen on the Segment page comes back after it.
    dock.page.by_category.click()
    assert list(layer.get_color(1)) == grey
    box.click()
    assert list(layer.get_color(1)) == pytest.approx([*result.view.category_colors[7], 1])
    dock.page.by_category.click()
    np.testing.assert_allclose(layer.get_color(1), before)
    box.click()
    viewer.layers.remove(layer)
    other = add_result(dock, viewer)
    qtbot.waitUntil(lambda: sum(other.view.layer.get_color(4)[:3]) > 2, timeout=2000)
    assert dock.doubt_colors._colored is other
