"""Small pictures of an image with the outlines of its objects."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.preprocess import to_rgb8

if TYPE_CHECKING:
    from napari_eomt.models.card import ModelCard
    from napari_eomt.structures.frames import Frame
    from napari_eomt.structures.segments import IdMap

COLORS = np.array(
    [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167)],
    np.uint8,
)
"""Okabe and Ito's, less those that are dark on black."""


def thumbnail(
    frame: Frame, id_map: IdMap | None, card: ModelCard, side: int
) -> npt.NDArray[np.uint8]:
    """Return an image, made smaller if need be, with the outlines of its objects.

    Parameters
    ----------
    frame : (H, W) or (H, W, C)
    id_map : (H, W) int, optional
        0 is void. Neighbours have different colours, mostly: those of their ids.
    card : ModelCard
        Whose look at contrast is taken.
    side : int
        Most pixels of a side.

    Returns
    -------
    (h, w, 3) uint8
    """
    step = max(1, ceil(max(frame.shape[:2]) / side))
    picture: npt.NDArray[np.uint8]
    picture = to_rgb8(frame[::step, ::step], PredictParams(contrast="percentile"), card).copy()
    if id_map is not None:
        small = id_map[::step, ::step]
        edge = np.zeros(small.shape, bool)
        across, down = small[:, 1:] != small[:, :-1], small[1:] != small[:-1]
        edge[:, 1:] |= across
        edge[:, :-1] |= across
        edge[1:] |= down
        edge[:-1] |= down
        edge &= small > 0
        picture[edge] = COLORS[small[edge].astype(np.int64) % len(COLORS)]
    return picture
