"""Which axis of an array is what, and taking one frame out of it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_eomt.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.structures.frames import Frame

_CHANNEL_NAMES = frozenset({"c", "s", "channel", "channels", "samples", "rgb", "rgba"})


@dataclass(frozen=True)
class AxisRoles:
    """Which axis of an array is what; axes are counted from 0.

    Parameters
    ----------
    frames : tuple of int
        The axes that are stepped through, outermost first: time, depth, position.
    y, x : int
        Rows and columns of a frame.
    channel : int, optional
        The axis of a frame's channels.
    """

    frames: tuple[int, ...]
    y: int
    x: int
    channel: int | None = None

    def __post_init__(self) -> None:
        if sorted(self._all) != list(range(len(self._all))):
            raise DataError(
                f"The axes have the roles frames {self.frames}, y {self.y}, x {self.x}, channel "
                f"{self.channel}. Give each axis, from 0, exactly one role."
            )

    @property
    def _all(self) -> tuple[int, ...]:
        channel = () if self.channel is None else (self.channel,)
        return (*self.frames, self.y, self.x, *channel)

    def check(self, shape: Sequence[int]) -> None:
        """Raise DataError unless an array of `shape` has exactly these axes, none of them empty."""
        if len(shape) != len(self._all):
            raise DataError(
                f"An array of shape {tuple(shape)} has {len(shape)} axes, but {len(self._all)} "
                "were expected. Say what each axis is, for example TYX or YXC."
            )
        if 0 in shape:
            raise DataError(f"An array of shape {tuple(shape)} holds no pixels.")

    def n_frames(self, shape: Sequence[int]) -> int:
        """Return how many frames an array of `shape` holds; 1 without frame axes."""
        self.check(shape)
        return prod(shape[axis] for axis in self.frames)

    def frame_index(self, shape: Sequence[int], i: int) -> tuple[int, ...]:
        """Return where frame `i` lies along each of `frames`; the last of these runs fastest."""
        n_frames = self.n_frames(shape)
        if not 0 <= i < n_frames:
            raise DataError(
                f"There is no frame {i} in an array of {n_frames}. Frames are counted from 0."
            )
        lengths = tuple(shape[axis] for axis in self.frames)
        return tuple(int(k) for k in np.unravel_index(i, lengths)) if lengths else ()

    def frame_shape(self, shape: Sequence[int]) -> tuple[int, int]:
        """Return (H, W) of a frame, in pixels."""
        self.check(shape)
        return shape[self.y], shape[self.x]


def guess_axes(
    shape: Sequence[int], *, rgb: bool = False, names: Sequence[str] | None = None
) -> AxisRoles:
    """Say which axis of an array is what.

    With `names`, these decide: y and x are the frame, c is the channel, and all others are
    stepped through. Where there is an s beside a c, as in an RGB image for each channel, s is
    the channel and c is stepped through.

    Without, the last two axes are y and x, after them a channel axis if `rgb` says so or if the
    last axis has 3 or 4 entries and the two before it have more. All axes before are stepped
    through: (3, H, W) is three frames, as in napari. Channels that come first need `names`.

    Parameters
    ----------
    shape : sequence of int
    rgb : bool
        The last axis is red, green, blue and perhaps alpha; not looked at when there are names.
    names : sequence of str, optional
        One for each axis, such as "TCYX" or ["z", "y", "x"]; case does not matter.

    Raises
    ------
    DataError
        If there are too few axes, or the names do not fit them.
    """
    if names is not None:
        roles = _named_axes(shape, [name.strip().lower() for name in names])
    else:
        n_axes = len(shape)
        looks_rgb = n_axes >= 3 and shape[-1] in (3, 4) and min(shape[-3:-1]) > shape[-1]
        if rgb and (n_axes < 3 or shape[-1] not in (3, 4)):
            raise DataError(
                f"An RGB image ends with an axis of 3 or 4, but the shape is {tuple(shape)}."
            )
        if n_axes < 2:
            raise DataError(
                f"An array of shape {tuple(shape)} is not an image: at least two axes, "
                "(Y, X), were expected."
            )
        channel = n_axes - 1 if rgb or looks_rgb else None
        x = n_axes - 1 if channel is None else n_axes - 2
        roles = AxisRoles(tuple(range(x - 1)), x - 1, x, channel)
    roles.check(shape)
    return roles


def _named_axes(shape: Sequence[int], names: list[str]) -> AxisRoles:
    text = "".join(names).upper() if all(len(name) == 1 for name in names) else ", ".join(names)
    if len(names) != len(shape):
        raise DataError(
            f"The axes {text} are {len(names)}, but the image has {len(shape)}: {tuple(shape)}. "
            "Name every axis, for example TYX, CYX or YXC."
        )
    if names.count("y") != 1 or names.count("x") != 1 or len(set(names)) != len(names):
        raise DataError(
            f"The axes {text} must name Y and X once, and no axis twice; for example TYX."
        )
    channels = [k for k, name in enumerate(names) if name in _CHANNEL_NAMES]
    # Samples (s) of a pixel are closer to it than a microscope's channels (c).
    channel = max(channels, key=lambda k: names[k] != "c", default=None)
    frames = tuple(k for k, name in enumerate(names) if name not in ("y", "x") and k != channel)
    return AxisRoles(frames, names.index("y"), names.index("x"), channel)


def take_frame(array: Any, roles: AxisRoles, i: int) -> Frame:
    """Take one frame out of an array, reading or computing only that frame.

    Parameters
    ----------
    array : array-like with ``shape`` and ``__getitem__``
        numpy, dask, zarr, h5py, tensorstore and their like.
    roles : AxisRoles
    i : int
        From 0; the last of the frame axes runs fastest.

    Returns
    -------
    (H, W) or (H, W, C)
        In memory; a view if `array` is numpy's.
    """
    shape = tuple(int(length) for length in array.shape)
    index: list[int | slice] = [slice(None)] * len(shape)
    for axis, k in zip(roles.frames, roles.frame_index(shape, i), strict=True):
        index[axis] = k
    frame = np.asarray(array[tuple(index)])
    # What is left keeps its order; the frame's axes may have been in any.
    left = [axis for axis in range(len(shape)) if axis not in roles.frames]
    wanted = [roles.y, roles.x] if roles.channel is None else [roles.y, roles.x, roles.channel]
    turned: Frame = frame.transpose([left.index(axis) for axis in wanted])
    return turned
