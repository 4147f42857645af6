"""Where to look: the tiles that prediction cuts, or places and sizes drawn at random. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_eomt.inference.plan import make_plan
from napari_eomt.training.resolve import scale_jitter, sees_tiles
from napari_eomt.training.views import (
    MAX_ZOOM,
    View,
    cut_nearest,
    draw_view,
    present,
)

if TYPE_CHECKING:
    from napari_eomt.models.card import ModelCard
    from napari_eomt.training.params import TrainParams
    from napari_eomt.training.truth import Truth

_N_TRIES = 4
_ROOM = 1.1


class Look:
    """How prediction looks at images, with the size of their objects known from the truth.

    Parameters
    ----------
    card : ModelCard
    params : TrainParams
    typical : float or None
        Object size of images that have no objects, in pixels: the others' median.
    """

    def __init__(self, card: ModelCard, params: TrainParams, typical: float | None) -> None:
        self._card, self._params, self._typical = card, params, typical

    def object_size(self, measured: float | None) -> float | None:
        """Return the object size that sets the zoom; None leaves the image at its size.

        Parameters
        ----------
        measured : float or None
            Median √area of the image's own objects, in pixels.
        """
        if self._params.object_size == "as_is" or self._card.object_size is None:
            return None
        if self._params.object_size != "auto":
            size: float | None = self._params.object_size
        else:
            size = measured or self._typical
        return None if size is None else max(size, self._card.object_size / MAX_ZOOM)

    def base_zoom(self, shape: tuple[int, int], measured: float | None) -> float:
        """Return the zoom that an image is seen at by prediction, before any jitter."""
        if sees_tiles(self._params, self._card, shape):
            size = self.object_size(measured)
            return self._card.object_size / size if self._card.object_size and size else 1.0
        # The published jitter is of what fits into the input, for semantic models as well.
        return self._card.input_size / max(shape)

    def grid(self, shape: tuple[int, int], measured: float | None) -> list[View]:
        """Return the views that prediction cuts of an image.

        Raises
        ------
        DataError
            If the tiles cannot overlap so far, or the image would be enlarged too far.
        """
        plan = make_plan(shape, self._card, self._params.look(), self.object_size(measured))
        return [View(plan.canvas, tile) for tile in plan.tiles]

    def n_views(self, shape: tuple[int, int], measured: float | None) -> int:
        """Return how many random views an epoch takes of an image."""
        if self._params.views_per_image != "auto":
            return self._params.views_per_image
        if not sees_tiles(self._params, self._card, shape):
            return 1
        # The area, in inputs: the tiles of a grid overlap.
        zoom = self.base_zoom(shape, measured)
        n_inputs = shape[0] * shape[1] * zoom**2 / self._card.input_size**2
        return max(1, round(n_inputs))


class RandomViews:
    """Draws places and sizes.

    Parameters
    ----------
    card : ModelCard
    params : TrainParams
    """

    def __init__(self, card: ModelCard, params: TrainParams) -> None:
        self._card, self._params = card, params

    def draw(self, rng: np.random.Generator, truth: Truth, base_zoom: float) -> View:
        """Draw a view of an image.

        If it shows none of the image's objects another one is drawn, and after a few one that an
        object lies in; but `empty_views` of them are kept. If it shows more than the model has
        queries, one of them is seen from nearer, with those around it.

        Parameters
        ----------
        rng : Generator
        truth : Truth
        base_zoom : float
            That prediction sees the image at.
        """
        keeps_empty = rng.random() < self._params.empty_views
        is_tiled = sees_tiles(self._params, self._card, truth.shape)
        low, high = scale_jitter(self._params, self._card, truth.shape)
        n_objects = 0
        for attempt in range(_N_TRIES):
            # Evenly, as published; of tiles, as often half as twice the size.
            scale = (
                float(np.exp(rng.uniform(np.log(low), np.log(high))))
                if is_tiled
                else float(rng.uniform(low, high))
            )
            at = None
            if attempt == _N_TRIES - 1 and len(truth):
                at = _middle(truth, int(rng.integers(len(truth))))
            zoom = base_zoom * scale
            view = draw_view(rng, truth.shape, zoom, self._card.input_size, at)
            n_objects = int(np.count_nonzero(self._areas(truth, view)))
            if n_objects or keeps_empty or not len(truth):
                break
        return view if n_objects <= self._card.n_queries else self._nearer(rng, truth, view, zoom)

    def _nearer(self, rng: np.random.Generator, truth: Truth, view: View, zoom: float) -> View:
        n_queries, counts = self._card.n_queries, self._areas(truth, view)
        # Any of those that are seen: of the middle alone, the others would never be learnt.
        at = _middle(truth, int(rng.choice(np.flatnonzero(counts))))
        while (n_objects := int(np.count_nonzero(counts))) > n_queries and zoom < MAX_ZOOM:
            zoom = min(MAX_ZOOM, zoom * _ROOM * (n_objects / n_queries) ** 0.5)
            view = draw_view(rng, truth.shape, zoom, self._card.input_size, at)
            counts = self._areas(truth, view)
        return view

    def _areas(self, truth: Truth, view: View) -> npt.NDArray[np.int64]:
        return present(cut_nearest(truth.rows, view), len(truth))


def _middle(truth: Truth, k: int) -> tuple[float, float]:
    y0, x0, y1, x1 = truth.boxes[k].tolist()
    return (y0 + y1) / 2, (x0 + x1) / 2
