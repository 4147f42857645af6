"""Drawn images and moving objects with exact truth: for samples, tests and benchmarks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

_BACKGROUND = 20.0
_NOISE = 4.0


def drawn_nuclei(
    shape: tuple[int, int] = (256, 256), n: int = 40, seed: int = 0
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]:
    """Draw bright ellipses that do not touch, as nuclei in a fluorescence image.

    Parameters
    ----------
    shape : (H, W)
        Size of the image, in pixels.
    n : int
        How many ellipses; each is 12 to 22 px wide.
    seed : int
        The same seed draws the same image.

    Returns
    -------
    image : (H, W) uint8
    id_map : (H, W) uint16
        0 is void, ids run from 1 to `n`.

    Raises
    ------
    ValueError
        If so many ellipses find no place.
    """
    rng = np.random.default_rng(seed)
    centres = np.empty((0, 2))
    reaches = np.empty(0)
    id_map = np.zeros(shape, np.uint16)
    image = np.full(shape, _BACKGROUND)
    for i in range(1, n + 1):
        long, ratio = rng.uniform(8, 11), rng.uniform(0.75, 1)
        for _ in range(500):
            centre = rng.uniform((long + 1, long + 1), np.maximum(shape, 2 * long + 2) - long - 1)
            if np.all(np.hypot(*(centres - centre).T) > reaches + long + 2):
                break
        else:
            raise ValueError(
                f"Only {i - 1} of {n} nuclei found a place in {shape[0]} × {shape[1]} px. "
                "Draw fewer of them, or a larger image."
            )
        centres, reaches = np.vstack([centres, centre]), np.append(reaches, long)
        inside = _ellipse(shape, centre, (long, long * ratio), rng.uniform(0, np.pi))
        id_map[inside] = i
        image[inside] += rng.uniform(90, 180)
    # Uneven inside, as chromatin is, and no darker than the background outside.
    grain = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    image += np.where(id_map > 0, 60 * grain, 0)
    return _finish(image, rng), id_map


def moving_objects(
    n_frames: int = 20, shape: tuple[int, int] = (128, 128), n_objects: int = 6, seed: int = 0
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]:
    """Draw discs that move in straight lines and turn back at the border.

    Where discs cross, the one with the larger id covers the other, which may vanish for a while.

    Parameters
    ----------
    n_frames, n_objects : int
    shape : (Y, X)
        Size of a frame, in pixels; at least 40 each way.
    seed : int
        The same seed draws the same stack.

    Returns
    -------
    frames : (T, Y, X) uint8
    ids : (T, Y, X) uint16
        0 is void; an object keeps its id, from 1 to `n_objects`, in every frame.
    """
    if min(shape) < 40:
        raise ValueError(
            f"A frame is {shape[0]} × {shape[1]} px, expected at least 40 × 40: discs are up to "
            "28 px wide. Choose a larger shape."
        )
    rng = np.random.default_rng(seed)
    radii = rng.uniform(7, 14, n_objects)
    brightness = rng.uniform(70, 200, n_objects)
    start = rng.uniform(0, 1, (n_objects, 2))
    angles, speeds = rng.uniform(0, 2 * np.pi, n_objects), rng.uniform(2, 5, n_objects)
    steps = speeds[:, None] * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    frames = np.empty((n_frames, *shape), np.uint8)
    ids = np.zeros((n_frames, *shape), np.uint16)
    for t in range(n_frames):
        image = np.full(shape, _BACKGROUND)
        for k, radius in enumerate(radii):
            room = np.array(shape) - 2 * radius - 2
            # A triangle wave runs up and down the room: a straight line that turns at its ends.
            run = np.mod(start[k] * room + steps[k] * t, 2 * room)
            centre = radius + 1 + room - np.abs(run - room)
            inside = _ellipse(shape, centre, (radius, radius), 0)
            ids[t][inside] = k + 1
            image[inside] = _BACKGROUND + brightness[k]
        frames[t] = _finish(image, rng)
    return frames, ids


def _ellipse(
    shape: tuple[int, int], centre: npt.ArrayLike, radii: tuple[float, float], angle: float
) -> npt.NDArray[np.bool_]:
    y, x = np.ogrid[: shape[0], : shape[1]]
    dy, dx = y - np.asarray(centre)[0], x - np.asarray(centre)[1]
    along = dx * np.cos(angle) + dy * np.sin(angle)
    across = dy * np.cos(angle) - dx * np.sin(angle)
    inside: npt.NDArray[np.bool_] = (along / radii[0]) ** 2 + (across / radii[1]) ** 2 <= 1
    return inside


def _finish(image: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Blur as a lens and add noise as a camera does."""
    seen = ndimage.gaussian_filter(image, 0.8) + rng.normal(scale=_NOISE, size=image.shape)
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8)
