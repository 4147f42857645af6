"""The jobs of a client: queued, running, ended. Used by several threads; none waits long here.

Jobs are done in the order in which they came, one at a time. When the process dies, the running
job fails and the queued ones stay: they read their frames only when their turn comes, so nothing
of them is lost. When the process is given up, they fail as well.

Questions about kept proposals wait for no job. Without a process there is nothing kept.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_eomt.structures.segments import Segmentation
from napari_eomt.worker.mailbox import Mailbox
from napari_eomt.worker.messages import (
    Cancelled,
    Event,
    Failed,
    FrameDone,
    JobProgress,
    NoneKept,
    StateChanged,
    WorkerState,
)
from napari_eomt.worker.protocol import (
    Answer,
    Ask,
    Begin,
    Cancel,
    End,
    Ended,
    Forget,
    Frame,
    FromWorker,
    Kind,
    Loading,
    Missing,
    Outcome,
    Ready,
    Release,
    Result,
    Seen,
    Step,
    ToWorker,
    Using,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_eomt.worker.arrays import Slots
    from napari_eomt.worker.job import Job

MOST_UNREAD = 8
"""Results that wait to be polled; with more, no further frame is sent, so memory stays bounded."""


class Desk:
    """The jobs, and the events about them.

    Parameters
    ----------
    slots : Slots
        For arrays on their way; all free.
    wake : callable
        Called when there is something for the supervisor to do.
    feed : callable
        Called with a job that begins, to read and send its frames in a thread of its own.
    """

    def __init__(self, slots: Slots, wake: Callable[[], None], feed: Callable[[Job], None]) -> None:
        self.slots = slots
        self.state = WorkerState.CLOSED
        self._wake, self._feed = wake, feed
        # Reentrant: the garbage collector may close a forgotten client from within.
        self._changed = threading.Condition(threading.RLock())
        self._ids = itertools.count(1)
        self._queue: deque[Job] = deque()
        self._active: Job | None = None
        self._asked: dict[int, Ask] = {}
        self.mail = Mailbox()
        self._n_unread = 0
        self._outbox: deque[ToWorker] = deque()
        self._free = set(range(len(slots.handles)))
        self._at_worker: set[int] = set()
        self._device: str | None = None
        self._model: str | None = None
        self._last_state: StateChanged | None = None

    # For the window.

    def submit(self, job: Job) -> int:
        """Queue a job and return its id."""
        with self._changed:
            job.id = next(self._ids)
            if job.kind is Kind.DECIDE:
                self._supersede(job)
            self._queue.append(job)
        self._wake()
        return job.id

    def ask(self, question: Ask) -> int:
        """Send a question and return its id."""
        with self._changed:
            job = next(self._ids)
            for old in [old for old in self._asked.values() if old.lane == question.lane]:
                del self._asked[old.job]
                self.mail.put(Cancelled(old.job, 0, superseded_by=job))
            if self.state in (WorkerState.WARM, WorkerState.BUSY):
                self._asked[job] = replace(question, job=job)
                self._outbox.append(self._asked[job])
            else:
                self.mail.put(NoneKept(job, question.key, question.frame))
        self._wake()
        return job

    def cancel(self, job_id: int) -> None:
        """Cancel a job or a question, unless it has ended."""
        with self._changed:
            if self._asked.pop(job_id, None) is not None:
                self.mail.put(Cancelled(job_id, 0))
                return
            for job in self._queue:
                if job.id == job_id:
                    self._queue.remove(job)
                    self.mail.put(job.cancelled())
                    return
            if self._active is not None and self._active.id == job_id:
                self._cancel_active(self._active)
        self._wake()

    def forget(self, key: str) -> None:
        """Have the proposals of `key` dropped."""
        with self._changed:
            self._outbox.append(Forget(key))
        self._wake()

    def release(self) -> None:
        """Have the models let go of; without a process there are none."""
        with self._changed:
            if self.state in (WorkerState.WARM, WorkerState.BUSY):
                self._outbox.append(Release())
        self._wake()

    def poll(self) -> list[Event]:
        """Return the events since the last call."""
        with self._changed:
            events = self.mail.take()
            if self._n_unread:
                self._n_unread = 0
                self._changed.notify_all()
        return events

    # For the feeder.

    def is_over(self, job: Job) -> bool:
        """Whether no more frames of the job are wanted."""
        return self._active is not job or job.is_cancelled

    def take_slot(self, job: Job) -> int | None:
        """Wait for a free slot; None when the job is over."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.is_over(job) or (self._free and self._n_unread < MOST_UNREAD)
            )
            return None if self.is_over(job) else self._free.pop()

    def send(self, job: Job, message: Frame | End) -> None:
        """Send a frame, or that there are no more, unless the job is over."""
        with self._changed:
            if isinstance(message, Frame):
                (self._free if self.is_over(job) else self._at_worker).add(message.slot)
            if not self.is_over(job):
                self._outbox.append(message)
            self._changed.notify_all()
        self._wake()

    def fail(self, job: Job, message: str, details: str, slot: int | None) -> None:
        """Have the job fail when the frames that were sent are done."""
        job.failure = (message, details)
        if slot is not None:
            with self._changed:
                self._free.add(slot)
        self.send(job, End(job.id))

    # For the supervisor.

    @property
    def has_jobs(self) -> bool:
        """Whether a job waits."""
        return bool(self._queue)

    def outgoing(self) -> list[ToWorker]:
        """Return what is to be sent now."""
        with self._changed:
            messages = list(self._outbox)
            self._outbox.clear()
        return messages

    def begin_next(self) -> bool:
        """Begin the next job if none is running and one waits."""
        with self._changed:
            if self._active is not None or not self._queue:
                return False
            job = self._active = self._queue.popleft()
            self._outbox.append(
                Begin(
                    job.id, job.kind, job.model, job.params, job.key, len(job.frames), job.tracking
                )
            )
            if job.kind is Kind.LOAD:
                self._outbox.append(End(job.id))
            self._set_state(WorkerState.BUSY, job.description)
        if job.kind is not Kind.LOAD:
            self._feed(job)
        return True

    def set_state(self, state: WorkerState, detail: str) -> None:
        """Tell the window what the process does."""
        with self._changed:
            self._set_state(state, detail)

    def on_message(self, message: FromWorker) -> None:
        """Take what the process says."""
        # Copied before the lock is taken: `poll` is called in the window's thread.
        id_map = self.slots.read(message.id_map) if isinstance(message, Result) else None
        with self._changed:
            job = self._active
            if isinstance(message, Ready):
                self._set_state(WorkerState.WARM, "Ready")
            elif isinstance(message, Answer):
                # Otherwise nobody waits for it any more.
                if self._asked.pop(message.job, None) is not None:
                    self.mail.put(message.event)
                return
            if job is None or getattr(message, "job", None) != job.id:
                return
            if isinstance(message, Result) and id_map is not None:
                self._return_slot(message.id_map.slot)
                job.n_done += 1
                job.notes.update(dict.fromkeys(message.notes))
                self._n_unread += 1
                self.mail.put(
                    FrameDone(
                        job.id,
                        job.key,
                        message.frame,
                        Segmentation(id_map, message.segments),
                        message.n_tiles,
                        message.n_full_tiles,
                        message.object_size,
                        message.seconds,
                        message.notes,
                        message.queries,
                        message.uncertainty,
                        message.links,
                    )
                )
            elif isinstance(message, Seen):
                self._return_slot(message.slot)
            elif isinstance(message, Missing):
                self._return_slot(message.slot)
                job.missing.append(message.frame)
            elif isinstance(message, Step):
                self._progress(job, message.done, message.total, message.what, message.frame)
            elif isinstance(message, Loading):
                doing = "Loading" if message.what == "model" else message.what.capitalize()
                self._set_state(WorkerState.BUSY, f"{doing} {message.model}")
                self._progress(job, message.done, message.total, message.what, None)
            elif isinstance(message, Using):
                self._device, self._model = message.device, message.model
                self._set_state(WorkerState.BUSY, job.description)
            elif isinstance(message, Ended):
                self._end(job, message)

    def lose_process(self, detail: str, message: str, details: str, *, give_up: bool) -> None:
        """Fail the running job: the process is gone. With `give_up` the queued ones as well.

        Parameters
        ----------
        detail : str
            What became of the process.
        message : str
            The same for the running job, with what to do.
        details : str
            Its last words.
        give_up : bool
            Nothing is tried again before the next wish.
        """
        with self._changed:
            lost = [self._active] if self._active is not None else []
            if give_up:
                lost += self._queue
                self._queue.clear()
            self.mail.put_all(Failed(job.id, message, details) for job in lost)
            self.mail.put_all(NoneKept(q.job, q.key, q.frame) for q in self._asked.values())
            self._asked.clear()
            self._leave_active()
            self._outbox.clear()
            self._device = self._model = None
            self._set_state(WorkerState.FAILED, detail)

    def close(self) -> None:
        """Cancel all jobs for good."""
        with self._changed:
            jobs = [*([self._active] if self._active is not None else []), *self._queue]
            self.mail.put_all(job.cancelled() for job in jobs)
            self.mail.put_all(Cancelled(job, 0) for job in self._asked)
            self._asked.clear()
            self._queue.clear()
            self._leave_active()
            self._device = self._model = None
            self._set_state(WorkerState.CLOSED, "Closed")

    # With the lock held.

    def _supersede(self, new: Job) -> None:
        for old in [j for j in self._queue if j.kind is Kind.DECIDE and j.key == new.key]:
            old.superseded_by = new.id
            self._queue.remove(old)
            self.mail.put(old.cancelled())
        old_active = self._active
        if (
            old_active is not None
            and old_active.kind is Kind.DECIDE
            and old_active.key == new.key
            # All that it would still do is done again.
            and set(old_active.frames) <= set(new.frames)
        ):
            old_active.superseded_by = new.id
            self._cancel_active(old_active)

    def _cancel_active(self, job: Job) -> None:
        if not job.is_cancelled:
            job.is_cancelled = True
            self._outbox.append(Cancel(job.id))
            self._changed.notify_all()

    def _end(self, job: Job, ended: Ended) -> None:
        event: Event
        if ended.outcome is Outcome.CANCELLED:
            event = job.cancelled()
        elif ended.outcome is Outcome.FAILED:
            event = Failed(job.id, ended.message, ended.details)
        elif job.failure is not None:
            event = Failed(job.id, *job.failure)
        else:
            event = job.finished(ended.seconds)
        self.mail.put(event)
        self._leave_active()
        if not self._queue:
            for slot in self._free:
                self.slots.clear(slot)
            self._set_state(WorkerState.WARM, "Ready")

    def _leave_active(self) -> None:
        self._active = None
        self._free |= self._at_worker
        self._at_worker.clear()
        self._changed.notify_all()

    def _return_slot(self, slot: int) -> None:
        self._at_worker.discard(slot)
        self._free.add(slot)
        self._changed.notify_all()

    def _progress(self, job: Job, done: int, total: int, what: str, frame: int | None) -> None:
        event = JobProgress(job.id, done, total, what, frame, len(job.frames), job.n_done)
        self.mail.put_progress(event)

    def _set_state(self, state: WorkerState, detail: str) -> None:
        event = StateChanged(state, detail, self._device, self._model)
        self.state = state
        if event != self._last_state:
            self._last_state = event
            self.mail.put(event)
