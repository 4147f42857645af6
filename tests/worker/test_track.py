"""Tracking in the worker: what `VideoTracker` gives, frame by frame, and how a run goes on."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import numpy as np
import pytest
from tests.tiny_models import save_tiny
from worker_talk import TILES, Frames, Talk, named_memory

from napari_eomt.annotation import operations
from napari_eomt.annotation.document import Document
from napari_eomt.annotation.session import Session
from napari_eomt.annotation.track_run import TrackRun
from napari_eomt.annotation.tracks import TrackIndex
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.track_params import TrackParams
from napari_eomt.inference.video import VideoTracker
from napari_eomt.models.load import load_segmenter
from napari_eomt.structures.segments import Status
from napari_eomt.synthetic import moving_objects
from napari_eomt.worker.client import (
    Cancelled,
    Failed,
    Finished,
    FrameDone,
    JobProgress,
    ModelRef,
    WorkerClient,
)
from napari_eomt.worker.given import GivenFrame, frames_before, given_frames
from napari_eomt.worker.messages import WorkerState

N_FRAMES = 10
TRACK = TrackParams(max_gap=2)
# A random model is sure of nothing, and its masks are half of the image.
ANY = PredictParams(score_threshold=0.05, overlap_threshold=0)
WHOLE = PredictParams(score_threshold=0.2, tiling="whole", object_size="as_is")


class Stack:
    """A drawn stack; knows which frames were read."""

    name = "moving"

    def __init__(self, n_frames: int = N_FRAMES) -> None:
        self.n_frames = n_frames
        self.frames = moving_objects(n_frames, (96, 112), 4, 5)[0]
        self.read: list[int] = []

    def frame(self, index: int) -> np.ndarray:
        self.read.append(index)
        return self.frames[index]


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> ModelRef:
    return ModelRef(str(save_tiny(tmp_path_factory.mktemp("video") / "m", "videomt")), "cpu")


@pytest.fixture(params=["image", "video"])
def kind(request, plain, video):
    """Return a model, and parameters that suit it."""
    return (plain, WHOLE) if request.param == "image" else (video, ANY)


def truth(model: ModelRef, params: PredictParams, frames, given=None) -> list:
    tracker = VideoTracker(load_segmenter(model.model, "cpu"), params, TRACK)
    found = []
    for t, frame in enumerate(frames):
        steps = tracker.iter_frame(frame, (given or {}).get(t))
        try:
            while True:
                next(steps)
        except StopIteration as stop:
            found.append(stop.value)
    return found


def assert_same(events: list[FrameDone], found: list) -> None:
    assert len(events) == len(found)
    for event, one in zip(events, found, strict=True):
        np.testing.assert_array_equal(event.segmentation.id_map, one.segmentation.id_map)
        assert event.segmentation.segments == one.segmentation.segments
        assert event.links == one.links
        assert event.uncertainty == one.uncertainty


def frames_of(talk: Talk, job: int) -> list[FrameDone]:
    return talk.of(FrameDone, job)


def take_up(document: Document, events: list[FrameDone]) -> Session:
    session = Session(document)
    run = TrackRun(document, goes_on=True)
    for event in events:
        session.do(run.propose(event.frame, event.segmentation))
    return session


def new_document(model: ModelRef) -> Document:
    card = load_segmenter(model.model, "cpu").card
    return Document((N_FRAMES,), (96, 112), card.categories)


def test_a_job_is_the_tracker_frame_by_frame(talk: Talk, kind):
    model, params = kind
    source = Stack()
    job = talk.client.track(model, source, range(N_FRAMES), params, TRACK, "k")
    end = talk.end(job)
    assert isinstance(end, Finished), end
    assert (end.n_frames, end.missing) == (N_FRAMES, ())
    assert source.read == list(range(N_FRAMES))
    found = truth(model, params, source.frames)
    assert max(len(one.segmentation.segments) for one in found) > 1
    assert_same(frames_of(talk, job), found)
    # Questions about what it proposed are answered, though nothing is decided anew.
    question = talk.client.hidden("k", 3, params)
    assert talk.until(lambda e: getattr(e, "job", None) == question).__class__.__name__ == (
        "CandidatesFound"
    )


def test_cancelled_and_gone_on_it_is_as_if_it_had_not_stopped(talk: Talk, kind):
    model, params = kind
    source = Stack()
    first = talk.client.track(model, source, range(5), params, TRACK, "stopped")
    assert isinstance(talk.end(first), Finished)
    document = new_document(model)
    take_up(document, frames_of(talk, first))
    index = TrackIndex.of(document)
    before = frames_before(5, TRACK)
    second = talk.client.track(
        model,
        source,
        range(5, N_FRAMES),
        params,
        TRACK,
        "stopped",
        given=given_frames(document, before, index),
        before=before,
        first_id=99,  # the tracker has its own
        resume=True,
    )
    assert isinstance(talk.end(second), Finished)
    events = [*frames_of(talk, first), *frames_of(talk, second)]
    assert_same(events, truth(model, params, source.frames))


def test_a_cancel_comes_between_frames_and_what_is_done_stays(talk: Talk, model):
    job = talk.client.track(model("slow"), Stack(60), range(60), WHOLE, TRACK, "c")
    talk.until(lambda e: isinstance(e, JobProgress) and e.job == job and e.n_done >= 2)
    talk.client.cancel(job)
    end = talk.end(job)
    assert isinstance(end, Cancelled)
    done = [event.frame for event in frames_of(talk, job)]
    assert done == list(range(end.n_frames))
    assert 2 <= end.n_frames < 60
    again = talk.client.track(model("slow"), Stack(60), [0], WHOLE, TRACK, "c")
    assert isinstance(talk.end(again), Finished)


def test_from_a_corrected_frame_the_persons_object_keeps_its_track(talk: Talk, kind):
    model, params = kind
    source = Stack()
    first = talk.client.track(model, source, range(N_FRAMES), params, TRACK, "fix")
    talk.end(first)
    document = new_document(model)
    session = take_up(document, frames_of(talk, first))
    at = 5
    index = TrackIndex.of(document)
    here = document.segments(at)
    i = max(here, key=lambda i: here[i].area)
    number = index.numbers[at, i]
    session.do(operations.set_status(document, [(at, i)], Status.ACCEPTED))
    mine = document.id_map(at) == i
    index = TrackIndex.of(document)
    before = frames_before(at, TRACK)
    given = given_frames(document, (*before, at), index)
    highest = max(index.members)
    source.read.clear()
    second = talk.client.track(
        model, source, range(at, N_FRAMES), params, TRACK, "fix",
        given=given, before=before, first_id=highest + 1,
    )  # fmt: skip
    assert isinstance(talk.end(second), Finished)
    assert source.read == [*before, *range(at, N_FRAMES)]
    events = frames_of(talk, second)
    assert [event.frame for event in events] == list(range(at, N_FRAMES))
    kept = events[0].segmentation
    np.testing.assert_array_equal(kept.id_map == number, mine)
    assert kept.by_id()[number].status is Status.ACCEPTED
    # The frame's other tracks go on as well, and what is new is new.
    known = {index.numbers[at, j] for j in document.segments(at)}
    assert len(known & {s.id for s in kept.segments}) == len(known)
    tracks = {s.id for event in events for s in event.segmentation.segments}
    assert all(track in index.members or track > highest for track in tracks)
    assert number in {s.id for s in events[1].segmentation.segments}


def test_what_a_video_model_remembers_is_taken_from_the_closest_state(talk: Talk, video):
    """The same queries as in a run that never stopped: after the frame the masks are the same."""
    source = Stack()
    first = talk.client.track(video, source, range(N_FRAMES), ANY, TRACK, "states")
    talk.end(first)
    document = new_document(video)
    take_up(document, frames_of(talk, first))
    index = TrackIndex.of(document)
    expected = truth(video, ANY, source.frames)
    for at in (4, 7):
        before = frames_before(at, TRACK)
        job = talk.client.track(
            video, source, range(at, N_FRAMES), ANY, TRACK, "states",
            given=given_frames(document, (*before, at), index), before=before,
            first_id=max(index.members) + 1,
        )  # fmt: skip
        assert isinstance(talk.end(job), Finished)
        for event in frames_of(talk, job):
            one = expected[event.frame].segmentation
            np.testing.assert_array_equal(event.segmentation.id_map > 0, one.id_map > 0)
            assert len(event.segmentation.segments) == len(one.segments)
        # Nothing was corrected: each keeps the track that it had.
        first_again = frames_of(talk, job)[0].segmentation
        np.testing.assert_array_equal(first_again.id_map, expected[at].segmentation.id_map)


def test_locked_objects_of_later_frames_stay_as_they_are(talk: Talk, plain):
    source = Stack()
    document = new_document(plain)
    session = Session(document)
    mask = np.zeros((96, 112), bool)
    mask[10:20, 30:50] = True
    job = talk.client.track(plain, source, range(N_FRAMES), WHOLE, TRACK, "later")
    talk.end(job)
    session = take_up(document, frames_of(talk, job))
    key = next(iter(TrackIndex.of(document).keys(1, 3)))
    session.do(operations.set_status(document, [key], Status.ACCEPTED))
    mine = document.id_map(key[0]) == key[1]
    index = TrackIndex.of(document)
    given = given_frames(document, range(N_FRAMES), index, locked_only=True)
    assert list(given) == [key[0]]
    again = talk.client.track(
        plain, source, range(N_FRAMES), WHOLE, TRACK, "later",
        given=given, first_id=max(index.members) + 1,
    )  # fmt: skip
    assert isinstance(talk.end(again), Finished)
    found = frames_of(talk, again)[key[0]].segmentation
    np.testing.assert_array_equal(found.id_map == 1, mine)


def test_a_given_frame_is_the_documents(talk: Talk, plain):
    job = talk.client.track(plain, Stack(), range(2), WHOLE, TRACK, "given")
    talk.end(job)
    document = new_document(plain)
    session = take_up(document, frames_of(talk, job))
    first, second = sorted(document.segments(1))[:2]
    session.do(operations.reject(document, [(1, first)]))
    session.do(operations.set_status(document, [(1, second)], Status.ACCEPTED))
    index = TrackIndex.of(document)
    given = GivenFrame.of(document, 1, index).segmentation()
    np.testing.assert_array_equal(given.id_map, document.id_map(1))
    shown = document.segmentation(1).segments
    assert given.segments == tuple(replace(s, track_id=index.numbers[1, s.id]) for s in shown)
    locked = GivenFrame.of(document, 1, index, locked_only=True)
    assert [s.id for s in locked.segments] == [second]


def test_no_frames_are_an_error(talk: Talk, plain):
    with pytest.raises(ValueError, match="no frames"):
        talk.client.track(plain, Stack(), [], WHOLE, TRACK, "k")


def test_memory_that_runs_out_is_tried_again_and_told(talk: Talk, model):
    job = talk.client.track(model("oom-twice"), Frames(side=400), [0], TILES, TRACK, "oom")
    end = talk.end(job)
    assert isinstance(end, Finished)
    assert end.notes
    job = talk.client.track(model("oom-always"), Stack(), range(2), WHOLE, TRACK, "oom")
    assert isinstance(talk.end(job), Failed)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_after_the_death_of_the_process_it_goes_on(hooked, model, plain):
    client = WorkerClient(n_threads=1)
    try:
        talk = Talk(client)
        client.start()
        source = Stack(40)
        job = client.track(model("slow"), source, range(40), WHOLE, TRACK, "dies")
        talk.until(lambda e: isinstance(e, FrameDone) and e.frame == 2)
        assert client.pid is not None
        os.kill(client.pid, 9)
        assert isinstance(talk.end(job), Failed)
        done = [event.frame for event in frames_of(talk, job)]
        again = client.track(
            plain, source, range(len(done), len(done) + 2), WHOLE, TRACK, "dies",
            before=range(len(done)), resume=True,
        )  # fmt: skip
        assert talk.end(again).n_frames == 2
        if sys.platform == "linux":
            assert not named_memory(client.pid)
        assert client.state in (WorkerState.WARM, WorkerState.BUSY)
    finally:
        client.close()
