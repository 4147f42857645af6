"""What happens when a process dies: the worker, or the one that holds its client."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from worker_talk import WHOLE, Frames, Talk, is_alive, named_memory

from napari_eomt.errors import WorkerError
from napari_eomt.worker.client import (
    Cancelled,
    Failed,
    Finished,
    JobProgress,
    StateChanged,
    WorkerClient,
    WorkerState,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGKILL = 9

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")


@pytest.fixture(scope="module")
def _own_client(hooked: None) -> Iterator[WorkerClient]:
    client = WorkerClient(n_threads=1)
    yield client
    client.close()


@pytest.fixture
def own(_own_client: WorkerClient) -> Talk:
    """Return a talk with a worker that the tests of this module may kill."""
    return Talk(_own_client)


@pytest.fixture
def fresh(hooked: None) -> Iterator[Talk]:
    """Return a talk with a client of its own."""
    client = WorkerClient(n_threads=1)
    yield Talk(client)
    client.close()


def wait_until_dead(pid: int, timeout: float) -> float:
    """Return how long it took."""
    start = time.monotonic()
    while is_alive(pid):
        assert time.monotonic() - start < timeout
        time.sleep(0.01)
    return time.monotonic() - start


@posix
def test_a_killed_worker_is_said_once_and_restarted(own: Talk, model, plain):
    own.client.segment(plain, Frames(), [0], WHOLE, "k")
    running = own.client.segment(model("slow"), Frames(50), range(50), WHOLE, "k")
    queued = own.client.segment(plain, Frames(), [0, 1], WHOLE, "k")
    kept = own.client.decide("k", [0, 5], WHOLE)
    own.until(lambda e: isinstance(e, JobProgress) and e.job == running and e.n_done == 1)
    first = own.client.pid
    assert first is not None
    start = time.monotonic()
    os.kill(first, SIGKILL)
    end = own.end(running)
    assert time.monotonic() - start < 1
    assert isinstance(end, Failed)
    assert end.message == (
        "The model process was stopped (signal 9), perhaps because memory ran out. Nothing in "
        "your layers is lost. It is being restarted; press Segment again."
    )
    # The queued jobs go on in the new process; proposals of the old one are gone.
    assert own.end(queued).n_frames == 2
    assert own.end(kept).missing == (5,)
    assert len([e for e in own.events if isinstance(e, Failed)]) == 1
    states = own.states()
    i = states.index(WorkerState.FAILED)
    assert states[i + 1 : i + 4] == [WorkerState.STARTING, WorkerState.WARM, WorkerState.BUSY]
    failed = next(e for e in own.events if getattr(e, "state", None) is WorkerState.FAILED)
    assert (failed.device, failed.model) == (None, None)
    assert own.client.pid != first


@posix
def test_a_crash_leaves_its_last_words(own: Talk, model):
    end = own.end(own.client.segment(model("segfault"), Frames(), [0], WHOLE, "k"))
    assert isinstance(end, Failed)
    assert end.message.startswith("The model process crashed (SIGSEGV, signal 11).")
    assert "worker_hooks.py" in end.details
    assert len(end.details) < 20_000


@posix
def test_three_deaths_in_a_minute_are_enough(fresh: Talk, plain):
    fresh.client.start()
    jobs = [fresh.client.load(plain) for _ in range(2)]
    for i in range(3):
        fresh.until(lambda e: getattr(e, "state", None) is WorkerState.STARTING)
        while fresh.client.pid is None:
            time.sleep(0.001)
        os.kill(fresh.client.pid, SIGKILL)
        if i < 2:
            event = fresh.until(lambda e: getattr(e, "state", None) is WorkerState.FAILED)
            assert event.detail.endswith("It is being restarted.")
    for job in jobs:
        end = fresh.end(job)
        assert isinstance(end, Failed)
        assert "3 times within a minute" in end.message
    time.sleep(0.5)
    assert fresh.client.pid is None
    assert fresh.client.state is WorkerState.FAILED
    fresh.clear()
    fresh.client.load(plain)
    fresh.until(lambda e: getattr(e, "state", None) is WorkerState.STARTING)
    while fresh.client.pid is None:
        time.sleep(0.001)


def test_a_program_that_cannot_start_python_says_so(monkeypatch, tmp_path, plain):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    talk = Talk(WorkerClient())
    job = talk.client.load(plain)
    end = talk.end(job, timeout=5)
    assert isinstance(end, Failed)
    assert "cannot be started" in end.message
    assert talk.states() == [WorkerState.STARTING, WorkerState.FAILED]
    talk.client.close()


def test_broken_libraries_are_told(monkeypatch, tmp_path, plain):
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch.so is missing')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    talk = Talk(WorkerClient())
    end = talk.end(talk.client.load(plain))
    assert isinstance(end, Failed)
    assert "ImportError: libtorch.so is missing" in end.message
    assert "Check the installation" in end.message
    assert "Traceback" in end.details
    talk.client.close()


def test_close_ends_the_process_and_all_jobs(fresh: Talk, model):
    jobs = [fresh.client.segment(model("very-slow"), Frames(), [0], WHOLE, "k") for _ in range(2)]
    fresh.until(lambda e: isinstance(e, JobProgress) and e.what == "tile")
    pid = fresh.client.pid
    assert pid is not None
    threads = threading.active_count()
    start = time.monotonic()
    fresh.client.close()
    assert time.monotonic() - start < 2
    assert not is_alive(pid)
    assert [fresh.end(job) for job in jobs] == [Cancelled(job, 0) for job in jobs]
    assert isinstance(fresh.events[-1], StateChanged)
    assert fresh.client.state is WorkerState.CLOSED
    assert threading.active_count() < threads
    fresh.client.close()
    fresh.client.cancel(jobs[0])
    fresh.client.forget("k")
    assert fresh.client.poll() == []
    with pytest.raises(WorkerError, match="closed"):
        fresh.client.start()


def test_a_client_that_was_never_started_costs_no_process(plain):
    client = WorkerClient()
    assert client.state is WorkerState.CLOSED
    assert client.pid is None
    client.close()
    assert [event.state for event in client.poll()] == [WorkerState.CLOSED]


def test_a_forgotten_client_takes_its_process_along(hooked):
    client = WorkerClient(n_threads=1)
    client.start()
    while (pid := client.pid) is None:
        time.sleep(0.01)
    del client
    gc.collect()
    wait_until_dead(pid, 5)


SCRIPT = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from worker_talk import Frames, WHOLE
    from napari_eomt.worker.client import *

    with Path(sys.argv[1]).open("a") as file:
        file.write("run\\n")
    client = WorkerClient(n_threads=1)  # no main guard: a script as users write them
    job = client.segment(ModelRef(sys.argv[2], "cpu"), Frames(), [0], WHOLE, "k")
    while True:
        for event in client.poll():
            if isinstance(event, JobProgress) and event.what == "tile":
                print("busy", client.pid, "torch" in sys.modules, flush=True)
            if isinstance(event, Failed):
                sys.exit(event.message + event.details)
        if sys.argv[3] == "leave" and client.pid:
            print("leaving", client.pid, flush=True)
            sys.exit()
        time.sleep(0.01)
    """
).format(tests=str(Path(__file__).parent))


@pytest.fixture
def script(hooked: None, tmp_path: Path) -> Path:
    """Return a script in a folder with files named like modules that are needed."""
    for name in ("random.py", "json.py", "queue.py"):
        (tmp_path / name).write_text("raise RuntimeError('the wrong module')\n")
    (tmp_path / "scripts").mkdir()
    path = tmp_path / "scripts" / "script.py"
    path.write_text(SCRIPT)
    return path


def run_script(script: Path, model: str, what: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(script), str(script.with_suffix(".log")), model, what],
        stdout=subprocess.PIPE,
        text=True,
        cwd=script.parents[1],
    )


def test_the_end_of_the_interpreter_ends_the_worker(script: Path, plain):
    process = run_script(script, plain.model, "leave")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    wait_until_dead(int(out.split()[1]), 2)


@posix
def test_the_worker_ends_with_a_killed_parent_and_leaves_nothing(script: Path, model):
    process = run_script(script, model("very-slow").model, "stay")
    assert process.stdout is not None
    word, pid_text, has_torch = process.stdout.readline().split()
    pid = int(pid_text)
    assert (word, has_torch) == ("busy", "False")
    assert script.with_suffix(".log").read_text() == "run\n"  # by the parent, not by the worker
    time.sleep(0.5)  # well inside the forward pass
    assert is_alive(pid)
    if sys.platform == "linux":
        # What has no name cannot stay behind, however both of them end.
        assert named_memory(pid) == named_memory(process.pid) == set()
    process.kill()
    process.wait()
    assert wait_until_dead(pid, 2) < 2
    process.stdout.close()


@posix
def test_an_interrupt_reaches_the_parent_only(talk: Talk, plain):
    talk.end(talk.client.load(plain))
    pid = talk.client.pid
    assert pid is not None
    assert os.getsid(pid) != os.getsid(0)  # Ctrl-C goes to the terminal's session
    os.kill(pid, 2)
    assert isinstance(talk.end(talk.client.load(plain)), Finished)
    assert talk.client.pid == pid


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_and_files_do_not_grow(talk: Talk, plain):
    def usage() -> tuple[int, int, int]:
        pid = talk.client.pid
        rss = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        n_files = sum(len(os.listdir(f"/proc/{p}/fd")) for p in (pid, os.getpid()))
        return rss, n_files, threading.active_count()

    def work(n: int) -> None:
        for i in range(n):
            talk.end(talk.client.segment(plain, Frames(), [i % 40], WHOLE, "g"))
            talk.clear()

    work(60)  # until the kept proposals are full
    rss, n_files, n_threads = usage()
    work(60)
    rss_after, n_files_after, n_threads_after = usage()
    assert rss_after - rss < 10 * 2**20
    assert n_files_after == n_files
    assert n_threads_after <= n_threads + 1
