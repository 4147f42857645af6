"""Which model runs, and whether its process is ready."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QGridLayout, QHBoxLayout, QLabel, QToolButton, QWidget

from napari_eomt.errors import EomtError, ModelError
from napari_eomt.models.card import ARCHITECTURES, ModelCard
from napari_eomt.models.catalog import DEFAULT_MODEL
from napari_eomt.widgets.model_table import title_of
from napari_eomt.worker.messages import StateChanged, WorkerState

if TYPE_CHECKING:
    from napari_eomt.models.rows import ModelRow
    from napari_eomt.widgets.model_library import ModelLibrary

_DOTS = {
    WorkerState.STARTING: ("#9E9E9E", "starting"),
    WorkerState.WARM: ("#009E73", "ready"),
    WorkerState.BUSY: ("#E69F00", "busy"),
    WorkerState.FAILED: ("#D55E00", "stopped"),
    WorkerState.CLOSED: ("#9E9E9E", "off"),
}


class ModelPicker(QWidget):
    """Chooses among the models that are on this computer; shows the state of their process.

    Parameters
    ----------
    library : ModelLibrary
    model : str
        Name or folder to begin with; `missed` is this if it cannot be used.
    """

    changed = Signal()
    refused = Signal(str)
    dialog_requested = Signal()

    def __init__(
        self, library: ModelLibrary, model: str = DEFAULT_MODEL, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._library = library
        self._model = DEFAULT_MODEL
        self._wanted = ""
        self._is_renamed = False
        self.combo = QComboBox()
        self.combo.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.combo.setMinimumContentsLength(6)
        self.browse = QToolButton()
        self.browse.setText("…")
        self.browse.setToolTip("Models: download, add, delete")
        self.status = QLabel()
        self.coming = QToolButton()
        self.coming.setAutoRaise(True)
        self.coming.setToolTip("Show the models that are on their way.")
        row = QHBoxLayout()
        row.addWidget(self.combo, 1)
        row.addWidget(self.browse)
        below = QHBoxLayout()
        below.addWidget(self.status, 1)
        below.addWidget(self.coming)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row, 0, 0)
        layout.addLayout(below, 1, 0)
        self.missed = "" if self._begin_with(model) else model
        self._fill()
        self._show_card()
        self._show_coming()
        self.combo.currentIndexChanged.connect(self._on_chosen)
        self.browse.clicked.connect(self.dialog_requested)
        self.coming.clicked.connect(self.dialog_requested)
        library.changed.connect(self._on_library)
        library.progressed.connect(self._show_coming)
        library.renamed.connect(self._on_renamed)
        library.arrived.connect(self._on_arrived)
        self.show_state(StateChanged(WorkerState.STARTING, "The model process is starting."))

    @property
    def card(self) -> ModelCard:
        """What the chosen model is."""
        card = self._row().card
        if card is None:  # only those that are usable can be chosen
            raise ModelError(f"{self._model} is no longer on this computer. Choose another model.")
        return card

    @property
    def model(self) -> str:
        """Name of the chosen model."""
        return self._model

    @property
    def fallback(self) -> str:
        """Name of the model that takes the place of one that goes."""
        return DEFAULT_MODEL

    @property
    def wanted(self) -> str:
        """Name of the model to choose as soon as it is on this computer; may be empty."""
        return self._wanted

    def choose(self, name: str) -> None:
        """Choose a model that is on this computer."""
        row = self._library.row(name)
        if row is None or not row.is_usable:
            self.refused.emit(f"{name} is not on this computer. Download or add it first.")
            return
        self._wanted = ""
        if name != self._model:
            self._model = name
            self._fill()
            self._show_card()
            self.changed.emit()

    def choose_when_here(self, name: str) -> None:
        """Choose a model as soon as it is on this computer, unless another is chosen before."""
        self._wanted = name

    def choose_folder(self, folder: str) -> None:
        """Take up a model's folder and choose it; `refused` tells why it cannot be."""
        try:
            self.choose(self._library.add_folder(Path(folder)))
        except EomtError as error:
            self.refused.emit(str(error))

    def leave(self, name: str) -> None:
        """Choose the fallback if this model, which is about to go, is the chosen one."""
        if name == self._wanted:
            self._wanted = ""
        if name == self._model:
            self.choose(self.fallback)

    def show_state(self, event: StateChanged) -> None:
        """Show the state of the process."""
        color, word = _DOTS[event.state]
        where = f"{event.device} · " if event.device else ""
        self.status.setText(f'<span style="color:{color}">●</span> {where}{word}')
        self.status.setToolTip(event.detail)

    def _row(self) -> ModelRow:
        row = self._library.row(self._model)
        assert row is not None, "the library has every model that was chosen"  # noqa: S101
        return row

    def _begin_with(self, model: str) -> bool:
        row = self._library.row(model)
        if row is None and Path(model).expanduser().is_dir():
            row = self._library.row_of_folder(Path(model))
            if row is None:
                try:
                    row = self._library.row(self._library.add_folder(Path(model)))
                except EomtError:
                    return False  # a folder remembered from last time that is no model any more
        if row is None or not row.is_usable:
            return False
        self._model = row.name
        return True

    def _fill(self) -> None:
        """Offer what is on this computer, without a change of what is chosen."""
        self.combo.blockSignals(True)
        self.combo.clear()
        for row in self._library.usable:
            self.combo.addItem(title_of(row), row.name)
        self.combo.setCurrentIndex(self.combo.findData(self._model))
        self.combo.blockSignals(False)

    def _on_chosen(self) -> None:
        self.choose(str(self.combo.currentData()))

    def _on_library(self) -> None:
        if not any(row.name == self._model for row in self._library.usable):
            gone, self._model = self._model, self.fallback
            self._fill()
            self._show_card()
            self.changed.emit()
            self.refused.emit(
                f"{gone} is no longer on this computer: {self._model} takes its place."
            )
        else:
            self._fill()
            if self._is_renamed:
                self._is_renamed = False
                self.changed.emit()
        self._show_coming()

    def _on_renamed(self, old: str, new: str) -> None:
        # `library.changed` follows, when everybody knows the new name.
        if self._model == old:
            self._model, self._is_renamed = new, True

    def _on_arrived(self, name: str) -> None:
        if name == self._wanted:
            self.choose(name)

    def _show_coming(self) -> None:
        states = self._library.jobs.states
        if states:
            name, state = next(iter(states.items()))
            more = f" and {len(states) - 1} more" if len(states) > 1 else ""
            percent = "" if state.percent is None else f" {state.percent} %"
            self.coming.setText(f"↓{percent}{more}")
            self.coming.setToolTip(f"{name}: {state.details}{more}. Click to show the models.")
        self.coming.setVisible(bool(states))

    def _show_card(self) -> None:
        card = self.card
        self.combo.setToolTip(
            f"<b>{card.title}</b><br>{card.description}<br>"
            f"{ARCHITECTURES[card.architecture]} · {card.n_parameters / 1e6:.1f} M parameters · "
            f"input {card.input_size} px · {card.n_queries} queries · "
            f"{len(card.categories)} categories"
            + (f"<br>Licence: {card.licence}" if card.licence else "")
        )
