"""A click with the right button on an object: what can be done to it is offered there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_eomt.viewer.selection import CLICK_PX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari.components import ViewerModel

    from napari_eomt.annotation.session import Key
    from napari_eomt.viewer.results import Result

RIGHT = 2


class ObjectClick:
    """Tells which object was clicked with the right button, while the mouse moves the view.

    While one paints the right button is napari's; dragged it zooms, which is no click.

    Parameters
    ----------
    viewer : ViewerModel
    result : callable
        Gives the result that is worked on, if there is one.
    clicked : callable
        Given the result, and (frame, id).
    """

    def __init__(
        self,
        viewer: ViewerModel,
        result: Callable[[], Result | None],
        clicked: Callable[[Result, Key], None],
    ) -> None:
        self._viewer, self._result, self._clicked = viewer, result, clicked
        viewer.mouse_drag_callbacks.append(self._on_press)

    def close(self) -> None:
        """Let go of the viewer."""
        if self._on_press in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._on_press)

    def _on_press(self, viewer: ViewerModel, event: Any) -> Iterator[None]:
        result = self._result()
        active = self._viewer.layers.selection.active
        active = getattr(active, "__wrapped__", active)
        if event.button != RIGHT or event.modifiers or result is None:
            return
        if active not in (result.view.layer, result.image) or str(active.mode) != "pan_zoom":
            return
        start = np.array(event.pos, float)
        yield
        while event.type == "mouse_move":
            if np.abs(np.array(event.pos, float) - start).max() > CLICK_PX:
                return
            yield
        key = result.view.key_at(event.position, event.view_direction, list(event.dims_displayed))
        if key is not None:
            self._clicked(result, key)
