"""Tracks with mistakes in them, for tests of what counts mistakes."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_eomt.synthetic import moving_objects


def spoilt_tracks(seed):
    """True tracks, found ones with all kinds of mistakes, and parents of some of both."""
    rng = np.random.default_rng(seed)
    _, truth = moving_objects(12, (72, 80), 5, seed=seed)
    pred = truth.copy()
    for t in range(len(pred)):
        for i in np.unique(truth[t][truth[t] > 0]):
            mistake = rng.uniform()
            where = pred[t] == i
            if mistake < 0.1:
                pred[t][where] = 0
            elif mistake < 0.2:
                pred[t] = np.where(ndimage.binary_erosion(where, iterations=4), i, pred[t] * ~where)
            elif mistake < 0.3:
                pred[t][where & (np.arange(80) % 40 < rng.integers(10, 40))] = 20 + i
            elif mistake < 0.36:  # one found object on two true ones
                pred[t][where] = rng.integers(1, 6)
            elif mistake < 0.4:
                pred[t, :6, :6] = rng.integers(30, 33)
    at = rng.integers(2, 10)
    swapped = pred[at:].copy()
    swapped[pred[at:] == 1], swapped[pred[at:] == 2] = 2, 1
    swapped[pred[at:] == 3] = 40
    pred[at:] = swapped
    cut = truth.copy()
    cut[6:][truth[6:] == 4] = 50  # a track that ends in another
    return cut, pred, {50: 4, 5: 0}, {40: 3, 24: 4}
