"""Drawn videos: what they promise is in them."""

from __future__ import annotations

import colorsys
from itertools import pairwise

import numpy as np
import pytest

from napari_eomt.synthetic_video import drawn_tracks


def gaps(ids, i):
    """Return how many frames an object is gone, between frames that show it."""
    seen = np.flatnonzero((ids == i).any((1, 2)))
    return int(seen[-1] - seen[0] + 1 - len(seen)) if len(seen) else 0


def test_the_same_seed_draws_the_same_video():
    one, other = drawn_tracks(5, seed=3), drawn_tracks(5, seed=3)
    np.testing.assert_array_equal(one.frames, other.frames)
    np.testing.assert_array_equal(one.ids, other.ids)
    assert not np.array_equal(one.ids, drawn_tracks(5, seed=4).ids)
    assert (one.frames.dtype, one.frames.shape) == (np.uint8, (5, 64, 64, 3))
    assert (one.ids.dtype, one.ids.shape) == (np.uint16, (5, 64, 64))


def test_an_object_has_one_colour_of_its_own_wherever_it_is():
    for seed in range(10):
        video = drawn_tracks(16, n_objects=3, seed=seed)
        hues = []
        for i in range(1, 4):
            pixels = video.frames[video.ids == i] / 255
            # The median leaves out the blurred edge.
            hues.append(colorsys.rgb_to_hsv(*np.median(pixels, 0))[0])
        apart = [abs((a - b + 0.5) % 1 - 0.5) for a in hues for b in hues if a is not b]
        assert min(apart) > 0.15
        assert np.median(video.frames[video.ids == 0]) < 60


def test_objects_hide_each_other():
    """In most videos one is seen by half at most, or not at all, and whole again later."""
    n_hidden = 0
    for seed in range(20):
        ids = drawn_tracks(16, absent=0.0, seed=seed).ids
        areas = np.array([(ids == i).sum((1, 2)) for i in (1, 2, 3)])
        share = areas / areas.max(1, keepdims=True)
        n_hidden += ((share[:, 2:-2] < 0.5).any(1) & (share[:, -1] > 0.8)).any()
    assert n_hidden > 10


def test_objects_come_back_somewhere_else():
    videos = [drawn_tracks(16, absent=1.0, seed=seed).ids for seed in range(20)]
    assert np.mean([gaps(ids, i) >= 2 for ids in videos for i in (1, 2, 3)]) > 0.7
    jumps = []
    for ids in videos:
        for i in (1, 2, 3):
            seen = np.flatnonzero((ids == i).any((1, 2)))
            for a, b in pairwise(seen):
                if b - a > 1:
                    places = [np.argwhere(ids[t] == i).mean(0) for t in (a, b)]
                    jumps.append(np.hypot(*(places[1] - places[0])))
    assert np.median(jumps) > 15  # further than an object is wide or goes in these frames


def test_without_absences_an_object_is_gone_only_behind_others():
    for seed in range(10):
        alone = drawn_tracks(12, n_objects=1, absent=0.0, seed=seed)
        assert (alone.ids == 1).any((1, 2)).all()
        middles = np.array([np.argwhere(ids == 1).mean(0) for ids in alone.ids])
        steps = np.hypot(*np.diff(middles, axis=0).T)
        assert steps.max() < 6


def test_small_frames_are_refused():
    with pytest.raises(ValueError, match="at least 48"):
        drawn_tracks(shape=(40, 64))


def test_objects_that_look_alike_move_as_those_that_do_not():
    for seed in range(5):
        video, alike = drawn_tracks(8, seed=seed), drawn_tracks(8, alike=True, seed=seed)
        colours = [np.median(alike.frames[alike.ids == i], 0) for i in (1, 2, 3)]
        assert np.ptp(colours, axis=0).max() <= 4
        largest = [max((alike.ids == i).sum((1, 2))) for i in (1, 2, 3)]
        assert np.ptp(largest) <= 0.15 * max(largest)
        for i in (1, 2, 3):
            # A place is within the shape, whatever that is.
            both = ((video.ids == i) & (alike.ids == i)).any((1, 2))
            shown = (video.ids == i).any((1, 2)) & (alike.ids == i).any((1, 2))
            assert both[shown].mean() > 0.8
