"""A run that tracks, on the Segment page: what it is given, what comes of it, where it goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_eomt.annotation.track_run import TrackRun
from napari_eomt.annotation.tracks import TrackIndex
from napari_eomt.inference.track_params import TrackParams
from napari_eomt.widgets.run import Run, frames_text, objects_text
from napari_eomt.worker.given import frames_before, given_frames

if TYPE_CHECKING:
    from napari_eomt.annotation.session import Key
    from napari_eomt.structures.frames import FrameSource
    from napari_eomt.viewer.results import Result
    from napari_eomt.worker.client import WorkerClient
    from napari_eomt.worker.messages import Finished, FrameDone


@dataclass
class TrackedRun(Run):
    """Frames that are tracked, in the order of time.

    Of `frames`, which were asked for, the last `n_frames` are to be done by this job.

    Parameters
    ----------
    track : TrackParams
    is_afresh : bool
        Whether what is merely proposed says nothing: all frames are tracked from the first one.
    earlier_s : float
        Seconds of work on frames before the run was stopped.
    doubts : dict of (frame, id) to float
        How doubtful the links that end in the last frame are.
    """

    track: TrackParams = field(default_factory=TrackParams)
    is_afresh: bool = False
    earlier_s: float = 0.0
    n_kept: int = 0
    doubts: dict[Key, float] = field(default_factory=dict)
    _seconds: float = 0.0
    _tracks: set[int] = field(default_factory=set)
    _parents: set[int] = field(default_factory=set)
    _taker: TrackRun | None = None

    def submit(self, client: WorkerClient, source: FrameSource, result: Result | None) -> int:
        """Give the job to the worker; return its id.

        Parameters
        ----------
        client : WorkerClient
        source : FrameSource
        result : Result or None
            Whose tracks go on, and whose locked objects stay; None for a new one.
        """
        frames = self.frames[len(self.frames) - self.n_frames :]
        if result is None:
            return client.track(self.ref, source, frames, self.params, self.track, self.key)
        document, start = result.document, frames[0]
        index = TrackIndex.of(document)
        given = given_frames(document, frames, index, locked_only=True)
        self.n_kept = document.n_locked(self.frames)
        before: tuple[int, ...] = ()
        if not self.is_afresh:
            known = frames_before(start, self.track)
            earlier = given_frames(document, known, index)
            before = known if earlier else ()
            given |= earlier
            # Where the run was stopped the frame has nothing but what it had before the run.
            if not self.is_rest:
                given |= given_frames(document, (start,), index)
        return client.track(
            self.ref,
            source,
            frames,
            self.params,
            self.track,
            self.key,
            given=given,
            before=before,
            first_id=max([document.next_id - 1, *index.members]) + 1,
            resume=self.is_rest and result.session.undo_key == self.step,
        )

    @property
    def is_rest(self) -> bool:
        """Whether it goes on where another one was stopped."""
        return self.n_frames < len(self.frames)

    @property
    def name(self) -> str:
        """What its step is called."""
        return f"Track {frames_text(len(self.frames))}"

    @property
    def next_frame(self) -> int | None:
        """The first frame that is not done; None if all are."""
        left = self.n_frames - self.n_taken
        return self.frames[-left] if left else None

    def rest(self) -> TrackedRun:
        """Return the run of the frames that are not done, with what was counted so far."""
        return TrackedRun(
            self.n_frames - self.n_taken,
            is_decision=False,
            card=self.card,
            ref=self.ref,
            params=self.params,
            create=self.create,
            key=self.key,
            step=self.step,
            n_objects=self.n_objects,
            n_full=self.n_full,
            n_tiles=self.n_tiles,
            frames=self.frames,
            track=self.track,
            is_afresh=self.is_afresh and self.n_taken == 0,
            earlier_s=self.earlier_s + self._seconds,
            n_kept=self.n_kept,
            _tracks=self._tracks,
            _parents=self._parents,
        )

    def propose(self, result: Result, event: FrameDone) -> None:
        """Take up a frame, as part of the run's one step."""
        if self._taker is None:
            self._taker = TrackRun(result.document, goes_on=True)
        result.propose(event.frame, event.segmentation, self.name, self.step, self._taker)
        doubt_of = {link.track_id: link.doubt for link in event.links}
        self.doubts = {
            (event.frame, i): doubt_of[segment.track_id]
            for i, segment in result.document.segments(event.frame).items()
            if segment.track_id in doubt_of and not segment.is_locked
        }

    def take(self, event: FrameDone) -> None:
        """Count what has come."""
        super().take(event)
        self._seconds += event.seconds
        self._tracks.update(link.track_id for link in event.links)
        self._parents.update(
            link.parent_id
            for link in event.links
            if link.event == "split" and link.parent_id is not None
        )

    def summary(self, event: Finished) -> str:
        """Return what came of it, in one line."""
        n = len(self.frames)
        where = "1 frame" if n == 1 else f"{n:,} frames"
        tracks = "1 track" if len(self._tracks) == 1 else f"{len(self._tracks):,} tracks"
        text = f"{objects_text(self.n_objects)} in {where}, {tracks}"
        if self._parents:
            n_parents = len(self._parents)
            text += ", 1 division" if n_parents == 1 else f", {n_parents:,} divisions"
        parts = [f"{text} · {self.earlier_s + event.seconds:.1f} s"]
        if self.n_kept:
            parts.append(f"{objects_text(self.n_kept)} of yours kept")
        return ". ".join([*parts, *self.advice(), *event.notes])

    @property
    def stopped_text(self) -> str:
        """What a run that was stopped has left."""
        n, n_done = len(self.frames), len(self.frames) - self.n_frames + self.n_taken
        return f"{n_done:,} of {n:,} frames are tracked and stay."
