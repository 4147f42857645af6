"""From annotated images to what a step learns from: the same for the same seed, whoever asks.

No torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_eomt.errors import DataError
from napari_eomt.inference.preprocess import to_rgb8
from napari_eomt.structures.id_maps import id_dtype
from napari_eomt.training.augment import ColorJitter, draw_orientation, oriented, padded
from napari_eomt.training.image_cache import ImageCache, ReadyImage
from napari_eomt.training.resolve import flips, training_task
from napari_eomt.training.survey import MAX_SURVEYED, survey
from napari_eomt.training.truth import truth_of
from napari_eomt.training.view_choice import Look, RandomViews
from napari_eomt.training.views import View, cut_nearest, cut_pixels, present

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.models.card import ModelCard
    from napari_eomt.structures.segments import IdMap
    from napari_eomt.training.augment import ColorChange
    from napari_eomt.training.labels import LabelMap
    from napari_eomt.training.params import TrainParams
    from napari_eomt.training.sources import ImageSource

CACHE_BYTES = 2**30
"""Of images in memory."""

_GROUP = 64
_ORDER, _SAMPLE = 0, 1


@dataclass(frozen=True, eq=False)
class Sample:
    """One view of an image, as the model is to learn it.

    Parameters
    ----------
    pixels : (S, S, 3) uint8
        What the view lacks, to the right and below, is black.
    id_map : (S, S) uint16 or uint32
        At each pixel 1 + the place in `labels` of what is there; 0 is background, also where the
        view shows nothing.
    labels, ids : (n,) int64
        Label of each object that can be seen, and its segment's id.
    ignore : (S, S) bool or None
        Where nobody has said what there is, or what would not fit into the model's queries.
    key : str
        Of the image, in its source.
    view : View
    geometry : list or None
        Everything that turns the image into these pixels, as json takes it, if the view comes
        again; None for one that is drawn at random.
    content : str
        Another one for other pixels of the whole image.
    n_surplus : int
        Objects that are ignored because the model has too few queries.
    """

    pixels: npt.NDArray[np.uint8]
    id_map: IdMap
    labels: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    ignore: npt.NDArray[np.bool_] | None
    key: str
    view: View
    geometry: list[int] | None
    content: str
    n_surplus: int


class SampleSet:
    """The views of some images, epoch by epoch, in an order that the seed decides.

    Sample k of an epoch depends on the seed, the epoch and k alone, so that threads, ranks and a
    training that goes on after a stop see the same.

    Parameters
    ----------
    source : ImageSource
    keys : sequence of str
        Of the images that learn; see `split_images`.
    labels : LabelMap
    params : TrainParams
    card : ModelCard
        Of the model that learns.
    cache_bytes : int
        Of images in memory.

    Attributes
    ----------
    survey : Survey
        What there is in the images.

    Raises
    ------
    DataError
        If there is no object to learn, annotations cannot be read, or the model does not serve
        the task.
    """

    def __init__(
        self,
        source: ImageSource,
        keys: Sequence[str],
        labels: LabelMap,
        params: TrainParams,
        card: ModelCard,
        *,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._source, self._labels, self._params, self._card = source, labels, params, card
        self._task = training_task(params, card)
        by_key = {entry.key: entry for entry in source.entries}
        self._entries = {key: by_key[key] for key in keys}
        entries = list(self._entries.values())
        # The tiles of a grid are known only with the size of each image's objects.
        limit = None if params.views == "grid" else MAX_SURVEYED
        self.survey = survey(source, entries, labels, self._task, params, max_images=limit)
        self._look = Look(card, params, self.survey.object_size)
        self._random = RandomViews(card, params)
        self._jitter = ColorJitter.of(params) if params.has_color_jitter else None
        self._flips = flips(params, card)
        self._views: list[list[tuple[str, View | None]]] = []
        for entry in entries:
            views = self._views_of(entry.shape, self.survey.object_sizes.get(entry.key))
            self._views.append([(entry.key, view) for view in views])
        self._n = sum(map(len, self._views))
        self._images = ImageCache(self._load, cache_bytes)
        # Of the last epochs: an order of all views takes a while to draw.
        self._order = lru_cache(maxsize=2)(self._draw_order)

    def __len__(self) -> int:
        """Return the number of samples of an epoch."""
        return self._n

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know."""
        return (*self._labels.notes, *self.survey.notes)

    def at(self, number: int) -> Sample:
        """Return a sample of the endless row of epochs, from 0."""
        return self.sample(*divmod(number, self._n))

    def sample(self, epoch: int, k: int) -> Sample:
        """Return sample k of an epoch.

        Raises
        ------
        DataError
            If its image cannot be read, or its annotations are of another size.
        """
        key, view = self._order(epoch)[k]
        image = self._images.get(key)
        rng = np.random.default_rng([self._params.seed, epoch, k, _SAMPLE])
        orientation, change = self._draw_changes(rng)
        is_fixed = view is not None and change is None
        if view is None:
            zoom = self._look.base_zoom(image.truth.shape, image.truth.object_size)
            view = self._random.draw(rng, image.truth, zoom)
        view = replace(view, orientation=orientation)
        return make_sample(image, view, self._card, change, key=key, is_fixed=is_fixed)

    def _views_of(self, shape: tuple[int, int], size: float | None) -> list[View | None]:
        """Return the views of an image with objects of a size; None for one to draw at random."""
        if self._params.views == "grid":
            return list(self._look.grid(shape, size))
        return [None] * self._look.n_views(shape, size)

    def _draw_changes(self, rng: np.random.Generator) -> tuple[int, ColorChange | None]:
        """Draw how a sample is turned, and how its colours change."""
        orientation = draw_orientation(rng, self._flips)
        return orientation, None if self._jitter is None else self._jitter.draw(rng)

    def _draw_order(self, epoch: int) -> list[tuple[str, View | None]]:
        """Shuffle images, and among each few the views.

        So that the views of an image come near each other, and a data set that does not fit into
        memory is read once an epoch.
        """
        rng = np.random.default_rng([self._params.seed, epoch, 0, _ORDER])
        images = [self._views[i] for i in rng.permutation(len(self._views))]
        order: list[tuple[str, View | None]] = []
        for start in range(0, len(images), _GROUP):
            views = [view for image in images[start : start + _GROUP] for view in image]
            order += [views[i] for i in rng.permutation(len(views))]
        return order

    def _load(self, key: str) -> ReadyImage:
        name = self._entries[key].name
        segmentation = self._source.segmentation(key)
        truth = truth_of(segmentation, self._labels, self._task, self._params.undecided, name)
        try:
            rgb = to_rgb8(self._source.frame(key), self._params.look(), self._card)
        except DataError as error:
            if name in str(error):  # as those of files do
                raise
            raise DataError(f"{name}: {error}") from error
        if rgb.shape[:2] != truth.shape:
            raise DataError(
                f"{name}: the image has {rgb.shape[0]} × {rgb.shape[1]} pixels, its annotations "
                f"{truth.shape[0]} × {truth.shape[1]} (height × width). Put the image back that "
                "was annotated."
            )
        return ReadyImage.of(rgb, truth)


def make_sample(
    image: ReadyImage,
    view: View,
    card: ModelCard,
    change: ColorChange | None = None,
    *,
    key: str = "",
    is_fixed: bool = True,
) -> Sample:
    """Cut a view out of an image.

    Objects of which nothing can be seen are left out. If there are more than the model has
    queries, the smallest are ignored.

    Parameters
    ----------
    image : ReadyImage
    view : View
    card : ModelCard
    change : ColorChange, optional
        Of what is seen; what is not stays black.
    key : str
        Of the image.
    is_fixed : bool
        Whether the view comes again.
    """
    truth, size = image.truth, card.input_size
    pixels = cut_pixels(image.rgb, view)
    if change is not None:
        pixels = change.apply(pixels)
    cut = cut_nearest(truth.rows, view)
    ignore = None if truth.ignore is None else cut_nearest(truth.ignore, view)
    areas = present(cut, len(truth))
    rows = np.flatnonzero(areas)
    n_surplus = max(0, len(rows) - card.n_queries)
    if n_surplus:
        largest = np.argsort(-areas[rows], kind="stable")
        surplus = np.isin(cut, rows[largest[card.n_queries :]] + 1)
        ignore = surplus if ignore is None else ignore | surplus
        rows = np.sort(rows[largest[: card.n_queries]])
    table = np.zeros(len(truth) + 1, id_dtype(len(rows)))
    table[rows + 1] = np.arange(1, len(rows) + 1)
    if ignore is not None:
        ignore = padded(oriented(ignore, view.orientation), size) if ignore.any() else None
    return Sample(
        padded(oriented(pixels, view.orientation), size),
        padded(oriented(table[cut], view.orientation), size),
        truth.labels[rows],
        truth.ids[rows],
        ignore,
        key,
        view,
        [*view.geometry, size] if is_fixed else None,
        image.content,
        n_surplus,
    )
