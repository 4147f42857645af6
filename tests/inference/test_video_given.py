from __future__ import annotations

import numpy as np
import pytest

from napari_eomt.errors import DataError
from napari_eomt.inference.video_given import lay_over
from napari_eomt.structures.segments import Segment, Segmentation, Status

SHAPE = (30, 40)


def frame(*objects):
    """A frame of squares: (id, y, x, side, fields of the segment)."""
    id_map = np.zeros(SHAPE, np.uint16)
    for i, y, x, side, *_ in objects:
        id_map[y : y + side, x : x + side] = i
    segments = [Segment(o[0], 1, **(o[4] if len(o) > 4 else {})) for o in objects]
    return Segmentation(id_map, tuple(segments))


def locked(track_id, **fields):
    return {"track_id": track_id, "status": Status.ACCEPTED, **fields}


def test_locked_segments_keep_their_pixels_and_replace_what_was_found_there():
    found = frame((1, 5, 5, 10), (2, 15, 25, 10))
    given = frame((8, 4, 4, 10, locked(3)))
    result = lay_over(found, given)
    (one, other) = result.segmentation.segments
    assert (one.id, other.track_id, other.status) == (2, 3, Status.ACCEPTED)
    np.testing.assert_array_equal(result.segmentation.id_map == other.id, given.id_map == 8)
    np.testing.assert_array_equal(result.segmentation.id_map == 2, found.id_map == 2)
    assert result.replaced == {other.id: (1,)}
    assert set(np.unique(result.segmentation.id_map)) == {0, 2, other.id}


@pytest.mark.parametrize(("x", "is_kept"), [(10, True), (9, False)])
def test_what_is_left_to_a_half_stays(x, is_kept):
    found = frame((1, 5, x, 10))
    given = frame((8, 5, 5, 10, locked(3)))
    result = lay_over(found, given)
    assert (1 in {s.id for s in result.segmentation.segments}) is is_kept
    assert (result.replaced == {}) is is_kept
    shown = result.segmentation.id_map == 1
    assert shown.sum() == (50 if is_kept else 0)


def test_of_two_locked_ones_the_one_with_more_of_it_replaces_it():
    found = frame((1, 5, 5, 12))
    given = frame((4, 5, 5, 5, locked(3)), (6, 5, 10, 12, locked(2)))
    result = lay_over(found, given)
    by_track = {s.track_id: s.id for s in result.segmentation.segments}
    assert result.replaced == {by_track[2]: (1,)}


def test_the_others_pass_their_tracks_on():
    found = frame((1, 5, 5, 10), (2, 15, 25, 10))
    given = frame((8, 5, 6, 10, {"track_id": 3}), (9, 18, 2, 6, {"track_id": 4}),
                  (10, 16, 26, 10, {}))  # fmt: skip
    result = lay_over(found, given)
    assert result.segmentation.segments == found.segments
    np.testing.assert_array_equal(result.segmentation.id_map, found.id_map)
    assert result.known == {1: 3}
    assert [s.track_id for s in result.left.segments] == [4]


def test_rejected_segments_and_other_kinds_pass_nothing_on():
    found = frame((1, 5, 5, 10), (2, 15, 25, 10))
    given = frame((8, 5, 5, 10, locked(3, status=Status.REJECTED)),
                  (9, 15, 25, 10, {"track_id": 4, "is_thing": False}))  # fmt: skip
    result = lay_over(found, given)
    assert result.known == {}
    assert result.segmentation.segments == found.segments
    assert [s.track_id for s in result.left.segments] == [4]


def test_nothing_on_nothing_and_another_size():
    empty = frame()
    result = lay_over(empty, empty)
    assert (result.segmentation.segments, result.replaced, result.known) == ((), {}, {})
    with pytest.raises(DataError, match="Give those of this frame"):
        lay_over(empty, Segmentation(np.zeros((3, 3), np.uint16), ()))
