"""Which frames a clip shows, and how a single image drifts through one."""

from __future__ import annotations

import numpy as np
import pytest

from napari_eomt.training.clip_views import MAX_ANGLE, MAX_SHIFT, Drift, draw_drift, draw_frames


@pytest.mark.parametrize("n_frames", [1, 2, 4, 5, 9, 40])
@pytest.mark.parametrize("stride", [1, 3])
def test_frames_rise_evenly_within_the_video(n_frames, stride):
    seen = set()
    for seed in range(200):
        frames = draw_frames(np.random.default_rng(seed), n_frames, 5, stride)
        assert len(frames) == 5
        assert 0 <= frames[0] <= frames[-1] < n_frames
        steps = set(np.diff(frames).tolist())
        if n_frames >= 5:
            assert len(steps) == 1
            assert steps <= set(range(1, stride + 1))
        else:
            assert min(steps) >= 0
            assert set(frames) == set(range(n_frames))
        seen |= set(frames)
    assert seen == set(range(n_frames))


def test_strides_are_drawn_up_to_the_largest():
    steps = [np.diff(draw_frames(np.random.default_rng(seed), 40, 5, 3))[0] for seed in range(300)]
    counts = np.bincount(steps, minlength=4)
    assert counts[0] == 0
    assert counts[1:].min() > 70


def test_a_drift_goes_on_in_one_direction():
    drifts = draw_drift(np.random.default_rng(0), 6)
    for values, bound in (
        ([d.angle for d in drifts], MAX_ANGLE),
        ([d.shift[0] for d in drifts], MAX_SHIFT),
        ([d.shift[1] for d in drifts], MAX_SHIFT),
    ):
        steps = np.diff(values)
        assert (steps > 0).all() or (steps < 0).all()
        assert max(map(abs, values)) <= bound


def test_no_drift_changes_nothing():
    rng = np.random.default_rng(1)
    pixels, ids = rng.integers(0, 256, (20, 30, 3), np.uint8), rng.integers(0, 9, (20, 30))
    still = Drift(0.0, (0.0, 0.0))
    np.testing.assert_array_equal(still.pixels(pixels), pixels)
    np.testing.assert_array_equal(still.nearest(ids.astype(np.uint16)), ids)


def test_a_shift_is_of_the_sides_and_a_turn_is_counter_clockwise():
    ids = np.zeros((40, 80), np.uint16)
    ids[10, 20] = 3
    moved = Drift(0.0, (0.1, -0.05)).nearest(ids)
    assert np.argwhere(moved).tolist() == [[14, 16]]
    right = np.zeros((41, 41), bool)
    right[18:23, 36:41] = True  # right of the middle
    turned = Drift(90.0, (0.0, 0.0)).nearest(right)
    assert turned.dtype == bool
    np.testing.assert_array_equal(turned, np.rot90(right))


def test_pixels_and_ids_move_together():
    y, x = np.mgrid[:64, :64]
    disc = (y - 25) ** 2 + (x - 40) ** 2 <= 14**2
    drift = Drift(12.0, (0.08, -0.06))
    pixels = drift.pixels(np.repeat(disc[..., None], 3, 2).astype(np.uint8) * 255)
    ids = drift.nearest(disc.astype(np.uint8))
    differ = (pixels[..., 0] > 127) != ids.astype(bool)
    assert differ.mean() < 0.005  # at the edge, where smooth and nearest round otherwise
    assert ids.sum() == pytest.approx(disc.sum(), rel=0.02)
