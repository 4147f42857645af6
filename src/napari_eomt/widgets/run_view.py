"""One run, or several beside each other: how far, how good, and what can be done now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QUrl, Signal
from qtpy.QtGui import QDesktopServices, QGuiApplication
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_eomt.training.video_choice import n_videos, video_of
from napari_eomt.widgets.run_samples import is_no_better
from napari_eomt.widgets.score_table import Figures, ScoreTable, read_figures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.widgets.loss_plot import RunPlots
    from napari_eomt.widgets.run_tail import RunNews
    from napari_eomt.widgets.run_watch import Background


_USE, _USE_LAST = "Use this model", "Use the last state all the same"
_RESUME_TIP = "Go on from the last state, with all that was asked at the start."
_PRESETS = {"quick": "Quick", "lora": "LoRA", "full": "Full"}


class RunView(QWidget):
    """Shows what runs tell.

    Parameters
    ----------
    background : Background
        Reads reports.
    """

    stop_requested = Signal()
    resume_requested = Signal()
    use_requested = Signal()

    def __init__(self, background: Background, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._background = background
        self._news: tuple[RunNews, ...] = ()
        self._drawn: object = None
        self._read: object = None
        self._colors = ("", "")
        self._primary = self._details = ""
        self.plots: RunPlots | None = None
        self.title, self.about = _text(), _text()
        self.state = _text()
        self.state.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(10)
        self.stop = QPushButton("Stop")
        self.stop.setToolTip("Stop after the present step. Its state is saved: Resume goes on.")
        self.resume = QPushButton("Resume")
        self.resume.setToolTip(_RESUME_TIP)
        self.use = QPushButton(_USE)
        self.open = QPushButton("Open folder")
        self.open.setToolTip("Show the run's files in the system's file manager.")
        self.copy_details = QPushButton("Copy details")
        self.copy_details.setToolTip("Copy what the training's process said, for a report.")
        self.scores = ScoreTable()
        self._lay_out()
        self.stop.clicked.connect(self.stop_requested)
        self.resume.clicked.connect(self.resume_requested)
        self.use.clicked.connect(self.use_requested)
        self.open.clicked.connect(self._on_open)
        self.copy_details.clicked.connect(self._on_copy)
        self.show_news([])

    @property
    def news(self) -> tuple[RunNews, ...]:
        """What is shown."""
        return self._news

    def show_colors(self, background: str, text: str, primary: str = "") -> None:
        """Take the colours of a theme, and the style of a primary button in it."""
        self._colors = (background, text)
        self._primary = primary
        self._style_use()
        self._drawn = None
        if self.plots is not None:
            self.plots.show_colors(background, text)
            self._draw()

    def show_preparing(self, text: str, done: int = 0, total: int = 0) -> None:
        """Show that a run is being made ready; one that is shown goes on, and its curves stay."""
        self.setVisible(True)
        self._show_buttons(stop=True)
        self.state.setText(text)
        self.state.setVisible(True)
        if len(self._news) == 1:
            done, total = self._news[0].step, self._news[0].n_steps
        else:
            self.title.setVisible(False)
            self.about.setVisible(False)
            self.scores.show_columns([])
            if self.plots is not None:
                self.plots.setVisible(False)
        # A bar that only moves to and fro would redraw the window, canvas and all, the whole time.
        self.progress.setVisible(total > 0)
        self.progress.setRange(0, total)
        self.progress.setValue(done)

    def show_busy(self, why: str) -> None:
        """Let a run go on or, if there is a reason why not, none."""
        self.resume.setEnabled(not why)
        self.resume.setToolTip(why or _RESUME_TIP)

    def show_problem(self, message: str, details: str = "") -> None:
        """Show what went wrong, beside what is shown."""
        self._details = f"{message}\n\n{details}"
        self.setVisible(True)
        self.state.setText(f"⚠ {message}")
        self.state.setVisible(True)
        self.progress.setVisible(False)
        self.stop.setVisible(False)
        self.copy_details.setVisible(bool(details))

    def show_news(self, news: Sequence[RunNews], problem: str = "", details: str = "") -> None:
        """Show runs as they are now.

        Parameters
        ----------
        news : sequence of RunNews
        problem, details : str
            Why the one that is shown has ended, if it did not end well.
        """
        self._news = tuple(news)
        self.setVisible(bool(news))
        if not news:
            self._show_buttons()
            self._drawn = self._read = None
            return
        if len(news) == 1:
            self._show_one(news[0], problem, details)
        else:
            self._show_buttons()
            self.progress.setVisible(False)
            self.title.setText(f"<b>{len(news)} runs</b>")
            self.title.setVisible(True)
            self.about.setVisible(False)
            self.state.setVisible(False)
        self._draw()
        self._read_scores()

    def _show_one(self, news: RunNews, problem: str, details: str) -> None:
        self.title.setVisible(True)
        self._details = f"{problem}\n\n{details}" if problem else ""
        self.title.setText(f"<b>{news.folder.name}</b>")
        self.title.setToolTip(str(news.folder))
        self.about.setText(about_text(news))
        self.about.setVisible(bool(self.about.text()))
        self.progress.setVisible(news.is_running and news.n_steps > 0)
        self.progress.setRange(0, news.n_steps)
        self.progress.setValue(news.step)
        lines = [state_text(news), *([f"⚠ {problem}"] if problem else []), *news.notes]
        self.state.setText("\n".join(lines))
        self.state.setVisible(True)
        self._show_buttons(
            stop=news.is_running,
            resume=news.is_resumable,
            use=_is_usable(news),
            folder=True,
            details=bool(problem and details),
        )
        self.stop.setEnabled(not news.is_stopping)
        self.use.setText(_USE_LAST if is_no_better(news) else _USE)
        self._style_use()
        self.use.setToolTip(
            "Segment with what was learnt last. On the images that check it is not better than the "
            "model of the start."
            if is_no_better(news)
            else "Segment with what was learnt: the best state on the images that check, or "
            "without such images the last one."
        )

    def _style_use(self) -> None:
        """Show what is advised as the primary button, and nothing else."""
        self.use.setStyleSheet("" if self.use.text() == _USE_LAST else self._primary)

    def _show_buttons(
        self,
        *,
        stop: bool = False,
        resume: bool = False,
        use: bool = False,
        folder: bool = False,
        details: bool = False,
    ) -> None:
        self.stop.setVisible(stop)
        self.stop.setEnabled(stop)
        self.resume.setVisible(resume)
        self.use.setVisible(use)
        self.open.setVisible(folder)
        self.copy_details.setVisible(details)

    def _draw(self) -> None:
        """Draw the curves if there is anything new in them."""
        news = [each for each in self._news if each.rows]
        drawn = [(each.folder, len(each.rows), each.step) for each in news]
        if self.plots is None and news:
            # pyqtgraph takes a third of a second to import.
            from napari_eomt.widgets.loss_plot import RunPlots

            self.plots = RunPlots()
            self._plot_place.addWidget(self.plots)
            if all(self._colors):
                self.plots.show_colors(*self._colors)
        if self.plots is not None:
            # Left to the layout, new ones would be shown by the next round of Qt's loop alone.
            self.plots.setVisible(bool(news))
        if self.plots is None or not news or drawn == self._drawn:
            return
        self._drawn = drawn
        self.plots.show_runs(news)

    def _read_scores(self) -> None:
        """Read the reports if there was a check since they were read."""
        known = [(each.folder, len(each.checks), each.is_running) for each in self._news]
        if known == self._read:
            return
        self._read = known
        folders = [each.folder for each in self._news]
        after = ["last" if is_no_better(each) else "best" for each in self._news]
        pairs = list(zip(folders, after, strict=True))
        self._background.do(
            lambda: [read_figures(folder, name) for folder, name in pairs],
            lambda found: self._show_scores(folders, found),
            lambda message, _: self._on_unreadable(message),
        )

    def _show_scores(self, folders: list[Path], found: list[tuple[Figures, Figures]]) -> None:
        if folders != [each.folder for each in self._news]:
            return
        if len(found) == 1:
            if self._news[0].is_running:
                # The curve tells, and there is no "after" yet.
                self.scores.show_columns([])
                return
            columns = [("before", found[0][0]), ("after", found[0][1])]
            self.scores.show_columns(columns if _was_checked_after(self._news[0]) else columns[:1])
        else:
            names = [folder.name for folder in folders]
            after = [figures for _, figures in found]
            self.scores.show_columns(list(zip(names, after, strict=True)))

    def _on_unreadable(self, message: str) -> None:
        self.scores.show_columns([])
        self.state.setText(f"{self.state.text()}\n⚠ {message}")

    def _on_open(self) -> None:
        if self._news:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._news[0].folder)))

    def _on_copy(self) -> None:
        clipboard = QGuiApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(self._details)

    def _lay_out(self) -> None:
        running, after = QHBoxLayout(), QHBoxLayout()
        running.addWidget(self.progress, 1)
        running.addWidget(self.stop)
        running.addStretch(0)
        for button in (self.resume, self.open, self.copy_details):
            after.addWidget(button)
        after.addStretch(1)
        self._plot_place = QVBoxLayout()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.title)
        layout.addWidget(self.about)
        layout.addLayout(running)
        for part in (self.state, self.scores, self.use):
            layout.addWidget(part)
        layout.addLayout(after)
        layout.addLayout(self._plot_place)


def result_folder(news: RunNews) -> Path | None:
    """Return the folder of the model to use of a run; None if there is none yet.

    The best state; without checks, or if no step was better than the start, the last one.
    """
    if news.run is None:
        return None
    return news.run.last if is_no_better(news) else news.run.model_folder


def _is_usable(news: RunNews) -> bool:
    """Whether there is anything to use of a run that the model of the start is not."""
    if result_folder(news) is None:
        return False
    if news.is_running:
        return not is_no_better(news)
    # Whoever failed before the first check has left the model of the start.
    is_broken = news.status in ("failed", "interrupted")
    return not (is_broken and news.checks and not _was_checked_after(news))


def _was_checked_after(news: RunNews) -> bool:
    """Whether there was a check after the one at the start."""
    return any(row["step"] > 0 for row in news.checks)


def about_text(news: RunNews) -> str:
    """Return what a run learns from: "nuclei-nano · Quick · 9 images learn, 3 check"."""
    if news.run is None:
        return ""
    parts = [Path(news.run.plan.model).name, _PRESETS[news.run.plan.params.preset]]
    if news.split is not None:
        n, n_check = n_videos(news.split.train), n_videos(news.split.val)
        what = "video" if n else "image"
        if not n:
            n, n_check = len(news.split.train), len(news.split.val)
        elif set(map(video_of, news.split.train)) & set(map(video_of, news.split.val)):
            n, n_check, what = len(news.split.train), len(news.split.val), "frame"
        learn = f"1 {what} learns" if n == 1 else f"{n:,} {what}s learn"
        check = (
            "none checks" if not n_check else "1 checks" if n_check == 1 else f"{n_check:,} check"
        )
        parts.append(f"{learn}, {check}")
    return " · ".join(parts)


def state_text(news: RunNews) -> str:
    """Return in a line how a run is doing: "step 40 of 100 · AP 0.71 → 0.83 · 2 min left"."""
    words: dict[Any, str] = {
        None: "preparing",
        "running": "stopping after this step" if news.is_stopping else "learning",
        "finished": "finished",
        "stopped": "stopped, its state is saved",
        "failed": "failed",
        "interrupted": "interrupted: killed, or the power went",
    }
    parts = [words[news.status]]
    if news.n_steps:
        parts.append(f"step {news.step:,} of {news.n_steps:,}")
    scores = score_text(news)
    if scores:
        parts.append(scores)
    left = news.seconds_left if news.is_running and not news.is_stopping else None
    if left:
        parts.append(f"{left:.0f} s left" if left < 90 else f"{left / 60:.0f} min left")
    if news.is_resumable and news.status != "failed":
        parts.append("Resume goes on")
    elif news.status == "finished" and is_no_better(news):
        parts.append("annotate more images, or take another preset")
    elif news.status in ("failed", "interrupted") and not news.is_resumable:
        parts.append("no state was saved yet: begin again")
    return " · ".join(parts)


def score_text(news: RunNews) -> str:
    """Return how good the model was, and is: "AP 0.71 → 0.83"; empty without a check."""
    if news.best is None:
        return ""
    before = "–" if news.before is None else f"{news.before:.3f}"
    step, best = news.best
    if step == 0:
        yet = " yet" if news.is_running and news.step < news.n_steps else ""
        return f"{news.metric.upper()} {before} at the start, no step was better{yet}"
    return f"{news.metric.upper()} {before} → {best:.3f} at step {step:,}"


def _text() -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label
