"""Any sequence of edits, undos and redos ends in the state that a plain replay gives."""

from __future__ import annotations

import numpy as np
import pytest
from tests.annotation.random_edits import check, new_session, paint, proposal, random_edit, state

from napari_eomt.annotation import operations
from napari_eomt.annotation.edits import Edit
from napari_eomt.errors import DataError
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment


@pytest.mark.parametrize("seed", range(4))
def test_a_thousand_random_steps_equal_a_plain_replay(seed):
    rng = np.random.default_rng(seed)
    session = new_session()
    document = session.document
    history, ahead = [state(document)], []  # the definition: states, one after the other
    n_kinds = set()
    for _ in range(1000):
        choice = rng.random()
        if choice < 0.25:
            undone = session.undo()
            assert (undone is None) == (len(history) == 1)
            if undone is not None:
                ahead.append(history.pop())
        elif choice < 0.4:
            redone = session.redo()
            assert (redone is None) == (not ahead)
            if redone is not None:
                history.append(ahead.pop())
        elif choice < 0.6:
            before = session.n_steps
            paint(rng, session)
            if session.n_steps > before or session.n_steps == 500:
                history.append(state(document))
                ahead.clear()
        else:
            edit = random_edit(rng, document)
            if edit is not None and session.do(edit):
                n_kinds.add(edit.name.split()[0])
                history.append(state(document))
                ahead.clear()
        assert state(document) == history[-1]
        check(document)
    assert len(n_kinds) > 12, f"the sequence tries most of what there is: {sorted(n_kinds)}"
    while session.undo():
        history.pop()
        assert state(document) == history[-1]
    assert len(history) == 1
    assert not document.id_maps.any()
    assert list(document.iter_segments()) == []


def test_a_step_of_many_edits_is_undone_at_once_and_an_error_takes_it_back():
    rng = np.random.default_rng(0)
    session = new_session()
    session.do(operations.propose(session.document, 0, proposal(rng)))
    before = state(session.document)
    with session.step("Tidy up"):
        session.do(operations.delete(session.document, [(0, 1)]))
        session.do(operations.recategorise(session.document, [(0, 2)], 9))
    assert session.undo_name == "Tidy up"
    session.undo()
    assert state(session.document) == before
    with pytest.raises(DataError), session.step("Tidy up"):  # noqa: PT012 - two in one step
        session.do(operations.delete(session.document, [(0, 1)]))
        session.do(operations.merge(session.document, [(0, 2)]))
    assert state(session.document) == before
    assert session.redo_name == "Tidy up"


def test_a_dragged_slider_is_one_step():
    rng = np.random.default_rng(0)
    session = new_session()
    document = session.document
    session.do(operations.propose(document, 1, proposal(rng)))
    before = state(document)
    for _ in range(5):
        session.do(operations.propose(document, 1, proposal(rng), "Score"), merge_with="drag")
        session.do(operations.propose(document, 2, proposal(rng), "Score"), merge_with="drag")
        check(document)
    after = state(document)
    assert session.n_steps == 2
    session.undo()
    assert state(document) == before
    session.redo()
    assert state(document) == after


def test_at_least_500_steps_can_be_undone_and_memory_is_bounded():
    session = new_session(max_bytes=10_000)
    for k in range(700):
        session.do(operations.change_category(session.document, Category(7, f"cell {k}")))
    assert session.n_steps == 500
    for _ in range(500):
        assert session.undo()
    assert session.undo() is None
    assert session.document.categories[7].name == "cell 199"


def test_signals_tell_what_was_applied():
    session = new_session()
    seen = []
    session.changed.connect(seen.append)
    edit = operations.change_category(session.document, Category(7, "nucleus"))
    session.do(edit)
    session.undo()
    session.redo()
    assert seen == [edit, edit.inverse(), edit]
    assert not session.do(Edit("nothing"))
    assert len(seen) == 3


def test_selection_loses_what_is_gone():
    rng = np.random.default_rng(0)
    session = new_session()
    session.do(operations.propose(session.document, 0, proposal(rng)))
    seen = []
    session.selection_changed.connect(seen.append)
    session.select([(0, 1), (0, 2)])
    session.do(operations.delete(session.document, [(0, 1)]))
    assert session.selection == {(0, 2)}
    assert seen == [{(0, 1), (0, 2)}, {(0, 2)}]
    assert [s.id for _, s in session.selected] == [2]


def test_ids_are_not_reused_after_an_undo():
    session = new_session()
    mask = np.ones((3, 3), bool)
    session.do(operations.add(session.document, 0, mask, (0, 0), Segment(0, 7)))
    session.undo()
    session.do(operations.add(session.document, 0, mask, (9, 9), Segment(0, 7)))
    assert list(session.document.segments(0)) == [2]


def test_what_is_rejected_is_not_proposed_again():
    rng = np.random.default_rng(1)
    session = new_session()
    document = session.document
    proposed = proposal(rng)
    session.do(operations.propose(document, 0, proposed))
    first = min(document.segments(0))
    gone = document.id_map(0) == first
    session.do(operations.reject(document, [(0, first)]))
    assert not document.id_map(0)[gone].any()
    session.do(operations.propose(document, 0, proposed))
    assert not document.id_map(0)[gone].any()
    assert len(document.segments(0)) == len(proposed.segments)
    check(document)


def test_more_ids_than_16_bits_hold():
    session = new_session()
    document = session.document
    document.hold(65_530)
    mask = np.ones((2, 2), bool)
    for k in range(10):
        session.do(operations.add(document, 0, mask, (3 * k, 3), Segment(0, 7)))
    assert document.id_maps.dtype == np.uint32
    check(document)
    while session.undo():
        check(document)
    while session.redo():
        check(document)
    assert set(document.segments(0)) == set(range(65_531, 65_541))
