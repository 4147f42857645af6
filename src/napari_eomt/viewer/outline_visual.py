"""How an outline is drawn; only napari's canvas imports this, by way of `outlines`."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari._vispy.overlays.base import LayerOverlayMixin, VispySceneOverlay
from vispy.scene.visuals import Compound, Line, Markers

_WIDTH_PX = 2.0
_POINT_PX = 9.0
_BLACK, _WHITE = (0, 0, 0, 1), (1, 1, 1, 1)


class OutlineVisual(LayerOverlayMixin, VispySceneOverlay):  # type: ignore[misc]
    """A white line to the right of each edge, a black one to its left, and dots.

    Two thin lines side by side, not a thin one over a thick one: some drivers know no thick ones.
    """

    def __init__(self, **options: Any) -> None:
        nowhere = np.zeros((2, 2), np.float32)
        self._lines = [
            Line(pos=nowhere, color=color, width=_WIDTH_PX, connect="segments", method="gl")
            for color in (_BLACK, _WHITE)
        ]
        self._dots = Markers(pos=nowhere)
        super().__init__(node=Compound([*self._lines, self._dots]), **options)
        self.overlay.events.shown.connect(self._on_shown)
        self.layer.events.set_data.connect(self._on_visible_change)
        self.viewer.scene.camera.events.zoom.connect(self._on_shown)
        self.reset()

    def reset(self) -> None:
        """Draw all of it anew."""
        super().reset()
        self._on_shown()

    def close(self) -> None:
        """Let go of the viewer."""
        self.viewer.scene.camera.events.zoom.disconnect(self._on_shown)
        self.overlay.events.shown.disconnect(self._on_shown)
        super().close()

    def _should_be_visible(self) -> bool:
        shown = tuple(self.layer._slice_input.displayed)
        n = self.layer.ndim
        return bool(super()._should_be_visible() and shown == (n - 2, n - 1))

    def _on_shown(self, event: Any = None) -> None:
        outline = self.overlay.shown
        edges = outline.edges
        for line, side in zip(self._lines, (-1, 1), strict=True):
            line.visible = bool(len(edges))
            if len(edges):
                line.set_data(pos=self._beside(edges, side)[:, ::-1], connect="segments")
        self._dots.visible = bool(len(outline.points))
        if len(outline.points):
            self._dots.set_data(
                pos=outline.points[:, ::-1],
                size=_POINT_PX,
                face_color=_WHITE,
                edge_color=_BLACK,
                edge_width=2,
            )
        self.node.update()

    def _beside(self, edges: np.ndarray[Any, Any], side: int) -> np.ndarray[Any, Any]:
        """Return the ends of the edges, moved by half a line's width to one side."""
        along = edges[:, 1] - edges[:, 0]
        length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-6)[:, None]
        # To the right on the screen, where y goes down: (y, x) -> (x, -y).
        right = np.stack((along[:, 1], -along[:, 0]), -1) / length
        scale = np.abs(np.asarray(self.layer.scale)[-2:]) * self.viewer.scene.camera.zoom
        offset = right * (side * _WIDTH_PX / 2 / np.maximum(scale, 1e-6))
        moved: np.ndarray[Any, Any] = edges + offset[:, None].astype(np.float32)
        return moved.reshape(-1, 2)
