"""Which candidates there are at the cursor, which one is shown, and what becomes of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_eomt.errors import DataError, EomtError
from napari_eomt.viewer.candidate_tool import CandidateTool
from napari_eomt.viewer.candidates import describe, take, under
from napari_eomt.viewer.outlines import Outline, Outlines
from napari_eomt.widgets.candidate_source import Questions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_eomt.structures.candidates import Candidate, Patch, QueryId
    from napari_eomt.viewer.place import Place
    from napari_eomt.widgets.action_runner import ActionRunner
    from napari_eomt.widgets.candidate_source import CandidateSource
    from napari_eomt.widgets.current import Current

HIDDEN_MS = 300
"""After an edit the hidden proposals are asked for anew, but not for every one of many edits."""

_FAINT = 0.55


class CandidateFinder(QObject):
    """Shows what the model proposes at the cursor, and makes objects of it.

    Parameters
    ----------
    runner : ActionRunner
    current : Current
    source : CandidateSource
    """

    changed = Signal()

    def __init__(
        self,
        runner: ActionRunner,
        current: Current,
        source: CandidateSource,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._runner, self._current, self._source = runner, current, source
        self._questions = Questions(source, self)
        self._questions.missing.connect(self._on_missing)
        self.is_on = self.shows_hidden = self.is_missing = False
        self.candidates: tuple[Candidate, ...] = ()
        self.index = 0
        self._hidden: tuple[Candidate, ...] = ()
        self._chosen: QueryId | None = None
        self._point: tuple[float, float] | None = None
        self._cursor_then: tuple[float, ...] = ()
        self._tool: CandidateTool | None = None
        self._outlines: dict[str, Outlines] = {}
        self._hidden_timer = QTimer(self)
        self._hidden_timer.setSingleShot(True)
        self._hidden_timer.setInterval(HIDDEN_MS)
        self._hidden_timer.timeout.connect(self._ask_hidden)
        handlers: dict[str, Callable[[], str | None]] = {
            "next_candidate": partial(self.step, 1),
            "previous_candidate": partial(self.step, -1),
            "take": self.take,
            "hidden": self.toggle_hidden,
        }
        for name, handler in handlers.items():
            runner.handle(name, handler)
        runner.know_candidates(lambda: self.candidate is not None)
        current.result_changed.connect(self._on_result)
        current.frame_changed.connect(self._on_frame)
        current.selection_changed.connect(self._on_selection)
        current.document_changed.connect(self._on_document)

    def close(self) -> None:
        """Let go of the viewer, without a touch of Qt."""
        if self._tool is not None:
            self._tool.close()
        for outlines in self._outlines.values():
            outlines.close()
        self._tool, self._outlines = None, {}

    @property
    def candidate(self) -> Candidate | None:
        """The one that is shown."""
        return self.candidates[self.index] if self.is_on and self.candidates else None

    @property
    def text(self) -> str:
        """What is shown, for people."""
        place, candidate = self._runner.place, self.candidate
        if not self.is_on or place is None:
            return ""
        if candidate is None:
            return "Point at something: what the model could see there is outlined."
        return (
            f"candidate {self.index + 1} of {len(self.candidates)} · {describe(place, candidate)}"
        )

    @property
    def is_paused(self) -> bool:
        """Whether the split tool has the mouse."""
        return self._runner.line.is_on

    def turn(self, on: bool) -> None:
        """Show candidates at the cursor, or no more."""
        if on != self.is_on:
            self.is_on = on
            if on:
                self._runner.keys.add({"Escape": self._on_escape, "Enter": self._on_enter})
            else:
                self._runner.keys.remove(("Escape", "Enter"))
                self._forget()
            self._update_tool()
            self._tell()

    def turn_hidden(self, on: bool) -> None:
        """Show what scores less than the threshold, or no more."""
        if on != self.shows_hidden:
            self.shows_hidden = on
            self._hidden = ()
            self._update_tool()
            self._show_hidden()
            self._ask_hidden()
            self._tell()

    def toggle_hidden(self) -> str | None:
        """Show the hidden proposals if they are not shown."""
        self.turn_hidden(not self.shows_hidden)
        return None if self.shows_hidden else "Hidden proposals are off."

    def step(self, by: int) -> str | None:
        """Show the next candidate; the first time the best one at the cursor."""
        if not self.is_on:
            self.turn(True)
            self._ask_at(self._here())
        elif not self.candidates:
            self._ask_at(self._here())
        else:
            self.index = (self.index + by) % len(self.candidates)
            self._chosen = self.candidates[self.index].query
            self._show_candidate()
            self._tell()
        return None

    def take(self) -> None:
        """Make the candidate that is shown an object."""
        candidate = self.candidate
        if candidate is None:
            raise DataError("There is no candidate here. Press C, and point at something.")
        self._take_later(candidate)

    # What the mouse does.

    def pointed(self, point: tuple[float, float]) -> None:
        """Show the candidates here."""
        pixel = float(np.floor(point[0] + 0.5)), float(np.floor(point[1] + 0.5))
        if self.is_on and pixel != self._point:
            self._ask_at(pixel)

    def turned(self, step: int) -> None:
        """Show the next candidate."""
        if self.is_on:
            self.step(step)

    def clicked(self, point: tuple[float, float]) -> None:
        """Take what is shown here."""
        if self.candidate is not None:
            self._do(self.take)
            return
        hidden = under(self._hidden, point) if self.shows_hidden else None
        if hidden is not None:
            self._take_later(hidden)

    def enclosed(self, polygon: list[tuple[float, float]]) -> None:
        """Take what fits best."""
        place = self._runner.place
        if place is None:
            return
        key, frame = place.result.key, self._current.frame
        self._questions.ask(
            "inside",
            lambda: self._source.inside(key, frame, polygon),
            self._on_inside,
        )

    # What comes back.

    def _on_at(self, frame: int, found: tuple[Candidate, ...] | None) -> None:
        if not self.is_on or frame != self._current.frame:
            return
        self.is_missing = False
        self.candidates = found or ()
        queries = [candidate.query for candidate in self.candidates]
        # Whoever has turned to the third stays with it, as long as the mouse is over it.
        self.index = queries.index(self._chosen) if self._chosen in queries else 0
        if self._chosen not in queries:
            self._chosen = None
        self._show_candidate()
        self._tell()

    def _on_inside(self, found: tuple[Candidate, ...] | None) -> None:
        self.is_missing = False
        if found:
            self._take_later(found[0])
        else:
            self._runner.say("The model proposes nothing that fits there.", True)

    def _on_hidden(self, frame: int, found: tuple[Candidate, ...] | None) -> None:
        if self.shows_hidden and frame == self._current.frame:
            self.is_missing = False
            self._hidden = found or ()
            self._show_hidden()
            n = len(self._hidden)
            self._runner.say(
                f"{n} hidden proposal{'' if n == 1 else 's'}: click one to take it."
                if n
                else "Nothing is hidden: the model proposes no more here."
            )
            self._tell()

    def _on_missing(self) -> None:
        self.is_missing = True
        self.candidates = ()
        self._show("candidate", Outline())
        self._tell()

    # What is done about it.

    def _ask_at(self, point: tuple[float, float]) -> None:
        place = self._runner.place
        if place is None:
            return
        point = self._point = float(np.floor(point[0] + 0.5)), float(np.floor(point[1] + 0.5))
        key, frame = place.result.key, self._current.frame
        self._questions.ask(
            "at", lambda: self._source.at(key, frame, point), partial(self._on_at, frame)
        )

    def _show_candidate(self) -> None:
        self._show("candidate", _outline(() if self.candidate is None else (self.candidate,)))

    def _ask_hidden(self) -> None:
        place = self._runner.place
        if self.shows_hidden and place is not None:
            key, frame = place.result.key, self._current.frame
            self._questions.ask(
                "hidden",
                lambda: self._source.hidden(key, frame),
                partial(self._on_hidden, frame),
            )

    def _take_later(self, candidate: Candidate) -> None:
        place = self._runner.place
        if place is None:
            return
        key, frame = place.result.key, self._current.frame

        def masked(patch: Patch | None) -> None:
            if patch is not None:
                self._do(lambda: take(self._placed(), frame, candidate, patch))

        self._questions.ask("take", lambda: self._source.mask(key, frame, candidate), masked)

    def _do(self, function: Callable[[], str | None]) -> None:
        try:
            message = function()
        except EomtError as error:
            self._runner.say(str(error), True)
            return
        if message:
            self._runner.say(message)

    def _placed(self) -> Place:
        place = self._runner.place
        if place is None:
            raise DataError("There are no objects yet: press Segment (W) first.")
        return place

    def _here(self) -> tuple[float, float]:
        """Return where the mouse is, or a pixel of what was selected since it moved."""
        place = self._placed()
        if self._point is not None:
            return self._point
        at_rest = tuple(place.viewer.cursor.position) == self._cursor_then
        here = [key for key in place.result.session.selection if key[0] == self._current.frame]
        if at_rest and here:
            return place.middle_of(here[0])
        return place.pixel()

    # Keeping up.

    def _on_result(self) -> None:
        self._questions.forget()
        self._forget()
        self.is_missing = False
        self.close()
        if self._current.result is None:
            self.turn(False)
            self.turn_hidden(False)
        self._update_tool()
        self._ask_hidden()
        self._tell()

    def _on_frame(self, frame: int) -> None:
        self._forget()
        self._hidden = ()
        self.is_missing = False
        self._show_hidden()
        self._ask_hidden()
        self._tell()

    def _on_selection(self) -> None:
        if not self.candidates:
            self._point = None
        # Until the mouse moves again, C means what was selected.
        self._cursor_then = tuple(self._runner.viewer.cursor.position)

    def _on_document(self, edit: object) -> None:
        if self.shows_hidden:
            self._hidden_timer.start()
        # A new run has other candidates here, and another mask threshold gives them new outlines.
        if self.is_on and self._point is not None:
            self._ask_at(self._point)

    def _on_escape(self) -> None:
        self.turn(False)

    def _on_enter(self) -> None:
        self._do(self.take)

    def _forget(self) -> None:
        self.candidates, self.index = (), 0
        self._chosen = self._point = None
        self._show("candidate", Outline())

    def _update_tool(self) -> None:
        """Have the mouse when there is something to point at, and not otherwise."""
        place = self._runner.place
        wanted = (self.is_on or self.shows_hidden) and place is not None
        if wanted and self._tool is None and place is not None:
            layer = place.result.view.layer
            self._outlines = {
                "hidden": Outlines(layer, "hidden", _FAINT),
                "candidate": Outlines(layer, "candidate"),
                "lasso": Outlines(layer, "lasso"),
            }
            self._tool = CandidateTool(place, self, self._outlines["lasso"])
        elif not wanted:
            self.close()

    def _show(self, name: str, outline: Outline) -> None:
        if name in self._outlines:
            self._outlines[name].show(outline)

    def _show_hidden(self) -> None:
        self._show("hidden", _outline(self._hidden))

    def _tell(self) -> None:
        self.changed.emit()
        self._runner.changed.emit()


def _outline(candidates: Iterable[Candidate]) -> Outline:
    return Outline.all_of(
        [
            Outline.through([(float(y), float(x)) for y, x in line], is_closed=True)
            for candidate in candidates
            for line in candidate.outlines
        ]
    )
