"""Identities that are switched, lost or torn are doubted; those that go on are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_eomt.annotation.document import Document
from napari_eomt.annotation.edits import Edit, SegmentChange
from napari_eomt.annotation.track_doubts import IdentityDoubt, identity_doubts
from napari_eomt.annotation.track_edits import swap_identities
from napari_eomt.annotation.track_lanes import DOUBTFUL
from napari_eomt.annotation.tracks import TrackIndex
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment

SIZE = 10


def drawn(paths, n_frames=8, size=SIZE):
    """Return a document of squares: by track, the (y, x) of the corner in each frame, or None."""
    document = Document((n_frames,), (60, 120), [Category(1, "cell"), Category(2, "sky", False)])
    for number, path in paths.items():
        for frame, at in enumerate(path):
            if at is None:
                continue
            (y, x), side = at[:2], at[2] if len(at) > 2 else size
            document.id_map(frame)[y : y + side, x : x + side] = number
            box = (y, x, y + side, x + side)
            segment = Segment(number, 1, track_id=number, area=side**2, bbox=box)
            change = SegmentChange(frame, None, segment)
            document.apply(Edit("", segments=(change,)), pixels=False)
    return document


def doubts_of(document, wanted=None):
    return identity_doubts(document, TrackIndex.of(document), wanted)


STILL = {1: [(5, 5)] * 8, 2: [(5, 17)] * 8, 3: [(30, 60)] * 8}


def test_what_goes_on_is_not_doubted():
    walking = {1: [(5, 5 + 9 * f) for f in range(8)], 2: [(30, 100 - 6 * f) for f in range(8)]}
    for paths in (STILL, walking):
        scores = {key: doubt.score for key, doubt in doubts_of(drawn(paths)).items()}
        assert len(scores) == 7 * len(paths)
        assert max(scores.values()) < 0.3, paths


@pytest.mark.parametrize("pair", [(1, 2), (1, 3)])
def test_a_switch_is_doubted_where_it_is_and_nowhere_else(pair):
    document = drawn(STILL)
    document.apply(swap_identities(document, 4, *pair))
    scores = {key: doubt.score for key, doubt in doubts_of(document).items()}
    doubtful = {key for key, score in scores.items() if score >= DOUBTFUL}
    assert doubtful == {(4, i) for i in pair}
    assert doubts_of(document)[4, 1].switch > 0.9
    assert doubts_of(document)[4, 1].reason == "another object is where it was"


def test_those_that_turn_back_where_they_would_have_crossed_are_doubted():
    paths = {1: [(5, 12 * f) for f in range(8)], 2: [(8, 84 - 12 * f) for f in range(8)]}
    right, wrong = drawn(paths), drawn(paths)
    wrong.apply(swap_identities(wrong, 4, 1, 2))
    assert doubts_of(right)[4, 1].jump == 0
    assert doubts_of(wrong)[4, 1].jump > 0.3
    assert doubts_of(right)[4, 1].score >= DOUBTFUL, "another one is where it was"


def test_jumps_growth_and_gaps_are_told_apart():
    jump = drawn({1: [(5, 5)] * 4 + [(5, 60)] * 4})
    growth = drawn({1: [(5, 5)] * 4 + [(5, 5, 30)] * 4})
    gap = drawn({1: [(5, 5)] * 2 + [None] * 4 + [(5, 5)] * 2})
    found = [doubts_of(d)[key] for d, key in ((jump, (4, 1)), (growth, (4, 1)), (gap, (6, 1)))]
    assert [doubt.reason for doubt in found] == ["it jumped", "its size changed", "it was away"]
    assert found[0].score > DOUBTFUL
    assert found[1].change == pytest.approx(1 - 1.5 / 9)
    assert found[2].gap == pytest.approx(0.5)


def test_a_track_that_begins_where_another_ends_is_doubted_unless_it_is_its_child():
    document = drawn({1: [(5, 5)] * 4, 2: [None] * 4 + [(5, 6)] * 4})
    assert doubts_of(document)[4, 2].switch == pytest.approx(0.9)
    for frame in range(4, 8):
        before = document.segments(frame)[2]
        change = SegmentChange(frame, before, replace(before, parent_track_id=1))
        document.apply(Edit("", segments=(change,)))
    assert (4, 2) not in doubts_of(document)


def test_only_the_tracks_that_are_asked_for_are_judged_and_stuff_is_not():
    document = drawn(STILL)
    assert {i for _, i in doubts_of(document, {2: None, 99: None})} == {2}
    before = document.segments(3)[2]
    change = SegmentChange(3, before, replace(before, category_id=2, is_thing=False))
    document.apply(Edit("", segments=(change,)))
    assert (3, 2) not in doubts_of(document)
    assert doubts_of(document)[4, 2].gap > 0


def test_the_parts_make_one_doubt():
    assert IdentityDoubt().score == 0
    assert IdentityDoubt(0.5, 0.5).score == pytest.approx(0.75)
    parts = np.random.default_rng(0).random(4).tolist()
    assert max(parts) <= IdentityDoubt(*parts).score <= 1


def test_a_few_steps_are_judged_as_all_of_them():
    random = np.random.default_rng(1)
    paths = {
        i: [
            tuple(map(int, random.integers(0, 48, 2))) if random.random() < 0.8 else None
            for _ in STILL[1]
        ]
        for i in (1, 2, 3)
    }
    document = drawn(paths)
    whole = doubts_of(document)
    assert doubts_of(document, {2: (3, 4, 7), 1: (5,)}) == {
        (f, i): doubt
        for (f, i), doubt in whole.items()
        if (f, i) in {(3, 2), (4, 2), (7, 2), (5, 1)}
    }
