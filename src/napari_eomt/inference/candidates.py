"""Objects that the model could have meant: its queries at a point, in a box, in their full shape.

Nothing here runs the model, and no mask is computed that is not looked at. Candidates of several
tiles are one when they have one category and an IoU above `SAME_MASK` where both tiles look, or,
if an edge of its tile cuts one of them, are the same by the rule by which results are stitched.
Two queries of one view are one above `SAME_MASK`. As in a decision, one that no edge cuts stays,
before others one with its middle in its own tile's middle, of these the surest; if all are cut,
the object is the union of its parts.
"""

from __future__ import annotations

from math import ceil, sqrt
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from skimage.measure import grid_points_in_poly

from napari_eomt.inference.finder import FLOOR, Found, top_labels
from napari_eomt.inference.query_masks import logit, sample_grid
from napari_eomt.structures.candidates import Candidate, Patch, QueryId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.inference.params import PredictParams
    from napari_eomt.inference.proposals import Proposals
    from napari_eomt.structures.segments import Box

LIMIT = 10
"""Candidates at a place, unless more are asked for."""

TOP = 5
"""Categories of a candidate, unless more are asked for."""

_FITTED_PIXELS = 64**2
"""Samples of a box or a lasso."""


def candidates_at(
    proposals: Proposals,
    y: float,
    x: float,
    params: PredictParams,
    limit: int = LIMIT,
    top: int = TOP,
) -> list[Candidate]:
    """Return the queries whose mask covers a point, best score first.

    Parameters
    ----------
    proposals : Proposals
    y, x : float
        In pixels of the image, whose centres are whole numbers.
    params : PredictParams
        Of which the task and the mask's threshold matter.
    limit : int
        Most candidates to return.
    top : int
        Most categories to return of each.
    """
    finder = proposals.finder(params)
    row, column = int(np.floor(y + 0.5)), int(np.floor(x + 0.5))
    bounded, logits = [], {}
    for view in finder.masks.views_at(row, column):
        # One pixel of all queries first: few of them cover it.
        here = finder.masks.samples(view, None, np.array([row]), np.array([column]))[:, 0, 0]
        most = finder.masks.probabilities(view).max(1)
        for q in np.flatnonzero(here > finder.threshold):
            # A score is at most the class probability, whatever the mask.
            bounded.append((float(most[q]), (view, int(q))))
            logits[view, int(q)] = float(here[q])
    bounded.sort(key=lambda one: (-one[0], one[1]))
    found = []
    for group in finder.best(bounded, limit):
        probability = float(expit(logits[group.best.query]))
        parts = finder.whole(group.best)
        found.append(finder.describe(group.best, parts, top, probability=probability))
    return sorted(found, key=lambda candidate: -candidate.score)


def candidates_in(
    proposals: Proposals,
    area: tuple[float, float, float, float] | npt.ArrayLike,
    params: PredictParams,
    limit: int = LIMIT,
    top: int = TOP,
) -> list[Candidate]:
    """Return the queries whose mask fits a box or a lasso, best first.

    Best is the largest product of the IoU of mask and interior with the square root of the score:
    somebody who draws around a thing knows that it is there, which the model may not.

    Parameters
    ----------
    proposals : Proposals
    area : (y0, x0, y1, x1), or (N, 2) float
        A box, or the points (y, x) of a lasso, in pixels of the image. A pixel is inside if its
        centre is.
    params, limit, top
        As for `candidates_at`.
    """
    interior = _Interior(area, proposals.plan.shape)
    finder = proposals.finder(params)
    shared: dict[QueryId, float] = {}
    bounded = []
    for view in finder.masks.views_in(interior.box) if interior.n_pixels else ():
        most = finder.masks.probabilities(view).max(1)
        queries = np.flatnonzero(most >= FLOOR)
        ys, xs = interior.samples(finder.masks.box(view))
        if not len(queries) or not len(ys) or not len(xs):
            continue
        covered = finder.masks.samples(view, queries, ys, xs) > finder.threshold
        n_shared = (covered & interior.holds(ys, xs)).sum((1, 2)) * interior.step**2
        for q, n in zip(queries.tolist(), n_shared.tolist(), strict=True):
            if n:
                # The union of both is no smaller than the interior alone.
                most_fit = min(1.0, n / interior.n_pixels)
                shared[view, q] = n
                bounded.append((most_fit * float(most[q]) ** 0.5, (view, q)))
    bounded.sort(key=lambda one: (-one[0], one[1]))

    def rank(one: Found) -> float:
        n = shared[one.query]
        union = max(1.0, interior.n_pixels + one.measure.area - n)
        return float(min(1.0, n / union) * one.score**0.5)

    candidates = []
    for group in finder.best(bounded, limit, rank):
        parts = finder.whole(group.best)
        ys, xs = interior.samples()
        candidate = finder.describe(group.best, parts, top)
        both = (finder.is_inside(parts, ys, xs) & interior.holds(ys, xs)).sum()
        n = float(both) * interior.step**2
        fit = min(1.0, n / max(1, interior.n_pixels + candidate.area - n))
        candidates.append(finder.describe(group.best, parts, top, fit=fit))
    return sorted(candidates, key=_fitness)


def candidate_probability(
    proposals: Proposals, parts: Sequence[QueryId], params: PredictParams
) -> Patch:
    """Return how probable the mask of a candidate is, in a box around it.

    Parameters
    ----------
    proposals : Proposals
    parts : sequence of QueryId
        Of a candidate; where several look, the most probable counts.
    params : PredictParams

    Returns
    -------
    Patch
        (h, w) float32, as a decision computes it; 0 where no part looks.
    """
    logits = _logits(proposals, parts, params)
    return Patch(logits.origin, expit(logits.pixels).astype(np.float32, copy=False))


def candidate_mask(proposals: Proposals, parts: Sequence[QueryId], params: PredictParams) -> Patch:
    """Return the mask of a candidate; see `candidate_probability`.

    Returns
    -------
    Patch
        (h, w) bool, in the smallest box; (0, 0) if no pixel is probable enough.
    """
    logits = _logits(proposals, parts, params)
    mask: npt.NDArray[np.bool_] = logits.pixels > logit(params.mask_threshold)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return Patch(logits.origin, np.zeros((0, 0), np.bool_))
    origin = (logits.origin[0] + int(rows[0]), logits.origin[1] + int(columns[0]))
    return Patch(origin, mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def top_categories(
    proposals: Proposals, query: QueryId, k: int = TOP
) -> tuple[tuple[int, float], ...]:
    """Return the most probable categories of a query, (category_id, probability), best first.

    With the probability of "no object" they would sum to 1.
    """
    view, q = query
    labels = top_labels(proposals.masks.probabilities(view)[q], k)
    return tuple((proposals.card.categories[label].id, p) for label, p in labels)


def _fitness(candidate: Candidate) -> float:
    return -candidate.fit * sqrt(candidate.score)


def _logits(proposals: Proposals, parts: Sequence[QueryId], params: PredictParams) -> Patch:
    masks, threshold = proposals.masks, logit(params.mask_threshold)
    boxes = {part: masks.outer_box(part, threshold) for part in parts}
    boxes = {part: box for part, box in boxes.items() if box[0] < box[2] and box[1] < box[3]}
    if not boxes:
        return Patch((0, 0), np.zeros((0, 0), np.float32))
    corners = np.array(list(boxes.values()))
    (y0, x0), (y1, x1) = corners[:, :2].min(0).tolist(), corners[:, 2:].max(0).tolist()
    whole = np.full((y1 - y0, x1 - x0), -np.inf, np.float32)
    for part, box in boxes.items():
        here = whole[box[0] - y0 : box[2] - y0, box[1] - x0 : box[3] - x0]
        np.maximum(here, masks.logits(part, box), out=here)
    return Patch((y0, x0), whole)


class _Interior:
    """The inside of a box or a lasso, on a grid of samples."""

    def __init__(
        self, area: tuple[float, float, float, float] | npt.ArrayLike, shape: tuple[int, int]
    ) -> None:
        points = np.asarray(area, np.float64)
        self._polygon = points if points.ndim == 2 else None
        low, high = (
            (points[:2], points[2:]) if points.ndim == 1 else (points.min(0), points.max(0) + 1)
        )
        y0, x0 = (max(0, ceil(value)) for value in low)
        y1, x1 = (min(side, ceil(v)) for v, side in zip(high, shape, strict=True))
        self.box: Box = (y0, x0, max(y0, y1), max(x0, x1))
        self._ys, self._xs, self.step = sample_grid(self.box, _FITTED_PIXELS)
        is_empty = self.box[0] == self.box[2] or self.box[1] == self.box[3]
        n = 0 if is_empty else int(self.holds(self._ys, self._xs).sum())
        self.n_pixels = n * self.step**2

    def samples(
        self, within: Box | None = None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return its rows and columns, or those within a box."""
        ys, xs = self._ys, self._xs
        if within is None:
            return ys, xs
        y0, x0, y1, x1 = within
        return ys[(ys >= y0) & (ys < y1)], xs[(xs >= x0) & (xs < x1)]

    def holds(self, ys: npt.NDArray[np.int64], xs: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which samples are inside, (k, l)."""
        if self._polygon is None:
            return np.ones((len(ys), len(xs)), np.bool_)
        corners = (self._polygon - (ys[0], xs[0])) / self.step
        inside: npt.NDArray[np.bool_] = grid_points_in_poly((len(ys), len(xs)), corners)  # type: ignore[no-untyped-call]
        return inside
