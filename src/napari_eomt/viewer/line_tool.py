"""Draw in the canvas where an object is to be split: a line across it, or a click in each part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_eomt.errors import DataError
from napari_eomt.viewer.actions import split_by_clicks, split_by_line
from napari_eomt.viewer.canvas_tool import MouseGrab, has_moved
from napari_eomt.viewer.outlines import Outline, Outlines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_eomt.viewer.keymap import KeyBindings
    from napari_eomt.viewer.place import Place

HINT = (
    "Split: draw a line across an object, or click once in each of its two parts. Clicks beside "
    "it make a line too: Enter or a double click ends it. Escape gives up."
)
_KEYS = ("Enter", "Escape")


class LineTool:
    """Takes the mouse until an object is split, or Escape.

    Press, drag and release draw a line. Two clicks within one object are seeds of its parts. Any
    other clicks are the corners of a line, which Enter or a double click ends.

    Parameters
    ----------
    keys : KeyBindings
    say : callable
        Given one line for people, and whether it is an error.
    ended : callable
        Called when the tool is over.
    """

    def __init__(
        self,
        keys: KeyBindings,
        say: Callable[[str, bool], object],
        ended: Callable[[], object] = lambda: None,
    ) -> None:
        self._keys, self._say, self._ended = keys, say, ended
        self._place: Place | None = None
        self._mouse: MouseGrab | None = None
        self._outline: Outlines | None = None
        self._points: list[tuple[float, float]] = []

    @property
    def is_on(self) -> bool:
        """Whether the tool has the mouse."""
        return self._place is not None

    def close(self) -> None:
        """Give the mouse back, and tell nobody: whoever would hear of it may be gone."""
        self._ended = lambda: None
        self.stop()

    def start(self, place: Place) -> None:
        """Take the mouse."""
        self.stop()
        if place.viewer.dims.ndisplay != 2:
            self._say("Splitting goes in the flat view: switch 3-D off (Ctrl+Y) first.", True)
            return
        self._place = place
        self._outline = Outlines(place.result.view.layer, "line")
        self._mouse = MouseGrab(
            place.viewer,
            self._on_drag,
            move=self._on_move,
            double_click=self._on_double_click,
            cursor="cross",
        )
        self._keys.add({"Enter": self.finish, "Escape": self._give_up})
        place.viewer.dims.events.point.connect(self._on_frame)
        place.viewer.layers.events.removed.connect(self._on_removed)
        self._say(HINT, False)

    def stop(self) -> None:
        """Give the mouse back; nothing of the drawing stays."""
        if self._place is None or self._mouse is None or self._outline is None:
            return
        viewer = self._place.viewer
        viewer.dims.events.point.disconnect(self._on_frame)
        viewer.layers.events.removed.disconnect(self._on_removed)
        self._place = None
        self._points = []
        self._mouse.release()
        self._outline.close()
        self._keys.remove(_KEYS)
        self._ended()

    def finish(self) -> None:
        """Split along the line that was clicked."""
        if len(self._points) > 1:
            self._split(are_seeds=False)

    def _give_up(self) -> None:
        self.stop()
        self._say("Split is off. Nothing has changed.", False)

    def _on_drag(self, viewer: Any, event: Any) -> Iterator[None]:
        place = self._place
        if place is None or event.button != 1:
            return
        start, pressed = event.pos, place.pixel(event.position)
        path = [pressed]
        yield
        is_drag = False
        while event.type == "mouse_move":
            is_drag = is_drag or has_moved(start, event.pos)
            if is_drag and self.is_on:
                path.append(place.pixel(event.position))
                self._draw([*self._points, *path])
            yield
        # Unless it was given up while the button was down.
        if self.is_on and is_drag:
            self._points += path
            self._split(are_seeds=False)
        elif self.is_on:
            self._click(pressed)

    def _on_move(self, viewer: Any, event: Any) -> None:
        if self._place is not None and self._points:
            self._draw([*self._points, self._place.pixel(event.position)])

    def _on_double_click(self, viewer: Any, event: Any) -> None:
        self.finish()

    def _on_frame(self, event: Any = None) -> None:
        self._points = []
        self._draw([])

    def _on_removed(self, event: Any) -> None:
        if self._place is not None and event.value is self._place.result.view.layer:
            self.stop()

    def _click(self, point: tuple[float, float]) -> None:
        if self._place is None or point in self._points:
            return  # the second press of a double click
        self._points.append(point)
        self._draw(self._points)
        if len(self._points) == 2:
            ids = {self._place.under(p) for p in self._points}
            if len(ids) == 1 and 0 not in ids:
                self._split(are_seeds=True)

    def _split(self, *, are_seeds: bool) -> None:
        if self._place is None:
            return
        points, self._points = self._points, []
        try:
            split = split_by_clicks if are_seeds else split_by_line
            message = split(self._place, points)
        except DataError as error:
            self._draw([])
            self._say(str(error), True)
            return
        self.stop()
        self._say(message, False)

    def _draw(self, points: list[tuple[float, float]]) -> None:
        if self._outline is not None:
            self._outline.show(Outline.through(points, dots=len(points) < 20))
