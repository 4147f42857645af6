"""Frames of squares, to link."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_eomt.structures.segments import Segment, Segmentation

SHAPE = (40, 60)


def frame(*objects, shape=SHAPE):
    """A frame of squares: (y, x, side) or (y, x, side, fields); ids from 1 in their order."""
    id_map = np.zeros(shape, np.uint16)
    segments = []
    for i, (y, x, side, *fields) in enumerate(objects, start=1):
        id_map[y : y + side, x : x + side] = i
        segments.append(replace(Segment(i, 7, score=0.9), **(fields[0] if fields else {})))
    return Segmentation(id_map, tuple(segments))
