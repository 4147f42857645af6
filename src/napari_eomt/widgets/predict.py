"""The Segment page: run the model on the image, and decide what it keeps."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

from pydantic import ValidationError
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from napari_eomt.annotation.operations import add_categories
from napari_eomt.errors import EomtError
from napari_eomt.inference.params import DECIDE_FIELDS, PredictParams
from napari_eomt.viewer.image_source import LayerSource, current_frame
from napari_eomt.widgets.axes_form import AxesForm
from napari_eomt.widgets.look_row import LookRow
from napari_eomt.widgets.model_actions import primary_style
from napari_eomt.widgets.params_form import ParamsForm
from napari_eomt.widgets.predict_runs import PredictRuns
from napari_eomt.widgets.run import Run
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
    from napari_eomt.structures.axes import AxisRoles
    from napari_eomt.viewer.results import Results
    from napari_eomt.widgets.current import Current
    from napari_eomt.widgets.jobs import JobBar, Jobs
    from napari_eomt.worker.messages import ModelRef

_VALUES = "values"  # what an error is about that is over as soon as the form makes sense


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
        self._viewer, self._bar, self._results, self._current = viewer, bar, results, current
        self._model = model
        self._layer: Image | None = None

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
        self.runs = PredictRuns(jobs, bar, results, self.buttons, self)
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
        self.runs.changed.connect(self._show_frames)
        self.runs.created.connect(self.look.show_on)
        self.runs.finished.connect(self._on_finished)
        self.runs.go_on_requested.connect(self.go_on)
        self.runs.size_measured.connect(self.form.show_measured_size)
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
        return self.runs.is_running

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
        self.runs.take_as_given(
            {"task": self.form.task, "categories": self.form.categories.chosen(), **moved}
        )
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
        result, layer, roles = self._current.result, self._layer, self.axes.roles
        if result is None or layer is None or roles is None or self.is_running:
            return
        if self.runs.next_frame(result) is None:
            return
        source = self._source(layer, roles)
        if source is not None:
            self.runs.go_on(source, result)

    @property
    def _tracks(self) -> bool:
        """Whether more than one frame is tracked."""
        return self.tracking.is_on and self._n_frames() > 1

    def _run(self, frames: list[int], *, tracks: bool = False, is_afresh: bool = False) -> None:
        layer, roles = self._layer, self.axes.roles
        if layer is None or roles is None or self.is_running:
            return
        params = self._sound_params()
        source = None if params is None else self._source(layer, roles)
        if params is None or source is None:
            return
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
        self.runs.begin(run, source, result)

    def _decide(self) -> None:
        """Let the result follow the sliders, from the proposals that are kept."""
        result = self._current.result
        if result is None or self._layer is None or self.axes.roles is None or self.is_running:
            return
        again = f"Press {self.all.text()}" if self._tracks else "Track them again"
        self.runs.decide(result, self._frame(), self.params(), self._model(), again)

    def _on_params(self) -> None:
        self._thresholds.follow()
        self.settings_changed.emit()
        self._follow()

    def _follow(self) -> None:
        """Decide anew if nothing but decisions has changed since the last run or decision."""
        params = self._sound_params()
        changed = set() if params is None else self.runs.changes(params)
        if changed and changed <= DECIDE_FIELDS:
            self._decide()

    def _sound_params(self) -> PredictParams | None:
        """Return what the page shows; None, and the bar says why, where it makes no sense."""
        try:
            params = self.params()
        except ValidationError as error:
            said = "; ".join(str(part["msg"]) for part in error.errors())
            self._bar.show_error(f"{said}. Change the value.", about=_VALUES)
            return None
        self._bar.forget_error(_VALUES)
        return params

    def _source(self, layer: Image, roles: AxisRoles) -> LayerSource | None:
        """Return the frames of an image; None, and the bar says why, where there are none."""
        try:
            return LayerSource(layer, roles)
        except EomtError as error:
            self._bar.show_error(str(error))
            return None

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

    def _on_finished(self, key: str, seconds: float) -> None:
        self.summary.show_seconds(key, seconds)
        # A slider that was moved meanwhile.
        self._follow()

    def _show_frames(self) -> None:
        """Bring the buttons in line with the image, its frames, and what is the user's."""
        n = self._n_frames()
        roles, result = self.axes.roles, self._current.result
        has_frames = self._layer is not None and roles is not None and n > 1
        self.tracking.show_axes(len(roles.frames) if has_frames and roles is not None else 0)
        left = self.runs.next_frame(result)
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
