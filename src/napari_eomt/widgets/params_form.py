"""A form for the parameters of a prediction: texts, ranges and defaults are the class's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QRadioButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)
from superqt import QLabeledDoubleSlider

from napari_eomt.inference.params import PredictParams, n_looks
from napari_eomt.models.card import MOST_LOOKS
from napari_eomt.structures.segments import TASKS, Task
from napari_eomt.widgets.category_filter import CategoryFilter
from napari_eomt.widgets.fold import Fold

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_eomt.models.card import ModelCard
    from napari_eomt.structures.categories import Category

TASK_WORDS: dict[Task, tuple[str, str]] = {
    "instance": (
        "objects",
        "Find countable objects one by one, each with its own id (instance segmentation).",
    ),
    "semantic": (
        "regions",
        "Give every pixel a category, without telling objects apart (semantic segmentation).",
    ),
    "panoptic": (
        "both",
        "Find objects one by one, and regions by category (panoptic segmentation).",
    ),
}


_LOOKS_OF_VIDEO = (
    "A model of videos looks once: it remembers from frame to frame what it saw in the same view."
)


def tooltip(field: str) -> str:
    """Return the description of a parameter, with its range."""
    info = PredictParams.model_fields[field]
    return str(info.description)


def title(field: str) -> str:
    """Return what people call a parameter."""
    return str(PredictParams.model_fields[field].title)


def unit(field: str) -> str:
    """Return the unit of a parameter, or nothing."""
    extra = PredictParams.model_fields[field].json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


class ParamsForm(QWidget):
    """Shows and edits `PredictParams`, less what depends on the image (its channels).

    Parameters
    ----------
    params : PredictParams
        To begin with.
    """

    changed = Signal()

    def __init__(self, params: PredictParams, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._hidden: dict[str, Any] = {}
        self._is_filling = False

        self.tasks = {task: QRadioButton(TASK_WORDS[task][0]) for task in TASKS}
        task_row = QHBoxLayout()
        task_row.setContentsMargins(0, 0, 0, 0)
        for task, button in self.tasks.items():
            button.setToolTip(TASK_WORDS[task][1])
            button.toggled.connect(self._on_changed)
            task_row.addWidget(button)
        task_row.addStretch(1)
        tasks = QWidget()
        tasks.setLayout(task_row)

        self.score = _slider("score_threshold")
        self.mask_level = _slider("mask_threshold")
        self.mask_level.setRange(0.01, 0.99)
        self.min_area = QSpinBox()
        self.min_area.setRange(0, 10_000_000)
        self.min_area.setSuffix(f" {unit('min_area')}")
        self.size_mode = QComboBox()
        for text, mode in (("auto", "auto"), ("as it is", "as_is"), ("set to", "value")):
            self.size_mode.addItem(text, mode)
        self.size_value = QDoubleSpinBox()
        self.size_value.setRange(1, 10_000)
        self.size_value.setDecimals(1)
        self.size_value.setValue(20)
        self.size_value.setSuffix(f" {unit('object_size')}")
        size = QWidget()
        size_row = QHBoxLayout(size)
        size_row.setContentsMargins(0, 0, 0, 0)
        size_row.addWidget(self.size_mode, 1)
        size_row.addWidget(self.size_value, 1)

        self.categories = CategoryFilter()

        self._main = QGridLayout()
        _add_row(self._main, "Task", tasks, tooltip("task"))
        for field, widget in (
            ("score_threshold", self.score),
            ("mask_threshold", self.mask_level),
            ("min_area", self.min_area),
            ("categories", self.categories),
            ("object_size", size),
        ):
            _add_row(self._main, title(field), widget, tooltip(field))
        self.offer_categories(())

        self.contrast = QComboBox()
        for text, value in (
            ("auto", "auto"),
            ("as it is", "none"),
            ("percentiles", "percentile"),
            ("limits", "limits"),
        ):
            self.contrast.addItem(text, value)
        self.low, self.high = QDoubleSpinBox(), QDoubleSpinBox()
        limits = QWidget()
        limits_row = QHBoxLayout(limits)
        limits_row.setContentsMargins(0, 0, 0, 0)
        limits_row.addWidget(self.low, 1)
        limits_row.addWidget(self.high, 1)
        self._limits = limits
        self.input = Fold("Input")
        self.input_grid = QGridLayout()
        _add_row(self.input_grid, title("contrast"), self.contrast, tooltip("contrast"))
        self._limits_label = _add_row(
            self.input_grid, "", limits, "Darkest and brightest, in % of the pixels or as values."
        )
        self.input.set_content_layout(self.input_grid)

        self.tiling = QComboBox()
        for text, value in (("auto", "auto"), ("whole image", "whole"), ("tiles", "tiles")):
            self.tiling.addItem(text, value)
        self.tile_overlap = QSpinBox()
        self.tile_overlap.setRange(-1, 4096)
        self.tile_overlap.setSpecialValueText("auto")
        self.tile_overlap.setSuffix(f" {unit('tile_overlap')}")
        self.looks = QSpinBox()
        self.looks.setRange(0, MOST_LOOKS)
        self.looks.setSpecialValueText("auto")
        self.overlap = QComboBox()
        self.overlap.addItem("best score wins", "best_score")
        self.overlap.addItem("as transformers", "query_order")
        self.overlap_threshold = _slider("overlap_threshold")
        self.advanced = Fold("Advanced")
        self.advanced_grid = QGridLayout()
        labels = {
            field: _add_row(self.advanced_grid, title(field), widget, tooltip(field))
            for field, widget in (
                ("tiling", self.tiling),
                ("tile_overlap", self.tile_overlap),
                ("looks", self.looks),
                ("overlap", self.overlap),
                ("overlap_threshold", self.overlap_threshold),
            )
        }
        self._looks_label = labels["looks"]
        self.advanced.set_content_layout(self.advanced_grid)

        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(self._main)
        layout.addWidget(self.input)
        layout.addWidget(self.advanced)
        self._fill(params)
        self._connect()

    def params(self, channels: tuple[int, ...] | None = None) -> PredictParams:
        """Return the parameters that the form shows, checked."""
        mode = self.size_mode.currentData()
        contrast = self.contrast.currentData()
        low_high = (self.low.value(), self.high.value())
        return PredictParams(
            **self._hidden,
            task=self.task,
            score_threshold=round(self.score.value(), 3),
            mask_threshold=round(self.mask_level.value(), 3),
            min_area=self.min_area.value(),
            categories=self.categories.chosen(),
            object_size=self.size_value.value() if mode == "value" else mode,
            contrast=contrast,
            percentiles=low_high if contrast == "percentile" else None,
            contrast_limits=low_high if contrast == "limits" else None,
            tiling=self.tiling.currentData(),
            tile_overlap=None if self.tile_overlap.value() < 0 else self.tile_overlap.value(),
            looks=self.looks.value() or None,
            overlap=self.overlap.currentData(),
            overlap_threshold=round(self.overlap_threshold.value(), 3),
            channels=channels,
        )

    @property
    def task(self) -> Task | None:
        """The task that is chosen."""
        return next((task for task, button in self.tasks.items() if button.isChecked()), None)

    def offer_tasks(self, tasks: tuple[Task, ...]) -> None:
        """Let the user choose only among the tasks that the model serves."""
        for task, button in self.tasks.items():
            button.setVisible(task in tasks)
        if not any(button.isChecked() for t, button in self.tasks.items() if t in tasks):
            self.tasks[tasks[0]].setChecked(True)

    def offer_categories(self, categories: Sequence[Category]) -> None:
        """Let the user keep some of the model's categories, where there is a choice."""
        self.categories.offer(categories)
        row = self._main.indexOf(self.categories)
        label = self._main.itemAt(row - 1)
        for part in (self.categories, label.widget() if label is not None else None):
            if part is not None:
                part.setVisible(len(categories) > 1)

    def offer_looks(self, card: ModelCard) -> None:
        """Say how often a model looks by itself, where there is a choice."""
        self.looks.setSpecialValueText(f"auto: {n_looks(PredictParams(), card)}")
        for part in (self.looks, self._looks_label):
            part.setEnabled(not card.is_video)
            part.setToolTip(_LOOKS_OF_VIDEO if card.is_video else tooltip("looks"))

    def thresholds(self) -> dict[str, float]:
        """Return the thresholds that the form shows, by their names."""
        return {name: round(slider.value(), 3) for name, slider in self._thresholds().items()}

    def set_thresholds(self, values: Mapping[str, float]) -> None:
        """Show other thresholds, without `changed`: nobody has moved a slider."""
        self._is_filling = True
        for name, value in values.items():
            self._thresholds()[name].setValue(value)
        self._is_filling = False

    def _thresholds(self) -> dict[str, QLabeledDoubleSlider]:
        return {
            "score_threshold": self.score,
            "mask_threshold": self.mask_level,
            "overlap_threshold": self.overlap_threshold,
        }

    def show_measured_size(self, size: float | None) -> None:
        """Show the object size that a run measured."""
        text = "auto" if size is None else f"auto: {size:.0f} px"
        self.size_mode.setItemText(0, text)
        if size is not None and self.size_mode.currentData() != "value":
            self.size_value.setValue(size)

    def _fill(self, params: PredictParams) -> None:
        self._is_filling = True
        for task, button in self.tasks.items():
            button.setChecked(task == params.task)
        self.score.setValue(params.score_threshold)
        self.mask_level.setValue(params.mask_threshold)
        self.min_area.setValue(params.min_area)
        size = params.object_size
        is_value = not isinstance(size, str)
        self.size_mode.setCurrentIndex(self.size_mode.findData("value" if is_value else size))
        if not isinstance(size, str):
            self.size_value.setValue(size)
        self.contrast.setCurrentIndex(self.contrast.findData(params.contrast))
        self._offer_limits(params.percentiles, params.contrast_limits)
        self.tiling.setCurrentIndex(self.tiling.findData(params.tiling))
        self.tile_overlap.setValue(-1 if params.tile_overlap is None else params.tile_overlap)
        self.looks.setValue(params.looks or 0)
        self.overlap.setCurrentIndex(self.overlap.findData(params.overlap))
        self.overlap_threshold.setValue(params.overlap_threshold)
        self.size_value.setVisible(is_value)
        self._is_filling = False

    def _connect(self) -> None:
        for slider in (self.score, self.mask_level, self.overlap_threshold):
            slider.valueChanged.connect(self._on_changed)
        for box in (
            self.min_area,
            self.size_value,
            self.low,
            self.high,
            self.tile_overlap,
            self.looks,
        ):
            box.valueChanged.connect(self._on_changed)
        for combo in (self.size_mode, self.tiling, self.overlap):
            combo.currentIndexChanged.connect(self._on_changed)
        self.contrast.currentIndexChanged.connect(self._on_contrast)
        self.categories.changed.connect(self._on_changed)

    def _on_contrast(self) -> None:
        self._is_filling = True
        self._offer_limits(None, None)
        self._is_filling = False
        self._on_changed()

    def _offer_limits(
        self, percentiles: tuple[float, float] | None, limits: tuple[float, float] | None
    ) -> None:
        mode = self.contrast.currentData()
        in_percent = mode == "percentile"
        self._limits_label.setText("From, to %" if in_percent else "From, to")
        for part in (self._limits, self._limits_label):
            part.setVisible(mode in ("percentile", "limits"))
        values = (percentiles or (0.1, 99.9)) if in_percent else (limits or (0.0, 255.0))
        for box, value in zip((self.low, self.high), values, strict=True):
            box.setRange(*((0, 100) if in_percent else (-1e9, 1e9)))
            box.setDecimals(1 if in_percent else 2)
            box.setValue(value)

    def _on_changed(self, *_: object) -> None:
        self.size_value.setVisible(self.size_mode.currentData() == "value")
        if not self._is_filling:
            self.changed.emit()


def _slider(field: str) -> QLabeledDoubleSlider:
    slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
    slider.setRange(0, 1)
    slider.setSingleStep(0.01)  # type: ignore[arg-type]  # its stubs say int
    slider.setDecimals(2)
    slider.setToolTip(tooltip(field))
    # Its own minimum is wider than a dock may be.
    slider.setMinimumWidth(60)
    return slider


def _add_row(grid: QGridLayout, text: str, widget: QWidget, tip: str) -> QLabel:
    """Add a widget below the others, and return its label."""
    row = grid.rowCount()
    label = QLabel(text)
    for part in (label, widget):
        part.setToolTip(tip)
    if isinstance(widget, QComboBox):
        widget.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        widget.setMinimumContentsLength(4)
    widget.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    grid.addWidget(label, row, 0)
    grid.addWidget(widget, row, 1)
    grid.setColumnStretch(1, 1)
    return label
