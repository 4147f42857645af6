"""The form of an export: `ExportParams`, and the folder to write to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

if TYPE_CHECKING:
    from napari_eomt.viewer.dataset_export import ExportParams

_FORMATS = (
    ("coco", "COCO instances", "Objects with their masks, one JSON file: what most tools read."),
    ("panoptic", "COCO panoptic", "Objects and regions: a JSON file, and a PNG of ids an image."),
    ("ytvis", "YouTube-VIS", "Tracks of a video: the same object in all frames, one JSON file."),
    ("labels", "Label images", "TIFF of object numbers, and a table beside each."),
    ("ctc", "Cell Tracking Challenge", "A TIFF of track numbers a frame, and who came from whom."),
    ("csv", "Tables of tracks", "A CSV a video: where each object is in each frame. No masks."),
)


_LONG = ("form", "tool", "place")
"""What needs the whole width of a narrow dock, below its label."""


class ExportForm(QWidget):
    """Shows and edits `ExportParams`, and the folder.

    Parameters
    ----------
    saved : dict
        Values of last time; what another version saved and this one does not know is left out.
    """

    changed = Signal()

    def __init__(self, saved: dict[str, Any], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._is_chosen = False  # by a person: it is suggested no more
        self._is_filled = False
        self._saved = saved
        self._loses: dict[str, tuple[str, ...]] = {}
        self.formats = QComboBox()
        for name, title, tip in _FORMATS:
            self.formats.addItem(title, name)
            self.formats.setItemData(self.formats.count() - 1, tip, 3)
        self.tools = QComboBox()
        self.loses = QLabel()
        self.loses.setWordWrap(True)
        self.loses.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.place = QLineEdit()
        self.place.setPlaceholderText("Folder to write to")
        self.choose = QPushButton("…")
        self.choose.setToolTip("Choose the folder.")
        self.choose.setFixedWidth(self.choose.fontMetrics().height() * 2)
        self.mode = QComboBox()
        self.mode.addItem("Add to it", True)
        self.mode.addItem("Stop: write new ones only", False)
        self.images = QComboBox()
        self.images.addItem("Copy them", True)
        self.images.addItem("Refer to them", False)
        self.split = QDoubleSpinBox()
        self.split.setRange(0, 90)
        self.split.setDecimals(0)
        self.split.setSingleStep(5)
        self.split.setSuffix(" %")
        self.split.setSpecialValueText("do not split")
        self._rows: dict[str, tuple[QLabel, QWidget]] = {}
        self._lay_out()
        for box in (self.formats, self.tools, self.mode, self.images):
            box.currentIndexChanged.connect(self._on_changed)
        self.split.valueChanged.connect(self._on_changed)
        self.place.textEdited.connect(self._on_edited)

    @property
    def folder(self) -> Path | None:
        """The folder to write to; None if none was named."""
        text = self.place.text().strip()
        return Path(text).expanduser() if text else None

    def show_folder(self, folder: Path) -> None:
        """Take a folder that a person has chosen."""
        self.place.setText(str(folder))
        self._on_edited()

    def suggest(self, folder: Path) -> None:
        """Take a folder unless a person has chosen one."""
        if not self._is_chosen:
            self.place.setText(str(folder))
            self.place.setToolTip(str(folder))

    def params(self) -> ExportParams:
        """Return what the form shows."""
        self.fill()
        from napari_eomt.viewer.dataset_export import ExportParams

        return ExportParams(**self.values())

    def values(self) -> dict[str, Any]:
        """Return the values as they are saved."""
        if not self._is_filled:
            return dict(self._saved)
        return {
            "form": str(self.formats.currentData()),
            "tool": str(self.tools.currentData() or "coco"),
            "append": bool(self.mode.currentData()),
            "copy_images": bool(self.images.currentData()),
            "val_fraction": round(self.split.value() / 100, 2),
        }

    def _lay_out(self) -> None:
        place = QWidget()
        row = QHBoxLayout(place)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.place, 1)
        row.addWidget(self.choose)
        grid = QGridLayout()
        grid.setColumnStretch(1, 1)
        k = 0
        for name, title, widget in (
            ("form", "Format", self.formats),
            ("tool", "For", self.tools),
            ("place", "Folder", place),
            ("append", "A dataset there", self.mode),
            ("copy_images", "Images", self.images),
            ("val_fraction", "To check", self.split),
        ):
            label = QLabel(title)
            widget.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            if name in _LONG:
                grid.addWidget(label, k, 0, 1, 2)
                grid.addWidget(widget, k + 1, 0, 1, 2)
            else:
                grid.addWidget(label, k, 0)
                grid.addWidget(widget, k, 1)
            k += 2
            self._rows[name] = label, widget
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(grid)
        layout.addWidget(self.loses)

    def showEvent(self, event: Any) -> None:
        """Show the values: the formats take time to import, and the dock does not wait for it."""
        super().showEvent(event)
        self.fill()

    def fill(self) -> None:
        """Offer the tools, and show the values of last time."""
        if self._is_filled:
            return
        from napari_eomt.formats.presets import PRESETS
        from napari_eomt.viewer.dataset_export import ExportParams

        boxes = (self.formats, self.tools, self.mode, self.images, self.split)
        for box in boxes:
            box.blockSignals(True)
        self._loses = {name: preset.loses for name, preset in PRESETS.items()}
        for name, preset in PRESETS.items():
            self.tools.addItem(preset.title, name)
        for name, (label, widget) in self._rows.items():
            info = ExportParams.model_fields.get(name)
            tip = "" if info is None else str(info.description)
            for part in (label, widget):
                part.setToolTip(tip)
        try:
            values = ExportParams(**self._saved).model_dump()
        except (ValidationError, TypeError):
            values = ExportParams().model_dump()
        for box, name in (
            (self.formats, "form"),
            (self.tools, "tool"),
            (self.mode, "append"),
            (self.images, "copy_images"),
        ):
            box.setCurrentIndex(max(0, box.findData(values[name])))
        self.split.setValue(100 * values["val_fraction"])
        for box in boxes:
            box.blockSignals(False)
        self._is_filled = True
        self._show()

    def _on_changed(self) -> None:
        self._show()
        self.changed.emit()

    def _on_edited(self) -> None:
        self._is_chosen = bool(self.place.text().strip())
        self.place.setToolTip(self.place.text())
        self.changed.emit()

    def _show(self) -> None:
        """Show what makes sense for the format."""
        form = self.formats.currentData()
        is_coco, has_images = form == "coco", form in ("coco", "ytvis")
        for name in ("tool", "append", "copy_images", "val_fraction"):
            for part in self._rows[name]:
                part.setVisible(has_images if name == "copy_images" else is_coco)
        loses = self._loses.get(str(self.tools.currentData()), ()) if is_coco else ()
        if not has_images or not (is_coco or self.images.currentData()):
            loses = ("The annotations alone are written; the images stay where they are.",)
        self.loses.setText("\n".join(f"• {text}" for text in loses))
