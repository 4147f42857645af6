"""How a model learns: the preset, with what will be learnt, and the rest of `TrainParams`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QGridLayout,
    QLabel,
    QPushButton,
    QRadioButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_eomt.errors import EomtError
from napari_eomt.training.params import Preset, TrainParams
from napari_eomt.widgets.fold import Fold
from napari_eomt.widgets.value_field import ValueField

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_eomt.models.card import ModelCard

_PRESETS: tuple[tuple[Preset, str, str], ...] = (
    ("quick", "Quick", "in few steps, of large models the last blocks"),
    ("lora", "LoRA", "small additions to all blocks"),
    ("full", "Full", "everything"),
)

_TIPS: dict[Preset, str] = {
    "quick": "What the first blocks make of each image is kept, and the rest learns from it; a "
    "model of less than 12 blocks learns as a whole. For few images, and for computers without a "
    "GPU.",
    "lora": "The weights stay, and low-rank additions to them learn: little memory, and little is "
    "forgotten.",
    "full": "All weights learn, as in the publication: for many images and a GPU.",
}

_GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("What and how long", ("task", "steps", "batch_size", "micro_batch", "precision",
     "gradient_checkpointing", "seed", "undecided")),
    ("Checks", ("metric", "validation_interval", "patience")),
    ("What learns, how fast", ("frozen_blocks", "lora_rank", "lora_alpha", "lora_blocks",
     "learning_rate", "layer_decay", "weight_decay", "head_warm_up", "backbone_warm_up",
     "clip_norm", "ema_decay", "masked_attention", "auxiliary_losses", "points")),
    ("Views of the images", ("views", "views_per_image", "object_size", "scale_jitter",
     "empty_views", "flips", "brightness", "contrast_jitter", "saturation", "hue", "tiling",
     "tile_overlap", "loaders")),
    ("Clips of videos", ("clip_length", "clip_stride", "still_clips")),
    ("Input", ("channels", "contrast", "percentiles", "contrast_limits")),
)  # fmt: skip

ELSEWHERE = frozenset({"preset", "val_fraction"})
"""Fields that the page shows in other places."""


class TrainForm(QWidget):
    """Shows and edits `TrainParams`.

    Parameters
    ----------
    saved : dict
        Values of last time; what this version does not know is left out.
    """

    changed = Signal()

    def __init__(self, saved: dict[str, Any], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._changes: dict[str, Any] = {}
        self._card: ModelCard | None = None
        self._seconds: Callable[[TrainParams], tuple[float, bool] | None] = lambda _: None
        self._fields: dict[str, ValueField] = {}
        self.presets: dict[Preset, QRadioButton] = {}
        self._costs: dict[Preset, QLabel] = {}
        self._group = QButtonGroup(self)
        presets = QGridLayout()
        presets.setColumnStretch(1, 1)
        for k, (name, title, what) in enumerate(_PRESETS):
            button, cost = QRadioButton(title), QLabel(what)
            cost.setWordWrap(True)
            cost.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
            for part in (button, cost):
                part.setToolTip(_TIPS[name])
            self._group.addButton(button)
            presets.addWidget(button, k, 0)
            presets.addWidget(cost, k, 1)
            self.presets[name], self._costs[name] = button, cost
        self.advanced = Fold("Advanced")
        self.reset = QPushButton("As the preset says")
        self.reset.setToolTip("Take back every change below.")
        self.problem = QLabel()
        self.problem.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(presets)
        layout.addWidget(self.advanced)
        layout.addWidget(self.problem)
        self._take(saved)
        self._group.buttonClicked.connect(self._on_preset)
        # Forty fields that most people never see are made when somebody looks.
        self.advanced.toggled.connect(self._on_fold)
        self.reset.clicked.connect(self._on_reset)
        self._show()

    @property
    def preset(self) -> Preset:
        """The preset that is chosen."""
        return next((name for name, button in self.presets.items() if button.isChecked()), "quick")

    def params(self) -> TrainParams:
        """Return what the form shows, checked.

        Raises
        ------
        ValidationError
            If a value makes no sense.
        """
        return TrainParams(preset=self.preset, **self._changes)

    def values(self) -> dict[str, Any]:
        """Return the values as they are saved."""
        return {"preset": self.preset, **self._changes}

    def load(self, values: dict[str, Any]) -> None:
        """Show values as they are saved, instead of those that are shown."""
        self._take(values)
        self._show()
        self.changed.emit()

    def arguments(self) -> list[str]:
        """Return what differs from the command's defaults, as it takes it.

        Raises
        ------
        ValidationError
            If a value makes no sense.
        """
        self.params()
        found = ["--preset", self.preset]
        for name, value in self._changes.items():
            if value is None:
                continue  # which is the command's default
            text = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
            found += [f"--{name.replace('_', '-')}", text]
        return found

    def show_model(self, card: ModelCard | None) -> None:
        """Say of each preset what it learns of a model, and the least memory that it takes."""
        self._card = card
        self._show_costs()

    def expect(self, seconds: Callable[[TrainParams], tuple[float, bool] | None]) -> None:
        """Say of each preset how long it takes; see `expected_seconds`."""
        self._seconds = seconds
        self._show_costs()

    def _take(self, saved: dict[str, Any]) -> None:
        known = {k: v for k, v in saved.items() if k in TrainParams.model_fields}
        preset: Any = known.pop("preset", "quick")
        known = {k: v for k, v in known.items() if k not in ELSEWHERE}
        try:
            TrainParams(preset=preset, **known)
        except ValidationError:
            preset, known = "quick", {}
        self._changes = known
        self.presets[preset].setChecked(True)

    def _make_fields(self) -> None:
        grid = QGridLayout()
        grid.setColumnStretch(1, 1)
        row = 0
        for head, names in _GROUPS:
            label = QLabel(f"<b>{head}</b>")
            grid.addWidget(label, row, 0, 1, 2)
            row += 1
            for name in names:
                info = TrainParams.model_fields[name]
                field = self._fields[name] = ValueField(info, self)
                title = QLabel(field.title)
                title.setWordWrap(True)
                title.setToolTip(field.widget.toolTip())
                field.widget.setAccessibleName(field.title)
                field.widget.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
                field.widget.setMinimumWidth(90)
                field.changed.connect(lambda name=name: self._on_field(name))
                grid.addWidget(title, row, 0)
                grid.addWidget(field.widget, row, 1)
                row += 1
        grid.addWidget(self.reset, row, 0, 1, 2)
        self.advanced.set_content_layout(grid)

    def _on_fold(self, is_open: bool) -> None:
        if is_open and not self._fields:
            self._make_fields()
            self._show()

    def _on_preset(self) -> None:
        self._show()
        self.changed.emit()

    def _on_reset(self) -> None:
        self._changes = {}
        self._show()
        self.changed.emit()

    def _on_field(self, name: str) -> None:
        if not self._fields[name].take():
            return
        value = self._fields[name].value
        # Text is read by the class, which knows numbers, flags and words apart.
        try:
            read = getattr(TrainParams(preset=self.preset, **{name: value}), name)
        except ValidationError:
            self._changes[name] = value
        else:
            self._changes[name] = read
            if read == getattr(TrainParams(preset=self.preset), name):
                del self._changes[name]
        self._show(but=name)
        self.changed.emit()

    def _show(self, but: str = "") -> None:
        """Show the values; a field that is being typed in stays as it is."""
        try:
            params = self.params()
        except ValidationError as error:
            self.problem.setText(f"⚠ {plain(error)}")
            self.problem.setVisible(True)
            params = TrainParams(preset=self.preset)
        else:
            self.problem.setVisible(False)
        for name, field in self._fields.items():
            if name != but:
                field.show_value(self._changes.get(name, getattr(params, name)))
        n = len(self._changes)
        self.advanced.head.setText(f"Advanced ({n} changed)" if n else "Advanced")
        self.reset.setEnabled(bool(n))
        self._show_costs()

    def _show_costs(self) -> None:
        for name, _, what in _PRESETS:
            cost, tip = self._cost(name)
            label = self._costs[name]
            label.setText("\n".join(filter(None, (what, cost))))
            for part in (label, self.presets[name]):
                part.setToolTip(f"{_TIPS[name]}{tip}")

    def _cost(self, preset: Preset) -> tuple[str, str]:
        """Return how many weights learn, the least memory and the time; and what to know of it."""
        card = self._card
        if card is None or card.folder is None:
            return "", ""
        from napari_eomt.training.memory import n_learning_parameters, size_of, step_bytes
        from napari_eomt.widgets.train_cost import time_text

        try:
            params = TrainParams(preset=preset, **self._changes)
            size = size_of(card, params)
            n = n_learning_parameters(size, params)
            n_bytes = step_bytes(size, params, 1)
        except (EomtError, ValidationError):
            return "", ""
        text = f"{_millions(n)} M weights · from {n_bytes / 1e9:.1f} GB"
        view = f"clip of {params.clip_length} frames" if card.is_video else "view"
        tip = f"\n\nMemory: of one {view} at a time; more at a time go faster."
        found = self._seconds(params)
        if found is not None:
            seconds, is_measured = found
            text += f" · {time_text(seconds)}"
            tip += " Time: without the checks, " + (
                "as long as steps of an earlier run took on this computer."
                if is_measured
                else "roughly guessed; the first steps tell better."
            )
        return text, tip


def plain(error: ValidationError) -> str:
    """Return in one line what is wrong with some values."""
    found = []
    for part in error.errors():
        name = str(part["loc"][0]) if part["loc"] else ""
        info = TrainParams.model_fields.get(name)
        title = f"{info.title}: " if info is not None else ""
        found.append(title + str(part["msg"]).removeprefix("Value error, "))
    return "; ".join(dict.fromkeys(found)) + ". Change the value."


def _millions(n: int) -> str:
    return f"{n / 1e6:.0f}" if n >= 10e6 else f"{n / 1e6:.1f}"
