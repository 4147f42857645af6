"""Menus of what can be done to a track, and to an object: made of the table of actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtGui import QAction, QKeySequence
from qtpy.QtWidgets import QMenu, QWidget

from napari_eomt.annotation.track_choices import Purpose, track_choices
from napari_eomt.viewer.keymap import BY_NAME
from napari_eomt.viewer.track_keys import CORRECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.tracks import TrackIndex
    from napari_eomt.widgets.action_runner import ActionRunner

OF_OBJECTS = ("accept", "reject", "reopen", "lock", "merge", "delete")
"""What stands in the menu of an object, before what can be done to its track."""

_WORDS = {
    Purpose.SWAP: "Swap {0} from frame {1} on with",
    Purpose.IDENTITY: "From frame {1} on, let {0} be",
    Purpose.JOIN: "Join {0} with",
    Purpose.PARENT: "{0} came from",
}
_NONE = {
    Purpose.SWAP: "Nothing else is in this frame",
    Purpose.IDENTITY: "All others are there too: swap them instead",
    Purpose.JOIN: "All others are in the same frames",
    Purpose.PARENT: "Nothing begins before it",
}


def object_menu(
    runner: ActionRunner, parent: QWidget, *, is_object: bool = True, has_tracks: bool = True
) -> QMenu:
    """Return a menu for what is selected.

    Parameters
    ----------
    runner : ActionRunner
    parent : QWidget
    is_object : bool
        Whether it is for an object of the frame, not for a whole track alone.
    has_tracks : bool
        Whether there are tracks.
    """
    menu = QMenu(parent)
    menu.setToolTipsVisible(True)
    names = [name for name in OF_OBJECTS if is_object]
    _add(menu, runner, names)
    if has_tracks:
        if names:
            menu.addSection("Track")
        _add(menu, runner, [row[0] for row in CORRECTIONS])
    return menu


def choice_menu(
    document: Document,
    index: TrackIndex,
    number: int,
    frame: int,
    purpose: Purpose,
    take: Callable[[int], None],
    parent: QWidget,
) -> QMenu:
    """Return a menu of other tracks, the nearest first.

    Parameters
    ----------
    document : Document
    index : TrackIndex
    number, frame : int
        The track that is meant, and where a person is.
    purpose : Purpose
        What the other one is wanted for.
    take : callable
        Given the number of the one that is chosen.
    parent : QWidget
    """
    menu = QMenu(parent)
    menu.addSection(_WORDS[purpose].format(number, frame))
    choices = track_choices(document, index, number, frame, purpose)
    for choice in choices:
        where = f"{choice.distance:,.0f} px away"
        if choice.frame != frame:
            where += f", in frame {choice.frame}"
        entry = QAction(f"{choice.number}\t{where}", menu)
        entry.triggered.connect(lambda _=False, other=choice.number: take(other))
        menu.addAction(entry)
    if not choices:
        nothing = QAction(_NONE[purpose], menu)
        nothing.setEnabled(False)
        menu.addAction(nothing)
    return menu


def _add(menu: QMenu, runner: ActionRunner, names: list[str]) -> None:
    for name in names:
        action = BY_NAME[name]
        shown = QKeySequence(action.keys[0]).toString(QKeySequence.SequenceFormat.NativeText)
        entry = QAction(f"{action.title}\t{shown}", menu)
        entry.setToolTip(action.hint)
        entry.setEnabled(runner.is_possible(action))
        entry.triggered.connect(lambda _=False, name=name: runner.run(name))
        menu.addAction(entry)
