"""How the chosen model runs: where, how precisely, on how many pixels, compiled or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QGridLayout, QLabel, QSpinBox

from napari_eomt.errors import ModelError
from napari_eomt.models.input_size import MAX_INPUT, check_input_size, input_sizes
from napari_eomt.worker.messages import ModelRef

if TYPE_CHECKING:
    from napari_eomt.models.card import ModelCard

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = {
    "auto": "auto",
    "fp32": "32 bit",
    "bf16": "16 bit (bf16)",
    "fp16": "16 bit (fp16)",
}
_OTHER = -1

_DETAIL_TIP = (
    "Side of the square that the model sees of each view, in pixels. Smaller is faster; larger "
    "finds smaller things, up to what the model was trained for, and needs more memory. The next "
    "run uses it."
)
_COMPILE_TIP = (
    "Compile the model for this machine (torch.compile). The first run takes a minute or more "
    "longer, on a CPU only with a C++ compiler; it pays for many frames on a GPU. Where it cannot "
    "be done the model runs as before, with a message."
)


@dataclass(frozen=True)
class RunChoice:
    """What was chosen for one model; `input_size` None is the one that it was trained at."""

    input_size: int | None = None
    compiled: bool = False


class ModelOptions(QObject):
    """The rows of a form for device, precision, detail and compiling.

    Detail and compiling are remembered for each model by itself.

    Parameters
    ----------
    grid : QGridLayout
        Of the form; rows are added at its end.
    chosen : dict of str to RunChoice
        What was chosen before, by the models' names.
    """

    changed = Signal()

    def __init__(
        self, grid: QGridLayout, chosen: dict[str, RunChoice], parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.chosen = dict(chosen)
        self._card: ModelCard | None = None
        self._name = ""
        self._seconds: dict[ModelRef, float] = {}
        self.device, self.dtype, self.detail = QComboBox(), QComboBox(), QComboBox()
        for device in DEVICES:
            self.device.addItem(device, device)
        for dtype, text in DTYPES.items():
            self.dtype.addItem(text, dtype)
        self.size = QSpinBox()
        self.size.setSuffix(" px")
        # Not while it is being typed: 9 of 960 is no size.
        self.size.setKeyboardTracking(False)
        self.refusal = QLabel()
        self.refusal.setWordWrap(True)
        self.compiled = QCheckBox("Compile")
        for combo in (self.device, self.dtype, self.detail):
            combo.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            combo.setMinimumContentsLength(4)
        for text, widget, tip in (
            ("Device", self.device, "Where the model runs. auto takes the best that is there."),
            ("Precision", self.dtype, "16 bit is faster on a GPU and rarely changes a result."),
            ("Detail", self.detail, _DETAIL_TIP),
            ("", self.size, _DETAIL_TIP),
            ("", self.refusal, ""),
            ("", self.compiled, _COMPILE_TIP),
        ):
            row = grid.rowCount()
            widget.setToolTip(tip)
            if text:
                label = QLabel(text)
                label.setToolTip(tip)
                grid.addWidget(label, row, 0)
            # What it says of each size is too long for a field beside a label.
            is_long = widget in (self.detail, self.refusal, self.compiled)
            if is_long:
                grid.addWidget(widget, row + bool(text), 0, 1, 2)
            else:
                grid.addWidget(widget, row, 1)
        self.device.currentIndexChanged.connect(self._on_where)
        self.dtype.currentIndexChanged.connect(self._on_where)
        self.detail.activated.connect(self._on_detail)
        self.size.valueChanged.connect(self._on_size)
        self.compiled.toggled.connect(self._on_compiled)

    def ref(self, model: str) -> ModelRef:
        """Return a model with these choices, as the worker takes it."""
        choice = self.chosen.get(model, RunChoice())
        return ModelRef(
            model,
            str(self.device.currentData()),
            str(self.dtype.currentData()),
            choice.input_size,
            choice.compiled,
        )

    def choose(self, device: str, dtype: str) -> None:
        """Choose device and precision, as they were last time."""
        self.device.setCurrentIndex(max(0, self.device.findData(device)))
        self.dtype.setCurrentIndex(max(0, self.dtype.findData(dtype)))

    def show_model(self, name: str, card: ModelCard) -> None:
        """Offer what another model can do, with what was chosen for it before."""
        self._name, self._card = name, card
        choice = self.chosen.get(name, RunChoice())
        try:
            check_input_size(card, choice.input_size or card.input_size)
        except ModelError:  # remembered of another model of this name
            choice = RunChoice(compiled=choice.compiled)
            self._remember(choice)
        self.size.blockSignals(True)
        self.size.setRange(1, MAX_INPUT)
        self.size.setSingleStep(card.patch_size)
        self.size.setValue(choice.input_size or card.input_size)
        self.size.blockSignals(False)
        self.compiled.blockSignals(True)
        self.compiled.setChecked(choice.compiled)
        self.compiled.blockSignals(False)
        self._fill()

    def rename(self, old: str, new: str) -> None:
        """Keep what was chosen for a model under its new name."""
        if old in self.chosen:
            self.chosen[new] = self.chosen.pop(old)

    def show_seconds(self, ref: ModelRef, seconds: float) -> None:
        """Show how long a view took with these choices."""
        self._seconds[ref] = seconds
        if ref.model == self._name:
            self._fill()

    def _fill(self) -> None:
        card = self._card
        if card is None:
            return
        size = self.chosen.get(self._name, RunChoice()).input_size or card.input_size
        self.detail.clear()
        known = input_sizes(card)
        for choice in known:
            if choice.is_trained:
                text = f"{choice.size} px (as trained)"
            else:
                text = f"{choice.size} px · {choice.cost:.2g}× the time"
            self.detail.addItem(text + self._measured(choice.size), choice.size)
        if size not in {choice.size for choice in known}:
            self.detail.addItem(f"{size} px" + self._measured(size), size)
        self.detail.addItem("other…", _OTHER)
        self.detail.setCurrentIndex(self.detail.findData(size))
        self._show_typing(is_typing=False)

    def _measured(self, size: int) -> str:
        ref = self.ref(self._name)
        of_size = None if self._card is None or size == self._card.input_size else size
        seconds = self._seconds.get(
            ModelRef(ref.model, ref.device, ref.dtype, of_size, ref.compiled)
        )
        return "" if seconds is None else f" · {seconds:.2g} s a view"

    def _show_typing(self, *, is_typing: bool) -> None:
        self.size.setVisible(is_typing)
        self.refusal.setVisible(False)

    def _on_where(self) -> None:
        self._fill()  # what a view takes is measured for each device by itself
        self.changed.emit()

    def _on_detail(self) -> None:
        size = self.detail.currentData()
        if size == _OTHER:
            self._show_typing(is_typing=True)
            self.size.setFocus()
            self.size.selectAll()
        else:
            self._choose_size(int(size))

    def _on_size(self, size: int) -> None:
        self._choose_size(size)

    def _choose_size(self, size: int) -> None:
        card = self._card
        if card is None:
            return
        try:
            check_input_size(card, size)
        except ModelError as error:
            self.refusal.setText(f"⚠ {error}")
            self.refusal.setVisible(True)
            return
        self.refusal.setVisible(False)
        before = self.chosen.get(self._name, RunChoice())
        after = RunChoice(None if size == card.input_size else size, before.compiled)
        if after != before:
            self._remember(after)
            self.changed.emit()
        if not self.size.isVisible():
            self._fill()

    def _on_compiled(self, is_wanted: bool) -> None:
        before = self.chosen.get(self._name, RunChoice())
        self._remember(RunChoice(before.input_size, is_wanted))
        self._fill()
        self.changed.emit()

    def _remember(self, choice: RunChoice) -> None:
        if choice == RunChoice():
            self.chosen.pop(self._name, None)
        else:
            self.chosen[self._name] = choice
