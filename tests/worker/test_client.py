"""The client and the worker when all goes well, and when single jobs fail."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from worker_talk import PROPOSALS_BYTES, TILES, WHOLE, Frames, Talk, draw

from napari_eomt.errors import DataError, ModelError
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.predict import predict, propose
from napari_eomt.models.catalog import find_model
from napari_eomt.models.load import load_segmenter
from napari_eomt.worker.client import (
    Cancelled,
    Failed,
    Finished,
    FrameDone,
    JobProgress,
    ModelRef,
    WorkerState,
)
from napari_eomt.worker.desk import MOST_UNREAD

if TYPE_CHECKING:
    from napari_eomt.structures.segments import Segmentation

Models = Callable[[str], ModelRef]


def assert_same(one: Segmentation, other: Segmentation) -> None:
    np.testing.assert_array_equal(one.id_map, other.id_map)
    assert one.id_map.dtype == other.id_map.dtype
    assert one.segments == other.segments


@pytest.fixture(scope="module")
def segmenter():
    return load_segmenter("nuclei-nano", "cpu")


@pytest.mark.parametrize("params", [WHOLE, TILES], ids=["whole", "tiles"])
def test_results_equal_those_in_process(talk: Talk, plain, segmenter, params):
    source = Frames(side=200)
    job = talk.client.segment(plain, source, [2, 0], params, "same")
    assert isinstance(talk.end(job), Finished)
    done = talk.of(FrameDone, job)
    assert [e.frame for e in done] == [2, 0]
    for event in done:
        assert event.key == "same"
        assert event.segmentation.segments
        assert_same(event.segmentation, predict(draw(event.frame, 200), segmenter, params))


@pytest.mark.parametrize(
    "image",
    [
        draw(0, 128).astype(np.float32)[::-1, ::2],
        draw(0, 128).astype(">u2"),
        np.repeat(draw(0, 96)[..., None], 3, axis=2),
        draw(0, 128) > 60,
    ],
    ids=["strided float", "big-endian", "colour", "boolean"],
)
def test_every_kind_of_pixels_arrives(talk: Talk, plain, segmenter, image):
    class One(Frames):
        def frame(self, index: int) -> np.ndarray:
            return image

    job = talk.client.segment(plain, One(), [0], WHOLE, "pixels")
    assert isinstance(talk.end(job), Finished)
    assert_same(talk.of(FrameDone, job)[0].segmentation, predict(image, segmenter, WHOLE))


def test_jobs_and_frames_come_in_order_with_progress(talk: Talk, plain):
    load = talk.client.load(plain)
    jobs = [talk.client.segment(plain, Frames(side=300), [3, 1, 2], TILES, "a") for _ in range(2)]
    assert talk.client.decide("a", [], WHOLE) == jobs[1] + 1
    talk.end(jobs[1] + 1)
    ends = [e.job for e in talk.events if isinstance(e, Finished)]
    assert ends == [load, *jobs, jobs[1] + 1]
    for job in jobs:
        assert talk.frames(job) == [3, 1, 2]
        steps = talk.of(JobProgress, job)
        assert {step.what for step in steps} == {"tile"}
        assert {step.frame for step in steps} <= {1, 2, 3}
        assert all(step.n_frames == 3 and 0 <= step.done <= step.total for step in steps)
    assert talk.states()[0] is WorkerState.BUSY
    assert talk.client.state is WorkerState.WARM
    assert talk.events[-1].model == "nuclei-nano"
    assert talk.events[-1].device == "cpu"


def test_a_running_job_is_cancelled_between_tiles(talk: Talk, model: Models):
    job = talk.client.segment(model("slow"), Frames(side=1500), [0], TILES, "c")
    talk.until(lambda e: isinstance(e, JobProgress) and e.what == "tile" and e.done > 0)
    talk.client.cancel(job)
    end = talk.end(job)
    assert end == Cancelled(job, 0)
    last = [e for e in talk.events if isinstance(e, JobProgress) and e.what == "tile"][-1]
    assert last.done < last.total / 2  # most of its tiles were never looked at
    talk.client.cancel(job)  # it has ended: nothing happens


def test_a_job_is_cancelled_between_frames(talk: Talk, model: Models):
    job = talk.client.segment(model("slow"), Frames(50), range(50), WHOLE, "c")
    talk.until(lambda e: isinstance(e, FrameDone))
    talk.client.cancel(job)
    end = talk.end(job)
    assert isinstance(end, Cancelled)
    assert end.n_frames == len(talk.frames(job)) < 5


def test_a_queued_job_is_cancelled_at_once(talk: Talk, model: Models, plain):
    running = talk.client.segment(model("slow"), Frames(), range(4), WHOLE, "c")
    queued = talk.client.segment(plain, Frames(), range(4), WHOLE, "c")
    talk.client.cancel(queued)
    assert Cancelled(queued, 0) in talk.client.poll()
    assert isinstance(talk.end(running), Finished)


def test_a_job_is_cancelled_while_its_model_loads(talk: Talk, model: Models, plain):
    job = talk.client.load(model("slow-to-load"))
    talk.until(lambda e: isinstance(e, JobProgress) and e.what == "model")
    talk.client.cancel(job)
    assert isinstance(talk.end(job), Cancelled)
    assert isinstance(talk.end(talk.client.load(plain)), Finished)


def test_a_job_is_cancelled_while_a_frame_is_read(talk: Talk, plain):
    class Slow(Frames):
        def frame(self, index: int) -> np.ndarray:
            time.sleep(1)
            return super().frame(index)

    job = talk.client.segment(plain, Slow(), range(4), WHOLE, "c")
    talk.until(lambda e: getattr(e, "state", None) is WorkerState.BUSY)
    talk.client.cancel(job)
    start = time.monotonic()
    assert isinstance(talk.end(job), Cancelled)
    assert time.monotonic() - start < 0.5


def test_decide_equals_segmenting_the_proposals(talk: Talk, plain, segmenter):
    talk.end(talk.client.segment(plain, Frames(), [0, 1], WHOLE, "d"))
    other = WHOLE.model_copy(update={"score_threshold": 0.6, "min_area": 20})
    job = talk.client.decide("d", [1, 0, 7], other)
    end = talk.end(job)
    assert isinstance(end, Finished)
    assert end.missing == (7,)
    assert end.n_frames == 2
    for event in talk.of(FrameDone, job):
        proposals = propose(draw(event.frame, 128), segmenter, WHOLE)
        assert_same(event.segmentation, proposals.segment(other))
    talk.client.forget("d")
    assert talk.end(talk.client.decide("d", [0, 1], other)).missing == (0, 1)


def test_decide_misses_proposals_made_with_another_zoom(talk: Talk, plain):
    talk.end(talk.client.segment(plain, Frames(), [0], WHOLE, "z"))
    other = WHOLE.model_copy(update={"object_size": 7.0, "tiling": "tiles"})
    assert talk.end(talk.client.decide("z", [0], other)).missing == (0,)


def test_a_newer_decide_supersedes_older_ones(talk: Talk, model: Models, plain):
    talk.end(talk.client.segment(plain, Frames(), [0], WHOLE, "live"))
    talk.client.segment(model("slow"), Frames(), [0], WHOLE, "other")
    kept = talk.client.decide("another key", [0], WHOLE)
    old = [talk.client.decide("live", [0], WHOLE) for _ in range(5)]
    new = talk.client.decide("live", [0], WHOLE)
    assert talk.end(new).n_frames == 1
    assert isinstance(talk.end(kept), Finished)
    for job, later in zip(old, [*old[1:], new], strict=True):
        assert talk.end(job) == Cancelled(job, 0, superseded_by=later)


def test_kept_proposals_are_bounded(talk: Talk, plain, segmenter):
    n_kept = PROPOSALS_BYTES // propose(draw(0, 128), segmenter, WHOLE).nbytes
    n = n_kept + 3
    talk.end(talk.client.segment(plain, Frames(n), range(n), WHOLE, "many"))
    assert talk.end(talk.client.decide("many", range(n), WHOLE)).missing == (0, 1, 2)


def test_at_most_two_frames_are_read_ahead(talk: Talk, model: Models):
    source = Frames(8)
    job = talk.client.segment(model("slow"), source, range(8), WHOLE, "r")
    for n_done in range(1, 9):
        talk.until(lambda e: isinstance(e, FrameDone))
        # The one in work may be done by now, and the next one begun.
        assert len(source.read) <= n_done + 1 + 3
    assert isinstance(talk.end(job), Finished)


def test_results_that_nobody_polls_are_bounded(talk: Talk, plain):
    source = Frames(30)
    job = talk.client.segment(plain, source, range(30), WHOLE, "u")
    n_read = -1
    while n_read < len(source.read):
        n_read = len(source.read)
        time.sleep(0.5)
    assert n_read <= MOST_UNREAD + 3
    assert isinstance(talk.end(job), Finished)
    assert talk.frames(job) == list(range(30))


def test_a_frame_that_cannot_be_read_fails_its_job_only(talk: Talk, plain):
    class Broken(Frames):
        def frame(self, index: int) -> np.ndarray:
            if index == 2:
                raise OSError("the disk is gone")
            return super().frame(index)

    job = talk.client.segment(plain, Broken(), range(4), WHOLE, "b")
    after = talk.client.segment(plain, Frames(), [0], WHOLE, "b")
    end = talk.end(job)
    assert isinstance(end, Failed)
    assert end.message == "drawn: frame 2 could not be read (OSError: the disk is gone)."
    assert "Traceback" in end.details
    assert talk.frames(job) == [0, 1]
    assert isinstance(talk.end(after), Finished)


@pytest.mark.parametrize("where", ["reading", "predicting"])
def test_our_own_errors_are_read_as_they_are(talk: Talk, plain, segmenter, where):
    class Odd(Frames):
        def frame(self, index: int) -> np.ndarray:
            if where == "reading":
                raise DataError("Choose another image.")
            return np.zeros((3, 4, 5, 6, 7))

    expected = "Choose another image."
    if where == "predicting":
        with pytest.raises(DataError) as caught:
            predict(Odd().frame(0), segmenter, WHOLE)
        expected = str(caught.value)
    assert talk.end(talk.client.segment(plain, Odd(), [0], WHOLE, "o")).message == expected


def test_a_bad_model_fails_with_its_own_words(talk: Talk, plain, tmp_path):
    pid = talk.client.pid
    with pytest.raises(ModelError) as caught:
        find_model(tmp_path)
    end = talk.end(talk.client.load(ModelRef(str(tmp_path))))
    assert isinstance(end, Failed)
    assert end.message == str(caught.value)
    assert isinstance(talk.end(talk.client.load(plain)), Finished)
    assert talk.client.pid == pid


def test_lack_of_memory_is_answered_with_less_at_a_time(talk: Talk, model: Models, segmenter):
    source = Frames(side=400)
    job = talk.client.segment(model("oom-twice"), source, [0], TILES, "m")
    end = talk.end(job)
    assert isinstance(end, Finished)
    assert len(end.notes) == 1
    assert "emory" in end.notes[0]
    done = talk.of(FrameDone, job)[0]
    assert done.notes == end.notes
    # Smaller batches add up in another order: the same objects, within rounding.
    expected = predict(draw(0, 400), segmenter, TILES)
    assert np.mean(done.segmentation.id_map != expected.id_map) < 0.001


@pytest.mark.parametrize("name", ["oom-always", "oom-while-loading", "wrong"])
def test_what_cannot_be_helped_fails_and_the_process_lives_on(
    talk: Talk, model: Models, plain, name
):
    pid = talk.client.pid
    end = talk.end(talk.client.segment(model(name), Frames(), [0], WHOLE, "m"))
    assert isinstance(end, Failed)
    assert "Traceback" in end.details
    assert ("'blocks.0'" if name == "wrong" else "emory") in end.message
    assert "\n" not in end.message
    assert isinstance(talk.end(talk.client.segment(plain, Frames(), [0], WHOLE, "m")), Finished)
    assert talk.client.pid == pid


def test_two_models_stay_warm(talk: Talk, model: Models, plain):
    for ref in (plain, model("other")):
        talk.end(talk.client.load(ref))
    talk.clear()
    for ref in (plain, model("other"), plain):
        job = talk.client.load(ref)
        talk.end(job)
        assert not talk.of(JobProgress, job)  # nothing was loaded


def test_a_model_that_was_moved_is_loaded_again(talk: Talk, model: Models):
    for _ in range(2):
        job = talk.client.segment(model("moved"), Frames(), [0], WHOLE, "m")
        assert isinstance(talk.end(job), Finished)
        assert [step.what for step in talk.of(JobProgress, job)].count("model") == 1


def test_no_frames_are_no_problem(talk: Talk, plain):
    job = talk.client.segment(plain, Frames(), [], PredictParams(), "none")
    end = talk.end(job)
    assert isinstance(end, Finished)
    assert end.n_frames == 0


def test_input_size_can_change_between_jobs(talk: Talk, plain, segmenter):
    """The model stays loaded: only its positions change."""
    for size in (128, None, 64):
        ref = replace(plain, input_size=size)
        job = talk.client.segment(ref, Frames(side=150), [0], TILES, "sizes")
        assert isinstance(talk.end(job), Finished)
        (done,) = talk.of(FrameDone, job)
        segmenter.set_input_size(size)
        assert_same(done.segmentation, predict(draw(0, 150), segmenter, TILES))
    segmenter.set_input_size(None)
    loads = [event for event in talk.of(JobProgress, job) if event.what == "model"]
    assert not loads


def test_wrong_input_size_is_one_clear_line(talk: Talk, plain):
    job = talk.client.segment(replace(plain, input_size=100), Frames(), [0], TILES, "wrong size")
    failed = talk.end(job)
    assert isinstance(failed, Failed)
    assert "multiple of 8" in failed.message


def test_released_models_are_loaded_again_and_proposals_stay(talk: Talk, plain):
    first = talk.client.segment(plain, Frames(), [0], WHOLE, "kept")
    assert isinstance(talk.end(first), Finished)
    warm = talk.client.load(plain)
    talk.end(warm)
    assert not [e for e in talk.of(JobProgress, warm) if e.what == "model"]
    talk.client.release()
    again = talk.client.load(plain)
    assert isinstance(talk.end(again), Finished)
    assert [e for e in talk.of(JobProgress, again) if e.what == "model"]
    decided = talk.end(talk.client.decide("kept", [0], WHOLE))
    assert isinstance(decided, Finished)
    assert decided.missing == ()


def test_a_release_waits_for_the_running_job(talk: Talk, model: Models):
    slow = model("slow")
    job = talk.client.segment(slow, Frames(), [0, 1], WHOLE, "busy")
    talk.until(lambda e: isinstance(e, FrameDone))
    talk.client.release()
    assert isinstance(talk.end(job), Finished)
    again = talk.client.load(slow)
    talk.end(again)
    assert [e for e in talk.of(JobProgress, again) if e.what == "model"]
