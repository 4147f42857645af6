"""A clip out of one image: what is seen drifts and turns from frame to frame. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

MAX_ANGLE = 15.0
"""Degrees to either side over a clip, as published."""

MAX_SHIFT = 0.1
"""Of the view's side, to either side over a clip: the published centres from 0.4 to 0.6."""


@dataclass(frozen=True)
class Drift:
    """How a view is turned about its middle, and shifted.

    Parameters
    ----------
    angle : float
        Degrees, counter-clockwise.
    shift : (dy, dx)
        Of the view's sides.
    """

    angle: float
    shift: tuple[float, float]

    def pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Move (h, w, 3) pixels smoothly; what comes into view is black."""
        moved: npt.NDArray[np.uint8] = np.array(
            self._moved(Image.fromarray(np.ascontiguousarray(pixels)), Image.Resampling.BILINEAR)
        )
        return moved

    def nearest(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Move an (h, w) id map or mask: each pixel takes the nearest; outside there is nothing."""
        picture = Image.fromarray(array.astype(np.int32), mode="I")
        return np.array(self._moved(picture, Image.Resampling.NEAREST)).astype(array.dtype)

    def _moved(self, picture: Image.Image, how: Image.Resampling) -> Image.Image:
        """Look up each pixel where it comes from."""
        width, height = picture.size
        cos, sin = np.cos(np.radians(self.angle)), np.sin(np.radians(self.angle))
        middle = np.array([width / 2, height / 2])
        moved = middle + np.array([self.shift[1] * width, self.shift[0] * height])
        turn = np.array([[cos, -sin], [sin, cos]])
        start = middle - turn @ moved
        data = (turn[0, 0], turn[0, 1], start[0], turn[1, 0], turn[1, 1], start[1])
        return picture.transform(picture.size, Image.Transform.AFFINE, data, resample=how)


def draw_drift(rng: np.random.Generator, n_frames: int) -> list[Drift]:
    """Draw how the frames of a clip differ: each goes on the way of the one before.

    As published: angles and shifts are drawn at random, then sorted, rising or falling.

    Parameters
    ----------
    rng : Generator
    n_frames : int
    """
    columns = []
    for bound in (MAX_ANGLE, MAX_SHIFT, MAX_SHIFT):
        values = np.sort(rng.uniform(-bound, bound, n_frames))
        columns.append(values if rng.random() < 0.5 else values[::-1])
    angles, dy, dx = (column.tolist() for column in columns)
    return [Drift(a, (y, x)) for a, y, x in zip(angles, dy, dx, strict=True)]


def draw_frames(
    rng: np.random.Generator, n_frames: int, clip_length: int, max_stride: int
) -> list[int]:
    """Draw which frames of a video a clip shows, rising.

    Every so many-th frame from one that is drawn; where a video has too few for the stride, with
    a smaller one, and where it has too few at all, some of them again.

    Parameters
    ----------
    rng : Generator
    n_frames : int
        Of the video.
    clip_length : int
    max_stride : int
        Clips take each first to each so many-th frame, equally often.
    """
    # As many draws whatever the video's length.
    wanted, place = int(rng.integers(1, max_stride + 1)), rng.random()
    if n_frames < clip_length:
        return [round(place) for place in np.linspace(0, n_frames - 1, clip_length).tolist()]
    stride = min(wanted, (n_frames - 1) // max(1, clip_length - 1))
    span = stride * (clip_length - 1)
    start = int(place * (n_frames - span))
    return [start + stride * k for k in range(clip_length)]
