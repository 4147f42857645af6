from __future__ import annotations

import numpy as np
import pytest

from napari_eomt.annotation import operations
from napari_eomt.annotation.document import Document
from napari_eomt.annotation.session import Session
from napari_eomt.structures.categories import Category
from napari_eomt.structures.id_maps import boxes
from napari_eomt.structures.segments import Segment, Segmentation, Status

CELL = Category(1, "cell")


def segmentation(id_map):
    id_map = np.asarray(id_map, np.uint16)
    segments = tuple(
        Segment(i, 1, 0.9, area=int((id_map == i).sum()), bbox=box)
        for i, box in boxes(id_map).items()
    )
    return Segmentation(id_map, segments)


def propose(document, frame, proposed):
    edit = operations.propose(document, frame, proposed)
    Session(document).do(edit)
    return edit


def paint(document, frame, new):
    """Paint a frame as a viewer does, and return whether that was an edit."""
    id_map = document.id_map(frame)
    before = id_map.copy()
    id_map[...] = new
    edit = operations.painted(document, frame, before ^ id_map, (0, 0), 1)
    return Session(document).record(edit)


def test_a_first_proposal_keeps_its_ids():
    document = Document((), (2, 4), [CELL])
    proposed = segmentation([[1, 1, 0, 2], [1, 0, 0, 2]])
    propose(document, 0, proposed)
    np.testing.assert_array_equal(document.id_maps, proposed.id_map)
    assert list(document.segments(0)) == [1, 2]


def test_ids_are_unique_over_frames_and_reused_within_one():
    document = Document((3,), (1, 4), [CELL])
    propose(document, 0, segmentation([[1, 2, 0, 0]]))
    propose(document, 2, segmentation([[1, 0, 2, 3]]))
    assert document.id_maps[2].tolist() == [[3, 0, 4, 5]]
    propose(document, 0, segmentation([[1, 2, 3, 0]]))
    assert document.id_maps[0].tolist() == [[1, 2, 6, 0]]
    assert sorted(document.segments(0)) == [1, 2, 6]


def test_locked_segments_keep_their_pixels():
    document = Document((), (1, 8), [CELL])
    propose(document, 0, segmentation([[1, 1, 1, 0, 2, 2, 0, 0]]))
    paint(document, 0, [[1, 1, 1, 1, 2, 2, 0, 0]])  # the user paints on
    assert document.segments(0)[1].status is Status.EDITED
    propose(document, 0, segmentation([[1, 1, 1, 1, 0, 2, 2, 2]]))
    # Its own object proposed again is dropped; the rest is replaced.
    assert document.id_maps.tolist() == [[1, 1, 1, 1, 0, 2, 2, 2]]
    assert {i: s.status for i, s in document.segments(0).items()} == {
        1: Status.EDITED,
        2: Status.PROPOSED,
    }


def test_a_proposal_half_under_a_locked_one_keeps_the_rest():
    document = Document((), (1, 6), [CELL])
    paint(document, 0, [[5, 5, 0, 0, 0, 0]])
    propose(document, 0, segmentation([[0, 1, 1, 1, 2, 2]]))
    assert document.id_maps.tolist() == [[5, 5, 6, 6, 7, 7]]
    assert document.segments(0)[6].area == 2
    assert document.segments(0)[6].bbox == (0, 2, 1, 4)
    assert document.n_locked([0]) == 1


def test_painting_makes_edits_drawings_and_takes_away():
    document = Document((), (1, 6), [CELL])
    propose(document, 0, segmentation([[1, 1, 2, 2, 0, 0]]))
    assert paint(document, 0, [[1, 1, 1, 2, 9, 9]])
    segments = document.segments(0)
    assert (segments[1].area, segments[2].area, segments[9].area) == (3, 1, 2)
    assert segments[9].status is Status.DRAWN
    paint(document, 0, [[1, 1, 1, 0, 9, 9]])
    assert 2 not in document.segments(0)
    assert not paint(document, 0, [[1, 1, 1, 0, 9, 9]])
    # The next proposal counts on from what the user drew.
    propose(document, 0, segmentation([[0, 0, 0, 1, 0, 0]]))
    assert document.id_maps[0, 3] == 10


def test_an_id_drawn_on_in_another_frame_is_not_given_away():
    document = Document((2,), (1, 3), [CELL])
    propose(document, 0, segmentation([[1, 0, 2]]))
    paint(document, 1, [[2, 0, 0]])
    propose(document, 0, segmentation([[0, 1, 2]]))
    assert document.id_maps[0].tolist() == [[0, 1, 3]]
    assert document.segments(1)[2].status is Status.DRAWN


def test_the_inverse_takes_a_run_back():
    document = Document((2,), (1, 3), [CELL])
    propose(document, 1, segmentation([[1, 0, 2]]))
    before = document.segmentation(1)
    edit = propose(document, 1, segmentation([[1, 1, 1]]))
    document.apply(edit.inverse())
    np.testing.assert_array_equal(document.id_maps[1], before.id_map)
    assert document.segments(1) == before.by_id()


def test_ids_past_16_bits_widen_the_maps():
    document = Document((2,), (1, 2), [CELL])
    paint(document, 0, [[65_535, 0]])
    propose(document, 1, segmentation([[1, 2]]))
    assert document.id_maps.dtype == np.uint32
    assert document.id_maps[1].tolist() == [[65_536, 65_537]]
    assert document.id_maps[0, 0, 0] == 65_535


def test_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        propose(Document((), (1, 2), [CELL]), 0, segmentation([[1, 1], [1, 1]]))
