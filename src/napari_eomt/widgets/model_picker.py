"""Which model runs, where, and whether its process is ready."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QToolButton,
    QWidget,
)

from napari_eomt.errors import ModelError
from napari_eomt.models.card import ARCHITECTURES, ModelCard
from napari_eomt.models.catalog import DEFAULT_MODEL, bundled_models, find_model
from napari_eomt.worker.messages import ModelRef, StateChanged, WorkerState

_DOTS = {
    WorkerState.STARTING: ("#9E9E9E", "starting"),
    WorkerState.WARM: ("#009E73", "ready"),
    WorkerState.BUSY: ("#E69F00", "busy"),
    WorkerState.FAILED: ("#D55E00", "stopped"),
    WorkerState.CLOSED: ("#9E9E9E", "off"),
}


class ModelPicker(QWidget):
    """Chooses a bundled model or a folder; shows the state of the process that runs it.

    Parameters
    ----------
    model : str
        Name or folder to begin with.
    folders : iterable of str
        Folders that were chosen before.
    """

    changed = Signal()
    refused = Signal(str)

    def __init__(
        self, model: str, folders: tuple[str, ...] = (), parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._cards: dict[str, ModelCard] = bundled_models()
        self.combo = QComboBox()
        self.combo.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.combo.setMinimumContentsLength(6)
        self.browse = QToolButton()
        self.browse.setText("…")
        self.browse.setToolTip("Choose a model's folder: config.json and model.safetensors.")
        self.status = QLabel()
        row = QHBoxLayout()
        row.addWidget(self.combo, 1)
        row.addWidget(self.browse)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row, 0, 0)
        layout.addWidget(self.status, 1, 0)
        for name in self._cards:
            self.combo.addItem(name, name)
        for folder in folders:
            self._add_folder(folder)
        if model not in self._cards:
            self._add_folder(model)
        index = self.combo.findData(model)
        self.combo.setCurrentIndex(index if index >= 0 else self.combo.findData(DEFAULT_MODEL))
        self._on_chosen()
        self.combo.currentIndexChanged.connect(self._on_chosen)
        self.browse.clicked.connect(self._on_browse)
        self.show_state(StateChanged(WorkerState.STARTING, "The model process is starting."))

    @property
    def card(self) -> ModelCard:
        """What the chosen model is."""
        return self._cards[self.model]

    @property
    def model(self) -> str:
        """Name or folder of the chosen model."""
        return str(self.combo.currentData())

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders among the models."""
        known = bundled_models()
        return tuple(name for name in self._cards if name not in known)

    def choose_folder(self, folder: str) -> None:
        """Take up a model's folder and choose it; `refused` tells why it cannot be."""
        try:
            find_model(folder)
        except ModelError as error:
            self.refused.emit(str(error))
            return
        self._add_folder(folder)
        self.combo.setCurrentIndex(self.combo.findData(folder))

    def show_state(self, event: StateChanged) -> None:
        """Show the state of the process."""
        color, word = _DOTS[event.state]
        where = f"{event.device} · " if event.device else ""
        self.status.setText(f'<span style="color:{color}">●</span> {where}{word}')
        self.status.setToolTip(event.detail)

    def ref(self, device: str, dtype: str) -> ModelRef:
        """Return the model as the worker takes it."""
        return ModelRef(self.model, device, dtype)

    def _add_folder(self, folder: str) -> None:
        if folder in self._cards:
            return
        try:
            card = find_model(folder)
        except ModelError:
            return  # a folder remembered from last time that is gone
        self._cards[folder] = card
        self.combo.addItem(card.name, folder)

    def _on_chosen(self) -> None:
        card = self.card
        self.combo.setToolTip(
            f"<b>{card.title}</b><br>{card.description}<br>"
            f"{ARCHITECTURES[card.architecture]} · {card.n_parameters / 1e6:.1f} M parameters · "
            f"input {card.input_size} px · {card.n_queries} queries · "
            f"{len(card.categories)} categories"
            + (f"<br>Licence: {card.licence}" if card.licence else "")
        )
        self.changed.emit()

    def _on_browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Choose a model's folder", str(Path.home()))
        if folder:
            self.choose_folder(folder)
