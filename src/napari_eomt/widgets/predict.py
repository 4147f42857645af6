"""The Segment page: run the model on the image, and decide what it keeps."""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING
from uuid import uuid4

from pydantic import ValidationError
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_eomt.annotation.operations import add_categories
from napari_eomt.errors import EomtError
from napari_eomt.inference.params import DECIDE_FIELDS, PredictParams, n_looks
from napari_eomt.viewer.image_source import LayerSource, current_frame
from napari_eomt.widgets.axes_form import AxesForm
from napari_eomt.widgets.look_row import LookRow
from napari_eomt.widgets.model_actions import primary_style
from napari_eomt.widgets.params_form import ParamsForm
from napari_eomt.widgets.run import Run, is_tracked, objects_text
from napari_eomt.widgets.run_buttons import RunButtons
from napari_eomt.widgets.run_summary import RunSummary
from napari_eomt.widgets.thresholds import Recommendation, in_words
from napari_eomt.widgets.tracking_form import TrackingForm
from napari_eomt.widgets.tracking_run import TrackedRun
from napari_eomt.widgets.yours import Yours

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_eomt.annotation.edits import Edit
    from napari_eomt.models.card import ModelCard
    from napari_eomt.viewer.results import Result, Results
    from napari_eomt.widgets.current import Current
    from napari_eomt.widgets.jobs import JobBar, Jobs
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

_VALUES = "values"  # what an error is about that is over as soon as the form makes sense


class SegmentPage(QWidget):
    """Runs the model on a frame or on all, and follows the sliders without running it again.

    Frames that were tracked stay as they are when a slider moves: a decision about one of them
    would not know which of its objects is which in the others.

    Parameters
    ----------
    viewer : ViewerModel
    jobs : Jobs
    bar : JobBar
    results : Results
    current : Current
    model : callable
        Gives the chosen model's card and what the worker calls it.
    params : PredictParams
        To begin with.
    """

    settings_changed = Signal()
    sample_requested = Signal()
    view_timed = Signal(object, float)  # ModelRef; seconds that it takes for a view
    links_found = Signal(str, int, object)  # result's key, frame; doubts of links by (frame, id)

    def __init__(
        self,
        viewer: ViewerModel,
        jobs: Jobs,
        bar: JobBar,
        results: Results,
        current: Current,
        model: Callable[[], tuple[ModelCard, ModelRef]],
        params: PredictParams,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._jobs, self._bar, self._results = viewer, jobs, bar, results
        self._current = current
        self._model = model
        self._layer: Image | None = None
        self._runs: dict[int, Run] = {}
        self._stopped: dict[str, TrackedRun] = {}
        self._last_params: PredictParams | None = None
        self._drag, self._dragged_at = 0, -DRAG_S

        self.hint = QLabel("Open an image (File → Open, or drop it here), or begin with a sample.")
        self.hint.setWordWrap(True)
        self.sample = QPushButton("Open sample")
        self.sample.setToolTip("Open a fluorescence image of nuclei that comes with the plugin.")
        self.form = ParamsForm(params)
        self._thresholds = Recommendation(self.form)
        self.axes = AxesForm()
        self.form.input_grid.addWidget(self.axes, self.form.input_grid.rowCount(), 0, 1, 2)
        self.tracking = TrackingForm()
        self.buttons = RunButtons()
        self.segment, self.all = self.buttons.segment, self.buttons.all
        self.all_frames, self.from_here = self.buttons.all_frames, self.buttons.from_here
        self.yours, self.look = Yours(), LookRow()
        self.keep = self.yours.keep
        self.outlines, self.by_category = self.look.outlines, self.look.by_category

        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.addWidget(self.hint)
        layout.addWidget(self.sample)
        for part in (self.buttons, self.tracking, self.yours, self.form, self.tracking.fold):
            layout.addWidget(part)
        layout.addWidget(self.look)
        self.summary = RunSummary(current)
        layout.addWidget(self.summary)
        layout.addStretch(1)

        self._table_timer = QTimer(self)
        self._table_timer.setSingleShot(True)
        self._table_timer.setInterval(TABLE_MS)
        self._table_timer.timeout.connect(self._update_tables)
        self._stale: list[Result] = []

        self.sample.clicked.connect(self.sample_requested)
        self.segment.clicked.connect(self.run_frame)
        self.all_frames.triggered.connect(self.run_all)
        self.from_here.triggered.connect(self.run_from_here)
        self.buttons.go_on.triggered.connect(self.go_on)
        self.tracking.changed.connect(self.settings_changed)
        self.tracking.switch.toggled.connect(self._show_frames)
        self.form.changed.connect(self._on_params)
        self.axes.changed.connect(self._on_axes)
        self.look.changed.connect(self._on_look)
        jobs.progressed.connect(self._on_progress)
        jobs.frame_done.connect(self._on_frame)
        jobs.finished.connect(self._on_finished)
        jobs.cancelled.connect(self._on_cancelled)
        jobs.failed.connect(self._on_failed)
        bar.stop_requested.connect(self.stop)
        viewer.dims.events.point.connect(self._on_dims)
        current.result_changed.connect(self._show_frames)
        current.document_changed.connect(self._on_edited)
        self.show_layer(None)

    def close_events(self) -> None:
        """Let go of the viewer."""
        self._viewer.dims.events.point.disconnect(self._on_dims)

    @property
    def is_running(self) -> bool:
        """Whether a run of the model is under way or waits."""
        return any(not run.is_decision for run in self._runs.values())

    @property
    def is_waiting(self) -> bool:
        """Whether the page waits for anything of the worker: a run, or a slider's decision."""
        return bool(self._runs)

    def params(self) -> PredictParams:
        """Return what the page shows.

        Raises
        ------
        ValidationError
            If two values contradict each other.
        """
        return self.form.params(self.axes.channels)

    def show_layer(self, layer: Image | None) -> None:
        """Work on another image."""
        self._layer = layer
        try:
            self.axes.show_layer(layer)
        except EomtError as error:
            self._layer = None
            self._bar.show_error(str(error))
        has_image = self._layer is not None
        self.hint.setVisible(not has_image)
        self.sample.setVisible(not has_image)
        for widget in (self.buttons, self.form, self.look):
            widget.setVisible(has_image)
        self._show_frames()

    def show_accent(self, color: str) -> None:
        """Let the primary button stand out in a theme's colour."""
        self.segment.setStyleSheet(primary_style(color))

    def show_model(self, card: ModelCard) -> None:
        """Offer what another model serves, with the thresholds that it recommends.

        What is there was made by another model: nothing is decided anew about it.
        """
        self.tracking.show_model(card)
        self.form.blockSignals(True)
        self.form.offer_tasks(card.tasks)
        self.form.offer_categories(card.categories)
        self.form.offer_looks(card)
        self.form.blockSignals(False)
        self.form.show_measured_size(None)
        moved = self._thresholds.follow(card)
        if self._last_params is not None:
            update = {"task": self.form.task, "categories": self.form.categories.chosen(), **moved}
            self._last_params = self._last_params.model_copy(update=update)
        if moved and not self.is_running:
            self._bar.show_message(f"{card.name} recommends: {in_words(moved)}.")

    def run_frame(self) -> None:
        """Segment the frame that the viewer shows."""
        if self._layer is not None and self.axes.roles is not None:
            self._run([self._frame()])

    def run_all(self) -> None:
        """Segment every frame, or track all of them afresh."""
        self._run(list(range(self._n_frames())), tracks=self._tracks, is_afresh=True)

    def run_from_here(self) -> None:
        """Segment the frame that the viewer shows, and all after it; or track on from there."""
        self._run(list(range(self._frame(), self._n_frames())), tracks=self._tracks)

    def go_on(self) -> None:
        """Go on with a tracked run of this image that was stopped, as it was begun."""
        result = self._current.result
        stopped = None if result is None else self._stopped.get(result.key)
        layer, roles = self._layer, self.axes.roles
        if stopped is None or layer is None or roles is None or self.is_running:
            return
        try:
            source = LayerSource(layer, roles)
        except EomtError as error:
            self._bar.show_error(str(error))
            return
        self._submit(stopped.rest(), source, result)

    def stop(self) -> None:
        """Stop every job of this page."""
        self._bar.show_stopping()
        for job in list(self._runs):
            self._jobs.client.cancel(job)

    def undo_run(self, key: str, step: object) -> None:
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

    @property
    def _tracks(self) -> bool:
        """Whether more than one frame is tracked."""
        return self.tracking.is_on and self._n_frames() > 1

    def _run(self, frames: list[int], *, tracks: bool = False, is_afresh: bool = False) -> None:
        layer, roles = self._layer, self.axes.roles
        if layer is None or roles is None or self.is_running:
            return
        try:
            params = self.params()
            source = LayerSource(layer, roles)
        except ValidationError as error:
            self._bar.show_error(_plain(error), about=_VALUES)
            return
        except EomtError as error:
            self._bar.show_error(str(error))
            return
        self._bar.forget_error(_VALUES)
        card, ref = self._model()
        result = None if self.yours.wants_new else self._current.result
        run = Run(len(frames), False, card, ref, params, tuple(frames))
        if tracks:
            run = TrackedRun(
                *(len(frames), False, card, ref, params, tuple(frames)),
                step=("track", uuid4().hex),
                track=self.tracking.params,
                is_afresh=is_afresh,
            )
        if result is None:
            run.key = uuid4().hex
            run.create = partial(
                self._results.create, run.key, layer, roles, source, card.categories
            )
        else:
            run.key = result.key
            result.session.do(add_categories(result.document, card.categories))
        self._submit(run, source, result)

    def _submit(self, run: Run, source: LayerSource, result: Result | None) -> None:
        self._last_params = run.params
        # Every job that decides about the proposals that this one replaces is pointless.
        for job, other in self._runs.items():
            if other.is_decision:
                self._jobs.client.cancel(job)
        self._runs[run.submit(self._jobs.client, source, result)] = run
        self._stopped.pop(run.key, None)
        self._bar.show_running("Starting…")
        self._show_frames()

    def _decide(self) -> None:
        """Let the result follow the sliders, from the proposals that are kept."""
        if self._layer is None or self.axes.roles is None or self.is_running:
            return
        result = self._current.result
        if result is None:
            return
        here, document = self._frame(), result.document
        wanted = {frame for frame, _ in document.iter_segments()} | {here}
        tracked = {frame for frame in wanted if is_tracked(document, frame)}
        frames = sorted(wanted - tracked, key=lambda frame: (frame != here, frame))
        if tracked:
            again = f"Press {self.all.text()}" if self._tracks else "Track them again"
            self._bar.show_message(
                f"{len(tracked):,} tracked frames stay as they are, so that no track is lost. "
                f"{again} to apply the change to them."
            )
        if not frames:
            return
        self._last_params = params = self.params()
        job = self._jobs.client.decide(result.key, frames, params)
        card, ref = self._model()
        now = monotonic()
        self._drag += now - self._dragged_at > DRAG_S
        self._dragged_at = now
        run = Run(len(frames), True, card, ref, params, tuple(frames))
        # A drag of a slider is one step to undo, and the next drag another.
        run.step, run.n_tracked = ("decide", self._drag), len(tracked)
        self._runs[job] = run

    def _on_params(self) -> None:
        self._thresholds.follow()
        self.settings_changed.emit()
        self._follow()

    def _follow(self) -> None:
        """Decide anew if nothing but decisions has changed since the last run or decision."""
        try:
            params = self.params()
        except ValidationError as error:
            self._bar.show_error(_plain(error), about=_VALUES)
            return
        self._bar.forget_error(_VALUES)
        if self._last_params is None:
            return
        changed = {
            name
            for name in PredictParams.model_fields
            if getattr(params, name) != getattr(self._last_params, name)
        }
        if changed and changed <= DECIDE_FIELDS:
            self._decide()

    def _on_axes(self) -> None:
        self.settings_changed.emit()
        self._show_frames()

    def _on_look(self) -> None:
        self.settings_changed.emit()
        self.look.show_on(self._current.result)

    def _on_edited(self, edit: Edit) -> None:
        # Not while frames come in by the dozen: that says so itself when it is over.
        if not self.is_running:
            self._show_frames()

    def _on_dims(self) -> None:
        if self._layer is not None:
            self._show_frames()

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
            self.look.show_on(result)
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
            self.form.show_measured_size(event.object_size)
        if result not in self._stale:
            self._stale.append(result)
        if not self._table_timer.isActive():
            self._table_timer.start()

    def _on_finished(self, event: Finished) -> None:
        run = self._runs.pop(event.job, None)
        if run is None:
            return
        self._update_tables()
        self._show_frames()
        if run.is_decision:
            if event.missing:
                self._bar.show_message(
                    f"{len(event.missing)} of {run.n_frames} frames no longer have their "
                    "proposals at hand: press Segment to apply the change there."
                )
            elif not self.is_running and not run.n_tracked:
                self._bar.show_message(objects_text(run.n_objects))
            return
        self.summary.show_seconds(run.key, event.seconds)
        self._bar.show_message(
            run.summary(event),
            "Undo" if run.n_objects else "",
            lambda: self.undo_run(run.key, run.step),
        )
        # A slider that was moved meanwhile.
        self._follow()

    def _on_cancelled(self, event: Cancelled) -> None:
        run = self._runs.pop(event.job, None)
        if run is None:
            return
        can_go_on = self._keep_rest(run)
        self._update_tables()
        self._show_frames()
        if not run.is_decision:
            action = "Continue" if can_go_on else ""
            self._bar.show_message(f"Stopped. {run.stopped_text}", action, self.go_on)

    def _on_failed(self, event: Failed) -> None:
        run = self._runs.pop(event.job, None)
        if run is None:
            return
        can_go_on = self._keep_rest(run)
        self._update_tables()
        self._show_frames()
        more = f" {run.stopped_text} {self.all.text()} → Continue goes on." if can_go_on else ""
        self._bar.show_error(event.message + more, event.details)

    def _keep_rest(self, run: Run) -> bool:
        """Remember where a tracked run can go on; return whether it can."""
        if not isinstance(run, TrackedRun) or self._results.by_key(run.key) is None:
            return False
        self._stopped[run.key] = run
        return run.next_frame is not None

    def _update_tables(self) -> None:
        stale, self._stale = self._stale, []
        for result in stale:
            result.view.show_table()

    def _show_frames(self) -> None:
        """Bring the buttons in line with the image, its frames, and what is the user's."""
        n = self._n_frames()
        roles, result = self.axes.roles, self._current.result
        has_frames = self._layer is not None and roles is not None and n > 1
        self.tracking.show_axes(len(roles.frames) if has_frames and roles is not None else 0)
        stopped = None if result is None else self._stopped.get(result.key)
        left = None if stopped is None else stopped.next_frame
        self.buttons.show_frames(n, busy=self.is_running, tracked=self._tracks, left=left)
        frames = range(0 if result is None else result.document.n_frames)
        self.yours.show_number(0 if result is None else result.document.n_locked(frames))

    def _n_frames(self) -> int:
        if self._layer is None or self.axes.roles is None:
            return 0
        return LayerSource(self._layer, self.axes.roles).n_frames

    def _frame(self) -> int:
        if self._layer is None or self.axes.roles is None:
            return 0
        return current_frame(self._layer, self.axes.roles, self._viewer.dims.point)


def _plain(error: Exception) -> str:
    """Return an error as one line for people."""
    if isinstance(error, ValidationError):
        return "; ".join(str(part["msg"]) for part in error.errors()) + ". Change the value."
    return str(error)
