"""The Learn page: what a model learns from, how, how it goes, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QVBoxLayout,
    QWidget,
)

from napari_eomt.errors import EomtError
from napari_eomt.widgets.before_after import BeforeAfter
from napari_eomt.widgets.fold import Fold
from napari_eomt.widgets.model_actions import primary_style
from napari_eomt.widgets.run_list import RunList
from napari_eomt.widgets.run_view import RunView, result_folder, score_text
from napari_eomt.widgets.run_watch import Background, RunWatch
from napari_eomt.widgets.train_form import plain
from napari_eomt.widgets.train_setup import TrainSetup
from napari_eomt.widgets.train_start import TrainStart

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_eomt.viewer.image_folder import ImageFolder
    from napari_eomt.widgets.current import Current
    from napari_eomt.widgets.jobs import Jobs
    from napari_eomt.widgets.model_library import ModelLibrary
    from napari_eomt.widgets.model_picker import ModelPicker
    from napari_eomt.widgets.run_tail import RunNews
    from napari_eomt.worker.messages import ModelRef

REFRESH_MS = 300
"""After an edit, until what there is to learn from is counted anew."""


_RIGHT_PX = 4
"""Between what is shown and the scroll bar."""


class TrainPage(QWidget):
    """Teaches a model what is annotated, in a process that outlives the window.

    Parameters
    ----------
    current : Current
    folder : ImageFolder
    jobs : Jobs
        Of the GPU worker, which shows what the model has learnt, and makes room for training.
    library : ModelLibrary
    picker : ModelPicker
        Takes up what was learnt.
    ref : callable
        Returns how a model of a name is to run: where, and how precisely.
    saved : dict
        The page's values of last time.
    """

    said = Signal(str)
    """What happened, in one line."""
    failed = Signal(str, str)
    begun = Signal()
    """Somebody wants a training to begin, or to go on: what went wrong before is over."""
    review_requested = Signal()
    used = Signal(str, object)
    """The model of the Segment page is what was learnt: what to say, and what takes it back."""
    settings_changed = Signal()

    def __init__(
        self,
        current: Current,
        folder: ImageFolder,
        jobs: Jobs,
        library: ModelLibrary,
        picker: ModelPicker,
        ref: Callable[[str], ModelRef],
        saved: dict[str, Any],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._current, self._folder, self._jobs = current, folder, jobs
        self._library, self._picker, self._ref = library, picker, ref
        self._saved, self._is_filled = dict(saved), False
        self._was_running: set[Path] = set()
        self.background = Background(self)
        self.watch = RunWatch(self)
        self.start_up = TrainStart(self)
        self.new = TrainSetup(current, folder, library, picker, ref, self.background, saved)
        self.data, self.form = self.new.data, self.new.form
        self.view = RunView(self.background)
        self.samples = BeforeAfter(jobs, self.background, ref)
        others = saved.get("others")
        self.runs = RunList(
            self.background, [Path(p) for p in others] if isinstance(others, list | tuple) else []
        )
        self.runs_fold = Fold("Runs")
        self.setup = Fold("New training")
        self._lay_out()
        self._refresh_timer = QTimer(self)
        self._refresh_timer.setSingleShot(True)
        self._refresh_timer.setInterval(REFRESH_MS)
        self._refresh_timer.timeout.connect(self.refresh)
        self._connect()
        self._show()

    def _connect(self) -> None:
        self.new.review_requested.connect(self.review_requested)
        self.new.learn_requested.connect(self.start)
        self.new.changed.connect(self._on_new)
        self.view.stop_requested.connect(self.stop)
        self.view.resume_requested.connect(self.resume)
        self.view.use_requested.connect(self.use)
        self.samples.failed.connect(self.failed)
        self.runs.chosen.connect(self.show_runs)
        self.runs.listed.connect(self._on_listed)
        self.runs.said.connect(self.said)
        self.runs.failed.connect(self.view.show_problem)
        self.watch.changed.connect(self._on_news)
        self.watch.failed.connect(self.view.show_problem)
        self.background.failed.connect(self.view.show_problem)
        self.start_up.progressed.connect(self._on_preparing)
        self.start_up.started.connect(self._on_started)
        self.start_up.failed.connect(self._on_failed)
        self.start_up.stopped.connect(self._on_stopped)
        self._jobs.state_changed.connect(self.new.show_state)
        self._current.result_changed.connect(self._later)
        self._current.document_changed.connect(self._later)
        self._folder.changed.connect(self._later)
        self._folder.row_changed.connect(self._later)

    def close_events(self) -> None:
        """Let go of everything; a training that runs goes on by itself."""
        self._refresh_timer.stop()
        self._folder.changed.disconnect(self._later)
        self._folder.row_changed.disconnect(self._later)
        self.start_up.close()
        self.watch.close()
        self.background.close()

    @property
    def is_busy(self) -> bool:
        """Whether a training is being started, or the run that is shown is running."""
        return bool(self.why_busy)

    @property
    def why_busy(self) -> str:
        """Why no training can be begun, or go on, now; empty if one can."""
        if self.start_up.is_learning or any(news.is_running for news in self.view.news):
            return "A training is running. Stop it first."
        if not self.start_up.is_busy:
            return ""
        if self.start_up.is_ending:
            return "The training's process is still ending. Wait a moment."
        return "A training is being started."

    def show_colors(self, accent: str, background: str, text: str) -> None:
        """Take the colours of a theme."""
        self.new.learn.setStyleSheet(primary_style(accent))
        self.view.show_colors(background, text, primary_style(accent))

    def values(self) -> dict[str, Any]:
        """Return the values as they are saved."""
        if not self._is_filled:
            return self._saved
        return {
            **self.new.values(),
            "others": [str(other) for other in self.runs.others],
            "run": "" if not self.watch.folders else str(self.watch.folders[0]),
        }

    def start(self) -> None:
        """Learn from what is chosen, as it is now."""
        if self.is_busy:
            return
        try:
            options = self.new.options()
        except ValidationError as error:
            self.new.say(plain(error), is_error=True)
            return
        source, parts = self.data.source(), self.data.parts
        if source is None or parts is None:
            self.new.say(self.data.problem or "Choose what to learn from first.", is_error=True)
            return
        from napari_eomt.training.run_places import new_run_folder

        is_chosen, fraction = self.data.is_chosen, self.data.val_fraction
        self.new.say("")
        self.begun.emit()
        self.watch.follow()
        self.setup.set_open(False)
        # Both may not fit into the memory of one device. Segmenting loads its model again.
        self._jobs.client.release()
        self.start_up.begin(
            new_run_folder(self.data.name),
            lambda folder, tell: source.write(parts, is_chosen, fraction, folder, tell),
            options,
        )
        self._show()

    def stop(self) -> None:
        """Stop after the present step, with the state saved; before the first one, at once."""
        news = self.view.news
        # Rows of before say nothing of a process that is to go on with them.
        has_begun = self.start_up.is_learning and any(each.rows for each in news)
        if self.start_up.is_busy and not has_begun:
            self.start_up.stop()
            return
        self.view.stop.setEnabled(False)
        for each in news:
            if each.run is not None and each.is_running:
                self.background.do(each.run.request_stop, lambda _: self.watch.look())

    def resume(self) -> None:
        """Go on with the run that is shown."""
        if self.is_busy or len(self.view.news) != 1:
            return
        self.setup.set_open(False)
        self.begun.emit()
        self._jobs.client.release()
        self.start_up.resume(self.view.news[0].folder)
        self._show()

    def use(self) -> None:
        """Make what was learnt the model of the Segment page."""
        from napari_eomt.models.user_models import add_user_model

        news = self.view.news
        folder = result_folder(news[0]) if len(news) == 1 else None
        if folder is None:
            return
        try:
            row = self._library.row_of_folder(folder)
            name = self._free_name(news[0].folder.name) if row is None else row.name
            if row is None:
                add_user_model(folder, name, note=score_text(news[0]))
                self._library.refresh()
        except EomtError as error:
            self.view.show_problem(str(error))
            return
        # What the worker has of this folder may be of an earlier state.
        self._jobs.client.release()
        before = self._picker.model
        self._picker.choose(name)
        text = f"{name} is the model of the Segment page now"
        if before == name:
            self.used.emit(f"{text}.", None)
        else:
            self.used.emit(f"{text}, instead of {before}.", lambda: self._take_back(before))

    def _take_back(self, before: str) -> None:
        self._picker.choose(before)
        if self._picker.model == before:  # else it says why not
            self.said.emit(f"{before} is the model of the Segment page again.")

    def show_runs(self, folders: list[Path]) -> None:
        """Show a run, compare several, or show none."""
        self.runs.select(folders)
        self.setup.set_open(not folders)
        self.watch.follow(*folders)
        self.settings_changed.emit()

    def refresh(self) -> None:
        """Show what there is to learn from now."""
        if self.isVisible():
            self.data.refresh()

    def showEvent(self, event: Any) -> None:
        """Fill the page when it is first shown: the dock does not wait for what it imports."""
        super().showEvent(event)
        if not self._is_filled:
            self._is_filled = True
            self.new.fill()
            self.runs.refresh()
        self.data.refresh()

    def _free_name(self, base: str) -> str:
        name, number = base, 1
        while self._library.row(name) is not None:
            number += 1
            name = f"{base}-{number}"
        return name

    def _on_new(self) -> None:
        self._show()
        self.settings_changed.emit()

    def _later(self, *_: object) -> None:
        if self.isVisible():
            self._refresh_timer.start()

    def _on_listed(self, news: list[RunNews]) -> None:
        """Show the run that is running, or the one of last time, when runs are first listed."""
        self.new.show_runs(news)
        self._show()
        if self.watch.folders or self.start_up.is_busy:
            return
        running = [each.folder for each in news if each.is_running]
        last = [each.folder for each in news if str(each.folder) == self._saved.get("run")]
        if running or last:
            self.show_runs([(running or last)[0]])

    def _on_preparing(self, text: str, done: int, total: int) -> None:
        if self.start_up.is_new:
            self.samples.show_run(None)
        self.view.show_preparing(text, done, total)
        self._show()

    def _on_started(self, folder: Path) -> None:
        # A short one may have ended before anybody looks.
        self._was_running.add(folder)
        self.show_runs([folder])

    def _on_failed(self, message: str, details: str) -> None:
        if self.start_up.is_new:
            self.view.show_problem(message, details)
            self.setup.set_open(True)
        else:
            # The next look at the run would hide it on the page.
            self.failed.emit(message, details)
            self.watch.look()
        self._show()
        self.runs.refresh()

    def _on_stopped(self) -> None:
        if not self.start_up.is_new:
            self.watch.look()  # the run is as it was
            return
        self.view.show_news([])
        self.setup.set_open(True)
        self.new.say("Stopped before the first step. Nothing was learnt.")
        self._show()

    def _on_news(self, news: list[RunNews]) -> None:
        problem, details = "", ""
        if len(news) == 1:
            at_start = self.start_up.judge(news[0])
            if at_start is not None:
                if at_start:
                    # What a run that goes on has told is not hidden until it speaks again.
                    self.view.show_news([each for each in news if each.rows])
                    self.view.show_preparing(at_start)
                self._show()
                return
            problem, details = self.start_up.problem_of(news[0])
        self.view.show_news(news, problem, details)
        self.samples.show_run(news[0] if len(news) == 1 else None)
        running = {each.folder for each in news if each.is_running}
        for each in news:
            if each.folder in self._was_running and each.folder not in running:
                self._on_end(each, problem)
        self._was_running = running
        self.watch.hurry(bool(running) or self.start_up.is_busy)
        self._show()

    def _on_end(self, news: RunNews, problem: str) -> None:
        self.runs.refresh()
        if problem:
            self.failed.emit(f"{news.folder.name}: {problem}", "")
        else:
            scores = score_text(news)
            self.said.emit(
                f"{news.folder.name}: {news.status} at step {news.step:,}"
                + (f" · {scores}" if scores else "")
            )

    def _show(self) -> None:
        """Bring what can be done in line with what there is."""
        why_busy = self.why_busy
        self.new.show_busy(why_busy)
        self.view.show_busy(why_busy)
        # Without a run there is nothing that it would have to make room for.
        has_run = bool(why_busy) or self.view.isVisibleTo(self)
        self.setup.head.setVisible(has_run)
        if not has_run:
            self.setup.set_open(True)
        n = self.runs.table.topLevelItemCount()
        self.runs_fold.head.setText(f"Runs ({n})" if n else "Runs")

    def _lay_out(self) -> None:
        runs = QVBoxLayout()
        runs.addWidget(self.runs)
        self.runs_fold.set_content_layout(runs)
        setup = QVBoxLayout()
        setup.addWidget(self.new)
        self.setup.set_content_layout(setup)
        setup.setContentsMargins(0, 0, 0, 0)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, _RIGHT_PX, 0)
        for part in (self.setup, self.view, self.samples, self.runs_fold):
            layout.addWidget(part)
        layout.addStretch(1)
        self.setup.set_open(True)
