"""Whether frames are tracked, and how: the switch and the fields of `TrackParams`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QLabel,
    QLineEdit,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_eomt.damaged import first_problem
from napari_eomt.inference.track_params import TrackParams
from napari_eomt.widgets.fold import Fold
from napari_eomt.widgets.value_field import ValueField

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_eomt.models.card import ModelCard

_TIP = (
    "Objects keep their id, and so their colour, from frame to frame (tracking). Off: each frame "
    "is segmented by itself."
)
_ONE_AXIS = "Objects are followed along one axis; this image is stepped through along {n}."


class TrackingForm(QWidget):
    """Shows and edits `TrackParams`, below a switch that is on for models of videos.

    Whoever switches it decides for all models of the kind, of videos or of images.

    Attributes
    ----------
    switch : QCheckBox
    fold : Fold
        With the parameters; whoever shows this decides where.
    """

    changed = Signal()
    """Something that is saved."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._choices = {"video": True, "image": False}
        self._kind = "image"
        self._n_axes = 0
        self._is_filling = False
        self._valid = TrackParams()
        self.switch = QCheckBox("Track objects through the frames")
        self.fold = Fold("Tracking")
        self.problem = QLabel()
        self.problem.setWordWrap(True)
        self.fields = {
            name: ValueField(info, self) for name, info in TrackParams.model_fields.items()
        }
        reach = self.fields["max_distance"].widget
        if isinstance(reach, QLineEdit):
            reach.setPlaceholderText("overlap alone")
        grid = QGridLayout()
        grid.setColumnStretch(1, 1)
        for row, field in enumerate(self.fields.values()):
            label = QLabel(field.title)
            label.setToolTip(field.widget.toolTip())
            field.widget.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            grid.addWidget(label, row, 0)
            grid.addWidget(field.widget, row, 1)
            field.changed.connect(self._on_field)
        grid.addWidget(self.problem, len(self.fields), 0, 1, 2)
        self.fold.set_content_layout(grid)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.switch)
        self.switch.toggled.connect(self._on_switch)
        self._fill(TrackParams())
        self.show_axes(0)

    @property
    def is_on(self) -> bool:
        """Whether frames shall be tracked, and can be."""
        return self._n_axes == 1 and self.switch.isChecked()

    @property
    def params(self) -> TrackParams:
        """What the fields say; of a value that makes no sense, which is marked, the one before."""
        return self._valid

    def restore(self, saved: Mapping[str, Any], *, videos: bool, images: bool) -> None:
        """Show what was shown last time.

        Parameters
        ----------
        saved : mapping
            Of parameters; from another version they may make no sense, and are left out.
        videos, images : bool
            Whether frames are tracked with models of videos, and with those of images.
        """
        self._choices = {"video": videos, "image": images}
        try:
            self._fill(TrackParams(**saved))
        except ValidationError:
            self._fill(TrackParams())
        self._show_switch()

    def values(self) -> dict[str, Any]:
        """Return what is saved, by the names of the settings."""
        return {
            "track": self._valid.model_dump(exclude_defaults=True),
            "track_videos": self._choices["video"],
            "track_images": self._choices["image"],
        }

    def show_model(self, card: ModelCard) -> None:
        """Switch it on or off as was chosen for models of this kind."""
        self._kind = "video" if card.is_video else "image"
        self._show_switch()

    def show_axes(self, n: int) -> None:
        """Offer it where an image is stepped through along one axis of `n`."""
        self._n_axes = n
        self.switch.setVisible(n > 0)
        self.switch.setEnabled(n == 1)
        self.switch.setToolTip(_TIP if n < 2 else _ONE_AXIS.format(n=n))
        self.fold.setVisible(self.is_on)

    def _show_switch(self) -> None:
        self._is_filling = True  # whoever watches the switch hears of it all the same
        self.switch.setChecked(self._choices[self._kind])
        self._is_filling = False
        self.fold.setVisible(self.is_on)

    def _fill(self, params: TrackParams) -> None:
        self._valid = params
        for name, field in self.fields.items():
            field.show_value(getattr(params, name))
        self._say("")

    def _on_switch(self, on: bool) -> None:
        self.fold.setVisible(self.is_on)
        if not self._is_filling:
            self._choices[self._kind] = on
            self.changed.emit()

    def _on_field(self) -> None:
        try:
            self._valid = TrackParams(**{name: f.value for name, f in self.fields.items()})
        except ValidationError as error:
            name, _, what = first_problem(error).partition(": ")
            title = TrackParams.model_fields[name].title if name in self.fields else name
            self._say(f"{title}: {what}. Until then it counts as {getattr(self._valid, name)}.")
            return
        self._say("")
        self.changed.emit()

    def _say(self, problem: str) -> None:
        self.problem.setText(f"⚠ {problem}" if problem else "")
        self.problem.setVisible(bool(problem))
