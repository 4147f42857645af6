"""Questions about kept proposals: answered beside the jobs, the newest first of all."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from worker_talk import TILES, WHOLE, Frames, Talk, draw

from napari_eomt.inference.candidates import (
    candidate_mask,
    candidate_probability,
    candidates_at,
    candidates_in,
)
from napari_eomt.inference.hidden import hidden
from napari_eomt.inference.predict import propose
from napari_eomt.inference.split import best_split
from napari_eomt.models.load import load_segmenter
from napari_eomt.structures.candidates import Patch
from napari_eomt.worker.client import (
    Cancelled,
    CandidatesFound,
    Failed,
    Finished,
    FrameDone,
    JobProgress,
    MaskFound,
    NoneKept,
    SplitFound,
    WorkerClient,
    WorkerState,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")

ANSWERS = (CandidatesFound, MaskFound, SplitFound, NoneKept, Cancelled, Failed)


@pytest.fixture(scope="module")
def kept() -> Any:
    """Return what the worker keeps under ("kept", 0), made in this process."""
    return propose(draw(0, 200), load_segmenter("nuclei-nano", "cpu"), TILES)


@pytest.fixture
def asked(talk: Talk, plain) -> Talk:
    """Return a talk with a worker that keeps the proposals of ("kept", 0)."""
    assert isinstance(
        talk.end(talk.client.segment(plain, Frames(side=200), [0], TILES, "kept")), Finished
    )
    return talk


def answer(talk: Talk, job: int) -> Any:
    return talk_until(talk, lambda e: isinstance(e, ANSWERS) and e.job == job)


def talk_until(talk: Talk, wanted: Any, timeout: float = 30) -> Any:
    """Return the first event that is wanted, whatever was seen before."""
    start = time.monotonic()
    while time.monotonic() - start < timeout:
        for event in talk.events:
            if wanted(event):
                return event
        time.sleep(0.002)
        talk.events += talk.client.poll()
    raise TimeoutError(f"There were {talk.events}")


def centre(proposals):
    """Return the middle of a segment."""
    y0, x0, y1, x1 = proposals.segment().segments[0].bbox
    return (y0 + y1) / 2, (x0 + x1) / 2


def test_answers_equal_those_in_process(asked: Talk, kept):
    client, (y, x) = asked.client, centre(kept)
    expected = candidates_at(kept, y, x, TILES)
    assert expected
    found = answer(asked, client.candidates("kept", 0, TILES, point=(y, x)))
    assert (found.key, found.frame) == ("kept", 0)
    assert list(found.candidates) == expected
    for candidate in found.candidates:
        (line, *_) = candidate.outlines
        y0, x0, y1, x1 = candidate.box
        assert ((line > (y0 - 5, x0 - 5)) & (line < (y1 + 5, x1 + 5))).all()
    assert 0 < found.seconds < 1

    box = expected[0].box
    found = answer(asked, client.candidates("kept", 0, TILES, area=box, limit=3))
    assert list(found.candidates) == candidates_in(kept, box, TILES, limit=3)
    lasso = [(box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3])]
    found = answer(asked, client.candidates("kept", 0, TILES, area=lasso))
    assert list(found.candidates) == candidates_in(kept, lasso, TILES)

    parts = expected[0].parts
    mask = answer(asked, client.mask("kept", 0, parts, TILES)).patch
    here = candidate_mask(kept, parts, TILES)
    assert mask.origin == here.origin
    np.testing.assert_array_equal(mask.pixels, here.pixels)
    probability = answer(asked, client.mask("kept", 0, parts, TILES, probability=True)).patch
    np.testing.assert_allclose(
        probability.pixels, candidate_probability(kept, parts, TILES).pixels, atol=1e-6
    )

    middle = float(np.median([segment.score for segment in kept.segment().segments]))
    strict = TILES.model_copy(update={"score_threshold": middle})
    found = answer(asked, client.hidden("kept", 0, strict, limit=7))
    expected = hidden(kept, strict, limit=7)
    assert expected
    assert list(found.candidates) == expected
    np.testing.assert_array_equal(found.candidates[0].outlines[0], expected[0].outlines[0])


def test_a_split_is_found_in_the_worker(asked: Talk, kept):
    result = kept.segment()
    masks = [result.id_map == s.id for s in result.segments]
    ends = [np.argwhere(mask).mean(0) for mask in masks]
    pairs = [(np.hypot(*(a - b)), i, j) for i, a in enumerate(ends) for j, b in enumerate(ends[:i])]
    _, i, j = min(pairs)
    both = masks[i] | masks[j]
    split = answer(asked, asked.client.split("kept", 0, Patch((0, 0), both), TILES)).split
    expected = best_split(kept, both, (0, 0), TILES)
    assert len(split.probabilities) == 2
    assert split.candidates == expected.candidates
    np.testing.assert_allclose(split.probabilities, expected.probabilities, atol=1e-6)
    one = answer(asked, asked.client.split("kept", 0, Patch((0, 0), masks[i]), TILES))
    assert one.split is None


def test_frames_come_with_their_uncertainty(asked: Talk, kept):
    client = asked.client
    decision = kept.decide(TILES)
    done = [asked.of(FrameDone, e.job)[0] for e in asked.events if isinstance(e, Finished)]
    asked.end(job := client.decide("kept", [0], TILES))
    for event in [*done, *asked.of(FrameDone, job)]:
        assert event.queries == decision.queries
        assert len(event.uncertainty) == len(event.segmentation.segments) > 5
        for one, other in zip(event.uncertainty, decision.uncertainty, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-6)


@contextmanager
def stopped(client):
    """Have the worker do nothing, so that what is asked waits."""
    os.kill(client.pid, signal.SIGSTOP)
    yield
    os.kill(client.pid, signal.SIGCONT)


@posix
def test_only_the_newest_question_of_a_kind_is_answered(asked: Talk, kept):
    client, (y, x) = asked.client, centre(kept)
    part = candidates_at(kept, y, x, TILES)[0].parts
    with stopped(client):
        points, areas, hiddens, masks = ask_often(client, y, x, part)
    for old in (points, areas, hiddens):
        for job, later in itertools.pairwise(old):
            assert answer(asked, job) == Cancelled(job, 0, superseded_by=later)
        assert isinstance(answer(asked, old[-1]), CandidatesFound)
    # Every mask that is asked for is wanted.
    assert all(isinstance(answer(asked, job), MaskFound) for job in masks)


def ask_often(client, y, x, part):
    points = [client.candidates("kept", 0, TILES, point=(y + k, x)) for k in range(20)]
    areas = [client.candidates("kept", 0, TILES, area=(y, x, y + k, x + 9)) for k in range(1, 4)]
    hiddens = [client.hidden("kept", 0, TILES) for _ in range(3)]
    masks = [client.mask("kept", 0, part, TILES) for _ in range(4)]
    return points, areas, hiddens, masks


def test_questions_wait_for_no_job(asked: Talk, model, kept):
    client, (y, x) = asked.client, centre(kept)
    source = Frames(side=1500)
    job = client.segment(model("slow"), source, [0], TILES, "long")
    talk_until(asked, lambda e: isinstance(e, JobProgress) and e.job == job and e.done > 0)
    queued = client.decide("kept", [0], TILES)
    for k in range(3):
        found = answer(asked, client.candidates("kept", 0, TILES, point=(y, x + k / 9)))
        assert isinstance(found, CandidatesFound)
    assert not asked.of(Finished, job)
    assert not asked.of(Finished, queued)
    assert client.state is WorkerState.BUSY
    client.cancel(job)
    assert isinstance(asked.end(job), Cancelled)
    assert asked.end(queued).n_frames == 1


def test_questions_leave_jobs_and_state_alone(asked: Talk, plain, kept):
    client, (y, x) = asked.client, centre(kept)
    job = client.segment(plain, Frames(side=400), range(3), TILES, "beside")
    asked_jobs = []
    while not asked.of(Finished, job):
        asked_jobs.append(client.candidates("kept", 0, TILES, point=(y, x)))
        asked.events += client.poll()
        time.sleep(0.005)
    assert asked.frames(job) == [0, 1, 2]
    segmenter = load_segmenter("nuclei-nano", "cpu")
    for event in asked.of(FrameDone, job):
        expected = propose(draw(event.frame, 400), segmenter, TILES).segment()
        np.testing.assert_array_equal(event.segmentation.id_map, expected.id_map)
    states = len(asked.states())
    assert isinstance(answer(asked, asked_jobs[-1]), CandidatesFound)
    # Each ends in one event.
    ends = [e.job for e in asked.events if isinstance(e, ANSWERS) and e.job in asked_jobs]
    assert sorted(ends) == asked_jobs
    assert len(asked.states()) == states


def test_a_candidate_of_an_older_run_has_no_mask_any_more(fresh: Talk, plain, kept):
    client, (y, x) = fresh.client, centre(kept)
    masks = []
    for _ in range(2):
        fresh.end(client.segment(plain, Frames(side=200), [0], TILES, "k"))
        found = answer(fresh, client.candidates("k", 0, TILES, point=(y, x))).candidates
        part, run = found[0].parts, found[0].run
        masks.append((part, run))
        assert isinstance(answer(fresh, client.mask("k", 0, part, TILES, run=run)), MaskFound)
    (part, old), (_, new) = masks
    assert 0 < old < new
    assert isinstance(answer(fresh, client.mask("k", 0, part, TILES, run=old)), NoneKept)
    assert isinstance(answer(fresh, client.mask("k", 0, part, TILES)), MaskFound)


def test_none_kept_is_an_answer(asked: Talk):
    client = asked.client
    for job in (
        client.candidates("unknown", 0, TILES, point=(3, 3)),
        client.candidates("kept", 7, TILES, area=(3, 3, 9, 9)),
        client.hidden("unknown", 0, TILES),
        client.mask("unknown", 0, [(0, 0)], TILES),
        client.split("unknown", 0, Patch((0, 0), np.ones((3, 3), bool)), TILES),
    ):
        assert answer(asked, job) == NoneKept(job, answer(asked, job).key, answer(asked, job).frame)
    client.forget("kept")
    asked.end(client.decide("kept", [0], TILES))
    job = client.candidates("kept", 0, TILES, point=(3, 3))
    assert answer(asked, job) == NoneKept(job, "kept", 0)


def test_a_point_outside_has_no_candidates(asked: Talk):
    job = asked.client.candidates("kept", 0, TILES, point=(-5, 1000))
    assert answer(asked, job).candidates == ()


def test_a_question_that_cannot_be_answered_says_why(asked: Talk):
    wrong = TILES.model_copy(update={"task": "panoptic"})
    failed = answer(asked, asked.client.candidates("kept", 0, wrong, point=(3, 3)))
    assert isinstance(failed, Failed)
    assert "does not serve the task 'panoptic'" in failed.message
    assert "Traceback" in failed.details
    failed = answer(asked, asked.client.mask("kept", 0, [(999, 0)], TILES))
    assert isinstance(failed, Failed)
    assert "IndexError" in failed.message
    found = answer(asked, asked.client.candidates("kept", 0, TILES, point=(3, 3)))
    assert isinstance(found, CandidatesFound)


@pytest.mark.parametrize("where", [{}, {"point": (1, 2), "area": (1, 2, 3, 4)}])
def test_either_a_point_or_an_area_is_asked_for(asked: Talk, where):
    with pytest.raises(ValueError, match="either at a point or in an area"):
        asked.client.candidates("kept", 0, TILES, **where)


@posix
def test_a_cancelled_question_stays_unanswered(asked: Talk):
    client = asked.client
    with stopped(client):
        job = client.candidates("kept", 0, TILES, point=(3, 3))
        client.cancel(job)
    assert answer(asked, job) == Cancelled(job, 0)
    last = client.candidates("kept", 0, TILES, point=(3, 3))
    answer(asked, last)
    assert not asked.of(CandidatesFound, job)


@pytest.fixture
def fresh(hooked: None) -> Iterator[Talk]:
    """Return a talk with a client of its own, which was not started."""
    client = WorkerClient(n_threads=1)
    yield Talk(client)
    client.close()


def test_a_question_starts_no_process(fresh: Talk):
    job = fresh.client.candidates("kept", 0, TILES, point=(3, 3))
    assert fresh.client.poll() == [NoneKept(job, "kept", 0)]
    assert fresh.client.pid is None
    assert fresh.client.state is WorkerState.CLOSED


@posix
def test_a_killed_worker_keeps_none(fresh: Talk, plain, model):
    client = fresh.client
    fresh.end(client.segment(plain, Frames(), [0], WHOLE, "k"))
    running = client.segment(model("slow"), Frames(50), range(50), WHOLE, "other")
    talk_until(fresh, lambda e: isinstance(e, JobProgress) and e.job == running and e.n_done == 1)
    waiting = client.mask("k", 0, [(0, 0)], WHOLE)
    os.kill(client.pid, 9)
    later = [client.candidates("k", 0, WHOLE, point=(k, 3)) for k in range(3)]
    assert isinstance(answer(fresh, waiting), NoneKept | MaskFound)
    assert answer(fresh, later[-1]) == NoneKept(later[-1], "k", 0)
    assert all(isinstance(answer(fresh, job), NoneKept | Cancelled) for job in later)
    talk_until(fresh, lambda e: getattr(e, "state", None) is WorkerState.FAILED)
    while client.state is not WorkerState.WARM:
        time.sleep(0.01)
    job = client.candidates("k", 0, WHOLE, point=(3, 3))
    assert answer(fresh, job) == NoneKept(job, "k", 0)
    fresh.end(client.segment(plain, Frames(), [0], WHOLE, "k"))
    again = client.candidates("k", 0, WHOLE, point=(3, 3))
    assert isinstance(answer(fresh, again), CandidatesFound)


@posix
def test_closing_drops_questions_and_a_forward_pass_does_not_hold_them_up(fresh, plain, model):
    client = fresh.client
    fresh.end(client.segment(plain, Frames(), [0], WHOLE, "k"))
    slow = client.segment(model("very-slow"), Frames(), [0], WHOLE, "other")
    talk_until(fresh, lambda e: isinstance(e, JobProgress) and e.job == slow and e.what == "tile")
    # Its only forward pass takes a minute.
    job = client.candidates("k", 0, WHOLE, point=(3, 3))
    assert isinstance(answer(fresh, job), CandidatesFound)
    job = client.mask("k", 0, [(0, 0)], WHOLE)
    assert isinstance(answer(fresh, job), MaskFound)
    assert not fresh.of(Finished, slow)
    os.kill(client.pid, signal.SIGSTOP)
    job = client.candidates("k", 0, WHOLE, point=(3, 3))
    client.close()
    assert answer(fresh, job) == Cancelled(job, 0)


def test_the_window_reads_answers_without_torch():
    code = (
        "import sys, napari_eomt.worker.client, napari_eomt.worker.messages;"
        "import napari_eomt.structures.candidates, napari_eomt.structures.uncertainty;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
