"""Identities are corrected in time; each correction goes back, and lasts through a crash."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.annotation.random_edits import check, state
from tests.annotation.track_documents import document_of

from napari_eomt.annotation import operations, track_edits
from napari_eomt.annotation.document import Origin
from napari_eomt.annotation.files import load_document, save_document
from napari_eomt.annotation.journal import decode, encode
from napari_eomt.annotation.session import Session
from napari_eomt.annotation.tracks import TrackIndex, track_table
from napari_eomt.errors import DataError
from napari_eomt.structures.segments import Segment, Status


def where(document, track):
    """Return in which columns a track lies, by frame."""
    keys = TrackIndex.of(document).keys(track)
    return {f: int(np.flatnonzero((document.id_map(f) == i).any(0))[0]) // 2 for f, i in keys}


def two(**more):
    """Return two tracks, 1 in all frames and 2 in all but the first, one id each."""
    rows = [(f, Segment(1, 1, track_id=1, **more)) for f in range(6)]
    rows += [(f, Segment(2, 1, track_id=2, **more)) for f in range(1, 6)]
    return document_of(rows)


def by_id():
    """Return the same, known by their ids alone."""
    rows = [(f, Segment(1, 1)) for f in range(6)] + [(f, Segment(2, 1)) for f in range(1, 6)]
    return document_of(rows)


def by_track():
    """Return the same as a model tells it that saw the frames one by one."""
    rows = [(f, Segment(1 + f, 1, track_id=1)) for f in range(6)]
    rows += [(f, Segment(10 + f, 1, track_id=2)) for f in range(1, 6)]
    return document_of(rows)


@pytest.mark.parametrize("make", [two, by_id, by_track])
def test_swap_from_here_on(make):
    document = make()
    before = where(document, 1), where(document, 2)
    Session(document).do(track_edits.swap_identities(document, 3, 1, 2))
    check(document)
    for track in (1, 2):
        other = before[2 - track]
        expected = {f: x if f < 3 else other[f] for f, x in before[track - 1].items()}
        assert where(document, track) == expected
    for frame in range(3, 6):  # one id goes on, as the frames before have it
        assert {s.track_id for s in document.segments(frame).values()} == (
            {None} if make is by_id else {1, 2}
        )
    ids = [i for _, i in TrackIndex.of(document).keys(1, 3)]
    assert len(set(ids)) == 1


@pytest.mark.parametrize("make", [two, by_id, by_track])
def test_cut_and_join_are_each_others_inverse(make):
    document = make()
    before = where(document, 1)
    session = Session(document)
    session.do(track_edits.cut_track(document, 2, 1))
    index = TrackIndex.of(document)
    (new,) = set(index.members) - {1, 2}
    assert {**where(document, 1), **where(document, new)} == before
    assert list(index.members[new]) == [2, 3, 4, 5]
    assert len(set(index.members[new].values())) == 1
    session.do(track_edits.join_tracks(document, new, 1))
    assert where(document, 1) == before
    check(document)


@pytest.mark.parametrize("make", [two, by_id, by_track])
def test_change_identity_into_a_track_that_has_ended(make):
    document = make()
    session = Session(document)
    before = where(document, 1), where(document, 2)
    with pytest.raises(DataError, match=r"both in frames 3, 4, 5.*Swap them from frame 3"):
        track_edits.change_identity(document, 3, 1, 2)
    session.do(track_edits.delete_from(document, 3, 2))
    assert where(document, 2) == {f: x for f, x in before[1].items() if f < 3}
    session.do(track_edits.change_identity(document, 3, 1, 2))
    assert where(document, 1) == {f: x for f, x in before[0].items() if f < 3}
    assert where(document, 2) == {f: before[1 if f < 3 else 0][f] for f in range(1, 6)}
    check(document)


def test_only_where_a_person_acted_a_proposal_becomes_edited():
    document = two(score=0.5)
    Session(document).do(track_edits.swap_identities(document, 3, 1, 2))
    edited = [(f, s.id) for f, s in document.iter_segments() if s.status is Status.EDITED]
    assert sorted(edited) == [(3, 1), (3, 2)]
    document = two(status=Status.ACCEPTED)
    Session(document).do(track_edits.swap_identities(document, 3, 1, 2))
    assert {s.status for _, s in document.iter_segments()} == {Status.ACCEPTED}


def test_what_is_rejected_is_in_no_ones_way():
    rows = [(f, Segment(1, 1, track_id=1)) for f in range(6)]
    rows += [(f, Segment(2, 1, track_id=2)) for f in range(3)]
    rows += [(4, Segment(2, 1, track_id=2, status=Status.REJECTED))]
    document = document_of(rows)
    Session(document).do(track_edits.change_identity(document, 3, 1, 2))
    assert document.segments(4)[1].status is Status.REJECTED
    assert where(document, 2) == {0: 2, 1: 2, 2: 2, 3: 1, 4: 1, 5: 1}
    check(document)


def test_what_was_drawn_on_belongs_to_its_track():
    rows = [(f, Segment(1, 1, track_id=7)) for f in range(3)]
    document = document_of([*rows, (3, Segment(1, 1, status=Status.DRAWN))])
    assert list(TrackIndex.of(document).members) == [7]
    (track,) = track_table(document).tracks()
    assert (track.track_id, track.frames.tolist()) == (7, [0, 1, 2, 3])


def test_two_things_of_a_frame_are_two_whatever_they_say():
    document = document_of([(0, Segment(1, 1, track_id=7)), (0, Segment(2, 1, track_id=7))])
    assert TrackIndex.of(document).numbers == {(0, 1): 7, (0, 2): 8}
    assert len(track_table(document).tracks()) == 2


def test_an_id_that_another_thing_has_is_not_taken():
    rows = [(0, Segment(1, 1, track_id=5)), (1, Segment(2, 1, track_id=6))]
    document = document_of([*rows, (1, Segment(1, 1, track_id=9))])
    Session(document).do(track_edits.join_tracks(document, 5, 6))
    assert where(document, 5) == {0: 1, 1: 2}
    assert where(document, 9) == {1: 1}
    check(document)


def test_children_follow_the_end_of_their_parent():
    rows = [(f, Segment(1, 1, track_id=1)) for f in range(3)]
    rows += [(f, Segment(2, 1, track_id=2)) for f in range(3)]
    rows += [(f, Segment(3, 1, track_id=3, parent_track_id=1)) for f in range(3, 6)]
    document = document_of(rows)
    session = Session(document)
    session.do(track_edits.swap_identities(document, 2, 1, 2))
    assert {s.parent_track_id for _, s in document.iter_segments() if s.id == 3} == {2}
    session.do(track_edits.cut_track(document, 1, 2))
    new = max(TrackIndex.of(document).members)
    assert {s.parent_track_id for _, s in document.iter_segments() if s.id == 3} == {new}
    session.do(track_edits.join_tracks(document, new, 3))
    assert {s.parent_track_id for _, s in document.iter_segments()} == {None}
    session.undo()
    session.do(track_edits.delete_from(document, 1, new))
    assert {s.parent_track_id for _, s in document.iter_segments()} == {None}


def test_parents_are_set():
    document = document_of([(0, Segment(1, 1)), (1, Segment(2, 1)), (1, Segment(3, 1))])
    session = Session(document)
    session.do(track_edits.set_parent(document, 2, 1))
    session.do(track_edits.set_parent(document, 3, 1))
    assert track_table(document).points().graph == {2: [1], 3: [1]}
    with pytest.raises(DataError, match="2 begins in frame 1, 3 in frame 1"):
        track_edits.set_parent(document, 3, 2)
    session.do(track_edits.set_parent(document, 2, None))
    assert track_table(document).points().graph == {3: [1]}


def test_the_annotation_of_a_video_goes_along():
    for video_id, expected in ((5, 20), (None, 10)):
        rows = [(f, Segment(1, 1, annotation_id=10)) for f in range(2, 6)]
        rows += [(f, Segment(2, 1, annotation_id=20)) for f in range(2)]
        document = document_of(rows, origin=Origin("a.json", (), video_id))
        Session(document).do(track_edits.join_tracks(document, 1, 2))
        assert document.segments(3)[2].annotation_id == expected


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda d: track_edits.change_identity(d, 0, 77, 1), "no track 77"),
        (lambda d: track_edits.join_tracks(d, 1, 2), "both in frames 1, 2, 3, 4, 5"),
        (lambda d: track_edits.cut_track(d, 1, 2), "not there before frame 1"),
        (lambda d: track_edits.delete_from(d, 6, 2), "2 ends in frame 5"),
        (lambda d: track_edits.swap_identities(d, 6, 1, 2), "Neither 1 nor 2 is in frame 6"),
    ],
)
def test_what_makes_no_sense_is_told(call, match):
    with pytest.raises(DataError, match=match):
        call(two())


EDITS = st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(0, 30), st.integers(0, 30))
SEGMENTS = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.integers(1, 7),
        st.sampled_from([None, None, 1, 2, 3, 5, 40]),
        st.sampled_from([Status.PROPOSED, Status.ACCEPTED, Status.REJECTED]),
        st.sampled_from([None, None, 1, 2]),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda row: row[:2],
)


def chosen(document, a, b):
    numbers = sorted(TrackIndex.of(document).members) or [1]
    return numbers[a % len(numbers)], numbers[b % len(numbers)]


def things(document, change=lambda frame, number: number):
    """Return which places, (frame, column), are one thing; `change` gives it another number."""
    found = {}
    for (frame, i), number in TrackIndex.of(document).numbers.items():
        place = (frame, document.segments(frame)[i].bbox[1])
        found.setdefault(change(frame, number), set()).add(place)
    return {frozenset(places) for places in found.values()}


def expected_things(document, kind, frame, a, b):
    """Return what the things are after an edit, by its definition."""
    first, second = chosen(document, a, b)
    tables = [
        {first: second},
        {first: second, second: first},
        {first: "new"},
        {max(first, second): min(first, second)},
    ]
    start = 0 if kind == 3 else frame
    table = tables[kind] if kind < 4 else {}
    return things(document, lambda f, n: table.get(n, n) if f >= start else n)


def any_edit(document, kind, frame, a, b):
    """Return one of the edits for two of the tracks; None where it is refused."""
    first, second = chosen(document, a, b)
    calls = [
        lambda: track_edits.change_identity(document, frame, first, second),
        lambda: track_edits.swap_identities(document, frame, first, second),
        lambda: track_edits.cut_track(document, frame, first),
        lambda: track_edits.join_tracks(document, first, second),
        lambda: track_edits.delete_from(document, frame, first),
        lambda: track_edits.set_parent(document, first, second),
    ]
    try:
        return calls[kind]()
    except DataError:
        return None


@settings(max_examples=80, deadline=None)
@given(SEGMENTS, st.lists(EDITS, min_size=1, max_size=5))
def test_every_edit_goes_back_and_forth(rows, edits):
    document = document_of(
        [(f, Segment(i, 1, track_id=t, status=s, parent_track_id=p)) for f, i, t, s, p in rows], 5
    )
    # What is nowhere else: each object lies where it lay, whatever it is called.
    session, states = Session(document), [state(document)]
    for edit in edits:
        made = any_edit(document, *edit)
        if made is None:
            continue
        masks = {f: document.id_map(f) > 0 for f in range(5)}
        expected = expected_things(document, *edit)
        if session.do(made):
            states.append(state(document))
            assert decode_of(made) == made
        check(document)
        if edit[0] != 4:
            assert things(document) == expected
            for f, mask in masks.items():
                np.testing.assert_array_equal(document.id_map(f) > 0, mask)
        for f, s in document.iter_segments():
            assert (
                s.track_id is None
                or s.parent_track_id != s.track_id
                or (f, s.id) in {(r[0], r[1]) for r in rows}
            )
    for before in reversed(states[:-1]):
        assert session.undo() is not None
        assert state(document) == before
    for after in states[1:]:
        session.redo()
        assert state(document) == after


def decode_of(edit):
    """Return an edit as the journal gives it back after a crash."""
    return decode(encode(edit)[8:])


def test_what_was_corrected_is_there_when_opened_again(tmp_path):
    document = two(parent_track_id=None)
    session = Session(document)
    session.do(track_edits.cut_track(document, 3, 2))
    session.do(track_edits.set_parent(document, max(TrackIndex.of(document).members), 2))
    session.do(operations.set_note(document, [(3, 1)], "seen"))
    save_document(document, tmp_path / "d.eomt")
    again, _ = load_document(tmp_path / "d.eomt")
    assert state(again) == state(document)
    assert track_table(again).points().graph == {3: [2]}
