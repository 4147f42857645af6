"""Where a review happens: an object is not only brought into view, but large enough to judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.viewer.place import Place

if TYPE_CHECKING:
    from napari_eomt.annotation.session import Key

TINY_PX = 32
"""Objects that are smaller on the screen cannot be judged."""

COMFORTABLE_PX = 96
"""How large they are made."""

LARGE_PART, FITTING_PART = 0.9, 0.7
"""Objects that fill more of the canvas than the first are made to fill the second."""


@dataclass(frozen=True)
class ReviewPlace(Place):
    """A place that goes from object to object; the view moves and zooms only where it must."""

    def centre_on(self, key: Key) -> None:
        """Select an object, bring it into view, and make it neither tiny nor too large."""
        super().centre_on(key)
        viewer = self.viewer
        if viewer.dims.ndisplay != 2:
            return
        segment = self.result.document.segments(key[0])[key[1]]
        y0, x0, y1, x1 = segment.bbox
        layer = self.result.view.layer
        scale = np.abs(np.asarray(layer.scale, float)[-2:])
        side = float(max((y1 - y0) * scale[0], (x1 - x0) * scale[1]))
        camera, canvas = viewer.scene.camera, float(min(viewer.canvas.size))
        if side <= 0 or canvas <= 0:
            return
        on_screen = side * camera.zoom
        if on_screen < TINY_PX:
            wanted = min(COMFORTABLE_PX, FITTING_PART * canvas)
        elif on_screen > LARGE_PART * canvas:
            wanted = FITTING_PART * canvas
        else:
            return
        data = np.array(layer.world_to_data(tuple(viewer.dims.point)), float)[-layer.ndim :]
        data[-2:] = (y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2
        world = np.asarray(layer.data_to_world(tuple(data)))[list(self._displayed)]
        centre = np.array(camera.center, float)
        centre[-len(world) :] = world
        camera.center = tuple(centre)
        camera.zoom = wanted / side
