"""What a person paints reaches the document: which ids, in which frame."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_eomt.annotation import operations
from napari_eomt.annotation.document import Document
from napari_eomt.annotation.session import Session
from napari_eomt.structures.axes import AxisRoles
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation, Status
from napari_eomt.viewer.result_layer import ResultLayer

H, W = 30, 40
ROLES = {
    "image": ((), AxisRoles((), 0, 1)),
    "stack": ((3,), AxisRoles((0,), 1, 2)),
    "channels": ((3, 2), AxisRoles((0,), 2, 3, 1)),
    "volumes": ((2, 2), AxisRoles((0, 1), 2, 3)),
}


class Bench:
    """A result with two objects in its last frame, which the sliders show."""

    def __init__(self, kind="stack"):
        leading, roles = ROLES[kind]
        self.viewer = ViewerModel()
        image = self.viewer.add_image(np.zeros((*leading, H, W), np.uint8))
        frame_shape = tuple(leading[axis] for axis in roles.frames)
        self.document = Document(frame_shape, (H, W), [Category(5, "cell")])
        self.session = Session(self.document)
        self.result = ResultLayer(image, roles, self.session)
        self.layer = self.result.layer
        self.viewer.add_layer(self.layer)
        self.frame = self.document.n_frames - 1
        for axis, length in enumerate(leading):
            self.viewer.dims.set_point(axis, length - 1)
        id_map = np.zeros((H, W), np.uint16)
        id_map[2:12, 2:12] = 1
        id_map[2:12, 20:30] = 2
        segments = (
            Segment(1, 5, 0.9, area=100, bbox=(2, 2, 12, 12)),
            Segment(2, 5, 0.8, area=100, bbox=(2, 20, 12, 30)),
        )
        self.propose(self.frame, Segmentation(id_map, segments))
        self.layer.n_edit_dimensions = 2
        self.layer.brush_size = 5
        self.layer.mode = "paint"
        self.told = []
        self.session.changed.connect(lambda edit: self.told.extend(edit.frames))

    def propose(self, frame, segmentation):
        self.result.flush()
        self.session.do(operations.propose(self.document, frame, segmentation))

    def at(self, y, x):
        """Return a place in the shown frame, as the layer counts."""
        point = [round(float(p)) for p in self.layer._data_slice.point[:-2]]
        return (*point, y, x)

    def status(self, segment_id, frame=None):
        segment = self.document.segments(self.frame if frame is None else frame).get(segment_id)
        return segment and segment.status

    def check(self):
        """Assert that the document and the table say what the pixels are."""
        in_table = self.layer.features.set_index("index")
        known = set()
        for frame in range(self.document.n_frames):
            id_map, segments = self.document.id_map(frame), self.document.segments(frame)
            assert set(np.unique(id_map)) - {0} == set(segments)
            known |= set(segments)
            for i, segment in segments.items():
                rows, columns = np.nonzero(id_map == i)
                assert segment.area == len(rows) == in_table.loc[i, "area"]
                box = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
                assert segment.bbox == box
                assert in_table.loc[i, "status"] == segment.status.value
        assert set(in_table.index) == known


@pytest.fixture(params=ROLES)
def bench(request):
    return Bench(request.param)


def test_painting_on_makes_an_edit(bench):
    bench.layer.paint(bench.at(6, 13), 1)
    assert bench.status(1) is Status.EDITED
    assert bench.status(2) is Status.PROPOSED
    assert bench.told == [bench.frame]
    bench.check()


def test_painting_something_new_draws(bench):
    bench.layer.paint(bench.at(22, 22), 9)
    segment = bench.document.segments(bench.frame)[9]
    assert (segment.status, segment.category_id, segment.score) == (Status.DRAWN, 5, None)
    bench.layer.paint(bench.at(22, 26), 9)
    assert bench.status(9) is Status.DRAWN
    bench.check()


def test_erasing_a_part_and_the_whole(bench):
    bench.layer.paint(bench.at(3, 3), 0)
    assert bench.status(1) is Status.EDITED
    bench.check()
    bench.layer.fill(bench.at(8, 8), 0)
    assert bench.status(1) is None
    bench.check()
    bench.layer.undo()
    assert bench.status(1) is Status.EDITED
    assert bench.document.segments(bench.frame)[1].score == 0.9
    bench.layer.undo()
    assert bench.status(1) is Status.PROPOSED
    bench.check()


def test_filling_swallows_a_segment(bench):
    bench.layer.fill(bench.at(5, 5), 2)
    assert bench.status(1) is None
    assert bench.document.segments(bench.frame)[2].area == 200
    bench.check()


def test_a_polygon_covers_others(bench):
    corners = [(1, 1), (1, 35), (25, 35), (25, 1)]
    bench.layer.paint_polygon([bench.at(y, x) for y, x in corners], 4)
    assert bench.status(4) is Status.DRAWN
    assert bench.status(1) is None
    bench.check()


def test_single_pixels(bench):
    points = np.array([bench.at(0, 0), bench.at(1, 1), bench.at(5, 5)])
    bench.layer.data_setitem(tuple(points.T), 3)
    assert bench.status(3) is Status.DRAWN
    assert bench.status(1) is Status.EDITED
    bench.check()
    bench.layer.data_setitem(tuple(points.T), np.array([0, 3, 1]))
    assert bench.document.segments(bench.frame)[3].area == 1
    bench.check()
    bench.layer.undo()
    bench.check()


def test_every_step_back_and_forth_is_followed(bench):
    states = [bench.document.id_map(bench.frame).copy()]
    for y, x, new in [(6, 13, 1), (22, 22, 9), (6, 20, 9), (6, 25, 0), (22, 23, 2)]:
        bench.layer.paint(bench.at(y, x), new)
        bench.check()
        states.append(bench.document.id_map(bench.frame).copy())
    for state in states[-2::-1]:
        bench.layer.undo()
        bench.check()
        np.testing.assert_array_equal(bench.document.id_map(bench.frame), state)
    bench.layer.undo()  # the proposal itself
    assert not bench.document.id_maps.any()
    bench.layer.undo()  # there is no more
    bench.layer.redo()
    for state in states[1:]:
        bench.layer.redo()
        bench.check()
        np.testing.assert_array_equal(bench.document.id_map(bench.frame), state)
    bench.layer.redo()
    bench.check()


def test_a_stroke_is_told_once_when_it_is_over(bench):
    with bench.layer.block_history():
        for x in range(14, 30, 2):
            bench.layer._draw(9, bench.at(6, x), bench.at(6, x + 2))
            assert bench.told == []
    assert bench.told == [bench.frame]
    assert bench.status(2) is Status.EDITED
    bench.check()
    bench.layer.undo()
    assert bench.status(9) is None
    bench.check()
    bench.layer.redo()
    bench.check()


def test_a_stroke_after_an_undo(bench):
    """It empties the list of what can be redone, which is not to be taken for a redo."""
    bench.layer.paint(bench.at(22, 22), 9)
    bench.layer.undo()
    bench.told.clear()
    with bench.layer.block_history():
        bench.layer.paint(bench.at(20, 5), 8, refresh=False)
        bench.layer.refresh()  # a slider moves, or another frame's result comes in
        assert bench.told == []
    assert bench.told == [bench.frame]
    bench.check()


def test_a_stroke_given_up_leaves_nothing(bench):
    bench.layer._begin_stroke()
    bench.layer.paint(bench.at(6, 13), 9)
    bench.layer._abort_stroke()
    bench.check()
    assert bench.told == []


def test_a_redraw_is_not_an_edit(bench):
    bench.layer.paint(bench.at(22, 22), 9)
    bench.told.clear()
    bench.layer.contour = 1
    bench.layer.show_selected_label = True
    bench.layer.refresh()
    bench.layer.editable = False  # napari drops its steps
    bench.layer.editable = True
    bench.layer.refresh()
    assert bench.told == []
    bench.layer.undo()  # which napari has forgotten, and the session has not
    assert bench.status(9) is None
    bench.check()


def test_locked_labels_are_left_by_napari(bench):
    bench.layer.preserve_labels = True
    bench.layer.selected_label = 9
    bench.layer.paint(bench.at(6, 12), 9)
    assert bench.status(1) is Status.PROPOSED
    assert bench.status(9) is Status.DRAWN
    bench.check()


@pytest.mark.parametrize("kind", ["stack", "volumes"])
def test_each_frame_is_told_by_itself(kind):
    bench = Bench(kind)
    for frame in range(bench.document.n_frames):
        steps = np.unravel_index(frame, bench.document.frame_shape)
        for axis, step in enumerate(steps):
            bench.viewer.dims.set_point(axis, step)
        bench.layer.paint(bench.at(20, 20), 10 + frame)
        assert bench.told[-1] == frame
        bench.check()
    # Undone while another frame is shown.
    bench.viewer.dims.set_point(0, 0)
    bench.layer.undo()
    assert bench.told[-1] == bench.document.n_frames - 1
    bench.check()


def test_painting_through_several_frames():
    bench = Bench("stack")
    bench.layer.n_edit_dimensions = 3
    bench.layer.paint((1, 22, 22), 9)
    assert [bench.status(9, frame) for frame in range(3)] == [Status.DRAWN] * 3
    assert sorted(bench.told) == [0, 1, 2]
    bench.layer.undo()
    bench.check()
    bench.layer.data_setitem((np.array([0, 2]), np.array([1, 5]), np.array([1, 5])), 7)
    assert [bench.status(7, frame) for frame in range(3)] == [Status.DRAWN, None, Status.DRAWN]
    assert bench.status(1) is Status.EDITED


def test_another_frame_may_come_in_while_a_stroke_is_drawn():
    bench = Bench("stack")
    id_map = np.zeros((H, W), np.uint16)
    id_map[:3, :3] = 1
    with bench.layer.block_history():
        bench.layer._draw(9, bench.at(6, 25), bench.at(18, 25))  # over the second object
        bench.propose(0, Segmentation(id_map, (Segment(1, 5, 0.5, area=9, bbox=(0, 0, 3, 3)),)))
        bench.layer._draw(9, bench.at(20, 20), bench.at(20, 15))
        bench.layer._draw(9, bench.at(20, 15), bench.at(20, 5))
    bench.check()
    assert bench.status(2) is Status.EDITED
    assert bench.status(9) is Status.DRAWN
    # What came after the other frame is one step.
    bench.layer.undo()
    assert not bench.layer.data[bench.frame, 20, :20].any()
    assert bench.layer.data[bench.frame, 10, 25] == 9
    bench.check()
    bench.layer.redo()
    bench.check()


def test_runs_and_strokes_are_undone_in_their_true_order():
    bench = Bench("image")
    first = bench.layer.data.copy()
    bench.layer.paint(bench.at(22, 22), 9)
    drawn = bench.layer.data.copy()
    bench.propose(0, Segmentation(np.zeros((H, W), np.uint16), ()))
    assert (bench.status(1), bench.status(9)) == (None, Status.DRAWN)
    bench.layer.undo()
    np.testing.assert_array_equal(bench.layer.data, drawn)
    assert bench.document.segments(0)[1].score == 0.9
    bench.check()
    bench.layer.undo()
    np.testing.assert_array_equal(bench.layer.data, first)
    bench.check()
    bench.layer.redo()
    bench.layer.redo()
    assert (bench.status(1), bench.status(9)) == (None, Status.DRAWN)
    bench.check()


def test_nothing_is_undone_within_a_stroke(bench):
    bench.layer.paint(bench.at(22, 22), 9)
    bench.layer._begin_stroke()
    bench.layer.paint(bench.at(6, 13), 8)
    bench.layer.undo()
    assert bench.status(9) is Status.DRAWN
    bench.layer._commit_stroke()
    assert bench.status(8) is Status.DRAWN
    bench.check()
