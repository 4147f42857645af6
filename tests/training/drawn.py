"""Small datasets of drawn nuclei, and tiny models, to train on in seconds."""

from __future__ import annotations

import numpy as np
from tests.tiny_models import save_tiny

import napari_eomt as ne
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation
from napari_eomt.synthetic import drawn_nuclei
from napari_eomt.training.params import TrainParams
from napari_eomt.training.setup import set_up
from napari_eomt.training.train import begin_run


def save_nuclei(folder, n_images=4, size=96, n=5, name="nucleus", invert=False, first_seed=0):
    """Save images of drawn nuclei as a dataset, and return its folder."""
    dataset = ne.Dataset.create(folder)
    for k in range(first_seed, first_seed + n_images):
        image, ids = drawn_nuclei((size, size), n, seed=k)
        segments = tuple(Segment(i, 1) for i in range(1, n + 1))
        dataset.add(
            np.uint8(255) - image if invert else image,
            Segmentation(ids, segments),
            name=f"drawn{k}",
            categories=[Category(1, name)],
        )
    dataset.save()
    dataset.close()
    return folder


def save_model(folder, architecture="eomt"):
    """Save a tiny model that looks at images of nuclei tile by tile."""
    return save_tiny(folder, architecture, 1, tasks=["instance"], object_size=20, tile_overlap=24)


def params(**changes):
    """Return parameters of a short training: nobody has reviewed what was drawn."""
    options = {"steps": 6, "batch_size": 2, "undecided": "learn", "validation_interval": 100}
    return TrainParams(**(options | changes))


def begin(tmp_path, dataset, model, name="run", **changes):
    """Begin a run; return its setup and its folder."""
    setup = set_up(dataset, params(**changes), model, device="cpu")
    return setup, begin_run(tmp_path / name, setup)
