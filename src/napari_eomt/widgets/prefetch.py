"""Segments the next image of a folder while one works on this one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from pydantic import ValidationError
from qtpy.QtCore import QObject, QTimer, Signal

from napari_eomt.annotation.document import FrameState
from napari_eomt.errors import EomtError
from napari_eomt.viewer.image_work import Ready

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_eomt.inference.params import PredictParams
    from napari_eomt.models.card import ModelCard
    from napari_eomt.structures.frames import Frame
    from napari_eomt.viewer.image_folder import ImageFolder
    from napari_eomt.widgets.jobs import Jobs
    from napari_eomt.worker.messages import Cancelled, Failed, Finished, FrameDone, ModelRef

LOOK_MS = 50
"""How often it is looked whether the user wants the worker: no longer does a slider wait."""

QUIET_MS = 400
"""How long the worker is left alone after the user's last job."""


@dataclass(frozen=True)
class Plan:
    """What a run of the model would be made with.

    Parameters
    ----------
    ref : ModelRef
    params : PredictParams
    """

    ref: ModelRef
    params: PredictParams


class _File:
    """The frames of a file that is opened where it is read: not in the window's thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        """The file's name."""
        return self._path.name

    @property
    def n_frames(self) -> int:
        """How many frames there are."""
        from napari_eomt.inference.sources import open_source

        with open_source(self._path) as source:
            return source.n_frames

    def frame(self, index: int) -> Frame:
        """Return a frame, in memory."""
        from napari_eomt.inference.sources import open_source

        with open_source(self._path) as source:
            return source.frame(index)


class Prefetch(QObject):
    """Has proposals ready for the first frame of the image that is opened next.

    The user goes before: as long as a job of theirs runs or waits nothing is done here, and what
    runs is stopped at its next tile and begun anew afterwards. What was made for another next
    image, with another model or other parameters is dropped.

    Parameters
    ----------
    jobs : Jobs
    folder : ImageFolder
    model : callable
        Gives the chosen model's card and what the worker calls it.
    params : callable
        Gives the parameters that the Segment page shows.
    is_busy : callable
        Whether a job of the user's runs or waits.
    """

    changed = Signal()
    """`text` says something else."""

    def __init__(
        self,
        jobs: Jobs,
        folder: ImageFolder,
        model: Callable[[], tuple[ModelCard, ModelRef]],
        params: Callable[[], PredictParams],
        is_busy: Callable[[], bool],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._jobs, self._folder = jobs, folder
        self._model, self._params, self._is_busy = model, params, is_busy
        self._is_on = True
        self._job: int | None = None
        self._path: Path | None = None
        self._plan: Plan | None = None
        self._key = ""
        self._card: ModelCard | None = None
        self._ready: Ready | None = None
        self._failed: dict[Path, Plan] = {}
        self._quiet = 0
        self.text = ""
        self._timer = QTimer(self)
        self._timer.setInterval(LOOK_MS)
        self._timer.timeout.connect(self.update)
        folder.prefetched = self.take
        folder.opened.connect(self._on_folder)
        folder.changed.connect(self._on_folder)
        folder.row_changed.connect(self._on_folder)
        jobs.frame_done.connect(self._on_frame)
        jobs.finished.connect(self._on_finished)
        jobs.cancelled.connect(self._on_cancelled)
        jobs.failed.connect(self._on_failed)

    @property
    def is_on(self) -> bool:
        """Whether anything is done ahead."""
        return self._is_on

    @is_on.setter
    def is_on(self, on: bool) -> None:
        self._is_on = on
        self.update()

    @property
    def is_running(self) -> bool:
        """Whether the worker is at it."""
        return self._job is not None

    @property
    def is_ready(self) -> bool:
        """Whether proposals are at hand."""
        return self._ready is not None

    def close_events(self) -> None:
        """Stop, and do nothing any more."""
        self._timer.stop()
        self._is_on = False
        self._drop()
        self._folder.prefetched = lambda path: None
        for signal in (self._folder.opened, self._folder.changed, self._folder.row_changed):
            signal.disconnect(self._on_folder)

    def take(self, path: Path) -> Ready | None:
        """Give away the proposals for an image, if they are what a run would find now."""
        if path != self._path or self._plan != self._plan_now():
            return None
        ready, self._ready = self._ready, None
        if ready is not None:
            self._path = self._plan = None
        return ready

    def update(self) -> None:
        """Do what is to be done now: begin, go on, stop, or nothing."""
        target, plan = self._target(), self._plan_now()
        if target is None or plan is None:
            self._timer.stop()
            self._drop()
            self._say("")
            return
        if (target, plan) != (self._path, self._plan):
            self._drop()
        if self._ready is not None or self._failed.get(target) == plan:
            # Only to see whether the model or the parameters become others.
            self._timer.start()
            return
        self._timer.start()
        if self._is_busy():
            self._quiet = QUIET_MS
            self._stop()
        elif self._quiet > 0:
            self._quiet -= LOOK_MS
        elif self._job is None:
            self._begin(target, plan)

    def _target(self) -> Path | None:
        folder = self._folder
        if not self._is_on or folder.current is None:
            return None
        index = folder.next_index()
        if index is None or folder.rows[index].progress.state is not FrameState.NEW:
            return None
        return folder.rows[index].path

    def _plan_now(self) -> Plan | None:
        try:
            return Plan(self._model()[1], self._params())
        except (EomtError, ValidationError):
            return None  # the page says so

    def _begin(self, path: Path, plan: Plan) -> None:
        self._path, self._plan, self._key = path, plan, uuid4().hex
        self._card = self._model()[0]
        self._job = self._jobs.client.segment(plan.ref, _File(path), [0], plan.params, self._key)
        self._say(f"Segmenting {_short(path.name)} ahead…")

    def _stop(self) -> None:
        if self._job is not None:
            self._jobs.client.cancel(self._job)
            # What it still says is nobody's any more.
            self._job = None
            self._say("")

    def _drop(self) -> None:
        self._stop()
        if self._ready is not None:
            self._jobs.client.forget(self._key)
        self._ready = self._path = self._plan = None

    def _on_folder(self, *_: object) -> None:
        self.update()

    def _on_frame(self, event: FrameDone) -> None:
        if event.job == self._job and self._card is not None:
            self._ready = Ready(
                event.key, event.segmentation, self._card.categories, event.uncertainty
            )

    def _on_finished(self, event: Finished) -> None:
        if event.job == self._job and self._path is not None and self._ready is not None:
            self._job = None
            n = len(self._ready.segmentation.segments)
            what = "1 object" if n == 1 else f"{n:,} objects"
            self._say(f"Next: {_short(self._path.name)} is ready, {what}.")

    def _on_cancelled(self, event: Cancelled) -> None:
        if event.job == self._job:
            self._job = None
            self._say("")

    def _on_failed(self, event: Failed) -> None:
        if event.job == self._job and self._path is not None and self._plan is not None:
            self._job = None
            self._failed[self._path] = self._plan
            if event.message.startswith(f"{self._path}:"):
                self._folder.mark_unreadable(self._path, event.message)
                return
            self._say(f"{_short(self._path.name)} could not be segmented ahead: {event.message}")

    def _say(self, text: str) -> None:
        if text != self.text:
            self.text = text
            self.changed.emit()


def _short(name: str) -> str:
    """Return a name that a narrow dock can show: the ends, which tell files apart."""
    return name if len(name) <= 26 else f"{name[:11]}…{name[-14:]}"
