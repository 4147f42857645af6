"""COCO's polygons of masks and back, pixel by pixel as pycocotools draws them.

A vertex lies where pixels meet: (0, 0) is the outer corner of the first pixel, (W, H) that of the
last. pycocotools multiplies coordinates by 5, rounds them, and fills a column of pixels between
the crossings of its middle line, by turns; edges at whole numbers come out exactly where they are,
and a line passed twice counts for nothing. So every mask has polygons that give it back.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pycocotools.mask as coco_mask

from napari_eomt.structures.outlines import outlines
from napari_eomt.structures.rle import Rle, areas, decode_box, empty, encode_mask, union

if TYPE_CHECKING:
    from napari_eomt.structures.outlines import Point

MAX_POINTS = 1_000_000
"""Of one mask's polygons, when they are read."""

_SCALE = 5  # pycocotools draws outlines this much finer
_MAX_STEPS = 1 << 24  # points of one such outline: pycocotools takes 24 bytes for each
_LARGEST = 1e300  # of a coordinate: what is computed from it stays finite
_NUMBERS = {int, float, np.float64, np.float32, np.int64, np.int32}
_MAX_PIXELS = 2**31  # it counts the pixels of an image in a C int


class PolygonError(ValueError):
    """A mask that polygons, as they were asked for, cannot say: write it as run lengths."""


def mask_to_polygons(
    mask: npt.NDArray[Any] | Rle,
    *,
    tolerance: float = 0.0,
    holes: Literal["keyhole", "refuse", "drop"] = "keyhole",
    exact: bool = False,
) -> list[list[float]]:
    """Return a mask's parts as COCO's polygons.

    Without a tolerance, and with holes kept, pycocotools draws exactly the mask again.

    Parameters
    ----------
    mask : (H, W) bool, or Rle
    tolerance : float
        How far, in pixels, the outline may leave the edges of the pixels to have fewer points.
        1 takes the steps out of slanted outlines: of a disc of 5,000 pixels 16 points of 180 stay,
        at an IoU of 0.99.
    holes : {"keyhole", "refuse", "drop"}
        COCO's polygons have no holes. A keyhole joins each to the outline around it, in one ring,
        by a cut without width: pycocotools, and whatever fills by turns or by winding, shows the
        hole. Or they are filled, or refused.
    exact : bool
        Draw the polygons with pycocotools and refuse them if a pixel differs.

    Returns
    -------
    list of list of float
        [x0, y0, x1, y1, …] for each part, the first point not repeated; parts that share no more
        than a corner are several. Empty for an empty mask, which COCO's polygons cannot say.

    Raises
    ------
    PolygonError
        If there are holes and they are refused, or with `exact` the polygons differ from the mask.
    ValueError
        If the tolerance is not a number from 0, or the mask no 2-D array of booleans.
    """
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ValueError(f"The tolerance is {tolerance}; a number of pixels from 0 was expected.")
    if holes not in ("keyhole", "refuse", "drop"):
        raise ValueError(f"holes is {holes!r}; 'keyhole', 'refuse' or 'drop' was expected.")
    rle = mask if isinstance(mask, Rle) else encode_mask(mask)
    inside, (y0, x0, _, _) = decode_box(rle)
    rings, n_holes = outlines(inside, with_holes=holes == "keyhole")
    if n_holes and holes == "refuse":
        raise PolygonError(
            f"The mask has {n_holes} holes, which COCO's polygons do not know. Write it as run "
            "lengths, or choose to join the holes by keyholes or to fill them."
        )
    polygons = []
    for ring in rings:
        points = np.array([point[:2] for point in ring], float)
        if tolerance > 0:
            points = _simplified(points, ring, tolerance)
        polygons.append((points + np.array((x0, y0))).ravel().tolist())
    if exact:
        _check(polygons, rle)
    return polygons


def polygons_to_rle(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> Rle:
    """Draw polygons as pycocotools does, and return all that is in any of them.

    Parameters
    ----------
    polygons : sequence of sequence of float
        [x0, y0, x1, y1, …] each. What lies outside of the image is cut off; outlines longer than
        3 million pixels are cut off first, before pycocotools rounds them.
    size : (H, W)

    Raises
    ------
    ValueError
        If a polygon has fewer than three points, half a point, or a coordinate that is no finite
        number; if there is no polygon, or they have more than `MAX_POINTS` points; if the image
        has 2³¹ pixels or more.
    """
    height, width = size
    if min(size) < 0 or height * width >= _MAX_PIXELS:
        raise ValueError(
            f"Polygons cannot be drawn on an image of {height} × {width}: pycocotools counts fewer "
            f"than {_MAX_PIXELS} pixels."
        )
    checked = _checked(polygons)
    if height * width == 0:
        return empty(size)
    drawn = []
    for k, whole in enumerate(checked):
        points = whole
        if _n_steps(whole) > _MAX_STEPS:
            points = _clipped(whole, size)
            if _n_steps(points) > _MAX_STEPS:
                raise ValueError(
                    f"Polygon {k} has an outline of more than {_MAX_STEPS // _SCALE} pixels within "
                    "the image; nothing that anyone drew is as long."
                )
        if len(points):
            drawn.append(points.ravel().tolist())
    found = coco_mask.frPyObjects(drawn, height, width) if drawn else []
    return union([empty(size), *(Rle(size, one["counts"]) for one in found)])


def _check(polygons: list[list[float]], rle: Rle) -> None:
    """Raise PolygonError if pycocotools draws something else."""
    if polygons:
        drawn = polygons_to_rle(polygons, rle.size)
        if drawn != rle:
            whole, one, other = areas([union([drawn, rle]), drawn, rle]).tolist()
            raise PolygonError(
                f"The polygons differ from the mask in {2 * whole - one - other} of its {other} "
                "pixels. Write it as run lengths, or choose no tolerance and keep the holes."
            )


def _checked(polygons: Any) -> list[npt.NDArray[np.float64]]:
    """Return the polygons as (N, 2) arrays of x, y; ValueError for what is none."""
    if isinstance(polygons, (str, bytes)) or not isinstance(polygons, Sequence) or not polygons:
        raise ValueError(
            f"A mask in polygons is a list of [x0, y0, x1, y1, …], not {reprlib.repr(polygons)}."
        )
    found, n_points = [], 0
    for k, polygon in enumerate(polygons):
        if isinstance(polygon, (str, bytes)) or not isinstance(polygon, (Sequence, np.ndarray)):
            raise ValueError(
                f"Polygon {k} is {reprlib.repr(polygon)}; a list of numbers x0, y0, x1, y1, … was "
                "expected."
            )
        n_points += len(polygon) // 2
        if n_points > MAX_POINTS:
            raise ValueError(f"The polygons have more than {MAX_POINTS} points. Simplify them.")
        try:
            # Not of other types: numpy takes True for 1 and "3" for 3.
            known = set(map(type, polygon)) <= _NUMBERS
            values = np.array(polygon if known else [math.nan], np.float64)
        except OverflowError:  # an integer beyond what a float holds
            values = np.array([math.nan])
        if not (np.abs(values) < _LARGEST).all():
            wrong = next(v for v in polygon if type(v) not in _NUMBERS or not abs(v) < _LARGEST)
            raise ValueError(
                f"Polygon {k} holds {reprlib.repr(wrong)}; coordinates are finite numbers, in "
                "pixels."
            )
        if len(polygon) % 2:
            raise ValueError(
                f"Polygon {k} has {len(polygon)} numbers; x and y of every point make an even one."
            )
        if len(polygon) < 6:
            raise ValueError(
                f"Polygon {k} has {len(polygon) // 2} points; an outline takes three or more."
            )
        found.append(values.reshape(-1, 2))
    return found


def _n_steps(points: npt.NDArray[np.float64]) -> float:
    """Return how many points pycocotools sets along the outline."""
    far = float(np.abs(points).max(initial=0)) * _SCALE
    if far >= _MAX_PIXELS // 2:
        return math.inf  # it would not fit a C int
    steps = np.abs(points - np.roll(points, 1, axis=0)).max(axis=1, initial=0)
    return float(steps.sum()) * _SCALE + 2 * len(points)


def _clipped(points: npt.NDArray[np.float64], size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Cut a polygon off a pixel outside of the image, side by side."""
    for axis, limit in ((0, size[1]), (1, size[0])):
        for sign, bound in ((1.0, limit + 1.0), (-1.0, 1.0)):
            before = np.roll(points, 1, axis=0)
            out, out_before = sign * points[:, axis] > bound, sign * before[:, axis] > bound
            crosses = out != out_before
            # Halves: the difference of two large numbers does not overflow.
            run = points[:, axis] / 2 - before[:, axis] / 2
            part = (sign * bound / 2 - before[:, axis] / 2) / np.where(crosses, run, 1)
            part = np.clip(part, 0, 1)[:, None]
            crossing = before * (1 - part) + points * part
            crossing[:, axis] = sign * bound
            both = np.stack((crossing, points), axis=1).reshape(-1, 2)
            points = both[np.stack((crosses, ~out), axis=1).ravel()]
    return points


def _simplified(
    points: npt.NDArray[np.float64], ring: list[Point], tolerance: float
) -> npt.NDArray[np.float64]:
    """Leave out points (Douglas and Peucker); those where cuts start and end stay."""
    keep = np.array([point[2] for point in ring])
    # A ring is two lines at least: from the first point to the farthest, and back.
    keep[0] = True
    keep[np.argmax(np.hypot(*(points - points[0]).T))] = True
    closed = np.concatenate((points, points[:1]))
    keep = np.append(keep, True)
    fixed = np.flatnonzero(keep).tolist()
    spans = list(pairwise(fixed))
    while spans:
        start, stop = spans.pop()
        if stop - start < 2:
            continue
        between, line = closed[start + 1 : stop] - closed[start], closed[stop] - closed[start]
        along = np.clip(between @ line / max(line @ line, 1e-12), 0, 1)
        distance = np.hypot(*(between - along[:, None] * line).T)
        farthest = int(distance.argmax())
        if distance[farthest] > tolerance:
            middle = start + 1 + farthest
            keep[middle] = True
            spans += ((start, middle), (middle, stop))
    fewer = points[keep[:-1]]
    # Two points enclose nothing: a mask as small stays as it is.
    return fewer if len(np.unique(fewer, axis=0)) > 2 else points
