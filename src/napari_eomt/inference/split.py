"""Whether the model sees several objects where there is one."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from napari_eomt.inference.finder import FLOOR
from napari_eomt.inference.query_masks import sample_grid
from napari_eomt.structures.candidates import QueryId, Split

if TYPE_CHECKING:
    from napari_eomt.inference.finder import Finder
    from napari_eomt.inference.params import PredictParams
    from napari_eomt.inference.proposals import Proposals
    from napari_eomt.structures.segments import Box

MOSTLY = 0.6
"""A part has this much of its mask within the object."""

WHOLE = 0.8
"""A query that covers more of the object is all of it."""

NEW = 0.1
"""A part covers this much of the object that others do not."""

MOST_OVERLAP = 0.3
"""Of two parts, the smaller shares less than this with the other."""

COVERED = 0.6
"""Together the parts cover this much of the object."""

_SAMPLES = 48**2
_MOST_TRIED = 24


def best_split(
    proposals: Proposals,
    mask: npt.NDArray[np.bool_],
    origin: tuple[int, int],
    params: PredictParams,
    top: int = 3,
) -> Split | None:
    """Return the queries that best divide an object, or None if the model sees one.

    Each lies mostly within the object and is not all of it. The pair that covers most of it with
    the least overlap, weighted by the geometric mean of their scores, is taken; then
    more as long as each adds something new.

    Parameters
    ----------
    proposals : Proposals
    mask : (h, w) bool
        The object.
    origin : (y, x)
        Where its first pixel lies, in the image.
    params : PredictParams
    top : int
        Most categories to return of each.
    """
    finder = proposals.finder(params)
    box = _box_within(mask, origin, proposals.plan.shape)
    if box[0] >= box[2] or box[1] >= box[3]:
        return None
    ys, xs, _ = sample_grid(box, _SAMPLES)
    here = mask[np.ix_(ys - origin[0], xs - origin[1])]
    if not here.any():
        return None
    parts = _parts(finder, box, ys, xs, here)
    chosen = _choose(parts, here)
    if not chosen:
        return None
    probabilities = np.zeros((len(chosen), box[2] - box[0], box[3] - box[1]), np.float32)
    for layer, query in zip(probabilities, chosen, strict=True):
        region = finder.masks.box(query[0])
        y0, x0, y1, x1 = (
            choose(a, b) for choose, a, b in zip((max, max, min, min), box, region, strict=True)
        )
        logits = finder.masks.logits(query, (y0, x0, y1, x1))
        layer[y0 - box[0] : y1 - box[0], x0 - box[1] : x1 - box[1]] = expit(logits)
    candidates = [finder.describe(finder.look(query), (query,), top) for query in chosen]
    return Split((box[0], box[1]), probabilities, tuple(candidates))


def _parts(
    finder: Finder,
    box: Box,
    ys: npt.NDArray[np.int64],
    xs: npt.NDArray[np.int64],
    here: npt.NDArray[np.bool_],
) -> list[tuple[float, QueryId, npt.NDArray[np.bool_]]]:
    """Return the queries that could be parts: score, query and samples in the object."""
    n_here = int(here.sum())
    rough = []
    for view in finder.masks.views_in(box):
        queries = np.flatnonzero(finder.masks.probabilities(view).max(1) >= FLOOR)
        y0, x0, y1, x1 = finder.masks.box(view)
        rows = slice(*np.searchsorted(ys, (y0, y1)))
        columns = slice(*np.searchsorted(xs, (x0, x1)))
        part = here[rows, columns]
        if not len(queries) or not part.any():
            continue
        logits = finder.masks.samples(view, queries, ys[rows], xs[columns])
        shared = (logits > finder.threshold) & part
        n_shared = shared.sum((1, 2))
        for k in np.flatnonzero((n_shared >= NEW * n_here) & (n_shared <= WHOLE * n_here)):
            covered = np.zeros_like(here)
            covered[rows, columns] = shared[k]
            rough.append(((view, int(queries[k])), covered))
    parts = []
    for query, covered in rough:
        found = finder.look(query)
        step = max(1, round(((box[2] - box[0]) * (box[3] - box[1]) / here.size) ** 0.5))
        inside = covered.sum() * step * step / max(1, found.measure.area)
        if inside >= MOSTLY and found.is_home:
            parts.append((found.score, query, covered))
    return sorted(parts, key=lambda part: (-part[0], part[1]))[:_MOST_TRIED]


def _choose(
    parts: list[tuple[float, QueryId, npt.NDArray[np.bool_]]], here: npt.NDArray[np.bool_]
) -> list[QueryId]:
    """Return the queries that divide the object best."""
    n_here, best, chosen = int(here.sum()), 0.0, []
    for one, other in combinations(parts, 2):
        if _overlap(one[2], other[2]) >= MOST_OVERLAP:
            continue
        both = (one[2] & other[2]).sum() / n_here
        covered = (one[2] | other[2]).sum() / n_here
        value = (covered - both) * (one[0] * other[0]) ** 0.5
        if covered >= COVERED / 2 and value > best:
            best, chosen = value, [one, other]
    if not chosen:
        return []
    total = chosen[0][2] | chosen[1][2]
    for part in parts:
        is_apart = all(_overlap(part[2], other[2]) < MOST_OVERLAP for other in chosen)
        if is_apart and (part[2] & ~total).sum() >= NEW * n_here:
            chosen.append(part)
            total |= part[2]
    return [query for _, query, _ in chosen] if total.sum() >= COVERED * n_here else []


def _overlap(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    return float((a & b).sum() / max(1, min(a.sum(), b.sum())))


def _box_within(
    mask: npt.NDArray[np.bool_], origin: tuple[int, int], shape: tuple[int, int]
) -> Box:
    y, x = origin
    return max(0, y), max(0, x), min(shape[0], y + mask.shape[0]), min(shape[1], x + mask.shape[1])
