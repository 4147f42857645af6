"""The thread that keeps a worker process alive and talks to it."""

from __future__ import annotations

import atexit
import os
import pickle
import threading
import time
import traceback
from multiprocessing.connection import Pipe, wait
from typing import TYPE_CHECKING

from napari_eomt.errors import WorkerError
from napari_eomt.worker.arrays import Slots
from napari_eomt.worker.desk import Desk
from napari_eomt.worker.feeder import start_feeder
from napari_eomt.worker.launch import WorkerProcess, exit_reason, launch
from napari_eomt.worker.messages import WorkerState
from napari_eomt.worker.protocol import FromWorker, Ready, StartFailed

if TYPE_CHECKING:
    from napari_eomt.worker.job import Job

_N_SLOTS = 2
_MOST_DEATHS = 3
_DEATHS_WITHIN_S = 60.0
_BACK_OFF_S = (0.0, 1.0)
"""Before the second and the third start within a minute."""
_CHECK_S = 0.5
_END_S = 1.0


class Supervisor:
    """Starts the process, carries messages to and fro, starts it again when it dies.

    Parameters
    ----------
    proposals_bytes, n_threads, trunk_bytes : int
        For the process.
    """

    def __init__(self, proposals_bytes: int, n_threads: int, trunk_bytes: int) -> None:
        self._proposals_bytes, self._n_threads = proposals_bytes, n_threads
        self._trunk_bytes = trunk_bytes
        self._pid_of_owner = os.getpid()
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._process: WorkerProcess | None = None
        self._closing = threading.Event()
        self._is_wanted = False
        self._is_woken = False
        self._wake_reader, self._wake_writer = Pipe(duplex=False)
        self._slots = Slots.create(_N_SLOTS)
        # A client that nobody has closed ends with the interpreter.
        atexit.register(self.close, _END_S)
        self.desk = Desk(self._slots, self.wake, self._feed)

    @property
    def pid(self) -> int | None:
        """Process id of the worker while it lives."""
        process = self._process
        return process.pid if process is not None and process.is_running else None

    def start(self) -> None:
        """Start, or start again what was given up. Returns at once."""
        with self._lock:
            if self._closing.is_set():
                raise WorkerError("The model process was closed. Open the dock again.")
            self._is_wanted = True
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="napari-eomt supervisor", daemon=True
                )
                self.desk.set_state(WorkerState.STARTING, "Starting")
                self._thread.start()
        self.wake()

    def request_close(self) -> None:
        """Have everything end soon, without waiting."""
        # A copy of the owner made by os.fork shares the pipe but not the right to hang up.
        if os.getpid() == self._pid_of_owner:
            self._closing.set()
            self.wake()
            with self._lock:
                if self._thread is None:
                    self._clean_up()

    def close(self, timeout: float) -> None:
        """End the process, by force after `timeout` seconds."""
        if os.getpid() != self._pid_of_owner:
            return
        self.request_close()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
            process = self._process
            if thread.is_alive() and process is not None:
                process.kill()

    def wake(self) -> None:
        """Have the thread look around."""
        with self._lock:
            if not self._is_woken and not self._wake_writer.closed:
                self._is_woken = True
                self._wake_writer.send_bytes(b".")

    def _feed(self, job: Job) -> None:
        start_feeder(self.desk, job)

    # In the thread.

    def _run(self) -> None:
        deaths: list[float] = []
        try:
            while not self._closing.is_set():
                self.desk.set_state(WorkerState.STARTING, "Starting")
                reason, details, may_retry = self._run_once()
                if self._closing.is_set():
                    break
                self._is_wanted = False  # what was wished so far, this process has not survived
                now = time.monotonic()
                deaths = [t for t in deaths if now - t < _DEATHS_WITHIN_S] + [now]
                give_up = not may_retry or len(deaths) >= _MOST_DEATHS
                self._report(reason, details, len(deaths), give_up=give_up, may_retry=may_retry)
                if give_up:
                    deaths.clear()
                    self._sleep(None)
                else:
                    self._sleep(_BACK_OFF_S[len(deaths) - 1])
        finally:
            self._clean_up()

    def _run_once(self) -> tuple[str, str, bool]:
        """Run a process until it ends. Return why, its last words, whether to try again."""
        try:
            process = self._process = launch(
                self._slots, self._n_threads, self._proposals_bytes, self._trunk_bytes
            )
        except WorkerError as error:
            return str(error), "", False
        failed = None
        try:
            failed = self._converse(process)
        except (EOFError, OSError, pickle.UnpicklingError):
            pass  # it died, perhaps in the middle of a message
        except Exception as error:  # noqa: BLE001 - a window must not be left without an answer
            reason = f"The model process gave an answer that cannot be read ({error!r})."
            return reason, traceback.format_exc(), True
        finally:
            code = process.end(_END_S)
        if failed is not None:
            return failed.message, failed.details, False
        return exit_reason(code), process.last_words(), True

    def _converse(self, process: WorkerProcess) -> StartFailed | None:
        is_ready = False
        while not self._closing.is_set():
            for message in self.desk.outgoing():
                process.connection.send(message)
            if is_ready and self.desk.begin_next():
                continue
            ready = wait([process.connection, self._wake_reader], _CHECK_S)
            if self._wake_reader in ready:
                self._take_wake()
            if process.connection in ready:
                answer: FromWorker = process.connection.recv()
                if isinstance(answer, StartFailed):
                    return answer
                is_ready = is_ready or isinstance(answer, Ready)
                self.desk.on_message(answer)
            elif not process.is_running:
                raise EOFError
        return None

    def _report(
        self, reason: str, details: str, n_deaths: int, *, give_up: bool, may_retry: bool
    ) -> None:
        if not may_retry:
            detail = message = reason
        elif give_up:
            detail = (
                f"{reason} It has ended {n_deaths} times within a minute and is not started again "
                "until you try again. A smaller model, or the device 'cpu', may help."
            )
            message = f"{detail} Nothing in your layers is lost."
        else:
            detail = f"{reason} It is being restarted."
            message = (
                f"{reason} Nothing in your layers is lost. It is being restarted; "
                "press Segment again."
            )
        self.desk.lose_process(detail, message, details, give_up=give_up)

    def _sleep(self, seconds: float | None) -> None:
        """Wait for the time to pass; without one, until there is something to do."""
        end = None if seconds is None else time.monotonic() + seconds
        while not self._closing.is_set():
            if end is None and (self.desk.has_jobs or self._is_wanted):
                return
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return
            if wait([self._wake_reader], left):
                self._take_wake()

    def _take_wake(self) -> None:
        with self._lock:
            self._wake_reader.recv_bytes()
            self._is_woken = False

    def _clean_up(self) -> None:
        atexit.unregister(self.close)
        self.desk.close()
        with self._lock:
            self._closing.set()
            self._wake_writer.close()
            self._wake_reader.close()
        self._slots.close()
