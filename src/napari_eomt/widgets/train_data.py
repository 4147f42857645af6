"""What is learnt from, and which images check: chosen image by image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QPushButton,
    QRadioButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_eomt.errors import DataError
from napari_eomt.widgets.train_counts import counted_text
from napari_eomt.widgets.train_parts import TrainParts

if TYPE_CHECKING:
    from napari_eomt.training.split import Choice
    from napari_eomt.viewer.image_folder import ImageFolder
    from napari_eomt.viewer.results import Result
    from napari_eomt.viewer.train_dataset import LearnRow, LearnSource, Parts
    from napari_eomt.viewer.train_folder import FolderSource
    from napari_eomt.viewer.train_videos import VideoFolderSource
    from napari_eomt.widgets.current import Current
    from napari_eomt.widgets.run_watch import Background

What = Literal["image", "folder", "dataset"]


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
        self._dataset: FolderSource | VideoFolderSource | None = None
        self._asked: Path | None = None
        self._wanted: What | None = None
        self._choices: dict[tuple[str, str], Choice] = {}
        self._rows: tuple[LearnRow, ...] = ()
        self._gap = 5
        self._wants_videos: bool | None = None
        self._is_for_videos = False
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
                "Images and their COCO file, as an export writes them; or videos with tracks.",
            ),
            strict=True,
        ):
            button.setToolTip(tip)
        self.what["image"].setChecked(True)
        self.place = QLineEdit()
        self.place.setPlaceholderText("Folder of the dataset, or its JSON")
        self.place.setToolTip(
            "A folder with a COCO or YouTube-VIS file, or the file itself, if there are several; a "
            "folder of the Cell Tracking Challenge; or one of documents, NAME.eomt."
        )
        self.browse = QPushButton("…")
        self.browse.setToolTip("Choose the folder of a dataset, or its COCO file.")
        self.browse.setAccessibleName("Choose a dataset")
        self.as_videos = QCheckBox("As videos: learn to follow objects")
        self.as_videos.setToolTip(
            "Learn from the tracks of stacks: which object is the same from frame to frame. A "
            "model of images becomes one of videos. Otherwise each frame is an image by itself."
        )
        self.counts = QLabel()
        self.counts.setWordWrap(True)
        self.counts.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.images = TrainParts()
        # They are this widget's to whoever uses it.
        self.fold, self.fraction = self.images.fold, self.images.fraction
        self.table, self.choose = self.images.table, self.images.choose
        self._lay_out()
        self._whats = QButtonGroup(self)
        for button in self.what.values():
            self._whats.addButton(button)
        self._whats.buttonClicked.connect(self._on_what)
        self.place.editingFinished.connect(self._on_place)
        self.browse.clicked.connect(self._on_browse)
        self.as_videos.clicked.connect(self._on_as_videos)
        self.images.fraction_changed.connect(self._on_fraction)
        self.images.chosen.connect(self._on_choose)

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
    def is_video(self) -> bool:
        """Whether it is learnt from as videos, with their tracks."""
        return any(row.is_video for row in self._rows)

    @property
    def wants_videos(self) -> bool | None:
        """Whether somebody wants stacks learnt from as videos; None if nobody has said."""
        return self._wants_videos

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
            return _name_of(self._dataset.path)
        if self.kind == "folder" and folder is not None:
            return folder.name
        return "run" if result is None else Path(str(result.image.name)).stem

    @property
    def folder(self) -> Path | None:
        """Folder or COCO file of the dataset that was named; may be none."""
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
        as_video = self.is_video
        if self.kind == "folder":
            self._folder.keep()
            return work_of_folder(self._folder, self._open_result(), as_video=as_video)
        return None if result is None else work_of_result(result, as_video=as_video)

    def show_folder(self, folder: Path | str) -> None:
        """Learn from a dataset."""
        self.place.setText(str(folder))
        self.choose_kind("dataset")
        self._on_place()

    def choose_kind(self, kind: What) -> None:
        """Learn from this, as soon as it is there."""
        self._wanted = kind
        self.what[kind].setChecked(True)

    def choose_videos(self, wanted: bool | None) -> None:
        """Learn from stacks as videos, or as images; None: as what the model is of."""
        self._wants_videos = wanted

    def show_model(self, *, is_video: bool, gap: int) -> None:
        """Learn from stacks as what a model is of, until somebody chooses.

        Parameters
        ----------
        is_video : bool
        gap : int
            Frames of a clip, which are left out where a single video is split in time.
        """
        before = self._is_for_videos, self._gap
        self._is_for_videos, self._gap = is_video, gap
        if before != (is_video, gap) and (self._rows or self.parts is not None):
            self.refresh()

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
        has_stack = kind != "dataset" and result is not None and result.document.n_frames > 1
        wanted = self._is_for_videos if self._wants_videos is None else self._wants_videos
        self.as_videos.setVisible(has_stack)
        self.as_videos.setChecked(wanted)
        as_video = has_stack and wanted
        if kind == "dataset":
            self._rows = () if self._dataset is None else self._dataset.rows
        elif kind == "folder":
            self._rows = rows_of_folder(self._folder, self._open_result(), as_video=as_video)
        else:
            self._rows = () if result is None else rows_of_result(result, as_video=as_video)
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
                self.parts = parts_of(self._rows, self.val_fraction, choices, self._gap)
                self.problem = ""
            except DataError as error:
                self.problem = str(error)
        elif self._asked is None:
            self.problem = ""
        own = kind == "dataset" and self._dataset is not None and self._dataset.val_fraction
        self.fraction.setEnabled(not own)
        self.counts.setText(self._counted())
        self.counts.setVisible(bool(self.counts.text()))
        chosen = {key for what, key in self._choices if what == kind}
        self.images.show_rows(self._rows, self.parts, chosen)

    def _counted(self) -> str:
        if self.parts is None:
            return f"⚠ {self.problem}" if self.problem else ""
        what = "annotated" if self.kind == "dataset" else "reviewed"
        return counted_text(self._rows, self.parts, what)

    def _open_result(self) -> Result | None:
        result = self._current.result
        is_open = result is not None and result.image is self._folder.layer
        return result if is_open else None

    def _on_choose(self, name: str, keys: list[str]) -> None:
        for key in keys:
            if name == "auto":
                self._choices.pop((self.kind, key), None)
            else:
                self._choices[self.kind, key] = name  # type: ignore[assignment]
        self._divide()
        self.changed.emit()

    def _on_what(self) -> None:
        self._wanted = self.kind
        self.refresh()

    def _on_as_videos(self) -> None:
        self._wants_videos = self.as_videos.isChecked()
        self.refresh()

    def _on_fraction(self) -> None:
        self._divide()
        self.changed.emit()

    def _on_browse(self) -> None:
        menu = QMenu(self)
        menu.addAction("Folder…", self._on_browse_folder)
        menu.addAction("COCO or YouTube-VIS file…", self._on_browse_file)
        menu.exec(self.browse.mapToGlobal(self.browse.rect().bottomLeft()))

    def _on_browse_folder(self) -> None:
        start = self.folder or Path.home()
        start = start if start.is_dir() else start.parent
        chosen = QFileDialog.getExistingDirectory(self, "Folder of the dataset", str(start))
        if chosen:
            self.show_folder(chosen)

    def _on_browse_file(self) -> None:
        start = str(self.folder or Path.home())
        kinds = "COCO, YouTube-VIS (*.json)"
        chosen, _ = QFileDialog.getOpenFileName(self, "File of the dataset", start, kinds)
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

        def read() -> FolderSource | VideoFolderSource:
            from napari_eomt.viewer.train_videos import open_learn_source

            return open_learn_source(path)

        self._background.do(
            read,
            lambda found: self._on_read(path, found),
            lambda message, _: self._on_unreadable(path, message),
        )

    def _on_read(self, path: Path, found: FolderSource | VideoFolderSource) -> None:
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
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for radio in self.what.values():
            layout.addWidget(radio)
        layout.addLayout(place)
        layout.addWidget(self.as_videos)
        layout.addWidget(self.counts)
        layout.addWidget(self.images)


def _name_of(path: Path) -> str:
    """Return what a dataset is called, by its folder, or that of its COCO file."""
    if path.is_dir():
        return path.stem
    folder = path.parent
    # COCO's own: coco/annotations/instances_val2017.json.
    return folder.parent.name if folder.name == "annotations" else folder.name
