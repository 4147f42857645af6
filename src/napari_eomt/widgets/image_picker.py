"""Which image layer the dock works on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QToolButton, QWidget

if TYPE_CHECKING:
    from napari.components import ViewerModel


class ImagePicker(QWidget):
    """Chooses among the viewer's Image layers; follows the selected one until it is pinned.

    Parameters
    ----------
    viewer : ViewerModel
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layers: list[Image] = []
        self.combo = QComboBox()
        self.combo.setToolTip("The image to segment. Follows the layer that you select.")
        self.combo.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.combo.setMinimumContentsLength(6)
        self.pin = QToolButton()
        self.pin.setText("Pin")
        self.pin.setCheckable(True)
        self.pin.setToolTip("Stay with this image, whatever layer is selected.")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.combo, 1)
        layout.addWidget(self.pin)
        self.combo.currentIndexChanged.connect(self._on_chosen)
        viewer.layers.events.inserted.connect(self._on_layers)
        viewer.layers.events.removed.connect(self._on_layers)
        viewer.layers.events.reordered.connect(self._on_layers)
        viewer.layers.selection.events.active.connect(self._on_active)
        self._on_layers()
        self._on_active()

    @property
    def layer(self) -> Image | None:
        """The chosen layer, if there is any."""
        index = self.combo.currentIndex()
        return self._layers[index] if 0 <= index < len(self._layers) else None

    def choose(self, layer: Image) -> None:
        """Choose a layer of the viewer."""
        if layer in self._layers:
            self.combo.setCurrentIndex(self._layers.index(layer))

    def close_events(self) -> None:
        """Let go of the viewer."""
        for layer in self._layers:
            layer.events.name.disconnect(self._on_name)
        self._viewer.layers.events.inserted.disconnect(self._on_layers)
        self._viewer.layers.events.removed.disconnect(self._on_layers)
        self._viewer.layers.events.reordered.disconnect(self._on_layers)
        self._viewer.layers.selection.events.active.disconnect(self._on_active)

    def _on_layers(self, event: Any = None) -> None:
        before = self.layer
        for layer in self._layers:
            layer.events.name.disconnect(self._on_name)
        # Layers read through the viewer may be proxies, which are never the layer itself.
        self._layers = [
            getattr(layer, "__wrapped__", layer)
            for layer in self._viewer.layers
            if isinstance(layer, Image)
        ]
        for layer in self._layers:
            layer.events.name.connect(self._on_name)
        self.combo.blockSignals(True)
        self.combo.clear()
        self.combo.addItems([str(layer.name) for layer in self._layers])
        if before in self._layers:
            self.combo.setCurrentIndex(self._layers.index(before))
        else:
            self.pin.setChecked(False)
            # The newest image is the one that was just opened.
            self.combo.setCurrentIndex(len(self._layers) - 1)
        self.combo.blockSignals(False)
        if self.layer is not before:
            self.changed.emit()

    def _on_name(self, event: Any = None) -> None:
        for i, layer in enumerate(self._layers):
            self.combo.setItemText(i, str(layer.name))

    def _on_active(self, event: Any = None) -> None:
        active = self._viewer.layers.selection.active
        active = getattr(active, "__wrapped__", active)
        if isinstance(active, Image) and not self.pin.isChecked():
            self.choose(active)

    def _on_chosen(self) -> None:
        self.changed.emit()
