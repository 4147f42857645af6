"""Runs the actions of the table, whichever key, button or menu asks, and says what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QShortcut,
    QTextEdit,
)

from napari_eomt.errors import EomtError
from napari_eomt.viewer.keymap import ACTIONS, BY_NAME, Action, KeyBindings, Needs
from napari_eomt.viewer.line_tool import LineTool
from napari_eomt.viewer.place import Order, Place, ids_in_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from qtpy.QtWidgets import QWidget

    from napari_eomt.widgets.current import Current
    from napari_eomt.widgets.jobs import JobBar

_TEXT_FIELDS = (QLineEdit, QTextEdit, QPlainTextEdit, QAbstractSpinBox, QComboBox)


class ActionRunner(QObject):
    """Does actions on the current result, and owns their keys.

    Parameters
    ----------
    viewer : ViewerModel
    current : Current
    bar : JobBar
        Where it is said what was done.
    """

    changed = Signal()
    """What is possible may have changed."""

    def __init__(
        self, viewer: ViewerModel, current: Current, bar: JobBar, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer: Any = getattr(viewer, "__wrapped__", viewer)
        self._current, self._bar = current, bar
        self._handlers: dict[str, Callable[[], str | None]] = {}
        self._has_candidate: Callable[[], bool] = lambda: False
        self.order: Order = ids_in_frame
        """Which objects are to be reviewed, the next one first."""
        self.keys = KeyBindings(self._viewer, self.run, is_typing)
        self.line = LineTool(self.keys, self.say, self.changed.emit)
        self.handle("split", self._on_split)
        current.result_changed.connect(self._on_result)
        current.selection_changed.connect(self.changed)
        current.document_changed.connect(self.changed)
        current.frame_changed.connect(self.changed)
        self._on_result()

    def close(self) -> None:
        """Let go of the viewer, without a touch of Qt."""
        self.line.close()
        self.keys.close()

    def handle(self, name: str, handler: Callable[[], str | None]) -> None:
        """Say what an action of the table does that has no function of its own."""
        self._handlers[name] = handler

    def know_candidates(self, has_candidate: Callable[[], bool]) -> None:
        """Say how to find out whether there is a candidate to take."""
        self._has_candidate = has_candidate

    def bind_in(self, page: QWidget) -> None:
        """Let the keys work with the focus in a page too, not only in the canvas.

        A table would search for the letter instead.
        """
        for action in ACTIONS:
            for key in action.keys:
                shortcut = QShortcut(QKeySequence(key), page)
                shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
                shortcut.activated.connect(lambda name=action.name: self._on_shortcut(name))

    @property
    def viewer(self) -> Any:
        """The viewer, not a proxy."""
        return self._viewer

    @property
    def place(self) -> Place | None:
        """Where an action happens now; None without a result."""
        result = self._current.result
        return None if result is None else Place(self._viewer, result, self.order)

    @property
    def n_selected(self) -> int:
        """How many objects of the frame that is shown are selected."""
        session = self._current.session
        if session is None:
            return 0
        return sum(frame == self._current.frame for frame, _ in session.selection)

    @property
    def n_frames(self) -> int:
        """How many frames the result has."""
        result = self._current.result
        return 1 if result is None else result.document.n_frames

    def is_possible(self, action: Action) -> bool:
        """Whether a button for an action makes sense now."""
        if action.run is None and action.name not in self._handlers:
            return False
        if action.needs is Needs.IMAGE:
            return True
        session = self._current.session
        if session is None:
            return False
        if action.needs is Needs.CANDIDATE:
            return self._has_candidate()
        if action.needs is Needs.TRACK:
            return self.n_frames > 1 and bool(session.selection or action.name == "next_doubt")
        if action.name in ("undo", "redo"):
            return bool(session.undo_name if action.name == "undo" else session.redo_name)
        n_needed = 2 if action.name == "merge" else 1
        return action.needs is Needs.RESULT or self.n_selected >= n_needed

    def run(self, name: str) -> None:
        """Do an action, and say what it did or why not."""
        action, place = BY_NAME[name], self.place
        if action.needs is not Needs.IMAGE and place is None:
            self.say("There are no objects yet: press Segment (W) first.", True)
            return
        try:
            if name in self._handlers:
                message = self._handlers[name]()
            elif action.run is not None and place is not None:
                message = action.run(place)
            else:
                message = None
        except EomtError as error:
            self.say(str(error), True)
            return
        if message:
            self.say(message, False)

    def say(
        self, text: str, is_refusal: bool = False, button: str = "", pressed: object = None
    ) -> None:
        """Show one line, without hiding a running job.

        Parameters
        ----------
        text : str
        is_refusal : bool
            Whether something was not done.
        button : str
            The next step, where there is room for it.
        pressed : callable, optional
            What the button does.
        """
        if self._bar.is_running:
            self._viewer.status = text
        else:
            self._bar.show_message(("⚠ " if is_refusal else "") + text, button, pressed)

    def _on_shortcut(self, name: str) -> None:
        if not is_typing():
            self.run(name)

    def _on_split(self) -> str | None:
        place = self.place
        if self.line.is_on or place is None:
            self.line.stop()
            return "Split is off."
        self.line.start(place)
        self.changed.emit()
        return None

    def _on_result(self) -> None:
        self.line.stop()
        result = self._current.result
        layers = () if result is None else (result.image, result.view.layer)
        self.keys.follow(getattr(layer, "__wrapped__", layer) for layer in layers)
        self.changed.emit()


def is_typing() -> bool:
    """Whether the keyboard is in something that takes letters for itself."""
    return isinstance(QApplication.focusWidget(), _TEXT_FIELDS)
