"""Actions on a viewer and a result: one edit each, on what is selected or under the cursor."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_eomt.annotation import operations, shapes
from napari_eomt.errors import DataError
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation, Status
from napari_eomt.viewer import actions
from napari_eomt.viewer.image_source import LayerSource, guess_roles
from napari_eomt.viewer.place import Place
from napari_eomt.viewer.results import Results

CATEGORIES = [Category(7, "cell"), Category(3, "debris")]
H, W = 30, 40


def id_map(*boxes):
    drawn = np.zeros((H, W), np.uint16)
    for i, (y0, x0, y1, x1) in enumerate(boxes, start=1):
        drawn[y0:y1, x0:x1] = i
    return drawn


def propose(result, frame, *boxes, scores=None):
    segments = tuple(
        Segment(i, 7, score=(scores or {}).get(i, 0.5), area=(b[2] - b[0]) * (b[3] - b[1]), bbox=b)
        for i, b in enumerate(boxes, start=1)
    )
    result.propose(frame, Segmentation(id_map(*boxes), segments), "Segment")


def made(shape=(H, W), **options):
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros(shape, np.uint8), **options)
    roles = guess_roles(image)
    result = Results(viewer).create("key", image, roles, LayerSource(image, roles), CATEGORIES)
    return viewer, result


BOXES = [(2, 2, 12, 12), (2, 14, 12, 24), (15, 2, 25, 12)]


@pytest.fixture
def place():
    viewer, result = made()
    propose(result, 0, *BOXES)
    return Place(viewer, result)


def point_at(place, y, x):
    place.viewer.cursor.position = tuple(place.result.view.layer.data_to_world((y, x)))


def statuses(place, frame=0):
    return {i: s.status for i, s in place.result.document.segments(frame).items()}


def test_accept_takes_the_selection_and_goes_to_the_next(place):
    session = place.result.session
    session.select([(0, 1)])
    n = session.n_steps
    assert actions.accept(place) == "Accept 1 object"
    assert session.n_steps == n + 1
    assert statuses(place)[1] is Status.ACCEPTED
    assert session.selection == {(0, 2)}
    actions.accept(place)
    message = actions.accept(place)
    assert "last one to review" in message
    assert set(statuses(place).values()) == {Status.ACCEPTED}
    assert not session.selection
    for _ in range(3):
        assert actions.undo(place) == "Undone: Accept 1 object"
    assert set(statuses(place).values()) == {Status.PROPOSED}


def test_the_order_of_the_review_comes_from_outside(place):
    worst_first = [(0, 3), (0, 1), (0, 2)]
    place = Place(place.viewer, place.result, lambda result, frame: worst_first)
    assert actions.go_next(place).startswith("1 of 3 to review · #3 cell · 0.50")
    actions.reject(place)
    assert place.result.session.selection == {(0, 1)}
    assert statuses(place)[3] is Status.REJECTED
    assert not (place.result.document.id_map(0) == 3).any()
    assert actions.go_previous(place).startswith("1 of 3")


def test_without_a_selection_the_object_under_the_cursor_is_meant(place):
    point_at(place, 5, 20)
    assert actions.delete(place) == "Delete 1 object"
    assert set(place.result.document.segments(0)) == {1, 3}
    point_at(place, 28, 38)
    with pytest.raises(DataError, match="No object is meant"):
        actions.delete(place)
    point_at(place, -200, 5)
    with pytest.raises(DataError, match="No object is meant"):
        actions.delete(place)


@pytest.mark.parametrize(
    "geometry", [{}, {"scale": (0.5, 2), "translate": (3, -7)}, {"rotate": 30, "scale": (2, 1)}]
)
def test_the_cursor_finds_its_pixel_through_any_transform(geometry):
    viewer, result = made((4, H, W), **_widened(geometry))
    propose(result, 2, *BOXES)
    place = Place(viewer, result)
    place.show_frame(2)
    assert place.frame == 2
    for y, x, i in [(2, 2, 1), (11.4, 23.4, 2), (24, 2, 3), (13, 13, 0), (11.6, 5, 0)]:
        at = result.view.layer.data_to_world((2, y, x))
        viewer.cursor.position = tuple(at)
        assert place.pixel() == pytest.approx((y, x), abs=1e-6)
        assert place.under(place.pixel()) == i


def _widened(geometry):
    wide = {}
    if "scale" in geometry:
        wide["scale"] = (3, *geometry["scale"])
    if "translate" in geometry:
        wide["translate"] = (5, *geometry["translate"])
    if "rotate" in geometry:
        angle = np.deg2rad(geometry["rotate"])
        wide["rotate"] = np.eye(3)
        wide["rotate"][1:, 1:] = [
            [np.cos(angle), -np.sin(angle)],
            [np.sin(angle), np.cos(angle)],
        ]
    return wide


def test_merge_keeps_one_selected(place):
    session = place.result.session
    session.select([(0, 1), (0, 2)])
    assert actions.merge(place) == "Merge 2 objects"
    assert set(place.result.document.segments(0)) == {1, 3}
    assert session.selection == {(0, 1)}
    with pytest.raises(DataError, match="two objects or more"):
        actions.merge(place)


def test_lock_turns_over_and_reopen_takes_a_decision_back(place):
    place.result.session.select([(0, 1), (0, 2)])
    assert actions.lock(place) == "Lock 2 objects"
    assert all(place.result.document.segments(0)[i].locked for i in (1, 2))
    assert actions.lock(place) == "Unlock 2 objects"
    actions.accept(place)
    place.result.session.select([(0, 1)])
    actions.reopen(place)
    assert statuses(place)[1] is Status.PROPOSED
    assert statuses(place)[2] is Status.ACCEPTED


def test_shape_actions_change_what_they_say(place):
    document, session = place.result.document, place.result.session
    edit = operations.delete(document, [(0, 2)])
    session.do(edit)
    place.result.view.layer.data_setitem((np.array([5]), np.array([5])), 0)
    session.select([(0, 1)])
    assert document.id_map(0)[5, 5] == 0
    assert actions.fill_holes(place) == "Fill holes of 1 object"
    assert document.id_map(0)[5, 5] == 1
    assert actions.fill_holes(place) == "Nothing to change."
    assert actions.smooth(place) == "Smooth 1 object"
    place.result.view.layer.data_setitem((np.array([28]), np.array([38])), 1)
    assert actions.keep_largest(place) == "Keep largest part of 1 object"
    assert document.id_map(0)[28, 38] == 0


def test_split_by_a_line_takes_what_it_crosses(place):
    session, document = place.result.session, place.result.document
    message = actions.split_by_line(place, [(7, 0), (7, 13)])
    assert message == "Split object 1 into 2"
    assert session.selection == {(0, 1), (0, 4)}
    assert (document.id_map(0) > 0).sum() == (id_map(*BOXES) > 0).sum()
    # Longer in 1, but 2 is selected.
    actions.undo(place)
    session.select([(0, 2)])
    assert actions.split_by_line(place, [(7, 0), (7, 26)]) == "Split object 2 into 2"
    with pytest.raises(DataError, match="crosses no object"):
        actions.split_by_line(place, [(27, 0), (27, 39)])
    with pytest.raises(DataError, match="right across"):
        actions.split_by_line(place, [(17, 4), (20, 8)])


def test_split_by_two_clicks(place):
    session = place.result.session
    session.select([(0, 1), (0, 2)])
    actions.merge(place)
    place.result.view.layer.data_setitem(tuple(np.mgrid[5:9, 12:14].reshape(2, -1)), 1)
    assert actions.split_by_clicks(place, [(6, 4), (6, 20)]) == "Split object 1 into 2"
    assert place.under((6, 4)) != place.under((6, 20))
    with pytest.raises(DataError, match="two points"):
        actions.split_by_clicks(place, [(6, 4), (28, 38)])


def test_categories_by_number_for_objects_or_for_the_brush(place):
    assert actions.recategorise(place, 2) == "What you draw is debris now."
    assert place.result.view.category_id == 3
    place.result.session.select([(0, 1)])
    assert actions.recategorise(place, 2) == "Make debris: 1 object"
    assert place.result.document.segments(0)[1].category_id == 3
    with pytest.raises(DataError, match="no number 5"):
        actions.recategorise(place, 5)


def test_frames_copy_interpolate_and_step():
    viewer, result = made((8, H, W))
    place = Place(viewer, result)
    propose(result, 1, (2, 2, 12, 12))
    place.show_frame(1)
    result.session.select([(1, 1)])
    assert actions.copy_to_next(place) == "Copy 1 object to frame 2"
    assert place.frame == 2
    assert result.session.selection == {(2, 1)}
    result.session.do(operations.delete(result.document, [(2, 1)]))
    place.show_frame(1)
    result.session.select([(1, 1)])
    with pytest.raises(DataError, match="without a gap"):
        actions.interpolate(place)
    result.session.do(shapes.copy_to(result.document, [(1, 1)], 5))
    place.show_frame(3)  # where it is not: the selection of its frame still says which
    assert actions.interpolate(place) == "Interpolate object 1 in 3 frames"
    assert result.document.frames_of(1) == [1, 2, 3, 4, 5]
    result.session.undo()
    assert actions.next_frame(place) == "Frame 5: 1 object"
    assert "No frame after" in actions.next_frame(place)
    assert actions.previous_frame(place) == "Frame 1: 1 object"
    place.show_frame(7)
    result.session.select(())
    assert actions.previous_frame(place).startswith("Frame 5")
    place.show_frame(7)
    with pytest.raises(DataError, match="No object is meant"):
        actions.copy_to_next(place)


def test_what_is_selected_in_another_frame_is_not_touched():
    viewer, result = made((3, H, W))
    place = Place(viewer, result)
    propose(result, 0, (2, 2, 12, 12))
    result.session.select([(0, 1)])
    place.show_frame(2)
    viewer.cursor.position = tuple(result.view.layer.data_to_world((2, 28, 38)))
    with pytest.raises(DataError, match="No object is meant"):
        actions.delete(place)
    assert result.document.segments(0)


def test_undo_says_when_there_is_nothing(place):
    assert actions.undo(place) == "Undone: Segment"
    assert actions.undo(place) == "Nothing to undo."
    assert actions.redo(place) == "Done again: Segment"
    assert actions.redo(place) == "Nothing to do again."


def test_going_to_an_object_brings_it_into_view(place):
    viewer = place.viewer
    viewer.scene.camera.zoom = 60
    viewer.scene.camera.center = (0, 5, 5)
    place.centre_on((0, 3))
    assert tuple(viewer.scene.camera.center)[-2:] == pytest.approx((19.5, 6.5))
    before = viewer.scene.camera.center
    place.centre_on((0, 3))  # in view: the picture does not jump
    assert viewer.scene.camera.center == before
