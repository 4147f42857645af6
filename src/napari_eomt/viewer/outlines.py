"""Outlines over a layer that are seen on any brightness: a white line beside a black one.

The only file that adds an overlay of our own to napari, which has no public way for it. In an
overlay, not a layer: nothing comes into the list of layers, nothing is saved with them, and the
layer's scale, rotation and place hold by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.components.overlays import SceneOverlay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Layer


def _nothing() -> npt.NDArray[np.float32]:
    return np.zeros((0, 2, 2), np.float32)


@dataclass(frozen=True, eq=False)
class Outline:
    """Lines in pixels of a frame.

    Parameters
    ----------
    edges : (N, 2, 2) float32
        From (y, x) to (y, x).
    points : (M, 2) float32
        (y, x) of dots.
    """

    edges: npt.NDArray[np.float32] = field(default_factory=_nothing)
    points: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 2), np.float32))

    @classmethod
    def around(cls, mask: npt.NDArray[np.bool_], origin: tuple[int, int] = (0, 0)) -> Outline:
        """Return the edges between the pixels of a mask and the others; inside to the right.

        Parameters
        ----------
        mask : (h, w) bool
        origin : (y, x)
            Where the mask's first pixel lies in the frame.
        """
        padded = np.pad(mask, 1)
        # An edge lies between two pixels, whose middles are whole numbers.
        below = padded[1:, :].astype(np.int8) - padded[:-1, :]
        right = padded[:, 1:].astype(np.int8) - padded[:, :-1]
        y, x = np.nonzero(below)
        across = np.stack((y - 0.5, x - 1.5, y - 0.5, x - 0.5), -1).reshape(-1, 2, 2)
        # Left to right where the mask begins downwards, else right to left.
        turned = below[y, x] < 0
        across[turned] = across[turned, ::-1]
        y, x = np.nonzero(right)
        along = np.stack((y - 1.5, x - 0.5, y - 0.5, x - 0.5), -1).reshape(-1, 2, 2)
        turned = right[y, x] > 0
        along[turned] = along[turned, ::-1]
        edges = np.concatenate((across, along)) + np.asarray(origin, np.float64)
        return cls(edges.astype(np.float32))

    @classmethod
    def through(
        cls, points: Sequence[tuple[float, float]], *, is_closed: bool = False, dots: bool = False
    ) -> Outline:
        """Return a line through points."""
        corners = np.array(points, np.float32).reshape(-1, 2)
        chain = np.concatenate((corners, corners[:1])) if is_closed else corners
        edges = np.stack((chain[:-1], chain[1:]), 1) if len(chain) > 1 else _nothing()
        return cls(edges, corners if dots else np.zeros((0, 2), np.float32))

    @classmethod
    def all_of(cls, outlines: Sequence[Outline]) -> Outline:
        """Return several outlines as one."""
        if not outlines:
            return cls()
        return cls(
            np.concatenate([outline.edges for outline in outlines]),
            np.concatenate([outline.points for outline in outlines]),
        )

    def __bool__(self) -> bool:
        """Whether there is anything to see."""
        return bool(len(self.edges) or len(self.points))


class OutlineOverlay(SceneOverlay):  # type: ignore[misc]
    """What the overlay shows; see `Outlines`."""

    shown: Any = Outline()


class Outlines:
    """Shows an outline over a layer, at the pixels that it is given, in two dimensions.

    Parameters
    ----------
    layer : Layer
        The layer itself, not a proxy.
    name : str
        Of the overlay: one of a name a layer.
    opacity : float
        0 to 1: less for what shall not strike the eye.
    """

    def __init__(self, layer: Layer, name: str, opacity: float = 1.0) -> None:
        _register()
        self._layer, self._name = layer, f"napari_eomt_{name}"
        self._overlay = OutlineOverlay(visible=False, opacity=opacity)
        layer._overlays[self._name] = self._overlay

    def show(self, outline: Outline) -> None:
        """Show an outline in place of the one before."""
        self._overlay.shown = outline
        self._overlay.visible = bool(outline)

    @property
    def shown(self) -> Outline:
        """What is shown."""
        outline: Outline = self._overlay.shown
        return outline

    def close(self) -> None:
        """Take the overlay away."""
        self.show(Outline())
        self._layer._overlays.pop(self._name, None)


def _register() -> None:
    """Tell napari how to draw the overlay; without a window there is nothing to tell."""
    from napari._vispy.utils.visual import overlay_to_visual

    if OutlineOverlay not in overlay_to_visual:
        from napari_eomt.viewer.outline_visual import OutlineVisual

        overlay_to_visual[OutlineOverlay] = OutlineVisual
