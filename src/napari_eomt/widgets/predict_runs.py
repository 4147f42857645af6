"""The runs of the Segment page that are under way: what comes of them, and where they go on."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_eomt.inference.params import PredictParams, n_looks
from napari_eomt.widgets.run import Run, is_tracked, objects_text
from napari_eomt.widgets.tracking_run import TrackedRun

if TYPE_CHECKING:
    from napari_eomt.models.card import ModelCard
    from napari_eomt.structures.frames import FrameSource
    from napari_eomt.viewer.results import Result, Results
    from napari_eomt.widgets.jobs import JobBar, Jobs
    from napari_eomt.widgets.run_buttons import RunButtons
    from napari_eomt.worker.messages import (
        Cancelled,
        Failed,
        Finished,
        FrameDone,
        JobProgress,
        ModelRef,
    )

DRAG_S = 1.0
"""Changes of sliders that follow each other sooner than this are one drag."""

TABLE_MS = 150
"""How often, at most, the table of objects is made anew while results come in."""


class PredictRuns(QObject):
    """Gives runs to the worker, takes up what comes of them, and says so in the job bar.

    A run is of the model, or a decision: the sliders applied to proposals that are kept.

    Parameters
    ----------
    jobs : Jobs
    bar : JobBar
    results : Results
    buttons : RunButtons
        Whose words lead on where a run has failed.
    """

    changed = Signal()
    """A run of the model has begun, or any run has ended."""
    created = Signal(object)  # Result
    """The first frame of a run has made a result."""
    finished = Signal(str, float)  # result's key, seconds
    """A run of the model is through, and what came of it is said."""
    go_on_requested = Signal()
    """The run that was stopped shall go on."""
    size_measured = Signal(float)  # of objects, in pixels
    view_timed = Signal(object, float)  # ModelRef; seconds that it takes for a view
    links_found = Signal(str, int, object)  # result's key, frame; doubts of links by (frame, id)

    def __init__(
        self,
        jobs: Jobs,
        bar: JobBar,
        results: Results,
        buttons: RunButtons,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._jobs, self._bar, self._results, self._buttons = jobs, bar, results, buttons
        self._runs: dict[int, Run] = {}
        self._stopped: dict[str, TrackedRun] = {}
        self._params: PredictParams | None = None  # of the last one that was begun
        self._drag, self._dragged_at = 0, -DRAG_S
        self._table_timer = QTimer(self)
        self._table_timer.setSingleShot(True)
        self._table_timer.setInterval(TABLE_MS)
        self._table_timer.timeout.connect(self._update_tables)
        self._stale: list[Result] = []
        jobs.progressed.connect(self._on_progress)
        jobs.frame_done.connect(self._on_frame)
        jobs.finished.connect(self._on_finished)
        jobs.cancelled.connect(self._on_cancelled)
        jobs.failed.connect(self._on_failed)
        bar.stop_requested.connect(self.stop)

    @property
    def is_running(self) -> bool:
        """Whether a run of the model is under way or waits."""
        return any(not run.is_decision for run in self._runs.values())

    @property
    def is_waiting(self) -> bool:
        """Whether anything is under way or waits: a run of the model, or a decision."""
        return bool(self._runs)

    def begin(self, run: Run, source: FrameSource, result: Result | None) -> None:
        """Run the model.

        Parameters
        ----------
        run : Run
        source : FrameSource
            Of the frames.
        result : Result or None
            Where they are taken up; None for a new one.
        """
        self._params = run.params
        # Every job that decides about the proposals that this one replaces is pointless.
        for job, other in self._runs.items():
            if other.is_decision:
                self._jobs.client.cancel(job)
        self._runs[run.submit(self._jobs.client, source, result)] = run
        self._stopped.pop(run.key, None)
        self._bar.show_running("Starting…")
        self.changed.emit()

    def decide(
        self,
        result: Result,
        here: int,
        params: PredictParams,
        model: tuple[ModelCard, ModelRef],
        again: str,
    ) -> None:
        """Let a result follow the sliders, from the proposals that are kept.

        Parameters
        ----------
        result : Result
            Frames of it that were tracked stay as they are: a decision about one of them would
            not know which of its objects is which in the others.
        here : int
            The frame that is shown, which comes first.
        params : PredictParams
        model : ModelCard, ModelRef
        again : str
            What to do about tracked frames: "Press Track 12".
        """
        document = result.document
        wanted = {frame for frame, _ in document.iter_segments()} | {here}
        tracked = {frame for frame in wanted if is_tracked(document, frame)}
        frames = sorted(wanted - tracked, key=lambda frame: (frame != here, frame))
        if tracked:
            self._bar.show_message(
                f"{len(tracked):,} tracked frames stay as they are, so that no track is lost. "
                f"{again} to apply the change to them."
            )
        if not frames:
            return
        self._params = params
        job = self._jobs.client.decide(result.key, frames, params)
        now = monotonic()
        self._drag += now - self._dragged_at > DRAG_S
        self._dragged_at = now
        run = Run(len(frames), True, *model, params, tuple(frames))
        # A drag of a slider is one step to undo, and the next drag another.
        run.step, run.n_tracked = ("decide", self._drag), len(tracked)
        self._runs[job] = run

    def go_on(self, source: FrameSource, result: Result) -> None:
        """Go on with a tracked run of a result that was stopped, as it was begun."""
        stopped = self._stopped.get(result.key)
        if stopped is not None and stopped.next_frame is not None:
            self.begin(stopped.rest(), source, result)

    def next_frame(self, result: Result | None) -> int | None:
        """Return where a tracked run of a result that was stopped would go on; None without one."""
        stopped = None if result is None else self._stopped.get(result.key)
        return None if stopped is None else stopped.next_frame

    def stop(self) -> None:
        """Stop all that is under way."""
        self._bar.show_stopping()
        for job in list(self._runs):
            self._jobs.client.cancel(job)

    def changes(self, params: PredictParams) -> set[str]:
        """Return which values differ from those of the last run or decision; before one, none."""
        if self._params is None:
            return set()
        return {
            name
            for name in PredictParams.model_fields
            if getattr(params, name) != getattr(self._params, name)
        }

    def take_as_given(self, values: dict[str, Any]) -> None:
        """Take values as those of what is there, which then do not count as changes."""
        if self._params is not None:
            self._params = self._params.model_copy(update=values)

    def _on_progress(self, event: JobProgress) -> None:
        run = self._runs.get(event.job)
        if run is None or run.is_decision:
            return
        self._bar.show_running(*run.progress(event))

    def _on_frame(self, event: FrameDone) -> None:
        run = self._runs.get(event.job)
        result = self._results.by_key(event.key)
        if run is not None and run.create is not None:
            result, run.create = run.create(), None
            self.created.emit(result)
        if run is None or result is None:
            return  # its layer has been deleted meanwhile
        run.propose(result, event)
        if isinstance(run, TrackedRun):
            self.links_found.emit(event.key, event.frame, run.doubts)
        if not run.is_decision:
            self.view_timed.emit(
                run.ref, event.seconds / max(1, event.n_tiles * n_looks(run.params, run.card))
            )
        run.take(event)
        if event.object_size is not None:
            self.size_measured.emit(event.object_size)
        if result not in self._stale:
            self._stale.append(result)
        if not self._table_timer.isActive():
            self._table_timer.start()

    def _on_finished(self, event: Finished) -> None:
        run = self._end(event.job)
        if run is None:
            return
        if run.is_decision:
            if event.missing:
                self._bar.show_message(
                    f"{len(event.missing)} of {run.n_frames} frames no longer have their "
                    "proposals at hand: press Segment to apply the change there."
                )
            elif not self.is_running and not run.n_tracked:
                self._bar.show_message(objects_text(run.n_objects))
            return
        self._bar.show_message(
            run.summary(event),
            "Undo" if run.n_objects else "",
            lambda: self._undo(run.key, run.step),
        )
        self.finished.emit(run.key, event.seconds)

    def _on_cancelled(self, event: Cancelled) -> None:
        run = self._end(event.job, is_cut_short=True)
        if run is not None and not run.is_decision:
            action = "Continue" if self._can_go_on(run) else ""
            self._bar.show_message(
                f"Stopped. {run.stopped_text}", action, self.go_on_requested.emit
            )

    def _on_failed(self, event: Failed) -> None:
        run = self._end(event.job, is_cut_short=True)
        if run is None:
            return
        if not run.is_decision:
            self._bar.show_message("")  # it goes on no more, and the error says the rest
        button = self._buttons.all.text()
        goes_on = f" {run.stopped_text} {button} → Continue goes on."
        more = goes_on if self._can_go_on(run) else ""
        self._bar.show_error(event.message + more, event.details)

    def _end(self, job: int, *, is_cut_short: bool = False) -> Run | None:
        """Let go of a job; return its run, None where it was none of these."""
        run = self._runs.pop(job, None)
        if run is None:
            return None
        is_there = self._results.by_key(run.key) is not None
        if is_cut_short and is_there and isinstance(run, TrackedRun):
            self._stopped[run.key] = run
        self._update_tables()
        self.changed.emit()
        return run

    def _can_go_on(self, run: Run) -> bool:
        stopped = self._stopped.get(run.key)
        return stopped is not None and stopped is run and stopped.next_frame is not None

    def _undo(self, key: str, step: object) -> None:
        """Put back what a run has replaced, if nothing was done since."""
        result = self._results.by_key(key)
        if result is None:
            self._bar.show_message("Its layer is no longer there: nothing to undo.")
        elif result.session.undo_key != step:
            self._bar.show_message(
                f"Since then: {result.session.undo_name or 'undone already'}. "
                "Ctrl+Z goes back step by step."
            )
        else:
            result.session.undo()
            self._bar.show_message("The run is undone.")

    def _update_tables(self) -> None:
        stale, self._stale = self._stale, []
        for result in stale:
            result.view.show_table()
