"""The dock: which image, which model, the pages, and the job bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info
from napari.utils.theme import get_theme
from pydantic import ValidationError
from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import (
    QGridLayout,
    QLabel,
    QScrollArea,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_eomt.annotation.image_store import FolderStore
from napari_eomt.errors import EomtError
from napari_eomt.inference.params import PredictParams
from napari_eomt.models.catalog import DEFAULT_MODEL
from napari_eomt.settings import load_settings
from napari_eomt.viewer.canvas_context import CanvasContext
from napari_eomt.viewer.doubts import Doubts
from napari_eomt.viewer.drawing import HINT, start_drawing
from napari_eomt.viewer.image_folder import ImageFolder
from napari_eomt.viewer.results import Results
from napari_eomt.viewer.saved_work import SavedWork
from napari_eomt.widgets.action_bar import ActionBar
from napari_eomt.widgets.action_runner import ActionRunner
from napari_eomt.widgets.annotate import AnnotatePage
from napari_eomt.widgets.candidate_finder import CandidateFinder
from napari_eomt.widgets.candidates import CandidateBar
from napari_eomt.widgets.cheat_sheet import CheatSheet
from napari_eomt.widgets.closing import ClosingGuard
from napari_eomt.widgets.current import Current
from napari_eomt.widgets.dock_memory import DockMemory, saved_choices, saved_params
from napari_eomt.widgets.dock_news import DockNews
from napari_eomt.widgets.doubt_colors import DoubtColors
from napari_eomt.widgets.export import ExportPage
from napari_eomt.widgets.fold import Fold
from napari_eomt.widgets.image_list import ImageList
from napari_eomt.widgets.image_picker import ImagePicker
from napari_eomt.widgets.jobs import JobBar, Jobs
from napari_eomt.widgets.model_advice import ModelAdvice
from napari_eomt.widgets.model_dialog import ModelDialog
from napari_eomt.widgets.model_library import ModelLibrary
from napari_eomt.widgets.model_options import ModelOptions
from napari_eomt.widgets.model_picker import ModelPicker
from napari_eomt.widgets.opened import OpenedImages
from napari_eomt.widgets.predict import SegmentPage
from napari_eomt.widgets.prefetch import Prefetch
from napari_eomt.widgets.review import ReviewStrip
from napari_eomt.widgets.review_choice import BELOW
from napari_eomt.widgets.saving import SavingStrip
from napari_eomt.widgets.track_tools import TrackTools
from napari_eomt.widgets.train import TrainPage
from napari_eomt.widgets.worker_candidates import WorkerCandidates
from napari_eomt.worker.client import WorkerClient
from napari_eomt.worker.messages import StateChanged

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from qtpy.QtGui import QCloseEvent

    from napari_eomt.models.card import ModelCard
    from napari_eomt.worker.messages import ModelRef

MIN_WIDTH = 300
SAVE_MS = 500


class EomtDock(QWidget):
    """Segment images with EoMT models.

    Parameters
    ----------
    napari_viewer : ViewerModel
        napari injects it by this name.
    client : WorkerClient, optional
        Of a worker that outlives the dock; by default the dock has its own.
    """

    _shown_model = ""
    # Qt sends events before __init__ is through.
    _is_docked = False
    guard: ClosingGuard | None = None

    def __init__(
        self,
        napari_viewer: ViewerModel,
        parent: QWidget | None = None,
        client: WorkerClient | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer = napari_viewer
        self._context = CanvasContext(napari_viewer)
        settings = load_settings()
        self._owns_client = client is None
        self._has_left = False
        if client is None:
            client = WorkerClient(
                proposals_bytes=settings.proposals_bytes,
                trunk_bytes=settings.trunk_bytes,
            )
        self.jobs = Jobs(client, self)
        self.results = Results(napari_viewer)
        self.current = Current(napari_viewer, self.results, self)
        self.bar = JobBar()
        self.image = ImagePicker(napari_viewer)
        self.library = ModelLibrary(self)
        self.model = ModelPicker(self.library, settings.model or DEFAULT_MODEL)
        self.models: ModelDialog | None = None
        self.page = SegmentPage(
            napari_viewer,
            self.jobs,
            self.bar,
            self.results,
            self.current,
            self._model,
            saved_params(settings.predict),
        )
        self.doubts = Doubts()
        self.annotate = AnnotatePage(napari_viewer, self.current, self.doubts)
        self.page.summary.follow(self.annotate)
        self.page.summary.review_requested.connect(self.review_uncertain)
        self.runner = ActionRunner(napari_viewer, self.current, self.bar, self)
        self.runner.handle("segment", self.page.run_frame)
        self.runner.handle("keys", self._show_keys)
        self.runner.bind_in(self.annotate)
        self.annotate.add_part(ActionBar(self.runner))
        self.tracks = TrackTools(self.runner, self.current, parent=self)
        self.tracks.join_page(self.annotate)
        source = WorkerCandidates(self.jobs, self._decided, self)
        self.finder = CandidateFinder(self.runner, self.current, source, self)
        advice = ModelAdvice(self.runner, source, self)
        self.candidates = CandidateBar(self.runner, self.current, self.finder, advice)
        self.candidates.segment_requested.connect(self.page.run_frame)
        self.annotate.add_part(self.candidates)
        self.review = ReviewStrip(self.runner, self.current, self.doubts)
        self.annotate.add_part(self.review)
        self.tracks.join_review(self.review)
        self.doubt_colors = DoubtColors(self.current, self.annotate)
        self.review.choice.add_part(self.doubt_colors)
        # After the page: what it is told of a run must be in the document by then.
        self.review.watch(self.jobs, self.results)
        self.work = SavedWork(napari_viewer, self.results)
        self.folder = ImageFolder(napari_viewer, self.results, FolderStore, self.work)
        self.folder.doubted.connect(self.doubts.know)
        self.opened = OpenedImages(napari_viewer, self.results, self.work, self)
        self.prefetch = Prefetch(
            self.jobs, self.folder, self._model, self.page.params, lambda: self.page.runs.is_waiting
        )
        self.images = ImageList(self.folder, self.prefetch)
        self.runner.handle("next_image", self.images.open_next)
        self.export = ExportPage(self.current, self.folder, settings.export)
        self.runner.handle("export", lambda: self.show_page("export"))
        self.train = TrainPage(
            self.current,
            self.folder,
            self.jobs,
            self.library,
            self.model,
            lambda name: self.options.ref(name),
            settings.train,
        )
        self.runner.handle("learn", lambda: self.show_page("learn"))
        self.saving = SavingStrip(napari_viewer, self.current, self.work)
        self.annotate.add_part(self.saving)
        self.guard = ClosingGuard(self, self.work, self.saving, self.folder.keep)
        self.keys: CheatSheet | None = None
        self.images_fold = Fold("Folder of images")
        self.tabs = QTabWidget()
        self.options = ModelOptions(self.page.form.advanced_grid, saved_choices(settings), self)
        self.memory = DockMemory(self, settings)
        self._lay_out()
        self.memory.restore()

        self._save_timer = QTimer(self)
        self._save_timer.setSingleShot(True)
        self._save_timer.setInterval(SAVE_MS)
        self._save_timer.timeout.connect(self._save)
        self.news = DockNews(self)
        self.image.changed.connect(self._on_image)
        self.model.changed.connect(self._on_model)
        self.model.dialog_requested.connect(self.show_models)
        self.library.renamed.connect(self.options.rename)
        self.page.runs.view_timed.connect(self.options.show_seconds)
        self.page.runs.links_found.connect(self.tracks.links.know)
        self.options.changed.connect(self._on_model)
        self.jobs.state_changed.connect(self._on_state)
        self.page.settings_changed.connect(self._save_timer.start)
        self.page.sample_requested.connect(self._on_sample)
        self.page.axes.changed.connect(self._follow)
        self.annotate.sample_requested.connect(self._on_sample)
        self.annotate.draw_requested.connect(self.start_drawing)
        self.annotate.segment_requested.connect(self.page.run_frame)
        self.export.review_requested.connect(self.review_left)
        self.export.settings_changed.connect(self._save_timer.start)
        self.train.review_requested.connect(lambda: self.show_page("correct"))
        self.train.settings_changed.connect(self._save_timer.start)
        self.results.changed.connect(self._forget_doubts)
        self.tabs.currentChanged.connect(self._on_tab)
        napari_viewer.layers.selection.events.active.connect(self._on_active)
        for fold in self.folds().values():
            fold.toggled.connect(self._save_timer.start)
        napari_viewer.events.theme.connect(self._on_theme)
        self._on_theme()
        # The window is destroyed without a close event for what is inside. By then Qt's side of
        # this object is gone, so what is left to do must not need it; a bound method of this
        # object would no longer be called.
        self.destroyed.connect(lambda: self._leave())
        client.start()
        self.model.show_state(StateChanged(client.state, "The model process."))
        self._on_model()
        self._on_image()
        self.guard.attach_later()
        self.saving.look_for_lost_work(self.news.offer_lost_work)
        self.news.say_missed()

    def show_models(self) -> None:
        """Open the window of all models."""
        if self.models is None:
            self.models = ModelDialog(self.library, self.model, self)
            self._on_theme()
        self.models.open_at(self.model.model)

    def review_uncertain(self) -> None:
        """Show on the Correct page what the model is unsure of, the worst first."""
        document = self.current.document
        if document is None:
            return
        self.show_page("correct")
        self.review.choice.choose(below=BELOW, all_frames=document.n_frames > 1)
        self.runner.run("next")

    def review_left(self) -> None:
        """Show on the Correct page what nobody has decided about."""
        document = self.current.document
        if document is not None:
            self.show_page("correct")
            self.review.choice.choose(all_frames=document.n_frames > 1)
            self.runner.run("next")

    def start_drawing(self) -> None:
        """Begin the objects of the image by hand, in the categories of the chosen model."""
        layer, roles = self.image.layer, self.page.axes.roles
        if layer is None or roles is None:
            return
        categories = self._model()[0].categories
        try:
            start_drawing(self._viewer, self.results, layer, roles, categories)
        except EomtError as error:
            self.bar.show_error(str(error))
            return
        self.runner.say(HINT)

    def show_page(self, name: str) -> None:
        """Bring a page to the front: "segment", "correct", "learn" or "export"."""
        for k in range(self.tabs.count()):
            if self.page_of(k) == name:
                self.tabs.setCurrentIndex(k)

    def _decided(self) -> PredictParams:
        """Return the parameters that the sliders show, or the defaults while they make no sense."""
        try:
            return self.page.params()
        except ValidationError:
            return PredictParams()

    def _forget_doubts(self) -> None:
        keys = {result.key for result in self.results}
        self.doubts.keep(keys)
        self.tracks.links.keep(keys)

    def _say_unsaved(self) -> None:
        unsaved = self.work.unsaved
        is_answered = self.guard is not None and self.guard.is_answered
        if unsaved and not is_answered:
            names = ", ".join(str(result.image.name) for result, _ in unsaved)
            show_info(
                f"The work on {names} is in no document yet. It is kept, and offered when the EoMT "
                "dock is opened again."
            )

    def _show_keys(self) -> None:
        if self.keys is None:
            self.keys = CheatSheet(self)
        self.keys.open_beside()

    def shutdown(self) -> None:
        """End the worker, and let go of the viewer; the layers stay."""
        if self._has_left:
            return
        if self._save_timer.isActive():
            self._save_timer.stop()
            self._save()
        if self.guard is not None:
            self.guard.release()
        self.opened.close_events()
        self.export.close_events()
        self.train.close_events()
        self.images.close_events()
        self.review.close_result()
        self._say_unsaved()
        self.saving.close_events()
        self.jobs.stop_polling()
        self._leave()

    def _leave(self) -> None:
        """Let go of the viewer and end the worker, without a touch of Qt."""
        if self._has_left:
            return
        self._has_left = True
        self.library.close()
        self._viewer.events.theme.disconnect(self._on_theme)
        self.opened.release()
        self.finder.close()
        self.tracks.close()
        self.runner.close()
        self.work.close()
        self.results.changed.disconnect(self._forget_doubts)
        self._viewer.layers.selection.events.active.disconnect(self._on_active)
        self.annotate.close_events()
        self.current.close()
        self.page.close_events()
        self.image.close_events()
        self.results.close()
        self._context.close()
        if self._owns_client:
            self.jobs.client.close()

    def event(self, event: QEvent | None) -> bool:
        """End the worker when napari takes the widget out of its dock, which is how it closes."""
        handled = bool(super().event(event))
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parent() is None and self._is_docked:
                self.shutdown()
            elif self.guard is not None and not self._has_left:
                self.guard.attach_later()
                QTimer.singleShot(0, self.opened.attach)
            self._is_docked = self.parent() is not None
        return handled

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """End the worker with the dock."""
        self.shutdown()
        super().closeEvent(event)

    def _lay_out(self) -> None:
        self.setMinimumWidth(MIN_WIDTH)
        header = QGridLayout()
        header.setColumnStretch(1, 1)
        header.addWidget(QLabel("Image"), 0, 0)
        header.addWidget(self.image, 0, 1)
        header.addWidget(QLabel("Model"), 1, 0)
        header.addWidget(self.model, 1, 1)
        images = QVBoxLayout()
        images.addWidget(self.images)
        self.images_fold.set_content_layout(images)
        header.addWidget(self.images_fold, 2, 0, 1, 2)
        layout = QVBoxLayout(self)
        layout.addLayout(header)
        self.tabs.setDocumentMode(True)
        for name, page, title, tip in (
            ("segment", self.page, "&Segment", "Find objects with the model."),
            ("correct", self.annotate, "&Correct", "Look through the objects and put them right."),
            ("learn", self.train, "&Learn", "Teach the model what is annotated."),
            ("export", self.export, "&Export", "Write the objects for other programs."),
        ):
            scroll = QScrollArea()
            scroll.setObjectName(name)
            scroll.setWidgetResizable(True)
            scroll.setFrameShape(QScrollArea.Shape.NoFrame)
            scroll.setWidget(page)
            self.tabs.setTabToolTip(self.tabs.addTab(scroll, title), tip)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.bar)

    def page_of(self, k: int) -> str:
        """Return the name of the page of a tab."""
        widget = self.tabs.widget(k)
        return "" if widget is None else str(widget.objectName())

    def folds(self) -> dict[str, Fold]:
        """Return what can be unfolded, by the names that are saved."""
        return {
            "input": self.page.form.input,
            "advanced": self.page.form.advanced,
            "tracking": self.page.tracking.fold,
            "images": self.images_fold,
            "train_images": self.train.data.fold,
            "train_advanced": self.train.form.advanced,
            "runs": self.train.runs_fold,
        }

    def _model(self) -> tuple[ModelCard, ModelRef]:
        return self.model.card, self.options.ref(self.model.model)

    def _on_image(self) -> None:
        layer = self.image.layer
        self.page.show_layer(layer)
        result = self.results.latest(layer)
        if result is not None:
            # An image that was segmented keeps the axes that it was segmented with.
            self.page.axes.show_roles(result.roles)
        self._follow()

    def _follow(self) -> None:
        self.current.follow(self.image.layer, self.page.axes.roles)
        self.annotate.show_start()

    def _on_active(self, event: Any = None) -> None:
        """Let the image follow the layer of its result, as it follows its own."""
        active = self._viewer.layers.selection.active
        result = self.results.of_layer(getattr(active, "__wrapped__", active))
        if result is None or self.image.pin.isChecked():
            return
        self.image.choose(result.image)
        if self.image.layer is result.image:
            self.page.axes.show_roles(result.roles)

    def _on_tab(self, k: int) -> None:
        self._save_timer.start()
        result = self.current.result
        if self.page_of(k) == "correct" and result is not None:
            # Where objects are painted and picked.
            self._viewer.layers.selection.active = result.view.layer

    def _on_model(self) -> None:
        card, ref = self._model()
        if self._shown_model != self.model.model:
            self._shown_model = self.model.model
            self.page.show_model(card)
            self.options.show_model(self.model.model, card)
            ref = self.options.ref(self.model.model)
        # Loaded now, it is warm when it is needed.
        self.jobs.client.load(ref)
        self._save_timer.start()

    def _on_state(self, event: StateChanged) -> None:
        self.model.show_state(event)

    def _on_theme(self) -> None:
        theme = get_theme(self._viewer.theme)
        self.page.show_accent(theme.current.as_hex())
        self.export.show_colors(theme.current.as_hex())
        self.train.show_colors(
            theme.current.as_hex(), theme.background.as_hex(), theme.text.as_hex()
        )
        self.page.summary.show_link_color(theme.text.as_hex())
        self.annotate.show_colors(theme.current.as_hex(), theme.text.as_hex())
        if self.models is not None:
            self.models.show_colors(theme.current.as_hex(), theme.text.as_hex())

    def _on_sample(self) -> None:
        self._viewer.open_sample("napari-eomt", "nuclei_fluorescence_large")

    def _save(self) -> None:
        self.memory.save()
