"""Which images learn and which check, image by image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_eomt.widgets.fold import Fold

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from napari_eomt.training.split import Choice
    from napari_eomt.viewer.train_dataset import LearnRow, Parts

_WORDS: dict[Choice, str] = {"train": "learns", "val": "checks", "none": "neither"}
_TABLE_HEIGHT = 150


class TrainParts(QWidget):
    """Shows the part of each image, and lets a person choose it; closed at first."""

    fraction_changed = Signal()
    chosen = Signal(str, list)
    """"train", "val", "none", or "auto" for as the names say; and the keys of the images."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.fold = Fold("Which images learn, which check")
        self.fraction = QSpinBox()
        self.fraction.setRange(0, 90)
        self.fraction.setValue(20)
        self.fraction.setSuffix(" % check")
        self.fraction.setToolTip(
            "Part of the images that is not learnt from, but checked on. Which ones, their names "
            "decide, so that it stays; below you choose for single images."
        )
        self.table = QTreeWidget()
        self.table.setColumnCount(3)
        self.table.setHeaderLabels(["Image", "Objects", "Part"])
        self.table.setRootIsDecorated(False)
        self.table.setUniformRowHeights(True)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        # Names of images differ at their ends as often as at their starts.
        self.table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.table.setToolTip(
            "Which images learn and which check, never both. Select some (Ctrl or Shift and "
            "click), then press a button below."
        )
        self.table.setFixedHeight(_TABLE_HEIGHT)
        header = self.table.header()
        if header is not None:
            header.setStretchLastSection(False)
            header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
            for column in (1, 2):
                header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.choose: dict[str, QPushButton] = {}
        for name, text, tip in (
            ("train", "Learn", "The model learns from the selected images."),
            ("val", "Check", "The selected images tell whether learning helps; never learnt from."),
            ("none", "Neither", "The selected images are left out."),
            ("auto", "Auto", "Let the names of the selected images decide again."),
        ):
            self.choose[name] = QPushButton(text)
            self.choose[name].setToolTip(tip)
            self.choose[name].clicked.connect(lambda _=False, name=name: self._on_choose(name))
        self._lay_out()
        self.fraction.valueChanged.connect(self.fraction_changed)
        self.table.itemSelectionChanged.connect(self._show_choices)

    @property
    def selected(self) -> list[str]:
        """Keys of the selected images."""
        items = self.table.selectedItems()
        return [str(item.data(0, Qt.ItemDataRole.UserRole)) for item in items]

    def show_rows(
        self, rows: Sequence[LearnRow], parts: Parts | None, chosen: Collection[str]
    ) -> None:
        """Show images, those of before still selected.

        Parameters
        ----------
        rows : sequence of LearnRow
        parts : Parts or None
        chosen : collection of str
            Keys of the images of which a person has chosen the part.
        """
        self.setVisible(bool(rows))
        is_video = any(row.is_video for row in rows)
        self.fold.head.setText(f"Which {'videos' if is_video else 'images'} learn, which check")
        self.table.setHeaderLabels(
            ["Video", "Tracks", "Part"] if is_video else ["Image", "Objects", "Part"]
        )
        selected = set(self.selected)
        self.table.blockSignals(True)
        self.table.clear()
        items = []
        for row in rows:
            part = "none" if parts is None else parts.of.get(row.key, "none")
            name = row.name if row.n_images < 2 else f"{row.name} ({row.n_images} frames)"
            word = _WORDS[part] + (" (chosen)" if row.key in chosen else "")
            # What an image that is not open says are objects, whatever is the same in its frames.
            n = "" if is_video and not row.n_images else f"{row.n_objects:,}"
            item = QTreeWidgetItem([name, n, word])
            item.setData(0, Qt.ItemDataRole.UserRole, row.key)
            item.setToolTip(0, row.key)
            if row.n_regions:
                item.setToolTip(1, f"and {row.n_regions:,} regions of stuff")
            items.append(item)
        self.table.addTopLevelItems(items)
        for item in items:
            item.setSelected(item.data(0, Qt.ItemDataRole.UserRole) in selected)
        self.table.blockSignals(False)
        self._show_choices()

    def _show_choices(self) -> None:
        for button in self.choose.values():
            button.setEnabled(bool(self.table.selectedItems()))

    def _on_choose(self, name: str) -> None:
        self.chosen.emit(name, self.selected)

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        for button in self.choose.values():
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            buttons.addWidget(button)
        inside = QVBoxLayout()
        inside.addWidget(self.fraction)
        inside.addWidget(self.table)
        inside.addLayout(buttons)
        self.fold.set_content_layout(inside)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.fold)
