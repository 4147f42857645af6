"""What the parts of the dock have to tell, in its job bar."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_eomt.widgets.saving import lost_text

if TYPE_CHECKING:
    from napari_eomt.annotation.sessions import Recoverable
    from napari_eomt.widgets.dock import EomtDock
    from napari_eomt.widgets.download_job import JobFailure

_LEARN, _WORK = "learning", "unsaved work"  # what errors are about that no other job ends


class DockNews(QObject):
    """Says in the job bar what happens on the pages of a dock, to its models, and to the work.

    Parameters
    ----------
    dock : EomtDock
        With all of its parts.
    """

    _work_problem = Signal(str)

    def __init__(self, dock: EomtDock) -> None:
        super().__init__(dock)
        self._dock, self._bar = dock, dock.bar
        for speaker in (dock.annotate, dock.images, dock.export, dock.train, dock.saving):
            speaker.said.connect(dock.runner.say)
        for refuser in (dock.model, dock.current):
            refuser.refused.connect(dock.bar.show_error)
        for failing in (dock.images, dock.opened, dock.saving):
            failing.failed.connect(dock.bar.show_error)
        dock.train.failed.connect(self._on_learn_failed)
        dock.train.begun.connect(self._on_learn_begun)
        dock.train.used.connect(self._on_taught)
        dock.library.arrived.connect(self._on_arrived)
        dock.library.failed.connect(self._on_library_failed)
        self._work_problem.connect(self._on_work_problem)
        # Told in the thread that writes; a Qt signal brings it to the window's.
        dock.work.problem_changed.connect(self._work_problem.emit)

    def offer_lost_work(self, row: Recoverable) -> None:
        """Offer work that was in no file when the program ended."""
        self._bar.show_message(
            f"Unsaved work of last time: {lost_text(row)}. It stays under Correct → Open.",
            "Restore",
            lambda: self._dock.saving.restore_work(row),
        )

    def say_missed(self) -> None:
        """Say so where the model of last time is gone."""
        model = self._dock.model
        if model.missed:
            self._bar.show_message(
                f"{model.missed} is no longer on this computer: {model.model} takes its place.",
                "Models…",
                self._dock.show_models,
            )

    def _on_learn_failed(self, message: str, details: str) -> None:
        self._bar.show_error(message, details, _LEARN)

    def _on_learn_begun(self) -> None:
        self._bar.forget_error(_LEARN)

    def _on_taught(self, text: str, take_back: object) -> None:
        self._dock.show_page("segment")
        if self._dock.page.is_running:
            self._dock.runner.say(text)
        else:
            self._bar.show_message(text, "Undo" if take_back else "", take_back)

    def _on_arrived(self, name: str) -> None:
        model = self._dock.model
        if self._is_unseen() and not self._dock.page.is_running and name != model.model:
            self._bar.show_message(
                f"{name} is on this computer.", "Use it", lambda: model.choose(name)
            )

    def _on_library_failed(self, failure: JobFailure) -> None:
        if self._is_unseen():
            self._bar.show_error(failure.message, failure.details)
        if self._dock.models is not None:
            self._dock.models.show_failure(failure)

    def _on_work_problem(self, problem: str) -> None:
        if problem:
            self._bar.show_error(problem, about=_WORK)
        else:
            self._bar.forget_error(_WORK)

    def _is_unseen(self) -> bool:
        """Whether what happens to models shows in the job bar alone."""
        models = self._dock.models
        return models is None or not models.isVisible()
