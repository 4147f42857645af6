"""What a model tracks comes into the document with one id a track, and spares what is decided."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.annotation.random_edits import check, new_session, state

from napari_eomt.annotation import operations, track_edits
from napari_eomt.annotation.document import FrameState
from napari_eomt.annotation.track_run import TrackRun
from napari_eomt.annotation.tracks import TrackIndex, track_table
from napari_eomt.structures.segments import Segment, Segmentation, Status

SIZE = (40, 56)


def found(*tracks):
    """Return a frame in which track n lies in rows 4 n, under ids of the frame's own."""
    id_map, segments = np.zeros(SIZE, np.uint16), []
    for k, track in enumerate(tracks, 1):
        id_map[4 * track : 4 * track + 3, 5:9] = k
        box = (4 * track, 5, 4 * track + 3, 9)
        segments.append(Segment(k, 7, 0.5, track_id=track, area=12, bbox=box))
    return Segmentation(id_map, tuple(segments))


def done(session, frames, **kwargs):
    run = TrackRun(session.document, **kwargs)
    for frame, tracks in frames.items():
        session.do(run.propose(frame, found(*tracks)), merge_with="run")
        check(session.document)
    return TrackIndex.of(session.document)


def rows_of(document, index, track):
    return {f: int(np.flatnonzero((document.id_map(f) == i).any(1))[0]) // 4
            for f, i in index.keys(track)}  # fmt: skip


def test_a_track_has_one_id_in_all_frames():
    session = new_session()
    index = done(session, {0: (1, 2), 1: (3, 2), 2: (2, 1)})
    assert {n: set(frames) for n, frames in index.members.items()} == {
        1: {0, 2}, 2: {0, 1, 2}, 3: {1},
    }  # fmt: skip
    # People see one number for both, where nothing else had it before.
    assert {n: set(frames.values()) for n, frames in index.members.items()} == {
        1: {1}, 2: {2}, 3: {3},
    }  # fmt: skip
    assert session.document.state(1) is FrameState.PROPOSED
    assert session.n_steps == 1
    session.undo()
    assert state(session.document) == state(new_session().document)


def test_another_run_is_not_taken_for_the_one_before():
    session = new_session()
    done(session, {0: (1, 2), 1: (1, 2), 2: (1, 2)})
    index = done(session, {0: (2, 1)})
    old = {n: list(frames) for n, frames in index.members.items()}
    assert sorted(old.values()) == [[0], [0], [1, 2], [1, 2]]
    ids = [set(frames.values()) for frames in index.members.values()]
    assert len(set.union(*ids)) == 4


def test_a_run_goes_on_from_a_corrected_frame():
    session = new_session()
    document = session.document
    done(session, {0: (1, 2), 1: (1, 2), 2: (1, 2)})
    session.do(track_edits.swap_identities(document, 1, 1, 2))
    index = done(session, {2: (1, 2)}, goes_on=True)
    assert rows_of(document, index, 1) == {0: 1, 1: 2, 2: 1}  # as the model says from there on
    assert [len(set(frames.values())) for frames in index.members.values()] == [1, 1]
    assert len(track_table(document).tracks()) == 2


def test_the_persons_object_stays_and_the_models_is_left_out():
    session = new_session()
    document = session.document
    index = done(session, {0: (1, 2), 1: (1, 2)})
    key = index.keys(2, 1)[0]
    session.do(operations.set_status(document, [key], Status.ACCEPTED))
    accepted = document.segments(1)[key[1]]
    index = done(session, {1: (1, 2, 3), 2: (2, 3)}, goes_on=True)
    assert document.segments(1)[key[1]] == accepted
    assert len(document.segments(1)) == 3
    assert {n: list(frames) for n, frames in index.members.items()} == {
        1: [0, 1], 2: [0, 1, 2], 3: [1, 2],
    }  # fmt: skip
    assert set(index.members[2].values()) == {key[1]}


def test_what_was_rejected_stays_so():
    session = new_session()
    document = session.document
    index = done(session, {0: (1, 2)})
    session.do(operations.reject(document, index.keys(2)))
    index = done(session, {0: (1, 2)}, goes_on=True)
    assert list(index.members) == [1]


def test_parents_are_numbered_with_their_children():
    session = new_session()
    done(session, {0: (1,)})
    run = TrackRun(session.document)
    session.do(run.propose(1, found(1)))
    child = found(2)
    child = Segmentation(child.id_map, (replace(child.segments[0], parent_track_id=1),))
    session.do(run.propose(2, child))
    points = track_table(session.document).points()
    assert len(points.graph) == 1
    assert set(points.data[:, 0]) == {1, *points.graph, *points.graph[max(points.graph)]}


def test_another_size_is_told():
    run = TrackRun(new_session().document)
    with pytest.raises(ValueError, match="the image is"):
        run.propose(0, Segmentation(np.zeros((3, 3), np.uint16), ()))
