"""A new training: what is learnt from, by which model, how, and the button that begins it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QGridLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_eomt.errors import EomtError
from napari_eomt.widgets.model_table import title_of
from napari_eomt.widgets.train_data import TrainData
from napari_eomt.widgets.train_form import TrainForm

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_eomt.models.card import ModelCard
    from napari_eomt.training.params import TrainParams
    from napari_eomt.viewer.image_folder import ImageFolder
    from napari_eomt.widgets.current import Current
    from napari_eomt.widgets.model_library import ModelLibrary
    from napari_eomt.widgets.model_picker import ModelPicker
    from napari_eomt.widgets.run_tail import RunNews
    from napari_eomt.widgets.run_watch import Background
    from napari_eomt.worker.messages import ModelRef, StateChanged


class TrainSetup(QWidget):
    """Says what a training would learn, and what that would cost.

    Parameters
    ----------
    current : Current
    folder : ImageFolder
    library : ModelLibrary
    picker : ModelPicker
        Its model is started from until somebody chooses another one here.
    ref : callable
        Returns how a model of a name is to run: where, and how precisely.
    background : Background
        Reads datasets.
    saved : dict
        Values of last time.
    """

    learn_requested = Signal()
    review_requested = Signal()
    changed = Signal()
    """What is chosen, or what there is to choose from."""

    def __init__(
        self,
        current: Current,
        folder: ImageFolder,
        library: ModelLibrary,
        picker: ModelPicker,
        ref: Callable[[str], ModelRef],
        background: Background,
        saved: dict[str, Any],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._current, self._library, self._picker, self._ref = current, library, picker, ref
        self._saved, self._is_filled = saved, False
        self._follows_picker = True
        self._device, self._why_busy = "cpu", ""
        self._runs: Sequence[RunNews] = ()
        self.hint = _text(
            "Nothing to learn from yet. Segment an image and accept, correct or draw objects on "
            "the page Correct; or learn from a dataset."
        )
        self.go = QPushButton("Correct objects")
        self.go.setToolTip("Show the page Correct: what you decide there can be learnt.")
        self.data = TrainData(current, folder, background)
        self.model = QComboBox()
        self.model.setToolTip("The model to start from. It stays as it is; what is learnt is new.")
        self.model.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.model.setMinimumContentsLength(6)
        self.categories = _text()
        self.categories.setToolTip(
            "How often each category is annotated in what learns: objects of images, tracks of "
            "videos. The model gets a class for each that is new to it; what it knew it keeps."
        )
        form = saved.get("form")
        self.form = TrainForm(form if isinstance(form, dict) else {})
        self.learn = QPushButton("Learn")
        self.message = _text()
        self._lay_out()
        self.go.clicked.connect(self.review_requested)
        self.learn.clicked.connect(self.learn_requested)
        self.data.changed.connect(self._on_data)
        self.form.changed.connect(self._on_form)
        self.model.activated.connect(self._on_model_chosen)
        library.changed.connect(self._fill_models)
        picker.changed.connect(self._on_picker)
        self.say("")
        self.show_busy("")

    def fill(self) -> None:
        """Show the values of last time; only now, for the dock does not wait for their imports."""
        self._is_filled = True
        saved = self._saved
        percent = saved.get("val_percent")
        if isinstance(percent, int):
            self.data.fraction.setValue(percent)
        self._fill_models()
        wants_videos = saved.get("as_videos")
        self.data.choose_videos(wants_videos if isinstance(wants_videos, bool) else None)
        what, dataset = saved.get("what"), saved.get("dataset")
        if isinstance(dataset, str) and dataset:
            self.data.place.setText(dataset)
            if what == "dataset":
                self.data.show_folder(dataset)
        if what in self.data.what and what != "dataset":
            self.data.choose_kind(what)

    def values(self) -> dict[str, Any]:
        """Return the values as they are saved."""
        folder = self.data.folder
        return {
            "form": self.form.values(),
            "dataset": "" if folder is None else str(folder),
            "what": self.data.wanted,
            "as_videos": self.data.wants_videos,
            "val_percent": self.data.fraction.value(),
        }

    def options(self) -> list[str]:
        """Return what the command is to be given, beside the dataset.

        Raises
        ------
        ValidationError
            If a value makes no sense.
        """
        model = str(self.model.currentData())
        return [*self.form.arguments(), "--model", model, "--device", self._ref(model).device]

    def say(self, text: str, *, is_error: bool = False) -> None:
        """Say something below the button."""
        self.message.setText(("⚠ " if is_error else "") + text)
        self.message.setVisible(bool(text))

    def show_busy(self, why: str) -> None:
        """Let a training be begun or, if there is a reason why not, none."""
        self._why_busy = why
        parts = self.data.parts
        is_empty = parts is None and self.data.kind != "dataset"
        self.hint.setVisible(parts is None and self.data.folder is None)
        self.go.setVisible(is_empty and self._current.result is not None)
        self.learn.setEnabled(parts is not None and not why)
        if not why and parts is None:
            why_not = self.data.problem or "There is nothing to learn from yet."
        else:
            why_not = why
        self.learn.setToolTip(
            why_not or "Teach the model what is annotated. It goes on when napari is closed."
        )
        for widget in (self.data, self.form, self.model):
            widget.setEnabled(not why)

    def show_runs(self, runs: Sequence[RunNews]) -> None:
        """Take from earlier runs how fast this computer is."""
        self._runs = runs
        self._expect()

    def show_state(self, event: StateChanged) -> None:
        """Remember what "auto" is on this computer."""
        if event.device and event.device != self._device:
            self._device = event.device
            self._expect()

    def _fill_models(self) -> None:
        """Offer the models that can learn; that of the header unless another was chosen."""
        chosen = self._picker.model if self._follows_picker else self.model.currentData()
        self.model.clear()
        for row in self._library.usable:
            if row.card is not None:
                self.model.addItem(title_of(row), row.name)
        self.model.setCurrentIndex(max(0, self.model.findData(chosen)))
        self._show_model()

    def _show_model(self) -> None:
        if self._is_filled:
            self._tell_data()
            self._expect()

    def _tell_data(self) -> None:
        """Let stacks be what the model is of, and be split as clips want it."""
        card = self._card()
        try:
            gap = self.form.params().clip_length
        except ValidationError:
            return  # the form says what is wrong
        self.data.show_model(is_video=card is not None and card.is_video, gap=gap)

    def _card(self) -> ModelCard | None:
        row = self._library.row(str(self.model.currentData()))
        return None if row is None else row.card

    def _expect(self) -> None:
        """Say what would be learnt of what is chosen, and how long that would take."""
        card, rows, runs = self._card(), self.data.learning, self._runs
        if card is None or not self._is_filled:
            return
        if self.data.is_video:
            from napari_eomt.training.video_card import as_video_card

            with suppress(EomtError):  # what is learnt says so
                card = as_video_card(card)
        self.form.show_model(card)
        chosen = self._ref(card.name).device
        device = self._device if chosen == "auto" else chosen

        def seconds(params: TrainParams) -> tuple[float, bool] | None:
            from napari_eomt.widgets.train_cost import expected_seconds

            return expected_seconds(card, params, rows, device, runs)

        self.form.expect(seconds)
        self._show_categories(card)

    def _show_categories(self, card: ModelCard) -> None:
        from napari_eomt.viewer.train_categories import kind_text, learnt_text

        try:
            text = learnt_text(self.data.learning, card, self.form.params())
        except ValidationError:
            return  # the form says what is wrong
        of_model = self._card()
        kind = "" if of_model is None else kind_text(of_model, is_video=self.data.is_video)
        if self.data.learning:
            text = "\n".join(filter(None, (text, kind)))
        self.categories.setText(text)
        self.categories.setVisible(bool(text))

    def _on_model_chosen(self) -> None:
        self._follows_picker = False
        self._show_model()

    def _on_picker(self) -> None:
        if self._follows_picker:
            self._fill_models()

    def _on_data(self) -> None:
        self.say("")
        self._expect()
        self.show_busy(self._why_busy)
        self.changed.emit()

    def _on_form(self) -> None:
        self.say("")
        card = self._card()
        if card is not None and self._is_filled:
            self._tell_data()
            self._show_categories(card)
        self.changed.emit()

    def _lay_out(self) -> None:
        start = QGridLayout()
        start.setColumnStretch(1, 1)
        start.addWidget(QLabel("Start from"), 0, 0)
        start.addWidget(self.model, 0, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        above: tuple[QWidget, ...] = (self.hint, self.go, self.data)
        for part in above:
            layout.addWidget(part)
        layout.addLayout(start)
        below: tuple[QWidget, ...] = (self.categories, self.form, self.learn, self.message)
        for part in below:
            layout.addWidget(part)
        self.categories.setVisible(False)


def _text(text: str = "") -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label
