"""Lets napari delete what it drew with in the OpenGL context that it drew in.

The only file that reaches for the canvas, which napari has no public way to. Between two pictures
the context that is current is Qt's, with which it puts the window together. When a layer is
removed, napari 0.9 deletes the shaders, textures and buffers at once, in whatever context is
current. The two share their objects, so the right ones go, but a driver has to carry that over to
the canvas's own context: Mesa 22.3 takes the shaders away there that the next picture still needs,
and the program dies when it is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.components import ViewerModel


class CanvasContext:
    """Makes the canvas's context the current one whenever layers are about to go.

    Without a window, or with one whose canvas was never drawn, there is nothing to make current.

    Parameters
    ----------
    viewer : ViewerModel
        A proxy will do.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer: Any = getattr(viewer, "__wrapped__", viewer)
        for event in self._events():
            event.connect(self._on_layers)

    def close(self) -> None:
        """Let go of the viewer."""
        for event in self._events():
            event.disconnect(self._on_layers)

    def _events(self) -> tuple[Any, ...]:
        events = self._viewer.layers.events
        # Of layers that go together napari deletes everything at the end.
        return events.removing, events.end_batch

    def _on_layers(self, event: Any) -> None:
        window = getattr(self._viewer, "window", None)
        if window is not None:
            window._qt_viewer.canvas._scene_canvas.set_current()
