"""Drawn images to learn from: in memory, and as a dataset on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import napari_eomt
from napari_eomt.formats.dataset import Dataset
from napari_eomt.models.card import read_card
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation, Status
from napari_eomt.synthetic import drawn_nuclei
from napari_eomt.training.labels import match_categories
from napari_eomt.training.params import TrainParams, quick
from napari_eomt.training.samples import SampleSet
from napari_eomt.training.sources import ImageEntry

NUCLEUS = Category(1, "nucleus")
_BUNDLED = Path(napari_eomt.__file__).parent / "models" / "bundled"


def card(**changes):
    """Return the card of the bundled model: tiles of 128 px, objects of 20 px, 64 queries."""
    return read_card(_BUNDLED / "nuclei-nano").model_copy(update=changes)


def whole_card(**changes):
    """Return the card of a model that sees whole images."""
    return card(object_size=None, percentiles=None, **changes)


def still(**changes):
    """Return parameters by which a model learns from the tiles of prediction, as they are."""
    return quick(**({"flips": "none"} | changes))


def segments_of(id_map, category_id=1, **fields):
    fields = {"status": Status.ACCEPTED} | fields
    return tuple(Segment(int(i), category_id, **fields) for i in np.unique(id_map) if i)


def nuclei(shape=(200, 260), n=30, seed=0, **fields):
    image, id_map = drawn_nuclei(shape, n, seed)
    return image, Segmentation(id_map, segments_of(id_map, **fields))


class MemorySource:
    """Images in memory."""

    def __init__(self, images, categories=(NUCLEUS,)):
        self._images = images
        self.categories = tuple(categories)
        self.n_read = 0
        self.entries = tuple(
            ImageEntry(key, f"{key}.png", key, segmentation.shape)
            for key, (_, segmentation) in images.items()
        )

    def frame(self, key):
        self.n_read += 1
        return self._images[key][0]

    def segmentation(self, key):
        return self._images[key][1]


def sample_set(images, params=None, model=None, categories=(NUCLEUS,), **options):
    source = MemorySource(images, categories)
    model = model or card()
    labels = match_categories(model.categories, source.categories)
    return SampleSet(source, list(images), labels, params or TrainParams(), model, **options)


def saved(folder, n=4, shape=(64, 80)):
    """Write a dataset of n images, of which the last has no objects."""
    dataset = Dataset.create(folder)
    for k in range(n):
        image, segmentation = nuclei(shape, 5, seed=k)
        if k == n - 1:
            segmentation = Segmentation(np.zeros(shape, np.uint16), ())
        dataset.add(image, segmentation, name=f"image {k}.tif", categories=[NUCLEUS])
    dataset.save()
    return dataset
