"""Which axes of the image are frames, and which channels feed red, green and blue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QGridLayout, QLabel, QWidget

from napari_eomt.structures.axes import AxisRoles
from napari_eomt.viewer.image_source import axis_names, guess_roles, layer_array

if TYPE_CHECKING:
    from napari.layers import Image

_COLORS = ("Red", "Green", "Blue")


class AxesForm(QWidget):
    """Asks about the axes of an image layer beside its rows and columns.

    Empty for a plain 2-D grey or RGB image.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layer: Image | None = None
        self._roles: AxisRoles | None = None
        self._axes: dict[int, QComboBox] = {}
        self._channels: list[QComboBox] = []
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setColumnStretch(1, 1)

    @property
    def roles(self) -> AxisRoles | None:
        """Which axis is what; None without an image."""
        return self._roles

    @property
    def channels(self) -> tuple[int, ...] | None:
        """Which channels feed red, green and blue; None where there is nothing to choose."""
        if not self._channels:
            return None
        chosen = tuple(int(combo.currentData()) for combo in self._channels)
        # Red alone means: as grey.
        if chosen[1] < 0 and chosen[2] < 0:
            return chosen[:1]
        first = chosen[0]
        return tuple(first if channel < 0 else channel for channel in chosen)

    def show_layer(self, layer: Image | None) -> None:
        """Ask about another layer, with a guess made.

        Raises
        ------
        DataError
            If the layer cannot be an image.
        """
        self._layer, self._roles = layer, None
        self._rebuild(None if layer is None else guess_roles(layer))

    def show_roles(self, roles: AxisRoles) -> None:
        """Take the axes of the same layer in another way."""
        if self._layer is not None and roles != self._roles:
            self._rebuild(roles)
            self.changed.emit()

    def _rebuild(self, roles: AxisRoles | None) -> None:
        while item := self._grid.takeAt(0):
            widget = item.widget()
            if widget is not None:
                widget.deleteLater()
        self._axes, self._channels, self._roles = {}, [], roles
        if roles is None or self._layer is None or self._layer.rgb:
            self.setVisible(False)
            return
        shape = layer_array(self._layer).shape
        names = axis_names(self._layer)
        for axis in range(len(shape)):
            if axis in (roles.y, roles.x):
                continue
            combo = _combo("Steps through frames, each segmented by itself, or holds channels.")
            combo.addItem(f"frames ({shape[axis]})", "frames")
            combo.addItem(f"channels ({shape[axis]})", "channel")
            combo.setCurrentIndex(1 if axis == roles.channel else 0)
            combo.currentIndexChanged.connect(lambda _, axis=axis: self._on_axis(axis))
            self._axes[axis] = combo
            self._add(f"Axis {names[axis]}", combo)
        if roles.channel is not None:
            n = int(shape[roles.channel])
            for k, color in enumerate(_COLORS):
                combo = _combo(f"The channel shown to the model as {color.lower()}.")
                if k:
                    combo.addItem("none", -1)
                for channel in range(n):
                    combo.addItem(f"channel {channel}", channel)
                # Three channels or more: the first three; two or one: the first, as grey.
                start = k if n >= 3 else (0 if k == 0 else -1)
                combo.setCurrentIndex(combo.findData(start))
                combo.currentIndexChanged.connect(self.changed)
                self._channels.append(combo)
                self._add(color, combo)
        self.setVisible(bool(self._axes))

    def _add(self, text: str, widget: QWidget) -> None:
        row = self._grid.rowCount()
        label = QLabel(text)
        label.setToolTip(widget.toolTip())
        self._grid.addWidget(label, row, 0)
        self._grid.addWidget(widget, row, 1)

    def _on_axis(self, axis: int) -> None:
        if self._roles is None:
            return
        channel = self._roles.channel
        if self._axes[axis].currentData() == "channel":
            channel = axis  # there is one channel axis: another one becomes frames
        elif channel == axis:
            channel = None
        frames = tuple(a for a in self._axes if a != channel)
        self._rebuild(AxisRoles(frames, self._roles.y, self._roles.x, channel))
        self.changed.emit()


def _combo(tip: str) -> QComboBox:
    combo = QComboBox()
    combo.setToolTip(tip)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(4)
    return combo
