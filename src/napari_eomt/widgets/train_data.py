"""What is learnt from, and which images check: chosen image by image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QButtonGroup,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QSizePolicy,
    QSpinBox,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_eomt.errors import DataError
from napari_eomt.widgets.fold import Fold

if TYPE_CHECKING:
    from napari_eomt.training.split import Choice
    from napari_eomt.viewer.image_folder import ImageFolder
    from napari_eomt.viewer.results import Result
    from napari_eomt.viewer.train_dataset import FolderSource, LearnRow, LearnSource, Parts
    from napari_eomt.widgets.current import Current
    from napari_eomt.widgets.run_watch import Background

What = Literal["image", "folder", "dataset"]

_WORDS: dict[Choice, str] = {"train": "learns", "val": "checks", "none": "neither"}
_TABLE_HEIGHT = 150


class TrainData(QWidget):
    """Chooses the open image, the folder's images, or a dataset; and the part of each image.

    Parameters
    ----------
    current : Current
    folder : ImageFolder
    background : Background
        Reads datasets.
    """

    changed = Signal()

    def __init__(
        self,
        current: Current,
        folder: ImageFolder,
        background: Background,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._current, self._folder, self._background = current, folder, background
        self._dataset: FolderSource | None = None
        self._asked: Path | None = None
        self._wanted: What | None = None
        self._choices: dict[tuple[str, str], Choice] = {}
        self._rows: tuple[LearnRow, ...] = ()
        self.parts: Parts | None = None
        """What each image is for; None if there is nothing to learn from."""
        self.problem = ""
        self.what: dict[What, QRadioButton] = {
            "image": QRadioButton("This image"),
            "folder": QRadioButton("The images of the folder"),
            "dataset": QRadioButton("A dataset"),
        }
        for button, tip in zip(
            self.what.values(),
            (
                "The open image: the frames of which you have decided anything.",
                "All images of the open folder of which you have decided anything.",
                "A folder with images and a COCO file, such as an export has written.",
            ),
            strict=True,
        ):
            button.setToolTip(tip)
        self.what["image"].setChecked(True)
        self.place = QLineEdit()
        self.place.setPlaceholderText("Folder of the dataset")
        self.browse = QPushButton("…")
        self.browse.setToolTip("Choose the folder of a dataset.")
        self.browse.setAccessibleName("Choose the folder of a dataset")
        self.counts = QLabel()
        self.counts.setWordWrap(True)
        self.counts.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
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
        self._lay_out()
        self._whats = QButtonGroup(self)
        for button in self.what.values():
            self._whats.addButton(button)
        self._whats.buttonClicked.connect(self._on_what)
        self.place.editingFinished.connect(self._on_place)
        self.browse.clicked.connect(self._on_browse)
        self.fraction.valueChanged.connect(self._on_fraction)
        self.table.itemSelectionChanged.connect(self._show_choices)
        for name, chooser in self.choose.items():
            chooser.clicked.connect(lambda _=False, name=name: self._on_choose(name))

    @property
    def kind(self) -> What:
        """What is learnt from."""
        return next((name for name, button in self.what.items() if button.isChecked()), "image")

    @property
    def wanted(self) -> What | None:
        """What somebody has chosen to learn from; None if nobody has."""
        return self._wanted

    @property
    def learning(self) -> tuple[LearnRow, ...]:
        """The images that learn."""
        parts = self.parts
        if parts is None:
            return ()
        return tuple(row for row in self._rows if parts.of.get(row.key) == "train")

    @property
    def val_fraction(self) -> float:
        """Part of the images that check."""
        is_own = self.kind == "dataset" and self._dataset is not None
        own = self._dataset.val_fraction if is_own and self._dataset is not None else None
        return self.fraction.value() / 100 if own is None else own

    @property
    def is_chosen(self) -> bool:
        """Whether a person has chosen the part of any image."""
        return any((self.kind, row.key) in self._choices for row in self._rows)

    @property
    def name(self) -> str:
        """A name for what is learnt from."""
        result, folder = self._current.result, self._folder.folder
        if self.kind == "dataset" and self._dataset is not None:
            return self._dataset.path.parent.name
        if self.kind == "folder" and folder is not None:
            return folder.name
        return "run" if result is None else Path(str(result.image.name)).stem

    @property
    def folder(self) -> Path | None:
        """Folder of the dataset that was named; may be none."""
        text = self.place.text().strip()
        return Path(text).expanduser() if text else None

    def source(self) -> LearnSource | None:
        """Return what is learnt from, as it is now; None if there is nothing."""
        from napari_eomt.viewer.train_choice import work_of_folder, work_of_result

        if self.parts is None:
            return None
        if self.kind == "dataset":
            return self._dataset
        result = self._current.result
        if self.kind == "folder":
            self._folder.keep()
            return work_of_folder(self._folder, self._open_result())
        return None if result is None else work_of_result(result)

    def show_folder(self, folder: Path | str) -> None:
        """Learn from a dataset."""
        self.place.setText(str(folder))
        self.choose_kind("dataset")
        self._on_place()

    def choose_kind(self, kind: What) -> None:
        """Learn from this, as soon as it is there."""
        self._wanted = kind
        self.what[kind].setChecked(True)

    def refresh(self) -> None:
        """Show what there is to learn from now."""
        from napari_eomt.viewer.train_choice import rows_of_folder, rows_of_result

        result, has_folder = self._current.result, bool(self._folder.rows)
        self.what["image"].setVisible(result is not None)
        self.what["folder"].setVisible(has_folder)
        can: dict[What, bool] = {
            "folder": has_folder, "image": result is not None, "dataset": True,
        }  # fmt: skip
        # What somebody chose, as soon as it is there; until then what there is.
        kind = next(name for name in (self._wanted, *can) if name is not None and can[name])
        self.what[kind].setChecked(True)
        for widget in (self.place, self.browse):
            widget.setVisible(kind == "dataset")
        if kind == "dataset":
            self._rows = () if self._dataset is None else self._dataset.rows
        elif kind == "folder":
            self._rows = rows_of_folder(self._folder, self._open_result())
        else:
            self._rows = () if result is None else rows_of_result(result)
        self._divide()
        self.changed.emit()

    def _divide(self) -> None:
        """Bring the parts, and what is said about them, up to date."""
        from napari_eomt.viewer.train_dataset import parts_of

        kind = self.kind
        self.parts = None
        if self._rows:
            choices = {k: c for (what, k), c in self._choices.items() if what == kind}
            try:
                self.parts = parts_of(self._rows, self.val_fraction, choices)
                self.problem = ""
            except DataError as error:
                self.problem = str(error)
        elif self._asked is None:
            self.problem = ""
        own = kind == "dataset" and self._dataset is not None and self._dataset.val_fraction
        self.fraction.setEnabled(not own)
        self.fold.setVisible(bool(self._rows))
        self.counts.setText(self._counted())
        self.counts.setVisible(bool(self.counts.text()))
        self._show_table()

    def _counted(self) -> str:
        rows, parts = self._rows, self.parts
        if parts is None:
            return f"⚠ {self.problem}" if self.problem else ""
        n = sum(row.n_images for row in rows)
        n_objects = sum(row.n_objects for row in rows)
        what = "annotated" if self.kind == "dataset" else "reviewed"
        images = f"1 image {what}" if n == 1 else f"{n:,} images {what}"
        learn, check = parts.count(rows, "train"), parts.count(rows, "val")
        text = f"{images}, {n_objects:,} objects · {learn:,} learn · {check:,} check"
        return "\n".join((text, *parts.notes))

    def _show_table(self) -> None:
        selected = {item.data(0, Qt.ItemDataRole.UserRole) for item in self.table.selectedItems()}
        self.table.blockSignals(True)
        self.table.clear()
        items = []
        for row in self._rows:
            part = "none" if self.parts is None else self.parts.of.get(row.key, "none")
            is_chosen = (self.kind, row.key) in self._choices
            name = row.name if row.n_images == 1 else f"{row.name} ({row.n_images} frames)"
            word = _WORDS[part] + (" (chosen)" if is_chosen else "")
            item = QTreeWidgetItem([name, f"{row.n_objects:,}", word])
            item.setData(0, Qt.ItemDataRole.UserRole, row.key)
            item.setToolTip(0, row.key)
            items.append(item)
        self.table.addTopLevelItems(items)
        for item in items:
            item.setSelected(item.data(0, Qt.ItemDataRole.UserRole) in selected)
        self.table.blockSignals(False)
        self._show_choices()

    def _show_choices(self) -> None:
        for button in self.choose.values():
            button.setEnabled(bool(self.table.selectedItems()))

    def _open_result(self) -> Result | None:
        result = self._current.result
        is_open = result is not None and result.image is self._folder.layer
        return result if is_open else None

    def _on_choose(self, name: str) -> None:
        for item in self.table.selectedItems():
            place = (self.kind, str(item.data(0, Qt.ItemDataRole.UserRole)))
            if name == "auto":
                self._choices.pop(place, None)
            else:
                self._choices[place] = name  # type: ignore[assignment]
        self._divide()
        self.changed.emit()

    def _on_what(self) -> None:
        self._wanted = self.kind
        self.refresh()

    def _on_fraction(self) -> None:
        self._divide()
        self.changed.emit()

    def _on_browse(self) -> None:
        start = str(self.folder or Path.home())
        chosen = QFileDialog.getExistingDirectory(self, "Folder of the dataset", start)
        if chosen:
            self.show_folder(chosen)

    def _on_place(self) -> None:
        path = self.folder
        if path == self._asked and self._dataset is not None:
            self.refresh()
            return
        self._dataset, self._asked, self.problem = None, path, ""
        # Of another dataset nobody has chosen anything yet.
        self._choices = {at: c for at, c in self._choices.items() if at[0] != "dataset"}
        self.refresh()
        if path is None:
            return
        self.counts.setText("Reading…")
        self.counts.setVisible(True)

        def read() -> FolderSource:
            from napari_eomt.viewer.train_dataset import FolderSource

            return FolderSource(path)

        self._background.do(
            read,
            lambda found: self._on_read(path, found),
            lambda message, _: self._on_unreadable(path, message),
        )

    def _on_read(self, path: Path, found: FolderSource) -> None:
        if path == self._asked:
            self._dataset = found
            if found.val_fraction is not None:
                self.fraction.setToolTip("The dataset itself says which of its images check.")
            self.refresh()

    def _on_unreadable(self, path: Path, message: str) -> None:
        if path == self._asked:
            self.problem = message
            self.refresh()

    def _lay_out(self) -> None:
        place = QHBoxLayout()
        place.addWidget(self.place, 1)
        place.addWidget(self.browse)
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
        for radio in self.what.values():
            layout.addWidget(radio)
        layout.addLayout(place)
        layout.addWidget(self.counts)
        layout.addWidget(self.fold)
