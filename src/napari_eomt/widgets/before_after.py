"""What the model finds on a check image before learning and after, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import (
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_eomt.structures.frames import Frame
    from napari_eomt.widgets.jobs import Jobs
    from napari_eomt.widgets.run_tail import RunNews
    from napari_eomt.widgets.run_watch import Background
    from napari_eomt.worker.messages import Cancelled, Failed, Finished, FrameDone, ModelRef

Side = Literal["before", "after"]

SIDE_PX = 480
"""Of a picture that is kept; shown are as many pixels as there is room for."""


class CheckImage:
    """An image of a dataset as a frame source, read in the thread that asks for it.

    Parameters
    ----------
    dataset : str
        Its COCO file.
    key : str
        Of the image.
    name : str
    """

    n_frames = 1

    def __init__(self, dataset: str, key: str, name: str) -> None:
        self._dataset, self._key, self.name = dataset, key, name
        self.pixels: Frame | None = None
        """As they were read last."""

    def frame(self, index: int) -> Frame:
        """Read it."""
        from napari_eomt.evaluation.truth import open_truth

        self.pixels = open_truth(self._dataset).image(int(self._key))
        return self.pixels


@dataclass
class _Wish:
    """A job of the worker's, and what for."""

    side: Side
    source: CheckImage
    key: str
    step: int | None


class BeforeAfter(QWidget):
    """Two pictures of a check image; the model runs when somebody asks, in the GPU worker.

    Once asked for, the right one follows the best state as it learns.

    Parameters
    ----------
    jobs : Jobs
    background : Background
    ref : callable
        Returns how a model of a name is to run: where, and how precisely.
    """

    said = Signal(str)
    failed = Signal(str, str)

    def __init__(
        self,
        jobs: Jobs,
        background: Background,
        ref: Callable[[str], ModelRef],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._jobs, self._background, self._ref = jobs, background, ref
        self._news: RunNews | None = None
        self._wishes: dict[int, _Wish] = {}
        self._pictures: dict[Side, QPixmap] = {}
        self._followed: tuple[Path, str] | None = None
        self._shown_step: int | None = None
        self._offered: Path | None = None
        self.images = QComboBox()
        self.images.setToolTip("An image that checks: nothing was learnt from it.")
        self.images.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.images.setMinimumContentsLength(6)
        self.show_button = QPushButton("Before │ after")
        self.show_button.setToolTip(
            "Run the model of the start and the best one until now on this image. While a training "
            "runs on the same device, both become slower for that time."
        )
        self.sides: dict[Side, QLabel] = {"before": QLabel(), "after": QLabel()}
        self.captions: dict[Side, QLabel] = {"before": QLabel(), "after": QLabel()}
        top = QHBoxLayout()
        top.addWidget(self.images, 1)
        top.addWidget(self.show_button)
        pictures = QGridLayout()
        for k, side in enumerate(self.sides):
            picture, caption = self.sides[side], self.captions[side]
            picture.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            picture.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignHCenter)
            caption.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
            caption.setWordWrap(True)
            pictures.addWidget(caption, 0, k)
            pictures.addWidget(picture, 1, k)
            pictures.setColumnStretch(k, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(top)
        layout.addLayout(pictures)
        self.show_button.clicked.connect(self.run)
        self.images.currentIndexChanged.connect(self._on_image)
        jobs.frame_done.connect(self._on_frame)
        jobs.finished.connect(self._on_end)
        jobs.cancelled.connect(self._on_end)
        jobs.failed.connect(self._on_failed)
        self.show_run(None)

    @property
    def is_running(self) -> bool:
        """Whether a model is running for this."""
        return bool(self._wishes)

    def show_run(self, news: RunNews | None) -> None:
        """Offer the check images of a run, and follow its best state if it is being watched."""
        has_model = news is not None and news.run is not None and news.run.model_folder is not None
        self.setVisible(has_model and self._offer(news))
        self._news = news
        if self._followed is None or news is None or news.best is None:
            return
        is_same = self._followed == (news.folder, str(self.images.currentData()))
        if is_same and news.best[0] != self._shown_step and not self.is_running:
            self._start("after")

    def run(self) -> None:
        """Run both models on the chosen image."""
        news, key = self._news, self.images.currentData()
        if news is None or key is None or self.is_running:
            return
        self._followed = news.folder, str(key)
        self._start("before")
        self._start("after")

    def _offer(self, news: RunNews | None) -> bool:
        """List the images that check; return whether there are any."""
        if news is None or news.run is None:
            return False
        if news.folder == self._offered:
            return self.images.count() > 0
        self._offered = news.folder
        self._forget()
        self.images.blockSignals(True)
        self.images.clear()
        split = news.split
        for key in () if split is None else split.val:
            self.images.addItem(split.names.get(key, f"image {key}") if split else key, key)
        self.images.blockSignals(False)
        return self.images.count() > 0

    def _start(self, side: Side) -> None:
        news, key = self._news, self.images.currentData()
        if news is None or news.run is None or key is None:
            return
        plan, folder = news.run.plan, news.run.model_folder
        model = plan.model if side == "before" else str(folder)
        step = news.best[0] if side == "after" and news.best is not None else None
        if side == "after" and step != self._shown_step:
            # The worker knows models by their folder, in which there is another one by now.
            self._jobs.client.release()
            self._shown_step = step
        source = CheckImage(plan.val_dataset or plan.dataset, str(key), self.images.currentText())
        name = uuid4().hex
        job = self._jobs.client.segment(self._ref(model), source, [0], plan.resolved.look(), name)
        self._wishes[job] = _Wish(side, source, name, step)
        self.captions[side].setText(f"{side}: running…")
        self.show_button.setEnabled(False)

    def _on_frame(self, event: FrameDone) -> None:
        wish = self._wishes.get(event.job)
        if wish is None or wish.source.pixels is None:
            return
        pixels, segmentation = wish.source.pixels, event.segmentation
        n = len(segmentation.segments)
        when = "" if wish.step is None else f" (step {wish.step:,})"
        objects = "1 object" if n == 1 else f"{n:,} objects"

        def draw() -> Any:
            from napari_eomt.models.catalog import DEFAULT_MODEL, find_model
            from napari_eomt.viewer.thumbnails import thumbnail

            card = find_model(DEFAULT_MODEL)  # how the picture looks depends on no model
            return thumbnail(pixels, segmentation.id_map, card, SIDE_PX)

        self._background.do(
            draw, lambda picture: self._show(wish, picture, f"{wish.side}{when}: {objects}")
        )

    def _show(self, wish: _Wish, picture: Any, caption: str) -> None:
        h, w, _ = picture.shape
        image = QImage(picture.tobytes(), w, h, 3 * w, QImage.Format.Format_RGB888)
        self._pictures[wish.side] = QPixmap.fromImage(image.copy())
        self.captions[wish.side].setText(caption)
        self._fit()

    def _fit(self) -> None:
        """Show the pictures as large as there is room."""
        for side, pixmap in self._pictures.items():
            label = self.sides[side]
            shown = pixmap.scaledToWidth(
                max(40, (self.width() - 12) // 2), Qt.TransformationMode.SmoothTransformation
            )
            label.setPixmap(shown)
            label.setFixedHeight(shown.height())

    def resizeEvent(self, event: Any) -> None:
        """Let the pictures fit."""
        super().resizeEvent(event)
        self._fit()

    def _on_image(self) -> None:
        self._forget()

    def _forget(self) -> None:
        """Show nothing: what is shown is of another image."""
        for job in self._wishes:
            self._jobs.client.cancel(job)
        self._followed = self._shown_step = None
        self._pictures.clear()
        for side in self.sides:
            self.sides[side].clear()
            self.sides[side].setFixedHeight(0)
            self.captions[side].setText("")

    def _on_end(self, event: Finished | Cancelled) -> None:
        wish = self._wishes.pop(event.job, None)
        if wish is not None:
            # Nobody decides anew about these.
            self._jobs.client.forget(wish.key)
        self.show_button.setEnabled(not self._wishes)

    def _on_failed(self, event: Failed) -> None:
        wish = self._wishes.pop(event.job, None)
        if wish is not None:
            self.captions[wish.side].setText(f"{wish.side}: failed")
            self.failed.emit(event.message, event.details)
        self.show_button.setEnabled(not self._wishes)
