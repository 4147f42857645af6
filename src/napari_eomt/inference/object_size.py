"""Measure how large the objects of an image are, with the model itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_eomt.inference.canvas_views import CanvasViews
from napari_eomt.inference.decision import Decider, View
from napari_eomt.inference.plan import make_plan
from napari_eomt.inference.preprocess import resize
from napari_eomt.inference.progress import Progress
from napari_eomt.inference.proposals import changed

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_eomt.inference.forward import Forward
    from napari_eomt.inference.params import PredictParams
    from napari_eomt.structures.segments import Segment

SIDE = 3
"""The model looks at the middle of the image, up to this many of its inputs wide and high."""

MOST_ZOOMS = 4
"""At so many zooms it looks at most."""

FIRST_ZOOMS = (1.0, 0.5, 2.0, 0.25)
"""Where it looks, one after the other, until it finds something."""

_STEP = 2.0
"""By this factor a zoom differs from the one before, at most."""

_SAME = 0.25
"""Octaves by which zooms have to differ to be worth another look."""

_SURE = 4
"""Power of the score by which an object counts."""


def iter_measure(
    rgb: npt.NDArray[np.uint8], forward: Forward, params: PredictParams
) -> Generator[Progress, None, float | None]:
    """Measure the side of a typical object.

    The model looks at the middle of the image, measures what it finds, and looks again at the
    zoom that would make these objects as large as those it was trained on, until it has looked
    there, or nothing is found there.

    Parameters
    ----------
    rgb : (H, W, 3) uint8
    forward : Forward
        Whose model knows its object size.
    params : PredictParams

    Returns
    -------
    float or None
        √area in pixels of the image; None if the model finds nothing.
    """
    trained = forward.segmenter.card.object_size or 1.0
    looks: list[float] = []
    found: float | None = None
    zoom: float | None = FIRST_ZOOMS[0]
    while zoom is not None and len(looks) < MOST_ZOOMS:
        looks.append(zoom)
        segments = yield from _iter_look(rgb, forward, params, zoom, len(looks) - 1)
        side = typical_side(segments)
        if side is not None:
            found = side
            zoom = _unlike(looks, [_towards(zoom, trained / side)])
        else:
            zoom = _unlike(looks, FIRST_ZOOMS) if found is None else None
    return found


def typical_side(segments: Sequence[Segment]) -> float | None:
    """Return the median √area of some objects, each counted by its side and its score.

    By their sides: a plain median would follow an object that is broken into many; by their
    areas, it would follow many that are run into one. By a high power of the score: the grain of
    an enlarged background gives hundreds of objects that a model half believes in.

    Parameters
    ----------
    segments : sequence of Segment

    Returns
    -------
    float or None
        In pixels; None if nothing is there, or nothing has a score.
    """
    sides = np.sqrt([segment.area for segment in segments])
    scores = np.array([segment.score or 0.0 for segment in segments])
    order = np.argsort(sides)
    weights = np.cumsum((scores**_SURE * sides)[order])
    if not len(weights) or not weights[-1] > 0:
        return None
    return float(sides[order][np.searchsorted(weights, weights[-1] / 2)])


def _iter_look(
    rgb: npt.NDArray[np.uint8], forward: Forward, params: PredictParams, zoom: float, n_before: int
) -> Generator[Progress, None, Sequence[Segment]]:
    """Find the objects in the middle of an image at a zoom."""
    progress = Progress(n_before, MOST_ZOOMS, "object size")
    yield progress
    card = forward.segmenter.card
    middle = _middle(rgb, round(SIDE * card.input_size / zoom))
    whole = changed(
        params, {"task": None, "score_threshold": 0.5, "mask_threshold": 0.5, "min_area": 0}
    )
    shape = (middle.shape[0], middle.shape[1])
    plan = make_plan(shape, card, whole, (card.object_size or 1.0) / zoom)
    cut = CanvasViews(resize(middle, plan.canvas), card)
    decider = Decider(plan, card, whole)
    for batch in forward.iter_outputs(plan.tiles, cut.pixels, cut.content):
        for tile, output in batch:
            decider.add(View.of(tile, output))
        yield progress
    return decider.result().segmentation.segments


def _towards(zoom: float, wanted: float) -> float:
    """Return the wanted zoom, or the nearest that one step allows."""
    return min(max(wanted, zoom / _STEP), zoom * _STEP)


def _unlike(looks: Sequence[float], zooms: Sequence[float]) -> float | None:
    """Return the first of some zooms that is unlike all at which the model has looked."""
    for zoom in zooms:
        if all(abs(math.log2(zoom / look)) >= _SAME for look in looks):
            return zoom
    return None


def _middle(rgb: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    y, x = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return rgb[y : y + side, x : x + side]
