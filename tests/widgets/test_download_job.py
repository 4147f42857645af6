from __future__ import annotations

import threading
import time

import pytest

from napari_eomt.models.hub_errors import DownloadError
from napari_eomt.models.hub_watch import Progress
from napari_eomt.widgets.download_job import JobState, ModelJobs, size_of

WAIT_MS = 30_000


@pytest.fixture
def jobs(qtbot):
    jobs = ModelJobs()
    yield jobs
    jobs.close()


def wait_for(event):
    """Return work that goes on until `event`, or until it is cancelled."""

    def work(report, is_cancelled):
        while not event.is_set():
            if is_cancelled():
                raise DownloadError("stopped", "cancelled")
            time.sleep(0.01)

    return work


def test_progress_comes_to_the_window_and_the_end_too(jobs, qtbot):
    def work(report, is_cancelled):
        report(Progress(430, 1000, "model.safetensors", "downloading", 100.0))
        held.wait(10)

    held = threading.Event()
    jobs.start("a", work)
    qtbot.waitUntil(lambda: jobs.states["a"].what == "downloading")
    assert jobs.states["a"].text == "downloading 43 %"
    with qtbot.waitSignal(jobs.succeeded) as done:
        held.set()
    assert done.args == ["a"]
    assert jobs.states == {}
    assert not jobs._timer.isActive(), "an idle window is not woken up"


def test_two_at_once_and_each_model_once(jobs, qtbot):
    ends = {name: threading.Event() for name in "abc"}
    for name, end in ends.items():
        jobs.start(name, wait_for(end))
    assert [state.what for state in jobs.states.values()] == ["starting", "starting", "queued"]
    jobs.start("a", lambda report, is_cancelled: pytest.fail("there is work on it already"))
    ends["a"].set()
    qtbot.waitUntil(lambda: jobs.states.get("c", JobState()).what == "starting")
    assert set(jobs.states) == {"b", "c"}
    for end in ends.values():
        end.set()
    qtbot.waitUntil(lambda: not jobs.states)


def test_cancelling_shows_at_once_and_is_no_failure(jobs, qtbot):
    failures = []
    jobs.failed.connect(failures.append)
    for name in "abc":
        jobs.start(name, wait_for(threading.Event()))
    start = time.monotonic()
    for name in "cba":  # one of them has not begun
        jobs.cancel(name)
        assert jobs.states[name].what == "stopping"
    qtbot.waitUntil(lambda: not jobs.states, timeout=1000)
    assert time.monotonic() - start < 1
    assert failures == []


@pytest.mark.parametrize(
    ("error", "message", "needs_token"),
    [
        (DownloadError("a: accept its licence", "gated"), "a: accept its licence", True),
        (DownloadError("a: the token is bad", "token"), "a: the token is bad", True),
        (DownloadError("a: the disk is full", "disk"), "a: the disk is full", False),
        (ZeroDivisionError("by zero"), "a: ZeroDivisionError: by zero", False),
    ],
)
def test_failures_say_what_and_have_details(jobs, qtbot, error, message, needs_token):
    def work(report, is_cancelled):
        raise error

    with qtbot.waitSignal(jobs.failed) as blocker:
        jobs.start("a", work)
    (failure,) = blocker.args
    assert failure.message.startswith(message)
    assert failure.needs_token is needs_token
    assert "Traceback" in failure.details
    assert "in work" in failure.details


def test_threads_end_when_it_is_closed(qtbot):
    jobs = ModelJobs()
    for name in "abc":
        jobs.start(name, wait_for(threading.Event()))
    threads = [t for t in threading.enumerate() if t.name.startswith("napari-eomt models")]
    assert threads
    jobs.close()
    jobs.deleteLater()
    start = time.monotonic()
    for thread in threads:
        thread.join(5)
    assert time.monotonic() - start < 2
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize(
    ("state", "text", "details"),
    [
        (JobState(), "queued", "Queued…"),
        (JobState("downloading"), "downloading", "Downloading…"),
        (
            JobState("downloading", 312_400_000, 1_270_000_000, 12_000_000),
            "downloading 24 %",
            "Downloading 312 of 1270 MB · 12.0 MB/s · 80 s left",
        ),
        (
            JobState("downloading", 0, 1_270_000_000, 1_000_000),
            "downloading 0 %",
            "Downloading 0 of 1270 MB · 1.0 MB/s · 21 min left",
        ),
        (JobState("checking", 5, 10), "checking 50 %", "Checking 0.0 of 0.0 MB"),
        (JobState("converting", 0, 10), "converting", "Converting…"),
    ],
)
def test_states_in_words(state, text, details):
    assert (state.text, state.details) == (text, details)
    assert size_of(312_400_000, 1_270_000_000) == "312 of 1270 MB"
