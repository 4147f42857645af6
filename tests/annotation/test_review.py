"""The queue equals its definition, whatever is decided, undone and done again."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import pytest
from tests.annotation.random_edits import CATEGORIES, new_session, paint, proposal

from napari_eomt.annotation import operations, shapes
from napari_eomt.annotation.document import Document, FrameState
from napari_eomt.annotation.edits import Edit, SegmentChange
from napari_eomt.annotation.review import ReviewQueue
from napari_eomt.annotation.review_order import N_BANDS, Order, main_reason
from napari_eomt.annotation.review_tally import MIN_RIGHT, Tally
from napari_eomt.annotation.session import Session
from napari_eomt.errors import DataError
from napari_eomt.structures.segments import Segment, Segmentation, Status
from napari_eomt.structures.uncertainty import Uncertainty


def doubt(doubt=0.0, entropy=0.0, softness=0.0, rival=0.0, lost=0.0):
    return Uncertainty(doubt, entropy, softness, rival, lost)


def in_a_row(scores, frame=0, session=None):
    """Return a session of squares in a row, one for each score."""
    if session is None:
        session = Session(Document((), (4, 4 * len(scores)), CATEGORIES))
    id_map = np.zeros(session.document.image_shape, np.uint16)
    segments = []
    for i, score in enumerate(scores, start=1):
        id_map[:3, 4 * i - 4 : 4 * i - 1] = i
        segments.append(Segment(i, 7, score, area=9, bbox=(0, 4 * i - 4, 3, 4 * i - 1)))
    session.do(operations.propose(session.document, frame, Segmentation(id_map, tuple(segments))))
    return session


def frames_in(queue):
    return [frame for frame, _ in list(queue.keys())]


def accept(session, *keys):
    session.do(operations.set_status(session.document, keys, Status.ACCEPTED))


IDENTITIES = {
    (f, i): float(v)
    for (f, i), v in zip(
        [(f, i) for f in range(3) for i in range(1, 40, 2)],
        np.random.default_rng(5).random(60),
        strict=True,
    )
}
"""How doubtful identities are; of others there is no doubt."""


def expected_line(document, order, frame, below, doubts, gone=()):
    """Sort what is left as the words say."""

    def asked(key, segment):
        is_identity = order is Order.IDENTITY
        return IDENTITIES.get(key, 0.0) if is_identity else unsure(key, segment)

    def unsure(key, segment):
        return doubts[key].score if key in doubts else 1 - segment.score

    def decided(segment):
        return segment.locked or segment.status is not Status.PROPOSED

    found = [((f, s.id), s) for f, s in document.iter_segments()]
    left = [
        (key, s)
        for key, s in found
        if not decided(s)
        and frame in (None, key[0])
        and (below is None or 1 - asked(key, s) < below)
    ]
    # A frame keeps its place while one works on it: what is decided or deleted counts.
    worst = {}
    for key, s in [*found, *gone]:
        if s.status is not Status.DRAWN:
            worst[key[0]] = max(worst.get(key[0], 0), unsure(key, s))

    def place(pair):
        (f, i), s = pair
        u = unsure((f, i), s)
        y0, x0, y1, x1 = s.bbox
        band = int((y0 + y1) / 2 / document.image_shape[0] * N_BANDS)
        return {
            Order.WORST: (-u, f, i),
            Order.FRAMES: (-worst[f], f, -u, i),
            Order.READING: (f, band, x0 + x1, i),
            Order.IDENTITY: (-IDENTITIES.get((f, i), 0.0), -u, f, i),
            Order.LARGEST: (-s.area, f, i),
            Order.SMALLEST: (s.area, f, i),
        }[order]

    return [key for key, _ in sorted(left, key=place)]


def expected_tally(document, frame, gone):
    rows = [s for f, s in document.iter_segments() if frame in (None, f)]
    proposed = [s for s in rows if s.status is Status.PROPOSED]
    return Tally(
        sum(not s.locked for s in proposed),
        sum(s.status is Status.ACCEPTED for s in rows),
        sum(s.status in (Status.EDITED, Status.REJECTED) for s in rows)
        + sum(frame in (None, f) for (f, _), _ in gone),
        sum(s.locked for s in proposed),
    )


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize(("frame", "below"), [(None, None), (1, None), (None, 0.6)])
def test_random_decisions_and_undos_equal_the_definition(order, frame, below):
    rng = np.random.default_rng(3)
    session = new_session()
    document = session.document
    doubts = {(f, i): doubt(float(rng.random())) for f in range(3) for i in range(1, 40, 3)}
    queue = ReviewQueue(session, doubts, frame=frame, order=order, below=below)
    queue.set_identities(IDENTITIES)
    history, ahead, gone = [], [], frozenset()
    for _ in range(400):
        if rng.random() < 0.25:
            if session.undo():
                ahead.append(gone)
                gone = history.pop()
        elif rng.random() < 0.2:
            if session.redo():
                history.append(gone)
                gone = ahead.pop()
        else:
            proposed = {((f, s.id), s) for f, s in document.iter_segments() if was_proposed(s)}
            before, by_person = session.n_steps, step(rng, session)
            if session.n_steps > before:
                history.append(gone)
                ahead.clear()
                there = {(f, s.id) for f, s in document.iter_segments()}
                if by_person:
                    gone |= {(key, s) for key, s in proposed if key not in there}
        wanted = expected_line(document, order, frame, below, doubts, gone)
        assert queue.keys() == wanted
        assert len(queue) == len(wanted)
        for f in (None, 0, 1, 2):
            assert queue.tally(f) == expected_tally(document, f, gone)
        if queue.current is not None:
            assert wanted[queue.position - 1] == queue.current
        if rng.random() < 0.3:
            at, step_by = queue.position, int(rng.choice([1, -1]))
            went = queue.go(step_by)
            assert (went is None) == (not wanted)
            if at is not None:
                assert went == wanted[(at - 1 + step_by) % len(wanted)]
    assert gone
    again = ReviewQueue(session, doubts, frame=frame, order=order, below=below)
    again.set_identities(IDENTITIES)
    # Only the place of frames remembers what was deleted.
    assert sorted(again.keys()) == sorted(queue.keys())


def was_proposed(segment):
    return segment.status is not Status.DRAWN


def step(rng, session):
    """Do something; return whether a person did it."""
    document = session.document
    frame = int(rng.integers(3))
    shown = [(f, s.id) for f, s in document.iter_segments() if s.status is not Status.REJECTED]
    if not shown or rng.random() < 0.1:
        session.do(operations.propose(document, frame, proposal(rng)), merge_with=None)
        return False
    keys = [shown[k] for k in rng.choice(len(shown), min(len(shown), 2), replace=False)]
    here = [key for key in shown if key[0] == keys[0][0]][:2]
    choices = [
        lambda: operations.set_status(document, keys[:1], Status.ACCEPTED),
        lambda: operations.set_status(document, keys, Status.ACCEPTED),
        lambda: operations.reject(document, keys[:1]),
        lambda: operations.delete(document, keys[:1]),
        lambda: operations.set_locked(document, keys, bool(rng.integers(2))),
        lambda: operations.merge(document, here),
        lambda: operations.recategorise(document, keys, 3),
        lambda: shapes.fill_holes(document, keys),
        lambda: None,
    ]
    try:
        edit = choices[rng.integers(len(choices))]()
    except DataError:
        return True
    if edit is None:
        paint(rng, session)
    else:
        session.do(edit)
    return True


def test_after_a_decision_the_next_one_is_current_and_an_undone_one_comes_back():
    session = in_a_row([0.4, 0.2, 0.9, 0.6, 0.7])
    queue = ReviewQueue(session)
    moved = []
    queue.moved.connect(moved.append)
    assert (queue.current, queue.position) == (None, None)
    assert queue.go(1) == (0, 2)
    accept(session, (0, 2))
    assert (queue.current, queue.position, len(queue)) == ((0, 1), 1, 4)
    session.do(operations.reject(session.document, [(0, 1)]))
    session.do(operations.delete(session.document, [(0, 4)]))
    assert queue.current == (0, 5)
    assert moved == [(0, 1), (0, 4), (0, 5)]
    session.undo()
    assert queue.current == (0, 4)
    session.undo()
    session.undo()
    assert queue.current == (0, 2)
    assert queue.keys() == [(0, 2), (0, 1), (0, 4), (0, 5), (0, 3)]
    session.redo()
    assert queue.current == (0, 1)
    assert queue.go(-1) == (0, 3), "around the end"
    accept(session, (0, 3))
    assert queue.current == (0, 1), "and around it again"


def test_nothing_moves_while_somebody_paints_and_next_goes_on_from_there():
    session = in_a_row([0.1, 0.2, 0.3, 0.4])
    document = session.document
    queue = ReviewQueue(session)
    queue.go(1)
    assert queue.go(1) == (0, 2)
    moved = []
    queue.moved.connect(moved.append)
    document.id_maps[3, 5] = 2
    difference = np.zeros((4, 16), np.uint16)
    difference[3, 5] = 2
    session.record(operations.painted(document, 0, difference, (0, 0), 7))
    assert document.segments(0)[2].status is Status.EDITED
    assert queue.current is None
    assert not moved
    assert queue.go(1) == (0, 3)
    session.do(operations.set_locked(document, [(0, 3)], True))
    assert queue.current is None
    assert queue.go(-1) == (0, 1)


def test_a_merge_moves_nothing():
    session = in_a_row([0.1, 0.2, 0.3])
    queue = ReviewQueue(session)
    queue.go(1)
    queue.go(1)
    moved = []
    queue.moved.connect(moved.append)
    session.do(operations.merge(session.document, [(0, 1), (0, 2)]))
    assert not moved
    assert queue.keys() == [(0, 3)]
    assert queue.tally(None) == Tally(1, 0, 2, 0)


def test_what_is_selected_is_current():
    session = in_a_row([0.1, 0.2, 0.3])
    queue = ReviewQueue(session)
    session.select([(0, 3)])
    assert queue.current == (0, 3)
    session.select([(0, 1), (0, 2)])
    assert queue.current == (0, 3)
    queue.close()
    session.select([(0, 1)])
    assert queue.current == (0, 3)


def test_new_proposals_are_not_deletions():
    session = in_a_row([0.1, 0.2, 0.3])
    queue = ReviewQueue(session)
    accept(session, (0, 2))
    # Fewer of them, as when a threshold is raised; then the run is taken back.
    empty = Segmentation(np.zeros((4, 12), np.uint16), ())
    session.do(operations.propose(session.document, 0, empty, "Change thresholds"))
    assert queue.tally(None) == Tally(0, 1, 0, 0)
    session.undo()
    assert queue.tally(None) == Tally(2, 1, 0, 0)
    session.undo()
    session.undo()
    assert queue.tally(None) == Tally()


def hint_by_definition(left, right, wrong):
    """Try every limit: enough that were right above it, and nothing wrong among them."""
    best = None
    for limit in sorted(left):
        run = [u for u in right if u >= limit and u < min(wrong, default=2)]
        if len(run) >= MIN_RIGHT:
            best = (len(run), sum(u <= limit for u in left))
    return best


@pytest.mark.parametrize("seed", range(12))
def test_the_hint_equals_its_definition(seed):
    rng = np.random.default_rng(seed)
    scores = np.round(rng.random(80), 2)
    session = in_a_row([float(score) for score in scores])
    queue = ReviewQueue(session)
    document = session.document
    n_hints = 0
    for _ in range(80):
        if rng.random() < 0.2 and session.n_steps > 1:
            session.undo()
        else:
            key = queue.keys()[min(len(queue) - 1, int(rng.integers(4)))] if len(queue) else None
            if key is not None and rng.random() < 0.04 + 0.1 * (queue.uncertainty(key) > 0.8):
                session.do(operations.reject(document, [key]))
            elif key is not None:
                accept(session, key)
        by = {status: [] for status in Status}
        for _, s in document.iter_segments():
            by[s.status].append(1 - s.score)
        expected = hint_by_definition(by[Status.PROPOSED], by[Status.ACCEPTED], by[Status.REJECTED])
        hint = queue.hint
        assert (None if hint is None else (hint.n_right, hint.n_rest)) == expected
        assert len(queue.rest()) == (0 if hint is None else hint.n_rest)
        n_hints += hint is not None
    assert n_hints or seed not in (0, 1, 2, 3)


def test_twenty_right_in_a_row_are_a_hint_and_a_change_ends_it():
    session = in_a_row([k / 100 for k in range(60)])
    queue = ReviewQueue(session)
    for k in range(1, MIN_RIGHT):
        accept(session, (0, k))
    assert queue.hint is None
    accept(session, (0, MIN_RIGHT))
    hint = queue.hint
    assert (hint.n_right, hint.n_rest) == (20, 40)
    assert hint.share == pytest.approx(1 / 22)
    assert hint.n_wrong == pytest.approx(40 / 22)
    session.do(operations.reject(session.document, [(0, 21)]))
    assert queue.hint is None
    session.undo()
    assert queue.hint == hint
    n = session.n_steps
    session.do(queue.accept_rest())
    assert session.n_steps == n + 1
    assert session.undo_name == "Accept the other 40"
    assert (len(queue), queue.hint) == (0, None)
    assert session.document.state(0) is FrameState.REVIEWED
    session.undo()
    assert queue.hint == hint
    assert session.document.state(0) is FrameState.PROPOSED


def test_many_accepted_at_once_prove_nothing():
    session = in_a_row([k / 100 for k in range(60)])
    queue = ReviewQueue(session)
    accept(session, *[(0, k) for k in range(1, 31)])
    assert queue.hint is None
    assert queue.tally(None).acceptance == 1
    session.undo()
    for k in range(1, 21):
        accept(session, (0, k))
    assert queue.hint is not None


def test_what_was_skipped_is_not_accepted_with_the_rest():
    session = in_a_row([k / 100 for k in range(60)])
    queue = ReviewQueue(session)
    for k in range(2, 2 + MIN_RIGHT):
        accept(session, (0, k))
    assert queue.hint.n_rest == 60 - 1 - MIN_RIGHT
    session.do(queue.accept_rest())
    assert queue.keys() == [(0, 1)]
    assert session.document.state(0) is FrameState.PROPOSED


def test_acceptance_counts_what_was_changed():
    session = in_a_row([0.5] * 8)
    document = session.document
    queue = ReviewQueue(session)
    assert queue.tally(None).acceptance is None
    for k in (1, 2, 3):
        accept(session, (0, k))
    session.do(operations.reject(document, [(0, 4)]))
    session.do(operations.delete(document, [(0, 5)]))
    session.do(operations.recategorise(document, [(0, 6)], 3))
    session.do(operations.set_locked(document, [(0, 7)], True))
    mask = np.ones((1, 2), bool)
    session.do(operations.add(document, 0, mask, (3, 0), Segment(0, 7, status=Status.DRAWN)))
    tally = queue.tally(0)
    assert tally == Tally(1, 3, 3, 1)
    assert tally.acceptance == 0.5
    assert (tally.n_decided, tally.n_all) == (7, 8)


def test_frames_are_marked_when_nothing_is_left_and_reopened_by_what_is():
    session = Session(Document((3,), (4, 12), CATEGORIES))
    document = session.document
    for frame, scores in enumerate([(0.9, 0.8, 0.7), (0.6, 0.1, 0.9)]):
        in_a_row(scores, frame, session)
    queue = ReviewQueue(session)
    assert [row.frame for row in queue.frames()] == [1, 0]
    assert queue.frames()[0].worst == pytest.approx(0.9)
    assert queue.frames()[1].mean == pytest.approx(0.2)
    assert queue.unmarked() == []
    ids = sorted(document.segments(0))
    accept(session, *[(0, i) for i in ids])
    assert queue.unmarked() == [0]
    session.do(queue.mark_reviewed())
    assert session.undo_name == "Mark frame as reviewed"
    assert queue.frame_state(0) is FrameState.REVIEWED
    assert queue.unmarked() == []
    session.do(operations.delete(document, [(0, ids[0])]))
    assert queue.frame_state(0) is FrameState.REVIEWED, "a person's edit leaves it so"
    session.do(operations.set_status(document, [(0, ids[1])], Status.PROPOSED))
    assert queue.frame_state(0) is FrameState.PROPOSED
    session.undo()
    assert queue.frame_state(0) is FrameState.REVIEWED
    in_a_row((0.4, 0.5, 0.6), 0, session)
    assert queue.frame_state(0) is FrameState.PROPOSED, "new proposals"
    assert queue.frame_state(2) is FrameState.NEW


def test_one_frame_or_all_and_the_current_object_stays():
    session = Session(Document((2,), (4, 12), CATEGORIES))
    for frame, scores in enumerate([(0.9, 0.8, 0.7), (0.6, 0.1, 0.9)]):
        in_a_row(scores, frame, session)
    queue = ReviewQueue(session, frame=0)
    assert frames_in(queue) == [0, 0, 0]
    queue.go(1)
    current = queue.current
    changes = []
    queue.changed.connect(lambda: changes.append(1))
    queue.show(frame=None, order=Order.WORST, below=None)
    assert (queue.current, queue.position) == (current, 3)
    queue.show(frame=None, order=Order.FRAMES, below=None)
    assert frames_in(queue) == [1, 1, 1, 0, 0, 0]
    queue.show(frame=1, order=Order.WORST, below=0.5)
    assert len(queue) == 1
    assert queue.current is None
    assert len(changes) == 3
    assert queue.tally(1).n_left == 3, "what is not shown is counted"


def test_doubts_come_before_scores_and_have_reasons():
    session = in_a_row([0.9, 0.8])
    queue = ReviewQueue(session)
    assert queue.keys() == [(0, 2), (0, 1)]
    unsure = doubt(0.5, entropy=0.1, softness=0.4, lost=0.9)
    queue.set_doubts({(0, 1): unsure})
    assert queue.keys() == [(0, 1), (0, 2)]
    assert queue.uncertainty((0, 1)) == unsure.score > 0.4
    assert main_reason(queue.doubt((0, 1))) == "its outline"
    assert queue.doubt((0, 2)) is None


def test_a_step_among_50_000_objects_is_quick():
    n = 50_000
    rng = np.random.default_rng(0)
    document = Document((10,), (8, 8), CATEGORIES)
    session = Session(document)
    scores = rng.random(n)
    changes = tuple(
        SegmentChange(i % 10, None, Segment(i + 1, 7, float(scores[i]), area=1, bbox=(0, 0, 1, 1)))
        for i in range(n)
    )
    session.do(Edit("Segment", segments=changes))
    for order in Order:
        queue = ReviewQueue(session, order=order)
        seconds = []
        for _ in range(30):
            key = queue.go(1)
            edit = operations.set_status(document, [key], Status.ACCEPTED)
            start = perf_counter()
            session.do(edit)
            assert queue.hint is None or queue.hint.n_rest
            assert queue.position is not None
            session.undo()
            session.redo()
            seconds.append((perf_counter() - start) / 3)
        queue.close()
        assert np.median(seconds) < 5e-3
