"""The Segment page: run the model on the image, and decide what it keeps."""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING
from uuid import uuid4

from pydantic import ValidationError
from qtpy.QtCore import QTimer, Signal
from qtpy.QtGui import QAction
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_eomt.annotation.operations import add_categories
from napari_eomt.errors import EomtError
from napari_eomt.inference.params import DECIDE_FIELDS, PredictParams
from napari_eomt.viewer.image_source import LayerSource, current_frame
from napari_eomt.widgets.axes_form import AxesForm
from napari_eomt.widgets.model_actions import primary_style
from napari_eomt.widgets.params_form import ParamsForm
from napari_eomt.widgets.run import Run, frames_text, objects_text
from napari_eomt.widgets.run_summary import RunSummary
from napari_eomt.widgets.thresholds import in_words, recommended, to_move

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_eomt.annotation.edits import Edit
    from napari_eomt.models.card import ModelCard
    from napari_eomt.structures.segments import Task
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

OUTLINE_PX = 2

DRAG_S = 1.0
"""Changes of sliders that follow each other sooner than this are one drag."""

TABLE_MS = 150
"""How often, at most, the table of objects is made anew while results come in."""


class SegmentPage(QWidget):
    """Runs the model on a frame or on all, and follows the sliders without running it again.

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
    view_timed = Signal(object, float)  # ModelRef; seconds that it takes for a tile

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
        self._last_params: PredictParams | None = None
        self._drag, self._dragged_at = 0, -DRAG_S
        self._card: ModelCard | None = None
        self._recommended: dict[str, float] | None = None
        self._recommended_for: Task | None = None

        self.hint = QLabel("Open an image (File → Open, or drop it here), or begin with a sample.")
        self.hint.setWordWrap(True)
        self.sample = QPushButton("Open sample")
        self.sample.setToolTip("Open a fluorescence image of nuclei that comes with the plugin.")
        self.form = ParamsForm(params)
        self.axes = AxesForm()
        self.form.input_grid.addWidget(self.axes, self.form.input_grid.rowCount(), 0, 1, 2)
        self.segment = QPushButton("Segment")
        self.segment.setToolTip("Find the objects of the image with the model (W).")
        self.segment.setDefault(True)
        self.all = QPushButton("All")
        self.all.setToolTip("Segment more than this frame.")
        menu = QMenu(self.all)
        self.all_frames = QAction("All frames", menu)
        self.from_here = QAction("From here on", menu)
        menu.addActions([self.all_frames, self.from_here])
        self.all.setMenu(menu)
        self.yours = QLabel()
        self.yours.setWordWrap(True)
        self.keep = QComboBox()
        self.keep.addItem("Keep them, replace the rest", "keep")
        self.keep.addItem("Put results in a new layer", "new")
        self.keep.setToolTip("Objects that you painted or edited are never overwritten.")
        self.outlines = QCheckBox("Outlines")
        self.outlines.setToolTip("Show objects as outlines instead of filled.")
        self.by_category = QCheckBox("Colour by category")
        self.by_category.setToolTip("Colour objects by their category instead of each by itself.")

        run = QHBoxLayout()
        run.addWidget(self.segment, 2)
        run.addWidget(self.all, 1)
        for button in (self.segment, self.all):
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.addWidget(self.hint)
        layout.addWidget(self.sample)
        layout.addLayout(run)
        layout.addWidget(self.yours)
        layout.addWidget(self.keep)
        layout.addWidget(self.form)
        shown = QHBoxLayout()
        shown.addWidget(self.outlines)
        shown.addWidget(self.by_category)
        shown.addStretch(1)
        layout.addLayout(shown)
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
        self.form.changed.connect(self._on_params)
        self.axes.changed.connect(self._on_axes)
        self.by_category.toggled.connect(self._on_look)
        self.outlines.toggled.connect(self._on_look)
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
        for widget in (self.segment, self.all, self.form, self.outlines, self.by_category):
            widget.setVisible(has_image)
        self._show_frames()

    def show_accent(self, color: str) -> None:
        """Let the primary button stand out in a theme's colour."""
        self.segment.setStyleSheet(primary_style(color))

    def show_model(self, card: ModelCard) -> None:
        """Offer what another model serves, with the thresholds that it recommends.

        What is there was made by another model: nothing is decided anew about it.
        """
        self._card = card
        self.form.blockSignals(True)
        self.form.offer_tasks(card.tasks)
        self.form.offer_categories(card.categories)
        self.form.blockSignals(False)
        self.form.show_measured_size(None)
        moved = self._recommend()
        if self._last_params is not None:
            update = {"task": self.form.task, "categories": self.form.categories.chosen(), **moved}
            self._last_params = self._last_params.model_copy(update=update)
        if moved and not self.is_running and not self._bar.has_error:
            self._bar.show_message(f"{card.name} recommends: {in_words(moved)}.")

    def _recommend(self) -> dict[str, float]:
        """Move the thresholds that nobody has moved to what is recommended; return those."""
        if self._card is None:
            return {}
        before = self._recommended
        task = self.form.task
        self._recommended = recommended(self._card, task)
        self._recommended_for = task
        if before is None:  # those of last time
            return {}
        moved = to_move(self.form.thresholds(), before, self._recommended)
        self.form.set_thresholds(moved)
        return moved

    def run_frame(self) -> None:
        """Segment the frame that the viewer shows."""
        if self._layer is not None and self.axes.roles is not None:
            self._run([self._frame()])

    def run_all(self) -> None:
        """Segment every frame."""
        self._run(list(range(self._n_frames())))

    def run_from_here(self) -> None:
        """Segment the frame that the viewer shows, and all after it."""
        self._run(list(range(self._frame(), self._n_frames())))

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

    def _run(self, frames: list[int]) -> None:
        layer, roles = self._layer, self.axes.roles
        if layer is None or roles is None or self.is_running:
            return
        try:
            params = self.params()
            source = LayerSource(layer, roles)
        except (EomtError, ValidationError) as error:
            self._bar.show_error(_plain(error))
            return
        card, ref = self._model()
        result = self._current.result
        wants_new = self.keep.currentData() == "new" and self._n_locked() > 0
        run = Run(len(frames), is_decision=False, card=card, ref=ref)
        if result is None or wants_new:
            run.key = uuid4().hex
            run.create = partial(
                self._results.create, run.key, layer, roles, source, card.categories
            )
        else:
            run.key = result.key
            result.session.do(add_categories(result.document, card.categories))
        self._last_params = params
        # Every job that decides about the proposals that this one replaces is pointless.
        for job, other in self._runs.items():
            if other.is_decision:
                self._jobs.client.cancel(job)
        job = self._jobs.client.segment(ref, source, frames, params, run.key)
        self._runs[job] = run
        self._bar.show_running("Starting…")
        self._show_frames()

    def _decide(self) -> None:
        """Let the result follow the sliders, from the proposals that are kept."""
        if self._layer is None or self.axes.roles is None or self.is_running:
            return
        result = self._current.result
        if result is None:
            return
        here = self._frame()
        frames = sorted(
            {frame for frame, _ in result.document.iter_segments()} | {here},
            key=lambda frame: (frame != here, frame),
        )
        self._last_params = self.params()
        job = self._jobs.client.decide(result.key, frames, self._last_params)
        card, ref = self._model()
        now = monotonic()
        self._drag += now - self._dragged_at > DRAG_S
        self._dragged_at = now
        self._runs[job] = Run(len(frames), is_decision=True, card=card, ref=ref, drag=self._drag)

    def _on_params(self) -> None:
        if self.form.task != self._recommended_for:
            self._recommend()
        self.settings_changed.emit()
        self._follow()

    def _follow(self) -> None:
        """Decide anew if nothing but decisions has changed since the last run or decision."""
        try:
            params = self.params()
        except ValidationError as error:
            self._bar.show_error(_plain(error))
            return
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
        if self._current.result is not None:
            self._look(self._current.result)

    def _look(self, result: Result) -> None:
        result.view.color_by_category(self.by_category.isChecked())
        result.view.layer.contour = OUTLINE_PX if self.outlines.isChecked() else 0

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
            self._look(result)
        if run is None or result is None:
            return  # its layer has been deleted meanwhile
        name = "Change thresholds" if run.is_decision else f"Segment {frames_text(run.n_frames)}"
        # A drag of a slider is one step to undo, and the next drag another.
        step = ("decide", run.drag) if run.is_decision else ("run", event.job)
        result.propose(event.frame, event.segmentation, name, merge_with=step)
        if not run.is_decision:
            self.view_timed.emit(run.ref, event.seconds / max(1, event.n_tiles))
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
            elif not self.is_running:
                self._bar.show_message(objects_text(run.n_objects))
            return
        self.summary.show_seconds(run.key, event.seconds)
        self._bar.show_message(
            run.summary(event),
            "Undo" if run.n_objects else "",
            lambda: self.undo_run(run.key, ("run", event.job)),
        )
        # A slider that was moved meanwhile.
        self._follow()

    def _on_cancelled(self, event: Cancelled) -> None:
        run = self._runs.pop(event.job, None)
        if run is None:
            return
        self._update_tables()
        self._show_frames()
        if not run.is_decision:
            done = f"{event.n_frames} of {run.n_frames} frames are done and stay."
            self._bar.show_message(f"Stopped. {done if run.n_frames > 1 else 'Nothing changed.'}")

    def _on_failed(self, event: Failed) -> None:
        run = self._runs.pop(event.job, None)
        if run is None:
            return
        self._update_tables()
        self._show_frames()
        self._bar.show_error(event.message, event.details)

    def _update_tables(self) -> None:
        stale, self._stale = self._stale, []
        for result in stale:
            result.view.show_table()

    def _show_frames(self) -> None:
        """Bring the buttons in line with the image, its frames, and what is the user's."""
        n = self._n_frames()
        busy = self.is_running
        self.segment.setText("Segment" if n <= 1 else "Segment this frame")
        self.segment.setEnabled(self._layer is not None and not busy)
        self.all.setText(f"All {n}")
        self.all.setVisible(self._layer is not None and n > 1)
        self.all.setEnabled(not busy)
        n_locked = self._n_locked()
        are = "is" if n_locked == 1 else "are"
        self.yours.setText(f"{objects_text(n_locked)} {are} yours (accepted, edited or drawn).")
        for widget in (self.yours, self.keep):
            widget.setVisible(n_locked > 0)

    def _n_locked(self) -> int:
        result = self._current.result
        return 0 if result is None else result.document.n_locked(range(result.document.n_frames))

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
