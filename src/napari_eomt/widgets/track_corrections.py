"""Corrections in time: asked of keys and menus, done as one step, told with a way back."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject
from qtpy.QtGui import QAction, QCursor
from qtpy.QtWidgets import QMenu

from napari_eomt.annotation.track_choices import Purpose
from napari_eomt.annotation.tracks import TrackIndex
from napari_eomt.errors import EomtError
from napari_eomt.viewer import track_actions
from napari_eomt.viewer.colormaps import hex_of
from napari_eomt.viewer.track_click import ObjectClick
from napari_eomt.widgets.status_icons import swatch
from napari_eomt.widgets.track_menu import choice_menu, object_menu

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtCore import QPoint
    from qtpy.QtWidgets import QWidget

    from napari_eomt.annotation.session import Key
    from napari_eomt.viewer.place import Place
    from napari_eomt.viewer.results import Result
    from napari_eomt.widgets.action_runner import ActionRunner

_OF_ONE: dict[str, Callable[[Place], str]] = {
    "track_cut": track_actions.cut,
    "track_delete_from": track_actions.delete_from,
    "track_delete": track_actions.delete_track,
    "track_accept": track_actions.accept_track,
}

_OF_TWO: dict[str, tuple[Purpose, Callable[[Place, int | None], str]]] = {
    "track_swap": (Purpose.SWAP, track_actions.swap),
    "track_identity": (Purpose.IDENTITY, track_actions.change_identity),
    "track_join": (Purpose.JOIN, track_actions.join),
    "track_parent": (Purpose.PARENT, track_actions.came_from),
}


class TrackCorrections(QObject):
    """Does the corrections of the table, and offers them in menus.

    Parameters
    ----------
    runner : ActionRunner
    window : QWidget
        Over which menus open.
    parent : QObject, optional
    """

    def __init__(
        self, runner: ActionRunner, window: QWidget, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._runner, self._window = runner, window
        self.menu: QMenu | None = None
        """The last that was opened."""
        for name, run in _OF_ONE.items():
            runner.handle(name, partial(self._do, run))
        for name in _OF_TWO:
            runner.handle(name, partial(self._do_or_ask, name))
        runner.handle("track_category", self._ask_category)
        self._clicks = ObjectClick(runner.viewer, self._place_result, self._on_right_click)

    def close(self) -> None:
        """Let go of the viewer, without a touch of Qt."""
        self._clicks.close()

    def pop_up(self, at: QPoint, *, is_object: bool = False) -> None:
        """Open the menu of what is selected, at a place of the screen."""
        place = self._runner.place
        has_tracks = place is not None and place.result.document.n_frames > 1
        menu = object_menu(self._runner, self._window, is_object=is_object, has_tracks=has_tracks)
        self._open(menu, at)

    def _do(self, run: Callable[[Place], str]) -> str | None:
        """Do a correction; say what was done, with a button that takes it back."""
        place = self._runner.place
        if place is None:
            return None
        session = place.result.session
        n_before = session.n_steps
        message = run(place)
        if session.n_steps == n_before:
            return message
        name, n_after = session.undo_name, session.n_steps

        def take_back() -> None:
            if (session.undo_name, session.n_steps) == (name, n_after):
                self._runner.run("undo")
            else:
                self._runner.say(
                    "Other steps came after it: Undo (U) takes these back first.", True
                )

        self._runner.say(message, False, "Undo", take_back)
        return None

    def _do_or_ask(self, name: str) -> str | None:
        """Do a correction of two tracks; with one selected, ask for the other."""
        place = self._runner.place
        if place is None:
            return None
        purpose, run = _OF_TWO[name]
        index = TrackIndex.of(place.result.document)
        numbers = track_actions.meant_tracks(place, index)
        if len(numbers) != 1:
            return self._do(lambda place: run(place, None))
        # The menu may be open when something else is selected.
        place.result.session.select(
            [k for k in place.result.session.selection if index.numbers.get(k) == numbers[0]]
            or [index.keys(numbers[0], place.frame, place.frame + 1)[0]]
        )
        menu = choice_menu(
            place.result.document,
            index,
            numbers[0],
            place.frame,
            purpose,
            partial(self._take, run),
            self._window,
        )
        self._open(menu, QCursor.pos())
        return None

    def _take(self, run: Callable[[Place, int | None], str], other: int) -> None:
        self._say(lambda: self._do(lambda place: run(place, other)))

    def _ask_category(self) -> str | None:
        place = self._runner.place
        if place is None:
            return None
        track_actions.meant_tracks(place, TrackIndex.of(place.result.document))
        menu = QMenu(self._window)
        menu.addSection("Category of the track")
        colors = place.result.view.category_colors
        for category in place.result.document.categories.values():
            entry = QAction(swatch(hex_of(colors[category.id])), category.name, menu)
            entry.triggered.connect(partial(self._recategorise, category.id))
            menu.addAction(entry)
        self._open(menu, QCursor.pos())
        return None

    def _recategorise(self, category_id: int, checked: bool = False) -> None:
        run = partial(track_actions.recategorise_track, category_id=category_id)
        self._say(lambda: self._do(run))

    def _say(self, run: Callable[[], str | None]) -> None:
        try:
            message = run()
        except EomtError as error:
            self._runner.say(str(error), True)
            return
        if message:
            self._runner.say(message)

    def _open(self, menu: QMenu, at: QPoint) -> None:
        if self.menu is not None:
            self.menu.close()
            self.menu.deleteLater()
        self.menu = menu
        menu.popup(at)

    def _place_result(self) -> Result | None:
        place = self._runner.place
        return None if place is None else place.result

    def _on_right_click(self, result: Result, key: Key) -> None:
        if key not in result.session.selection:
            result.session.select([key])
        self.pop_up(QCursor.pos(), is_object=True)
