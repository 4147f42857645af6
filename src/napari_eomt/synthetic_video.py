"""Drawn videos in which things cross, hide each other, are gone and come back; the truth exact."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

_BACKGROUND = 40.0
_NOISE = 5.0
_ROOM = 0.75
"""Of a shape's reach that stays within the frame."""


@dataclass(frozen=True)
class DrawnVideo:
    """A drawn video and what is in it.

    Parameters
    ----------
    frames : (T, Y, X, 3) uint8
    ids : (T, Y, X) uint16
        0 is void; an object keeps its id, from 1, in every frame.
    """

    frames: npt.NDArray[np.uint8]
    ids: npt.NDArray[np.uint16]


def drawn_tracks(
    n_frames: int = 16,
    shape: tuple[int, int] = (64, 64),
    n_objects: int = 3,
    *,
    absent: float = 0.5,
    alike: bool = False,
    seed: int = 0,
) -> DrawnVideo:
    """Draw discs, squares and triangles, each of a colour of its own, that run through each other.

    Each goes in straight lines and turns back at the border. Where two meet, the one with the
    larger id hides the other. Some are gone for a few frames, and come back somewhere else: only
    what they look like tells that they are the same.

    Parameters
    ----------
    n_frames, n_objects : int
    shape : (Y, X)
        Size of a frame, in pixels; at least 48 each way.
    absent : float
        How many of the objects are gone for a while, 0 to 1.
    alike : bool
        Whether all are of one colour, form and size: only where they are, and whither they go,
        tells which is which. They move as they would otherwise.
    seed : int
        The same seed draws the same video.

    Raises
    ------
    ValueError
        If the frames are smaller.
    """
    if min(shape) < 48:
        raise ValueError(
            f"A frame is {shape[0]} × {shape[1]} px, expected at least 48 × 48: objects are up to "
            "22 px wide. Choose a larger shape."
        )
    rng = np.random.default_rng(seed)
    # Colours of one video are far apart on the wheel, and those of all videos anywhere on it.
    shares = np.arange(n_objects) + rng.uniform(-0.15, 0.15, (2, n_objects))
    hues, turns = (rng.uniform() + shares / n_objects) % 1
    meeting = _Meeting(rng.uniform(0.35, 0.65, 2) * shape, rng.uniform(0.25, 0.75) * n_frames)
    objects = [
        _Object(rng, hue, turn, meeting, n_frames, shape, absent)
        for hue, turn in zip(hues.tolist(), turns.tolist(), strict=True)
    ]
    if alike:
        for one in objects:
            one.look_as(objects[0])
    frames = np.empty((n_frames, *shape, 3), np.uint8)
    ids = np.zeros((n_frames, *shape), np.uint16)
    for t in range(n_frames):
        image = np.full((*shape, 3), _BACKGROUND)
        for k, one in enumerate(objects):
            inside = one.mask(t)
            ids[t][inside] = k + 1
            image[inside] = one.colour
        seen = ndimage.gaussian_filter(image, (0.6, 0.6, 0))
        seen += rng.normal(scale=_NOISE, size=image.shape)
        frames[t] = np.clip(np.rint(seen), 0, 255).astype(np.uint8)
    return DrawnVideo(frames, ids)


@dataclass(frozen=True)
class _Meeting:
    """Where and when the objects of a video run into each other: (y, x), and a frame."""

    place: npt.NDArray[np.float64]
    frame: float


class _Object:
    """Something that moves; what it is was drawn when the video began."""

    def __init__(
        self,
        rng: np.random.Generator,
        hue: float,
        turn: float,
        meeting: _Meeting,
        n_frames: int,
        shape: tuple[int, int],
        absent: float,
    ) -> None:
        self._shape = shape
        self.colour = 255 * np.array(colorsys.hsv_to_rgb(hue, 0.9, rng.uniform(0.75, 1)))
        self._form = int(rng.integers(3))
        self._reach = rng.uniform(8, 11)
        angle, speed = 2 * np.pi * turn, rng.uniform(2, 4.5)
        step = speed * np.array([np.sin(angle), np.cos(angle)])
        # Nearly to the same place at nearly the same time, each from a side of its own.
        frames = np.arange(n_frames) - meeting.frame - rng.uniform(-1, 1)
        margin = _ROOM * self._reach
        places = meeting.place - margin + rng.uniform(-3, 3, 2) + frames[:, None] * step
        room = np.array(shape) - 2 * margin
        self._gone = range(0)
        is_absent = rng.random() < absent
        length = int(rng.integers(2, 5))
        first = int(rng.integers(2, max(3, n_frames - length - 1)))
        elsewhere = rng.uniform(0, 1, 2) * room
        if is_absent:
            self._gone = range(first, min(first + length, n_frames))
            back = self._gone.stop
            places[back:] += elsewhere - places[min(back, n_frames - 1)]
        # A triangle wave runs up and down the room: a straight line that turns at its ends.
        run = np.mod(places, 2 * room)
        self._places = margin + room - np.abs(run - room)

    def look_as(self, other: _Object) -> None:
        """Take the colour, form and size of another."""
        self.colour, self._form, self._reach = other.colour, other._form, other._reach

    def mask(self, t: int) -> npt.NDArray[np.bool_]:
        """Return where it is in a frame, were nothing in front of it; (Y, X)."""
        if t in self._gone:
            return np.zeros(self._shape, np.bool_)
        y, x = np.ogrid[: self._shape[0], : self._shape[1]]
        dy, dx = y - self._places[t, 0], x - self._places[t, 1]
        if self._form == 0:
            inside = dy**2 + dx**2 <= self._reach**2
        elif self._form == 1:
            inside = np.maximum(abs(dy), abs(dx)) <= 0.85 * self._reach
        else:
            inside = (dy <= 0.8 * self._reach) & (dy >= 2 * abs(dx) - self._reach)
        found: npt.NDArray[np.bool_] = np.broadcast_to(inside, self._shape)
        return found
