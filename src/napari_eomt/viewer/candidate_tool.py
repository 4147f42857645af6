"""The mouse while candidates are shown: point, turn the wheel, click, or drag around an object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_eomt.viewer.canvas_tool import MouseGrab, has_moved
from napari_eomt.viewer.outlines import Outline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_eomt.viewer.outlines import Outlines
    from napari_eomt.viewer.place import Place

_ACROSS = 0.2
"""A drag that encloses less than this part of its box goes across it: the box is meant."""


class Listener(Protocol):
    """What hears of the mouse; points are (y, x), in pixels of the frame."""

    @property
    def is_paused(self) -> bool:
        """Whether another tool has the mouse just now."""
        ...

    def pointed(self, point: tuple[float, float]) -> None:
        """The mouse is here."""
        ...

    def turned(self, step: int) -> None:
        """The next (1) or the previous (-1) candidate is wanted."""
        ...

    def clicked(self, point: tuple[float, float]) -> None:
        """What is shown here is wanted."""
        ...

    def enclosed(self, polygon: list[tuple[float, float]]) -> None:
        """What fits this polygon best is wanted."""
        ...


class CandidateTool:
    """Tells a listener of the mouse over a result; drags without Shift go on moving the picture.

    Parameters
    ----------
    place : Place
    listener : Listener
    outlines : Outlines
        In which a drag is shown.
    """

    def __init__(self, place: Place, listener: Listener, outlines: Outlines) -> None:
        self._place, self._listener, self._outlines = place, listener, outlines
        self._mouse = MouseGrab(
            place.viewer,
            self._on_drag,
            move=self._on_move,
            wheel=self._on_wheel,
            keeps_panning=True,
        )

    def close(self) -> None:
        """Give the mouse back."""
        self._mouse.release()

    @property
    def _is_idle(self) -> bool:
        """Whether the mouse is not ours: another tool has it, or a brush."""
        place = self._place
        mode = getattr(place.viewer.layers.selection.active, "mode", "pan_zoom")
        return (
            self._listener.is_paused
            or place.viewer.dims.ndisplay != 2
            or str(mode) != "pan_zoom"
            or not place.result.view.layer.visible
        )

    def _on_move(self, viewer: Any, event: Any) -> None:
        if not self._is_idle:
            self._listener.pointed(self._place.pixel(event.position))

    def _on_wheel(self, viewer: Any, event: Any) -> None:
        if "Shift" in event.modifiers and not self._is_idle:
            # With Shift some systems turn the wheel's direction by 90 degrees.
            amount = sum(event.delta)
            if amount:
                self._listener.turned(-1 if amount > 0 else 1)
            event.handled = True

    def _on_drag(self, viewer: Any, event: Any) -> Iterator[None]:
        if self._is_idle or event.button != 1:
            return
        start, pressed = event.pos, self._place.pixel(event.position)
        is_lasso = "Shift" in event.modifiers
        if event.modifiers and not is_lasso:
            return
        path, is_drag = [pressed], False
        camera = viewer.scene.camera
        can_pan = camera.mouse_pan
        camera.mouse_pan = can_pan and not is_lasso
        yield
        while event.type == "mouse_move":
            is_drag = is_drag or has_moved(start, event.pos)
            if is_drag and is_lasso:
                path.append(self._place.pixel(event.position))
                self._outlines.show(Outline.through(region(path), is_closed=True))
            yield
        camera.mouse_pan = can_pan
        self._outlines.show(Outline())
        if is_drag and is_lasso:
            self._listener.enclosed(region(path))
        elif not is_drag and not is_lasso:
            self._listener.clicked(pressed)


def region(path: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the polygon that a drag means: a path around something, or the box it goes across.

    Parameters
    ----------
    path : list of (y, x)

    Returns
    -------
    list of (y, x)
    """
    y, x = np.array(path, float).T
    # Gauss's formula.
    area = abs(float((y * np.roll(x, -1) - x * np.roll(y, -1)).sum())) / 2
    (y0, x0), (y1, x1) = (y.min(), x.min()), (y.max(), x.max())
    if area >= _ACROSS * (y1 - y0) * (x1 - x0) and len(path) > 3:
        return path
    corners = [(y0, x0), (y0, x1), (y1, x1), (y1, x0)]
    return [(float(a), float(b)) for a, b in corners]
