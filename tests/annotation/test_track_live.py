"""The tracks that follow edits are those of the whole document, whatever was done."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.annotation.track_documents import document_of

from napari_eomt.annotation import operations
from napari_eomt.annotation.session import Session
from napari_eomt.annotation.track_edits import (
    change_identity,
    cut_track,
    delete_from,
    join_tracks,
    set_parent,
    swap_identities,
)
from napari_eomt.annotation.track_lanes import (
    DECIDED,
    DOUBT,
    END,
    GAP,
    PRESENT,
    REJECTED,
    SPLIT,
    START,
    Lanes,
    columns,
    frame_at,
)
from napari_eomt.annotation.track_live import LiveTracks
from napari_eomt.annotation.tracks import TrackIndex
from napari_eomt.errors import DataError
from napari_eomt.structures.segments import Segment, Status


def tracked(n_tracks=5, n_frames=6, by_id=0, seed=0):
    """Return a document of tracks with holes; the last ones are known by their id alone."""
    random = np.random.default_rng(seed)
    rows = []
    for i in range(1, n_tracks + 1):
        track_id = None if i > n_tracks - by_id else i
        there = np.flatnonzero(random.random(n_frames) < 0.8)
        rows += [(int(f), Segment(i, 1, score=0.9, track_id=track_id)) for f in there]
    return document_of(rows, n_frames)


def random_edit(document, random):
    index = TrackIndex.of(document)
    keys, numbers = list(index.numbers), list(index.members)
    frame = int(random.integers(document.n_frames))
    a, b = (int(n) for n in random.choice(numbers, 2))
    key = keys[random.integers(len(keys))]
    kinds = [
        lambda: change_identity(document, frame, a, b),
        lambda: swap_identities(document, frame, a, b),
        lambda: cut_track(document, frame, a),
        lambda: join_tracks(document, a, b),
        lambda: delete_from(document, max(frame, 3), a),
        lambda: set_parent(document, a, b),
        lambda: operations.reject(document, [key]),
        lambda: operations.set_status(document, index.keys(a), Status.ACCEPTED),
    ]
    return kinds[random.integers(len(kinds))]()


@pytest.mark.parametrize("by_id", [0, 2])
@pytest.mark.parametrize("seed", range(8))
def test_live_tracks_equal_those_of_the_document(by_id, seed):
    document = tracked(by_id=by_id, seed=seed)
    session, live = Session(document), LiveTracks(document)
    session.changed.connect(live.note)
    random = np.random.default_rng(seed)
    for _ in range(40):
        before = {n: dict(frames) for n, frames in live.index.members.items()}
        for _ in range(random.integers(1, 4)):
            if random.random() < 0.3:
                session.undo()
                continue
            try:
                session.do(random_edit(document, random))
            except DataError:
                continue
        touched = live.refresh()
        whole, fresh = TrackIndex.of(document), LiveTracks(document)
        assert live.index.numbers == whole.numbers
        # The order counts too: a track's frames rise.
        assert {n: list(m.items()) for n, m in live.index.members.items()} == {
            n: list(m.items()) for n, m in whole.members.items()
        }
        changed = {n for n in {*before, *whole.members} if before.get(n) != whole.members.get(n)}
        assert changed <= touched
        for number in whole.members:
            assert live.parent(number) == fresh.parent(number)
            assert live.children(number) == fresh.children(number)
            assert live.rejected.get(number, set()) == fresh.rejected.get(number, set())
        if not whole.members:
            break


def test_edits_of_tracks_by_name_look_at_nothing_else():
    document = tracked()
    session, live = Session(document), LiveTracks(document)
    session.changed.connect(live.note)
    session.do(swap_identities(document, 2, 1, 2))
    assert live.refresh() == {1, 2}
    session.do(operations.set_status(document, live.index.keys(3), Status.ACCEPTED))
    session.do(cut_track(document, 3, 4))
    assert 4 in live.refresh()
    session.undo()
    session.undo()
    live.refresh()
    assert live.n_rebuilt == 1
    assert live.index == TrackIndex.of(document)


def test_frames_that_were_segmented_one_by_one_are_no_tracks():
    alone = document_of([(f, Segment(f + 1, 1)) for f in range(3)])
    assert not LiveTracks(alone).has_tracks
    assert LiveTracks(document_of([(f, Segment(1, 1)) for f in range(2)])).has_tracks
    assert LiveTracks(tracked()).has_tracks
    assert not LiveTracks(document_of([(0, Segment(1, 1, track_id=4))], 1)).has_tracks
    assert not LiveTracks(document_of([])).has_tracks


def lanes_of(document, doubts=None):
    live = LiveTracks(document)
    return live, Lanes(live, lambda key: (doubts or {}).get(key, 0.0))


def test_a_lane_says_what_is_so_in_each_frame():
    segment = Segment(1, 1, track_id=1)
    document = document_of(
        [
            (1, segment),
            (2, replace(segment, status=Status.ACCEPTED)),
            (3, replace(segment, status=Status.REJECTED)),
            (4, replace(segment, locked=True)),
            (5, Segment(2, 1, track_id=2, parent_track_id=1)),
            (5, Segment(3, 1, track_id=3, parent_track_id=1)),
        ]
    )
    _, lanes = lanes_of(document, {(2, 1): 0.7, (4, 1): 0.4})
    assert lanes.lane(1).tolist() == [
        0,
        PRESENT | START,
        PRESENT | DECIDED | DOUBT,
        GAP | REJECTED,
        PRESENT | DECIDED | SPLIT,
        0,
    ]
    assert lanes.lane(2).tolist() == [0, 0, 0, 0, 0, PRESENT | START | END]
    assert not lanes.lane(99).any()


def test_only_lanes_that_are_asked_for_are_made_and_made_again():
    document = tracked(n_tracks=50, n_frames=40)
    live, lanes = lanes_of(document)
    for number in (3, 4, 3, 4):
        lanes.lane(number)
    assert lanes.n_made == 2
    document.apply(cut_track(document, 20, 3))
    lanes.forget([3])
    lanes.lane(4)
    assert lanes.n_made == 2
    lanes.lane(3)
    assert lanes.n_made == 3
    assert isinstance(live, LiveTracks)


@pytest.mark.parametrize(("n", "width"), [(10, 10), (10, 35), (10_000, 250), (1000, 7), (3, 1)])
def test_columns_show_every_frame(n, width):
    lane = np.random.default_rng(n).choice(np.array([0, 1, 4, 8], np.uint8), n)
    shown = columns(lane, 0, n, width)
    slow = []
    for k in range(width):
        first, last = k * n / width, (k + 1) * n / width
        within = [
            m for f, m in enumerate(lane.tolist()) if f + 1 > first + 1e-9 and f < last - 1e-9
        ]
        slow.append(int(np.bitwise_or.reduce(within)))
    assert shown.tolist() == slow
    assert columns(lane, 0, n, 0).tolist() == []


def test_a_place_in_the_strip_is_a_frame():
    assert [frame_at(x, 0, 10, 100, 10) for x in (0, 9.9, 10, 55, 100, -5)] == [0, 0, 1, 5, 9, 0]
    assert frame_at(50, 20, 30, 100, 100) == 25
