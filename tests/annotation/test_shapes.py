"""What operations on shapes do, seen in the pixels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_eomt.annotation import operations, shapes
from napari_eomt.annotation.document import Document
from napari_eomt.annotation.session import Session
from napari_eomt.errors import DataError
from napari_eomt.structures.categories import Category
from napari_eomt.structures.id_maps import areas, boxes
from napari_eomt.structures.segments import Segment, Segmentation, Status

CELL, DEBRIS = Category(1, "cell"), Category(2, "debris")


def opened(id_map, n_frames=0, frame=0):
    """Return a session whose frame holds an id map, every id of it proposed."""
    id_map = np.asarray(id_map, np.uint16)
    session = Session(Document((n_frames,) if n_frames else (), id_map.shape, [CELL, DEBRIS]))
    sizes = areas(id_map)
    segments = tuple(
        Segment(i, 1, 0.8, area=int(sizes[i]), bbox=box) for i, box in boxes(id_map).items()
    )
    session.do(operations.propose(session.document, frame, Segmentation(id_map, segments)))
    return session


def disk(shape, y, x, radius):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def two_cells():
    """Two disks that touch, as one object."""
    mask = disk((60, 80), 30, 28, 14) | disk((60, 80), 30, 52, 14)
    return mask.astype(np.uint16)


@pytest.mark.parametrize("points", [[(0, 40), (59, 40)], [(2, 30), (30, 41), (58, 44)]])
def test_a_line_divides_and_loses_nothing(points):
    session = opened(two_cells())
    before = session.document.id_map(0) > 0
    session.do(shapes.split_by_line(session.document, (0, 1), points))
    id_map = session.document.id_map(0)
    np.testing.assert_array_equal(id_map > 0, before)
    for i, segment in session.document.segments(0).items():
        assert ndimage.label(id_map == i, np.ones((3, 3)))[1] == 1
        assert (segment.status, segment.category_id) == (Status.EDITED, 1)
    assert len(session.document.segments(0)) == 2
    larger, smaller = (session.document.segments(0)[i].area for i in (1, 2))
    assert larger >= smaller, "the largest piece keeps the id"
    session.undo()
    assert list(session.document.segments(0)) == [1]


@pytest.mark.parametrize("points", [[(0, 5), (59, 5)], [(30, 20), (30, 35)], [(25, 40), (30, 40)]])
def test_a_line_that_does_not_divide_is_refused(points):
    session = opened(two_cells())
    with pytest.raises(DataError, match="right across"):
        shapes.split_by_line(session.document, (0, 1), points)


def test_a_diagonal_line_does_not_leak():
    """A line whose pixels touch by their corners alone would let the pieces touch through it."""
    session = opened(np.ones((40, 40)))
    session.do(shapes.split_by_line(session.document, (0, 1), [(0, 0), (39, 39)]))
    assert len(session.document.segments(0)) == 2
    sizes = sorted(s.area for s in session.document.segments(0).values())
    assert sum(sizes) == 1600
    assert sizes[0] > 700


def test_two_clicks_part_two_cells_at_the_neck():
    session = opened(two_cells())
    session.do(shapes.split_by_seeds(session.document, (0, 1), [(30, 25), (30, 55)]))
    id_map = session.document.id_map(0)
    left, right = id_map[30, 20], id_map[30, 60]
    assert left != right
    columns = np.flatnonzero(id_map[30] == left)
    assert abs(int(columns.max()) - 40) <= 2


@pytest.mark.parametrize("seeds", [[(30, 25)], [(30, 25), (30, 25)], [(1, 1), (30, 25)], []])
def test_clicks_that_are_not_two_are_refused(seeds):
    session = opened(two_cells())
    with pytest.raises(DataError, match="two points within"):
        shapes.split_by_seeds(session.document, (0, 1), seeds)


def test_proposals_of_the_model_part_an_object():
    session = opened(two_cells())
    left = np.exp(-((np.arange(80) - 28.0) ** 2) / 200)[None].repeat(60, 0)
    right = np.exp(-((np.arange(80) - 52.0) ** 2) / 200)[None].repeat(60, 0)
    debris = Segment(0, 2, 0.7)
    edit = shapes.split_by_masks(
        session.document,
        (0, 1),
        np.stack([left, right])[:, 10:50, 10:75],
        (10, 10),
        [debris, debris],
    )
    session.do(edit)
    id_map = session.document.id_map(0)
    assert id_map[30, 28] != id_map[30, 52]
    np.testing.assert_array_equal(id_map > 0, two_cells() > 0)
    assert {s.category_id for s in session.document.segments(0).values()} == {2}
    with pytest.raises(DataError, match="one object here"):
        shapes.split_by_masks(session.document, (0, 1), np.stack([left, 0 * left]), (0, 0))


def test_holes_are_filled_but_not_what_lies_in_them():
    id_map = np.zeros((20, 20))
    id_map[2:18, 2:18] = 1
    id_map[5:9, 5:9] = 0
    id_map[11:15, 11:15] = 0
    id_map[12:14, 12:14] = 2
    session = opened(id_map)
    session.do(shapes.fill_holes(session.document, [(0, 1)]))
    filled = session.document.id_map(0)
    assert (filled[5:9, 5:9] == 1).all()
    assert (filled[12:14, 12:14] == 2).all()
    assert filled[11, 11] == 1
    assert session.document.segments(0)[2].status is Status.PROPOSED


def test_the_largest_part_stays():
    id_map = np.zeros((20, 30))
    id_map[2:12, 2:12] = 1
    id_map[2:5, 20:23] = 1
    id_map[12, 12] = 1  # by a corner: it belongs to the large part
    session = opened(id_map)
    session.do(shapes.keep_largest(session.document, [(0, 1)]))
    assert session.document.segments(0)[1].area == 101
    assert session.document.segments(0)[1].bbox == (2, 2, 13, 13)


def test_smoothing_removes_a_spike_and_spares_neighbours():
    id_map = disk((60, 60), 30, 30, 15).astype(int)
    id_map[30, 45:58] = 1
    id_map[10:50, 47:] = np.where(id_map[10:50, 47:] == 0, 2, id_map[10:50, 47:])
    session = opened(id_map)
    neighbour = session.document.id_map(0) == 2
    session.do(shapes.smooth(session.document, [(0, 1)], 2))
    after = session.document.id_map(0)
    assert not (after[30, 50:] == 1).any()
    assert (after[neighbour] == 2).all()
    assert abs(session.document.segments(0)[1].area - np.pi * 15**2) < 40


def test_smoothing_several_that_touch_gives_every_pixel_one_owner():
    rng = np.random.default_rng(0)
    id_map = np.zeros((40, 60))
    id_map[5:35, 5:30], id_map[5:35, 30:55] = 1, 2
    id_map[rng.random(id_map.shape) < 0.1] = 0
    session = opened(id_map)
    session.do(shapes.smooth(session.document, [(0, 1), (0, 2)], 1.5))
    sizes = areas(session.document.id_map(0), 3)
    assert [session.document.segments(0)[i].area for i in (1, 2)] == sizes[1:].tolist()
    assert set(np.unique(session.document.id_map(0))) <= {0, 1, 2}


def test_copies_keep_their_ids_and_spare_locked_objects():
    id_map = np.zeros((20, 20))
    id_map[2:8, 2:8], id_map[2:8, 8:14] = 1, 2
    session = opened(id_map, n_frames=3)
    mask = np.ones((4, 4), bool)
    drawn = Segment(0, 2, status=Status.DRAWN)
    session.do(operations.add(session.document, 2, mask, (2, 2), drawn))
    session.do(shapes.copy_to(session.document, [(0, 1), (0, 2)], 2))
    there = session.document.id_map(2)
    assert (there[2:6, 2:6] == 3).all(), "what a person drew stays"
    assert session.document.segments(2)[1].area == 36 - 16
    np.testing.assert_array_equal(there == 2, id_map == 2)
    assert session.document.segments(2)[2].status is Status.DRAWN
    session.do(shapes.copy_to(session.document, [(0, 1)], 1))
    session.do(operations.set_status(session.document, [(1, 1)], Status.ACCEPTED))
    with pytest.raises(DataError, match="no object 9"):
        shapes.copy_to(session.document, [(0, 9)], 1)


def test_interpolation_moves_and_grows_between_two_frames():
    session = opened(disk((60, 100), 30, 20, 6).astype(int), n_frames=5)
    document = session.document
    big = disk((60, 100), 30, 80, 14)
    y0, x0 = np.argwhere(big).min(0)
    y1, x1 = np.argwhere(big).max(0) + 1
    session.do(shapes.copy_to(document, [(0, 1)], 4))
    session.do(operations.repaint(document, (4, 1), big[y0:y1, x0:x1], (int(y0), int(x0)), "Move"))
    session.do(shapes.interpolate(document, 1, 0, 4))
    sizes = [document.segments(frame)[1].area for frame in range(5)]
    assert sizes == sorted(sizes)
    middle = np.argwhere(document.id_map(2) == 1)
    np.testing.assert_allclose(middle.mean(0), (30, 50), atol=1)
    assert abs(np.sqrt(sizes[2] / np.pi) - 10) < 1
    session.undo()
    assert 1 not in document.segments(2)
    for first, last, told in ((0, 1, "not in frame 1"), (0, 0, "no frame between")):
        with pytest.raises(DataError, match=told):
            shapes.interpolate(document, 1, first, last)


def test_merging_takes_the_largest():
    id_map = np.zeros((10, 30))
    id_map[:, :5], id_map[:, 5:20], id_map[:, 25:] = 1, 2, 3
    session = opened(id_map)
    session.do(operations.recategorise(session.document, [(0, 2)], 2))
    session.do(operations.merge(session.document, [(0, 1), (0, 2), (0, 3)]))
    (segment,) = session.document.segments(0).values()
    assert (segment.id, segment.category_id, segment.area) == (2, 2, 250)
    with pytest.raises(DataError, match="two objects or more"):
        operations.merge(session.document, [(0, 2)])


def test_a_taken_candidate_spares_locked_objects_and_leaves_proposals_proposals():
    id_map = np.zeros((10, 30))
    id_map[:, :10], id_map[:, 10:20] = 1, 2
    session = opened(id_map)
    session.do(operations.set_status(session.document, [(0, 1)], Status.ACCEPTED))
    mask = np.ones((10, 12), bool)
    session.do(operations.add(session.document, 0, mask, (0, 5), Segment(0, 1, 0.4)))
    shown = session.document.id_map(0)
    assert (shown[:, :10] == 1).all()
    assert (shown[:, 10:17] == 3).all()
    assert session.document.segments(0)[2].status is Status.PROPOSED
    assert session.document.segments(0)[2].area == 30
    with pytest.raises(DataError, match="no room"):
        operations.add(session.document, 0, mask[:, :5], (0, 0), Segment(0, 1))


def test_categories_with_objects_go_only_where_they_are_sent():
    session = opened(np.ones((4, 4)))
    document = session.document
    with pytest.raises(DataError, match="1 object is cell"):
        operations.remove_category(document, 1)
    session.do(operations.remove_category(document, 1, into=2))
    assert list(document.categories) == [2]
    assert document.segments(0)[1].category_id == 2
    with pytest.raises(DataError, match="only category"):
        operations.remove_category(document, 2)
    session.undo()
    assert list(document.categories) == [1, 2], "in its old place, which has its key"
    assert document.segments(0)[1].category_id == 1
