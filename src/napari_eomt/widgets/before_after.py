"""What the model finds on a check image before learning and after, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from qtpy.QtCore import Qt, QTimer, Signal
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

from napari_eomt.training.video_choice import n_videos
from napari_eomt.widgets.run_samples import (
    CheckImage,
    Picture,
    Side,
    draw,
    kept_pictures,
    objects_text,
    offered,
    short_name,
    step_after,
    when,
)
from napari_eomt.widgets.run_view import result_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_eomt.widgets.jobs import Jobs
    from napari_eomt.widgets.run_tail import RunNews
    from napari_eomt.widgets.run_watch import Background
    from napari_eomt.worker.messages import Cancelled, Failed, Finished, FrameDone, ModelRef

SIDE_PX = 480
"""Of a picture that is kept; shown are as many pixels as there is room for."""


@dataclass
class _Wish:
    """A job of the worker's, and what for."""

    side: Side
    source: CheckImage
    key: str
    words: str


class BeforeAfter(QWidget):
    """Two pictures of a check image: what the model found at the start, and what it finds now.

    Of the first images a run's own checks keep that, and the pictures follow them as it learns. Of
    the others the models are run when somebody asks, in the GPU worker.

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
        self._image: CheckImage | None = None
        self._offered: Path | None = None
        self._read: object = None
        self._run_step: int | None = None
        self.head = QLabel()
        self.images = QComboBox()
        self.images.setToolTip("What checks: nothing was learnt from it.")
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
        self._fit_timer = QTimer(self)
        self._fit_timer.setSingleShot(True)
        self._fit_timer.setInterval(0)
        self._fit_timer.timeout.connect(self._fit)
        self._lay_out()
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
        """Offer the check images of a run, and show what its checks have found on the chosen."""
        has_model = news is not None and news.run is not None and news.run.model_folder is not None
        self.setVisible(has_model and self._offer(news))
        self._news = news
        self._read_kept()

    def run(self) -> None:
        """Run both models on the chosen image."""
        if self._image is None or self.is_running:
            return
        self._start("before")
        self._start("after")

    def _offer(self, news: RunNews | None) -> bool:
        """List the images that check; return whether there are any."""
        if news is None or news.run is None:
            return False
        if news.folder == self._offered:
            return self.images.count() > 0
        self._offered, self._news = news.folder, news
        self.images.blockSignals(True)
        self.images.clear()
        what = "a frame that checks" if news.split and n_videos(news.split.val) else "a check image"
        self.head.setText(f"<b>found on {what}</b>")
        for k, (key, name) in enumerate(offered(news)):
            self.images.addItem(short_name(key, name), key)
            self.images.setItemData(k, name, Qt.ItemDataRole.ToolTipRole)
        self.images.blockSignals(False)
        self._forget()
        return self.images.count() > 0

    def _read_kept(self) -> None:
        """Show what the checks have found, if there was one since that was shown."""
        news, image = self._news, self._image
        if news is None or image is None or not self.isVisibleTo(self.parentWidget()):
            return
        known = (news.folder, image.key, len(news.checks), news.is_running)
        if known == self._read:
            return
        self._read = known
        self._background.do(
            lambda: kept_pictures(news, image, SIDE_PX),
            lambda found: self._show_kept(image, found),
            self._on_unreadable,
        )

    def _show_kept(self, image: CheckImage, found: dict[Side, Picture]) -> None:
        if image is not self._image:
            return
        self.show_button.setVisible(not found)
        for side, picture in found.items():
            self._show(side, picture)

    def _on_unreadable(self, message: str, _: str) -> None:
        """Offer to run the models instead, and say why on the button."""
        self.show_button.setVisible(True)
        self.captions["before"].setText(f"⚠ {message}")

    def _start(self, side: Side) -> None:
        news, image = self._news, self._image
        if news is None or news.run is None or image is None:
            return
        plan, folder, step = news.run.plan, result_folder(news), step_after(news)
        model = plan.model if side == "before" else str(folder)
        if side == "after" and step != self._run_step:
            # The worker knows models by their folder, in which there is another one by now.
            self._jobs.client.release()
            self._run_step = step
        name = uuid4().hex
        job = self._jobs.client.segment(self._ref(model), image, [0], plan.resolved.look(), name)
        words = "before" if side == "before" else when(news, step)
        self._wishes[job] = _Wish(side, image, name, words)
        self.captions[side].setText(f"{side}: running…")
        self.show_button.setEnabled(False)

    def _on_frame(self, event: FrameDone) -> None:
        wish = self._wishes.get(event.job)
        if wish is None or wish.source.pixels is None:
            return
        pixels, found = wish.source.pixels, event.segmentation
        caption = f"{wish.words}: {objects_text(len(found.segments))}"

        def show(picture: Picture) -> None:
            if wish.source is self._image:
                self._show(wish.side, picture)

        self._background.do(lambda: Picture(draw(pixels, found.id_map, SIDE_PX), caption), show)

    def _show(self, side: Side, picture: Picture) -> None:
        h, w, _ = picture.pixels.shape
        image = QImage(picture.pixels.tobytes(), w, h, 3 * w, QImage.Format.Format_RGB888)
        self._pictures[side] = QPixmap.fromImage(image.copy())
        self.captions[side].setText(picture.caption)
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
        # A layout that is just being done does not hear that a picture is lower now.
        self._fit_timer.start()

    def _on_image(self) -> None:
        self._forget()
        self._read_kept()

    def _forget(self) -> None:
        """Show nothing: what is shown is of another image."""
        for job in self._wishes:
            self._jobs.client.cancel(job)
        self._read = self._run_step = self._image = None
        news, key = self._news, self.images.currentData()
        if news is not None and news.run is not None and key is not None:
            plan = news.run.plan
            dataset = plan.val_dataset or plan.dataset
            self._image = CheckImage(dataset, str(key), self.images.currentText())
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

    def _lay_out(self) -> None:
        top, pictures = QHBoxLayout(), QGridLayout()
        top.addWidget(self.images, 1)
        top.addWidget(self.show_button)
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
        layout.addWidget(self.head)
        layout.addLayout(top)
        layout.addLayout(pictures)
