"""The buttons for what can be done to objects, with their keys."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtGui import QAction, QKeySequence
from qtpy.QtWidgets import QMenu, QPushButton, QVBoxLayout, QWidget

from napari_eomt.viewer import track_keys
from napari_eomt.viewer.keymap import ACTIONS, BY_NAME, Action
from napari_eomt.widgets.flow import FlowLayout

if TYPE_CHECKING:
    from napari_eomt.widgets.action_runner import ActionRunner

BUTTONS = ("merge", "split", "delete", "lock", "undo", "redo")
"""Names of the actions that have a button; the others are in the menu beside them.

Those of the review have theirs in the review's strip, those of candidates in their bar.
"""

_IN_FRAMES = ("Frames", track_keys.GROUP)


class ActionBar(QWidget):
    """Buttons that are alive when there is something for them to do, and a menu of the rest.

    Parameters
    ----------
    runner : ActionRunner
    """

    def __init__(self, runner: ActionRunner, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._runner = runner
        self.buttons: dict[str, QPushButton] = {}
        self.entries: dict[str, QAction] = {}
        self._sections: dict[str, QAction | None] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        flow = FlowLayout()
        for name in BUTTONS:
            self.buttons[name] = self._button(BY_NAME[name])
            flow.addWidget(self.buttons[name])
        self.buttons["split"].setCheckable(True)
        self.more = QPushButton("More")
        self.more.setToolTip("Shape, frames, and what else can be done to objects.")
        self.more.setMenu(self._menu())
        self.help = self._button(BY_NAME["keys"])
        self.help.setText("?")
        flow.addWidget(self.more)
        flow.addWidget(self.help)
        layout.addLayout(flow)
        runner.changed.connect(self._show)
        self._show()

    def _button(self, action: Action) -> QPushButton:
        button = QPushButton(f"{action.title}  {action.keys[0]}")
        button.setToolTip(action.hint)
        button.setAccessibleName(action.title)
        button.clicked.connect(partial(self._on_click, action.name))
        return button

    def _menu(self) -> QMenu:
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        # Of their own, or the menu would be higher than many a screen.
        self.tracks = QMenu(track_keys.GROUP, menu)
        self.tracks.setToolTipsVisible(True)
        with_button = {*BUTTONS, "keys", "segment"}
        group = ""
        for action in ACTIONS:
            if action.name in with_button or action.name.startswith("category_"):
                continue
            if action.group != group:
                group = action.group
                if group == track_keys.GROUP:
                    menu.addMenu(self.tracks)
                else:
                    self._sections[group] = menu.addSection(group)
            entry = QAction(action.title, menu)
            # Shown, not bound: the keys are bound once, in the canvas and on the page.
            shown = QKeySequence(action.keys[0]).toString(QKeySequence.SequenceFormat.NativeText)
            entry.setText(f"{action.title}\t{shown}")
            entry.setToolTip(action.hint)
            entry.triggered.connect(partial(self._on_click, action.name))
            (self.tracks if group == track_keys.GROUP else menu).addAction(entry)
            self.entries[action.name] = entry
        return menu

    def _on_click(self, name: str, checked: bool = False) -> None:
        self._runner.run(name)
        self._show()

    def _show(self) -> None:
        runner = self._runner
        for name, button in self.buttons.items():
            button.setEnabled(runner.is_possible(BY_NAME[name]))
        for name, entry in self.entries.items():
            action = BY_NAME[name]
            entry.setEnabled(runner.is_possible(action))
            entry.setVisible(action.group not in _IN_FRAMES or runner.n_frames > 1)
        for heading in (self._sections.get(_IN_FRAMES[0]), self.tracks.menuAction()):
            if heading is not None:
                heading.setVisible(runner.n_frames > 1)
        self.buttons["split"].setChecked(runner.line.is_on)
        place = runner.place
        for name in ("undo", "redo"):
            session = None if place is None else place.result.session
            step = "" if session is None else getattr(session, f"{name}_name")
            hint = BY_NAME[name].hint
            self.buttons[name].setToolTip(f"{step}\n{hint}" if step else hint)
