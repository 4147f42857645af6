"""What the model saw but was not sure enough of: proposals below the score threshold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from skimage.measure import find_contours

from napari_eomt.inference.finder import FLOOR, Found
from napari_eomt.inference.query_masks import sample_grid

if TYPE_CHECKING:
    from napari_eomt.inference.finder import Finder
    from napari_eomt.inference.params import PredictParams
    from napari_eomt.inference.proposals import Proposals
    from napari_eomt.structures.candidates import Candidate, Outline, QueryId
    from napari_eomt.structures.segments import IdMap

MOST_SHOWN = 0.5
"""A proposal of which segments cover more than this is shown already, if under another shape."""

SAME_HIDDEN = 0.5
"""Of two hidden proposals that overlap more than this (IoU), the better one is kept."""

LIMIT = 200

_SAMPLES = 32**2
_SLACK = 0.7
"""Scores on the model's own grid are so near to those in pixels, or nearer."""


def hidden(
    proposals: Proposals,
    params: PredictParams,
    shown: IdMap | None = None,
    floor: float = FLOOR,
    limit: int = LIMIT,
    top: int = 3,
) -> list[Candidate]:
    """Return the best proposals that score less than the threshold, with outlines.

    Each has its middle nearer to the middle of its own tile than to that of another.

    Parameters
    ----------
    proposals : Proposals
    params : PredictParams
    shown : (H, W) int, optional
        Id map of what is shown; by default what `params` decide.
    floor : float
        Proposals that score less are noise.
    limit : int
        Most proposals to return.
    top : int
        Most categories to return of each.

    Returns
    -------
    list of Candidate
        Best first, of at least `floor` and less than `params.score_threshold`; segments cover
        half of their masks at most.
    """
    finder = proposals.finder(params)
    is_shown, step = proposals.shown(params) if shown is None else (shown > 0, 1)
    kept: list[Found] = []
    for bound, query in _promising(finder, floor, params.score_threshold):
        if len(kept) >= limit and bound <= kept[limit - 1].score:
            break
        found = finder.look(query)
        if not floor <= found.score < params.score_threshold or not found.measure.area:
            continue
        if not found.is_home or _covered(finder, found, is_shown, step) > MOST_SHOWN:
            continue
        kept.append(found)
        kept.sort(key=lambda one: -one.score)
    return [
        replace(finder.describe(found, finder.whole(found), top), outlines=outlines(finder, found))
        for found in _distinct(finder, kept)[:limit]
    ]


def outlines(finder: Finder, seen: Found) -> tuple[Outline, ...]:
    """Return lines along the border of a query's mask, in pixels of the image.

    They are drawn where the logits of the model's own grid cross the threshold: a line a cell
    wide costs 0.2 ms, whatever the size of the image.
    """
    query, box = seen.query, np.array(seen.box).reshape(2, 2)
    logits, (y0, x0, _, _) = finder.masks.cells(query, finder.threshold)
    if not logits.size:
        return ()
    # Closed along the edges of the grid, too.
    padded = np.pad(logits, 1, constant_values=finder.threshold - 1)
    region = finder.masks.regions[query[0]]
    lines = []
    found = find_contours(padded, finder.threshold)  # type: ignore[no-untyped-call]
    for line in found:
        y, x = finder.masks.from_cells(query[0], line[:, 0] + y0 - 1, line[:, 1] + x0 - 1)
        y = np.clip(y, region.y0 - 0.5, region.y1 - 0.5)
        x = np.clip(x, region.x0 - 0.5, region.x1 - 0.5)
        line = np.stack([y, x], 1).astype(np.float32)
        # A speck of the grid of which no pixel of the image is left has no border.
        if (line.max(0) >= box[0]).all() and (line.min(0) <= box[1]).all():
            lines.append(line)
    return tuple(lines)


def _promising(finder: Finder, floor: float, score_threshold: float) -> list[tuple[float, QueryId]]:
    """Return the queries that may score so, with the most that they can, highest first."""
    bounded = []
    for view in range(len(finder.masks.regions)):
        most = finder.masks.probabilities(view).max(1)
        queries = np.flatnonzero(most >= floor)
        if len(queries):
            # To measure each would take a second where thousands are shown.
            means = finder.masks.cell_means(view, queries, finder.threshold)
            rough = finder.score(most[queries], means)
            is_near = (rough >= _SLACK * floor) & (rough <= score_threshold / _SLACK)
            bounded += [(float(most[q]), (view, int(q))) for q in queries[is_near]]
    return sorted(bounded, key=lambda one: (-one[0], one[1]))


def _covered(finder: Finder, found: Found, is_shown: npt.NDArray[np.bool_], step: int) -> float:
    """Return the part of a mask that is shown."""
    ys, xs, _ = sample_grid(found.box, _SAMPLES)
    inside = finder.is_inside([found.query], ys, xs)
    part = is_shown[np.ix_(ys // step, xs // step)]
    return float((inside & part).sum() / max(1, inside.sum()))


def _distinct(finder: Finder, found: list[Found]) -> list[Found]:
    """Return those of which no better one is nearly the same, best first."""
    kept: list[Found] = []
    boxes = np.zeros((len(found), 4), np.int64)
    for one in found:
        y0, x0, y1, x1 = one.box
        others = boxes[: len(kept)]
        near = (others[:, 0] < y1) & (others[:, 1] < x1) & (y0 < others[:, 2]) & (x0 < others[:, 3])
        if not any(finder.overlap(one, kept[k]) > SAME_HIDDEN for k in np.flatnonzero(near)):
            boxes[len(kept)] = one.box
            kept.append(one)
    return kept
