"""Schedules against the published step numbers and formulas."""

from __future__ import annotations

import pytest

from napari_eomt.training.schedule import (
    LearningRateSchedule,
    Ramp,
    even_ramps,
    mask_probabilities,
)


@pytest.mark.parametrize(
    ("n_steps", "starts", "length"),
    [
        (88_692, (14782, 29564, 44346, 59128), 14782),
        (88_692, (14782, 36955, 59128), 14782),
        (177_384, (29564, 73910, 118256), 29564),
        (88_692, (14782, 25869, 36955, 48042, 59128), 14782),
        (39_120, (6520, 13040, 19560, 26080), 6520),
        (39_120, (6520, 11410, 16300, 21190, 26080), 6520),
    ],
)
def test_even_ramps_are_the_published_ones(n_steps, starts, length):
    ramps = even_ramps(n_steps, len(starts))
    assert tuple(ramp.start for ramp in ramps) == starts
    assert tuple(ramp.end for ramp in ramps) == tuple(start + length for start in starts)


@pytest.mark.parametrize("n_blocks", [1, 2, 7])
@pytest.mark.parametrize("n_steps", [1, 5, 100])
def test_short_trainings_end_without_masks(n_steps, n_blocks):
    ramps = even_ramps(n_steps, n_blocks)
    assert ramps[0].start == pytest.approx(n_steps / 6, abs=0.5)
    assert mask_probabilities(n_steps, ramps) == (0,) * n_blocks
    starts = [ramp.start for ramp in ramps]
    assert starts == sorted(starts)


def test_a_ramp_follows_its_formula():
    ramp = Ramp(100, 200)
    assert ramp.probability(99) == 1
    assert ramp.probability(100) == 1
    assert ramp.probability(150) == pytest.approx(0.5**0.9)
    assert ramp.probability(199) == pytest.approx(0.01**0.9)
    assert ramp.probability(200) == 0


def test_explicit_ramps_need_not_be_even():
    ramps = (Ramp(0, 30), Ramp(50, 50))
    assert mask_probabilities(15, ramps) == (pytest.approx(0.5**0.9), 1)
    assert mask_probabilities(50, ramps) == (0, 0)


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (6, 5)])
def test_impossible_ramps_are_refused(start, end):
    with pytest.raises(ValueError, match="0 ≤ start ≤ end"):
        Ramp(start, end)


def test_learning_rates_follow_their_formula():
    n, w1, w2 = 10_000, 500, 1000
    schedule = LearningRateSchedule(n, w1, w2)
    for step in (0, 1, 250, 499, 500, 501, 1499, 1500, 1501, 5000, 9999):
        head = step / w1 if step < w1 else (1 - (step - w1) / (n - w1)) ** 0.9
        if step < w1:
            backbone = 0
        elif step < w1 + w2:
            backbone = (step - w1) / w2
        else:
            backbone = (1 - (step - w1 - w2) / (n - w1 - w2)) ** 0.9
        assert schedule.factor(step, is_backbone=False) == pytest.approx(head)
        assert schedule.factor(step, is_backbone=True) == pytest.approx(backbone)
    assert schedule.factor(n, is_backbone=False) == 0
    assert schedule.factor(n, is_backbone=True) == 0


def test_without_warm_ups_the_rate_starts_full():
    schedule = LearningRateSchedule(10, 0, 0)
    assert schedule.factor(0, is_backbone=True) == 1
    assert schedule.factor(0, is_backbone=False) == 1


def test_a_short_training_has_short_warm_ups():
    assert LearningRateSchedule(200).shortened() == LearningRateSchedule(200, 10, 20)
    long = LearningRateSchedule(100_000)
    assert long.shortened() == long
    # As it is, the published one would never reach the backbone.
    assert LearningRateSchedule(200).factor(199, is_backbone=True) == 0
    assert LearningRateSchedule(200).shortened().factor(30, is_backbone=True) == 1
