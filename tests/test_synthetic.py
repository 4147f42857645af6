from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_eomt.synthetic import drawn_nuclei, moving_objects


def test_drawn_nuclei_hold_every_id_as_one_piece_that_touches_no_other():
    image, id_map = drawn_nuclei((200, 240), n=30, seed=3)
    assert image.shape == id_map.shape == (200, 240)
    assert (image.dtype, id_map.dtype) == (np.uint8, np.uint16)
    assert np.unique(id_map).tolist() == list(range(31))
    _, n_pieces = ndimage.label(id_map > 0, np.ones((3, 3)))
    assert n_pieces == 30


def test_drawn_nuclei_are_brighter_than_what_is_around_them():
    image, id_map = drawn_nuclei(seed=1)
    means = ndimage.mean(image, id_map, np.arange(id_map.max() + 1))
    assert means[1:].min() > means[0] + 50


def test_drawn_nuclei_too_many_for_the_image():
    with pytest.raises(ValueError, match=r"of 500 nuclei found a place in 64 × 64 px"):
        drawn_nuclei((64, 64), n=500)


def test_no_nuclei_is_an_empty_image():
    image, id_map = drawn_nuclei((32, 48), n=0)
    assert image.shape == (32, 48)
    assert not id_map.any()


@pytest.mark.parametrize("draw", [drawn_nuclei, moving_objects])
def test_the_same_seed_draws_the_same(draw):
    for one, other in zip(draw(seed=5), draw(seed=5), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (draw(seed=5)[0] != draw(seed=6)[0]).any()


def test_a_disc_alone_is_whole_in_every_frame_and_moves_a_little_at_a_time():
    frames, ids = moving_objects(n_frames=80, shape=(60, 90), n_objects=1, seed=2)
    assert frames.shape == ids.shape == (80, 60, 90)
    assert (frames.dtype, ids.dtype) == (np.uint8, np.uint16)
    areas = ids.sum(axis=(1, 2))
    assert np.ptp(areas) < 0.05 * areas.mean()  # never cut off by the border
    centres = np.array([ndimage.center_of_mass(frame) for frame in ids])
    steps = np.hypot(*np.diff(centres, axis=0).T)
    assert steps.min() > 0.5
    assert steps.max() < 5.5


def test_the_disc_with_the_larger_id_covers_the_other():
    frames, ids = moving_objects(n_frames=60, shape=(64, 64), n_objects=4, seed=0)
    visible = np.array([[(frame == i).sum() for i in range(1, 5)] for frame in ids])
    whole = visible.max(axis=0)
    assert np.all(visible[:, 3] > 0.95 * whole[3])
    assert np.any(visible[:, 0] < 0.7 * whole[0])
    # The picture says so too: a covered pixel shows the disc on top.
    top = np.median(frames[ids == 4])
    assert abs(float(np.median(frames[30][ids[30] == 4])) - float(top)) < 5


def test_moving_objects_needs_room():
    with pytest.raises(ValueError, match=r"20 × 90 px, expected at least 40"):
        moving_objects(shape=(20, 90))
