"""What tools in the canvas have in common: they take the mouse, and give it back as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel

CLICK_PX = 4.0
"""A mouse that moves less between press and release has clicked."""


class MouseGrab:
    """The mouse of a viewer, for as long as a tool has it.

    The chosen layer is put into pan mode, so that it does not paint meanwhile.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer itself, not a proxy.
    drag : callable
        As napari's `mouse_drag_callbacks`.
    move : callable, optional
        As `mouse_move_callbacks`.
    wheel : callable, optional
        As `mouse_wheel_callbacks`.
    double_click : callable, optional
        In place of napari's own, which zooms in.
    keeps_panning : bool
        Whether a drag goes on moving the picture.
    cursor : str
        napari's name of the cursor's shape.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        drag: Callable[[Any, Any], Any],
        *,
        move: Callable[[Any, Any], Any] | None = None,
        wheel: Callable[[Any, Any], Any] | None = None,
        double_click: Callable[[Any, Any], Any] | None = None,
        keeps_panning: bool = False,
        cursor: str = "",
    ) -> None:
        self._viewer = viewer
        self._added = [
            (callbacks, function)
            for callbacks, function in (
                (viewer.mouse_drag_callbacks, drag),
                (viewer.mouse_move_callbacks, move),
                (viewer.mouse_wheel_callbacks, wheel),
            )
            if function is not None
        ]
        for callbacks, function in self._added:
            callbacks.append(function)
        self._keeps_panning, self._layer, self._mode = keeps_panning, None, None
        self._double_clicks = list(viewer.mouse_double_click_callbacks)
        self._has_double_click = double_click is not None
        if double_click is not None:
            viewer.mouse_double_click_callbacks[:] = [double_click]
        if not keeps_panning:
            self._layer = viewer.layers.selection.active
            self._mode = getattr(self._layer, "mode", None)
            if self._layer is not None and self._mode is not None:
                self._layer.mode = "pan_zoom"
            self._pan = viewer.scene.camera.mouse_pan
            viewer.scene.camera.mouse_pan = False
        self._cursor = viewer.cursor.style if cursor else None
        if cursor:
            viewer.cursor.style = cursor

    def release(self) -> None:
        """Give the mouse back."""
        viewer = self._viewer
        for callbacks, function in self._added:
            if function in callbacks:
                callbacks.remove(function)
        if self._has_double_click:
            viewer.mouse_double_click_callbacks[:] = self._double_clicks
        if self._cursor is not None:
            viewer.cursor.style = self._cursor
        if self._keeps_panning:
            return
        viewer.scene.camera.mouse_pan = self._pan
        # A mode that the person has chosen meanwhile is theirs.
        layer = self._layer
        if layer is not None and layer in viewer.layers and str(layer.mode) == "pan_zoom":
            layer.mode = self._mode


def has_moved(start: Any, now: Any) -> bool:
    """Whether the mouse has left the place of its press, both in pixels of the canvas."""
    return bool(abs(now[0] - start[0]) > CLICK_PX or abs(now[1] - start[1]) > CLICK_PX)
