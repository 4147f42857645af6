"""The worker's client: what the window holds. No torch, no Qt, and no call that waits."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.worker.job import Job
from napari_eomt.worker.messages import (
    Cancelled,
    CandidatesFound,
    Event,
    Failed,
    Finished,
    FrameDone,
    JobProgress,
    MaskFound,
    ModelRef,
    NoneKept,
    SplitFound,
    StateChanged,
    WorkerState,
)
from napari_eomt.worker.protocol import Ask, Kind, Question, Tracking
from napari_eomt.worker.supervisor import Supervisor
from napari_eomt.worker.threads import default_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from napari_eomt.inference.params import PredictParams
    from napari_eomt.inference.track_params import TrackParams
    from napari_eomt.structures.candidates import Patch, QueryId
    from napari_eomt.structures.frames import FrameSource
    from napari_eomt.worker.given import GivenFrame

__all__ = [
    "Cancelled",
    "CandidatesFound",
    "Event",
    "Failed",
    "Finished",
    "FrameDone",
    "JobProgress",
    "MaskFound",
    "ModelRef",
    "NoneKept",
    "SplitFound",
    "StateChanged",
    "WorkerClient",
    "WorkerState",
]


class WorkerClient:
    """Runs models in a process of their own.

    Every method returns at once (`close` within its timeout); what comes of a job is told by the
    events that `poll` returns. Jobs are done in order. When the process dies, the running job
    fails with a message that says so, a new process is started, and the queued jobs go on there;
    a `decide` then finds nothing kept and reports its frames as missing. A process that dies
    three times within a minute is not started again before the next job or `start`; then the
    queued jobs fail too.

    Questions about kept proposals (`candidates`, `hidden`, `mask`, `split`) wait for no job: a
    thread beside the model answers them, within milliseconds. They start no process; where
    nothing is kept, the answer is `NoneKept`.

    Parameters
    ----------
    proposals_bytes : int
        Most memory that kept proposals may take; the least recently used go first.
    n_threads : int, optional
        That torch may use; by default one less than there are cores, 8 at most.
    trunk_bytes : int
        Most that files may take with what the first blocks of models have made of images, of which
        a quarter is in memory as well; see `open_trunk_cache`. By default there are none.
    """

    def __init__(
        self,
        *,
        proposals_bytes: int = 512 * 2**20,
        n_threads: int | None = None,
        trunk_bytes: int = 0,
    ) -> None:
        # The supervisor's threads hold the supervisor, never this: so a client that everybody
        # has forgotten is collected, and takes its process along.
        self._supervisor = Supervisor(proposals_bytes, n_threads or default_threads(), trunk_bytes)
        self._finalizer = weakref.finalize(self, self._supervisor.request_close)
        self._finalizer.atexit = False

    @property
    def state(self) -> WorkerState:
        """What the process is doing; CLOSED before `start`."""
        return self._supervisor.desk.state

    @property
    def pid(self) -> int | None:
        """Process id, while there is a process."""
        return self._supervisor.pid

    def start(self) -> None:
        """Start the process, unless it runs."""
        self._supervisor.start()

    def close(self, timeout: float = 2.0) -> None:
        """End the process for good; jobs that have not ended are cancelled.

        Parameters
        ----------
        timeout : float
            Seconds after which it is ended by force.
        """
        self._finalizer.detach()
        self._supervisor.close(timeout)

    def load(self, model: ModelRef) -> int:
        """Load a model, so that it is warm when it is needed. Return the job's id."""
        return self._submit(Job(Kind.LOAD, model))

    def segment(
        self,
        model: ModelRef,
        source: FrameSource,
        frames: Sequence[int],
        params: PredictParams,
        key: str,
    ) -> int:
        """Segment frames; each comes as a `FrameDone` when it is done.

        Parameters
        ----------
        model : ModelRef
        source : FrameSource
            Read in a thread of the client's, at most two frames ahead.
        frames : sequence of int
            Indices into the source, in the order in which they are wanted.
        params : PredictParams
        key : str
            Under which the proposals are kept for `decide`, with the index of their frame.

        Returns
        -------
        int
            The job's id.
        """
        return self._submit(
            Job(Kind.SEGMENT, model, source, source.name, tuple(map(int, frames)), params, key)
        )

    def track(
        self,
        model: ModelRef,
        source: FrameSource,
        frames: Sequence[int],
        params: PredictParams,
        track: TrackParams,
        key: str,
        *,
        given: Mapping[int, GivenFrame] | None = None,
        before: Sequence[int] = (),
        first_id: int = 1,
        resume: bool = False,
    ) -> int:
        """Follow objects through frames; each comes as a `FrameDone` with ids that last.

        Parameters
        ----------
        model : ModelRef
            Of any kind: a VidEoMT follows things by itself, others are linked by overlap.
        source : FrameSource
            Read in a thread of the client's, at most two frames ahead.
        frames : sequence of int
            In the order of time.
        params : PredictParams
        track : TrackParams
        key : str
            Under which the proposals are kept for questions, and what the tracker remembers of
            some frames for a run that goes on from there.
        given : mapping of int to GivenFrame, optional
            What is known of frames. Of locked segments neither pixels nor tracks change; of others
            the tracks pass on to what the model finds at their place.
        before : sequence of int
            The frames just before the first one, if the run goes on from there; see
            `given.frames_before`. They have no result. What is given of them tells the tracks so
            far. A VidEoMT sees again those for which no memory of it is kept.
        first_id : int
            Of the first new track; higher than all that are given.
        resume : bool
            Nothing that the tracker knows was changed since a run under this key came to the first
            frame: it goes on from its own state if that is kept, as if it had not stopped.

        Returns
        -------
        int
            The job's id.

        Raises
        ------
        ValueError
            If there are no frames.
        """
        wanted = tuple(map(int, frames))
        if not wanted:
            raise ValueError("There are no frames to track. Give at least one.")
        tracking = Tracking(track, first_id, tuple(map(int, before)), wanted[0], resume)
        return self._submit(
            Job(
                Kind.TRACK,
                model,
                source,
                source.name,
                wanted,
                params,
                key,
                tracking,
                dict(given or {}),
            )
        )

    def decide(self, key: str, frames: Sequence[int], params: PredictParams) -> int:
        """Decide anew about kept proposals, without running the model.

        A newer call supersedes older ones of the same key: those that wait, and the running one
        if its frames are among the new ones. They end with `Cancelled.superseded_by`.

        Parameters
        ----------
        key : str
            As given to `segment`.
        frames : sequence of int
            Those whose proposals are not kept, or were made with other parameters than
            `params` apart from thresholds and task, come back in `Finished.missing`.
        params : PredictParams

        Returns
        -------
        int
            The job's id.
        """
        return self._submit(
            Job(Kind.DECIDE, frames=tuple(map(int, frames)), params=params, key=key)
        )

    def candidates(
        self,
        key: str,
        frame: int,
        params: PredictParams,
        *,
        point: tuple[float, float] | None = None,
        area: npt.ArrayLike | None = None,
        limit: int = 10,
    ) -> int:
        """Ask what the model could have meant at a point, or in a box or lasso.

        The answer is `CandidatesFound`. A later question of the same kind supersedes it.

        Parameters
        ----------
        key, frame
            As given to `segment`.
        params : PredictParams
            Of which the task and the mask's threshold matter.
        point : (y, x), optional
            In pixels of the image, whose centres are whole numbers.
        area : (y0, x0, y1, x1), or (N, 2) float, optional
            A box, or the points (y, x) of a lasso, likewise.
        limit : int
            Most candidates to return.

        Returns
        -------
        int
            The question's id, as a job's.

        Raises
        ------
        ValueError
            Unless either a point or an area is given.
        """
        if (point is None) == (area is None):
            raise ValueError("Ask for candidates either at a point or in an area.")
        if point is not None:
            y, x = point
            at = (float(y), float(x))
            return self._ask(Ask(0, Question.POINT, key, frame, params, limit, point=at))
        where = np.asarray(area, np.float64)
        return self._ask(Ask(0, Question.AREA, key, frame, params, limit, area=where))

    def hidden(self, key: str, frame: int, params: PredictParams, *, limit: int = 200) -> int:
        """Ask for the proposals that score less than the threshold, with outlines.

        The answer is `CandidatesFound`; see `inference.hidden`. A later call supersedes it.
        """
        return self._ask(Ask(0, Question.HIDDEN, key, frame, params, limit))

    def mask(
        self,
        key: str,
        frame: int,
        parts: Sequence[QueryId],
        params: PredictParams,
        *,
        probability: bool = False,
        run: int = 0,
    ) -> int:
        """Ask for the mask of a candidate, given its parts. The answer is `MaskFound`.

        With the candidate's `run` it is `NoneKept` if the model was run anew since then: the same
        parts would be another object.
        """
        kind = Question.PROBABILITY if probability else Question.MASK
        return self._ask(Ask(0, kind, key, frame, params, parts=tuple(parts), run=run))

    def split(self, key: str, frame: int, patch: Patch, params: PredictParams) -> int:
        """Ask whether the model sees several objects in a mask. The answer is `SplitFound`."""
        return self._ask(Ask(0, Question.SPLIT, key, frame, params, patch=patch))

    def forget(self, key: str) -> None:
        """Drop what is kept under `key`: proposals, and what trackers remember."""
        self._supervisor.desk.forget(key)

    def release(self) -> None:
        """Give the memory of the models back, such as to a training; after the running job, if any.

        The next job loads its model again. Proposals that are kept on a GPU go as well.
        """
        self._supervisor.desk.release()

    def cancel(self, job: int) -> None:
        """Stop a job, at once if it waits, else at the next tile or frame; or drop a question."""
        self._supervisor.desk.cancel(job)

    def poll(self) -> list[Event]:
        """Return what has happened since the last call."""
        return self._supervisor.desk.poll()

    def watch(self, ring: Callable[[], object]) -> None:
        """Call `ring` when there is something to poll, in whatever thread; it must not wait.

        One call stands for all that comes before the next `poll`. There is one watcher: it takes
        the place of one that came before.
        """
        self._supervisor.desk.mail.watch(ring)

    def unwatch(self, ring: Callable[[], object]) -> None:
        """Call `ring` no more."""
        self._supervisor.desk.mail.unwatch(ring)

    def _submit(self, job: Job) -> int:
        self._supervisor.start()
        return self._supervisor.desk.submit(job)

    def _ask(self, question: Ask) -> int:
        return self._supervisor.desk.ask(question)
