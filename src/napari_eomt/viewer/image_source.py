"""An image layer as a source of frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_eomt.errors import DataError
from napari_eomt.structures.axes import AxisRoles, guess_axes, take_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image

    from napari_eomt.structures.frames import Frame


class LayerSource:
    """The frames of an image layer; see `FrameSource`.

    It holds the layer's array, not the layer, so that a thread may read it.

    Parameters
    ----------
    layer : napari.layers.Image
        Of a pyramid, the full resolution is read.
    roles : AxisRoles
        Which axis of the array is what.
    """

    def __init__(self, layer: Image, roles: AxisRoles) -> None:
        self._data = layer_array(layer)
        self._roles = roles
        self._name = str(layer.name)
        roles.frame_shape(self.shape)

    @property
    def name(self) -> str:
        """The layer's name."""
        return self._name

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(int(n) for n in self._data.shape)

    @property
    def n_frames(self) -> int:
        """How many frames there are."""
        return self._roles.n_frames(self.shape)

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """How many frames there are along each axis that is stepped through."""
        return tuple(self.shape[axis] for axis in self._roles.frames)

    @property
    def image_shape(self) -> tuple[int, int]:
        """(H, W) of a frame, in pixels."""
        return self._roles.frame_shape(self.shape)

    def frame(self, index: int) -> Frame:
        """Return a frame, in memory."""
        return take_frame(self._data, self._roles, index)


def layer_array(layer: Image) -> Any:
    """Return a layer's array, of a pyramid the full resolution."""
    return layer.data[0] if layer.multiscale else layer.data


def guess_roles(layer: Image) -> AxisRoles:
    """Guess which axis of a layer's array is what, from its names and its shape.

    Raises
    ------
    DataError
        If the layer has no two axes of pixels.
    """
    data = layer_array(layer)
    shape = tuple(int(n) for n in data.shape)
    if layer.rgb:
        return guess_axes(shape, rgb=True)
    names = [str(name).strip().lower() for name in getattr(layer, "axis_labels", ())]
    # Where y and x are not among the names (napari numbers unnamed axes), none says anything.
    known = len(names) == len(set(names)) == len(shape) and {"y", "x"} <= set(names)
    # A grey layer shows its last two axes, whatever their lengths.
    y, x = len(shape) - 2, len(shape) - 1
    if len(shape) < 2:
        raise DataError(
            f"The layer {layer.name!r} is {shape}: it has no two axes of pixels. Choose an image."
        )
    if known:
        roles = guess_axes(shape, names=names)
        if (roles.y, roles.x) == (y, x):
            return roles
    return AxisRoles(frames=tuple(range(len(shape) - 2)), y=y, x=x)


def current_frame(layer: Image, roles: AxisRoles, world_point: Sequence[float]) -> int:
    """Return the index of the frame that a viewer shows.

    Parameters
    ----------
    layer : napari.layers.Image
    roles : AxisRoles
    world_point : sequence of float
        Where the viewer's sliders stand, an entry a dimension (`viewer.dims.point`).
    """
    if not roles.frames:
        return 0
    shape = tuple(int(n) for n in layer_array(layer).shape)
    at = np.asarray(layer.world_to_data(tuple(world_point)))[-layer.ndim :]
    steps = [int(np.clip(np.round(at[axis]), 0, shape[axis] - 1)) for axis in roles.frames]
    return int(np.ravel_multi_index(steps, tuple(shape[axis] for axis in roles.frames)))


def axis_names(layer: Image) -> list[str]:
    """Return what people call the axes of a layer's array, less an RGB axis."""
    n = int(layer_array(layer).ndim) - int(layer.rgb)
    labels = [str(name) for name in layer.axis_labels]
    # napari numbers axes without a name from the last one backwards: "-3", earlier "axis -3".
    return [
        str(i) if i >= len(labels) or labels[i] in (f"{i - n}", f"axis {i - n}") else labels[i]
        for i in range(n)
    ]
