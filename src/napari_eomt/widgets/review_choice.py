"""In which order objects are reviewed, and which of them."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_eomt.annotation.review_order import Order
from napari_eomt.widgets.flow import FlowLayout

BELOW = 0.5
"""Certainty below which an object is uncertain, unless the user says otherwise."""

_ORDERS = (
    (Order.WORST, "Worst first", "The objects that the model is least sure of come first."),
    (
        Order.FRAMES,
        "Worst frame first",
        "The frame with the worst object comes first; within it the worst object.",
    ),
    (
        Order.IDENTITY,
        "Doubtful identity first",
        "The objects come first that may least be the ones of the frame before (switches).",
    ),
    (
        Order.READING,
        "As in the image",
        "From left to right in bands one below the other, so that the view moves little.",
    ),
    (Order.LARGEST, "Largest first", "By area in pixels."),
    (Order.SMALLEST, "Smallest first", "By area in pixels."),
)


class ReviewChoice(QWidget):
    """The order, the frames, and how sure the model may be of what is shown."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.orders = QComboBox()
        self.orders.setAccessibleName("Order")
        self.frames = QComboBox()
        self.frames.setAccessibleName("Frames")
        self.frames.addItem("This frame", False)
        self.frames.addItem("All frames", True)
        self.frames.setToolTip("Review the objects of the frame that is shown, or of all.")
        self.only = QCheckBox("Only below")
        self.limit = QDoubleSpinBox()
        self.limit.setRange(0.05, 1)
        self.limit.setSingleStep(0.05)
        self.limit.setDecimals(2)
        self.limit.setValue(BELOW)
        self.limit.setSuffix(" certain")
        self.limit.setEnabled(False)
        tip = (
            "Review only objects of which the model is less certain than this, from 0 to 1. "
            "Higher shows more of them. (1 − uncertainty; the score where nothing else is known.)"
        )
        self.only.setToolTip(tip)
        self.limit.setToolTip(tip)
        for combo in (self.orders, self.frames):
            combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            combo.setMinimumContentsLength(6)
            combo.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
        first, limit = QHBoxLayout(), QHBoxLayout()
        second = self._second = FlowLayout()
        first.addWidget(self.orders, 3)
        first.addWidget(self.frames, 2)
        limit.setContentsMargins(0, 0, 0, 0)
        limit.addWidget(self.only)
        limit.addWidget(self.limit)
        below = QWidget()
        below.setLayout(limit)
        second.addWidget(below)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(first)
        layout.addLayout(second)
        self._has_frames, self._has_tracks = True, False
        self.offer_frames(False)
        self.orders.currentIndexChanged.connect(self._on_changed)
        self.frames.currentIndexChanged.connect(self._on_changed)
        self.only.toggled.connect(self._on_changed)
        self.limit.valueChanged.connect(self._on_changed)

    def add_part(self, widget: QWidget) -> None:
        """Put a widget after what is chosen here."""
        self._second.addWidget(widget)

    @property
    def order(self) -> Order:
        """The order that is chosen."""
        return Order(self.orders.currentData())

    @property
    def all_frames(self) -> bool:
        """Whether all frames are reviewed, not only the one that is shown."""
        return bool(self.frames.currentData())

    @property
    def below(self) -> float | None:
        """Certainty below which objects are shown; None: all are."""
        return float(self.limit.value()) if self.only.isChecked() else None

    def choose(
        self, *, order: Order | None = None, below: float | None = None, all_frames: bool = False
    ) -> None:
        """Choose what was chosen last time, or what a link elsewhere promises."""
        self.blockSignals(True)
        at = self.orders.findData((order or Order.WORST).value)
        self.orders.setCurrentIndex(max(0, at))
        self.frames.setCurrentIndex(int(all_frames))
        if below is not None:
            self.limit.setValue(below)
        self.only.setChecked(below is not None)
        self.blockSignals(False)
        self._on_changed()

    def show_all(self) -> None:
        """Show objects of any certainty."""
        self.only.setChecked(False)

    def offer_frames(self, has_frames: bool) -> None:
        """Offer what makes sense for one image, or for a stack."""
        if has_frames != self._has_frames:
            self._has_frames = has_frames
            self._offer()
            self.frames.setVisible(has_frames)

    def offer_tracks(self, has_tracks: bool) -> None:
        """Offer the order of identities where there are any."""
        if has_tracks != self._has_tracks:
            self._has_tracks = has_tracks
            before = self.order
            self._offer()
            if self.order is not before:
                self._on_changed()

    def _offer(self) -> None:
        chosen = self.orders.currentData()
        self.orders.blockSignals(True)
        self.orders.clear()
        missing = set() if self._has_frames else {Order.FRAMES}
        missing |= set() if self._has_tracks else {Order.IDENTITY}
        for order, text, tip in _ORDERS:
            if order not in missing:
                self.orders.addItem(text, order.value)
                self.orders.setItemData(self.orders.count() - 1, tip, 3)  # Qt.ToolTipRole
        self.orders.setCurrentIndex(max(0, self.orders.findData(chosen)))
        self.orders.blockSignals(False)

    def _on_changed(self) -> None:
        self.limit.setEnabled(self.only.isChecked())
        if not self.signalsBlocked():
            self.changed.emit()
