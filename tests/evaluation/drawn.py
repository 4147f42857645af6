"""Segmentations to measure: random patches, and predictions that are wrong in known ways."""

from __future__ import annotations

import numpy as np

from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation

CATEGORIES = (Category(3, "cell"), Category(7, "debris"), Category(8, "sky", is_thing=False))


def segmentation(id_map, categories=None, crowds=(), scores=None, things=True):
    """Return a segmentation; `categories` maps ids to category ids, by default all are 3."""
    id_map = np.asarray(id_map)
    areas = {int(i): int(n) for i, n in zip(*np.unique(id_map, return_counts=True), strict=True)}
    return Segmentation(
        id_map,
        tuple(
            Segment(
                i,
                (categories or {}).get(i, 3),
                is_crowd=i in crowds,
                is_thing=things,
                score=None if scores is None else scores.get(i),
                area=n,
            )
            for i, n in areas.items()
            if i
        ),
    )


def random_map(rng, shape=(24, 31), n=9, dtype=np.uint16):
    """Return random rectangles over each other, and void between them."""
    id_map = np.zeros(shape, dtype)
    for i in range(1, n + 1):
        y, x = rng.integers(0, shape[0] - 4), rng.integers(0, shape[1] - 4)
        h, w = rng.integers(2, 11, 2)
        id_map[y : y + h, x : x + w] = i
    return id_map


def disturbed(rng, id_map):
    """Return a prediction of a map: shifted a bit, some lost, some merged, some invented."""
    found = np.roll(id_map, rng.integers(-1, 2, 2), (0, 1)).astype(np.int64)
    ids = [int(i) for i in np.unique(found) if i]
    for i in ids:
        fate = rng.random()
        if fate < 0.15:
            found[found == i] = 0
        elif fate < 0.25:
            found[found == i] = ids[0]
    found[(found == 0) & (rng.random(found.shape) < 0.02)] = 90
    numbers = {i: k for k, i in enumerate(np.unique(found[found > 0]), 1)}
    out = np.zeros_like(found)
    for i, k in numbers.items():
        out[found == i] = k
    return out.astype(id_map.dtype)


def random_categories(rng, id_map, ids=(3, 7, 8)):
    return {int(i): int(rng.choice(ids)) for i in np.unique(id_map) if i}
