"""The worker process: where it begins, how it listens, and how it ends.

`launch` starts a fresh interpreter that calls `main`. This module stays light, so that the
process listens, and notices that its parent has died, while the heavy libraries still load.
"""

from __future__ import annotations

import faulthandler
import os
import queue
import signal
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING

from napari_eomt.worker.arrays import Slots
from napari_eomt.worker.launch import Options, connection_from_handle
from napari_eomt.worker.protocol import (
    Ask,
    Begin,
    Cancel,
    Ended,
    Forget,
    FromWorker,
    Outcome,
    Question,
    Ready,
    Release,
    StartFailed,
    ToWorker,
)

if TYPE_CHECKING:
    from collections.abc import Hashable
    from multiprocessing.connection import Connection

_NICE = 5
_PARENT_CHECK_S = 0.5


class Channel:
    """The pipe to the client. A thread of its own reads it, and ends the process with it.

    Parameters
    ----------
    connection : Connection
    """

    def __init__(self, connection: Connection) -> None:
        self.inbox: queue.SimpleQueue[ToWorker] = queue.SimpleQueue()
        self._connection = connection
        self._cancelled = -1
        self._asked: dict[Hashable, Ask] = {}
        self._asking = threading.Condition()
        self._sending = threading.Lock()
        threading.Thread(target=self._listen, name="listen", daemon=True).start()

    def send(self, message: FromWorker) -> None:
        """Tell the client."""
        try:
            with self._sending:
                self._connection.send(message)
        except OSError:
            os._exit(0)  # the client is gone, and with it everybody who waits for an answer

    def is_cancelled(self, job: int) -> bool:
        """Whether the client no longer wants this job."""
        return self._cancelled == job

    def next_question(self) -> Ask:
        """Wait for a question and return it; it waits no longer.

        Of each lane there is the newest only, and the cursor's is the first: it alone is in a
        hurry.
        """
        with self._asking:
            self._asking.wait_for(lambda: self._asked)
            lane = Question.POINT if Question.POINT in self._asked else next(iter(self._asked))
            return self._asked.pop(lane)

    def _listen(self) -> None:
        while True:
            try:
                message: ToWorker = self._connection.recv()
            except (EOFError, OSError):
                # Without the client there is nothing to finish or to save. The main thread may
                # be inside a forward pass of half a minute, so nobody is asked.
                os._exit(0)
            except BaseException:  # noqa: BLE001 - without this thread the process hears nothing
                traceback.print_exc()
                os._exit(1)
            if isinstance(message, Cancel):
                # Seen between two tiles; jobs come one at a time, so one number is enough.
                self._cancelled = message.job
            elif isinstance(message, Ask):
                # Kept apart: another thread answers them, in the middle of a job, too.
                with self._asking:
                    self._asked[message.lane] = message
                    self._asking.notify()
                continue
            self.inbox.put(message)


def main(options: str) -> None:
    """Run until the client closes the pipe, or is gone.

    Parameters
    ----------
    options : str
        Of `Options`, as JSON.
    """
    faulthandler.enable()  # the last words of a crash go to stderr, which the client keeps
    chosen = Options.from_json(options)
    # An interrupt is for the parent, which decides what becomes of this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        os.nice(_NICE)
        _watch_parent(chosen.parent)
    channel = Channel(connection_from_handle(chosen.channel))
    try:
        _serve(channel, chosen)
    except BaseException:  # noqa: BLE001 - says why, then ends without waiting for any thread
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _watch_parent(parent: int) -> None:
    """End with the parent even if another of its children holds the other end of the pipe."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_CHECK_S)
        os._exit(0)

    threading.Thread(target=watch, name="watch parent", daemon=True).start()


def _serve(channel: Channel, options: Options) -> None:
    try:
        from napari_eomt.worker.runner import Runner
    except Exception as error:  # noqa: BLE001 - a broken torch fails in many ways
        channel.send(
            StartFailed(
                f"The models cannot run here: {type(error).__name__}: {error}. "
                "Check the installation of torch and transformers.",
                traceback.format_exc(),
            )
        )
        # The client hangs up when it has read this.
        time.sleep(60)
        return
    runner = Runner(
        channel,
        Slots(options.slots),
        options.proposals_bytes,
        options.n_threads,
        options.trunk_bytes,
    )
    channel.send(Ready())
    while True:
        message = channel.inbox.get()
        if isinstance(message, Begin):
            if channel.is_cancelled(message.job):
                channel.send(Ended(message.job, Outcome.CANCELLED, 0.0))
            else:
                runner.run(message)
        elif isinstance(message, Forget):
            runner.forget(message.key)
        elif isinstance(message, Release):
            runner.release_models()
        # Anything else belongs to a job that ended before it was read.
