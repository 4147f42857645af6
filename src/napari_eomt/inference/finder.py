"""Which queries are one object: those of several tiles, and two of one view that say the same."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from napari_eomt.inference.query_masks import CutSides, Measure, logit, sample_grid
from napari_eomt.inference.stitch import SAME_IOU, SAME_PART
from napari_eomt.structures.candidates import Candidate, QueryId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_eomt.inference.query_masks import QueryMasks
    from napari_eomt.models.card import ModelCard
    from napari_eomt.structures.segments import Box, Task

SAME_MASK = 0.8
"""Two masks are one above this IoU."""

FLOOR = 0.05
"""Queries whose class probability is less are noise, unless somebody points at them."""

_COMPARED_PIXELS = 48**2
"""Samples on which two masks are compared."""

_GLANCED_PIXELS = 16**2
"""Samples that tell which of many masks to compare."""

_MOST_REMEMBERED = 16_384

Numbers: TypeAlias = Any
"""A number or an array of them."""

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Found:
    """A query that was looked at.

    Parameters
    ----------
    query : (view, query)
    label : int
        The most probable category: its index in the logits.
    score : float
    cut : (bool, bool, bool, bool)
        At which edges of its tile the mask is cut.
    is_home : bool
        Whether the middle of its box is that tile's to decide about.
    measure : Measure
    """

    query: QueryId
    label: int
    score: float
    cut: CutSides
    is_home: bool
    measure: Measure

    @property
    def is_cut(self) -> bool:
        """Whether an edge of its tile cuts the mask."""
        return any(self.cut)

    @property
    def box(self) -> Box:
        """Around its mask, (y0, x0, y1, x1)."""
        return self.measure.box


@dataclass(eq=False)
class Group:
    """Queries that are one object."""

    rank: float
    members: list[Found] = field(default_factory=list)

    @property
    def best(self) -> Found:
        """The one that a decision would take: that no edge cuts, at home in its tile, surest.

        Of those that edges cut, the surest, as in `stitch`.
        """
        # Not a whole one that is noise beside a sure one: a decision's threshold leaves it out.
        least = max(found.score for found in self.members) / 2
        sure = [found for found in self.members if found.score >= least]
        whole = [found for found in sure if not found.is_cut]
        return max(
            whole or sure, key=lambda found: (found.is_home and not found.is_cut, found.score)
        )


class Finder:
    """Looks at queries, and remembers what it saw: a cursor stays on one object for long.

    Parameters
    ----------
    masks : QueryMasks
    card : ModelCard
    task : str
    mask_threshold : float
        Probability.
    """

    def __init__(
        self, masks: QueryMasks, card: ModelCard, task: Task, mask_threshold: float
    ) -> None:
        self.masks = masks
        self.threshold = logit(mask_threshold)
        self._card = card
        # Elsewhere a query's class probability is its score, whatever the mask.
        self._is_instance = task == "instance"
        self._looks: dict[QueryId, Found] = {}
        self._same: dict[tuple[QueryId, QueryId], bool] = {}
        self._whole: dict[QueryId, tuple[QueryId, ...]] = {}

    def look(self, query: QueryId) -> Found:
        """Measure a query."""
        return _remembered(self._looks, query, self._look)

    def score(self, probability: Numbers, mean: Numbers) -> Numbers:
        """Return scores from class probabilities and the masks' mean probabilities."""
        return probability * mean if self._is_instance else probability

    def _look(self, query: QueryId) -> Found:
        view, q = query
        probabilities = self.masks.probabilities(view)[q]
        label = int(probabilities.argmax())
        measure = self.masks.measure(query, self.threshold)
        score = float(self.score(probabilities[label], measure.mean))
        cut = self.masks.cut_sides(query, measure.box, self.threshold)
        is_home = self.masks.home(measure.box) == view
        return Found(query, label, score, cut, is_home, measure)

    def best(
        self,
        bounded: Iterable[tuple[float, QueryId]],
        limit: int,
        rank: Callable[[Found], float] = lambda found: found.score,
    ) -> list[Group]:
        """Return the objects that rank highest, best first.

        Parameters
        ----------
        bounded : iterable of (float, QueryId)
            Queries, with the highest rank that they can have; highest first.
        limit : int
        rank : callable
        """
        groups: list[Group] = []
        for bound, query in bounded:
            if len(groups) >= limit and bound <= groups[limit - 1].rank:
                break
            found = self.look(query)
            if not found.measure.area:
                continue
            for group in groups:
                if any(self.is_same(found, member) for member in group.members):
                    group.members.append(found)
                    group.rank = max(group.rank, rank(found))
                    break
            else:
                groups.append(Group(rank(found), [found]))
            groups.sort(key=lambda group: -group.rank)
        return groups[:limit]

    def is_same(self, one: Found, other: Found) -> bool:
        """Whether two queries are one object; see `candidates`."""
        if one.query > other.query:
            one, other = other, one
        return _remembered(
            self._same, (one.query, other.query), lambda _: self._is_same(one, other)
        )

    def _is_same(self, one: Found, other: Found) -> bool:
        if one.label != other.label:
            return False
        smaller, larger = sorted((one.measure.area, other.measure.area))
        if one.query[0] == other.query[0] and smaller < 0.9 * SAME_MASK * larger:
            return False
        both, n_one, n_other = self._shared(one, other)
        if not both:
            return False
        iou = both / (n_one + n_other - both)
        if one.query[0] == other.query[0] or not (one.is_cut or other.is_cut):
            return iou > SAME_MASK
        inner, part = (one, both / n_one) if n_one <= n_other else (other, both / n_other)
        return iou > SAME_IOU or (part > SAME_PART and inner.is_cut)

    def overlap(self, one: Found, other: Found) -> float:
        """Return the IoU of two masks where both views look."""
        both, n_one, n_other = self._shared(one, other)
        return both / max(1, n_one + n_other - both)

    def whole(self, found: Found) -> tuple[QueryId, ...]:
        """Return the queries that are one object with this one, where edges of tiles cut it."""
        return _remembered(self._whole, found.query, lambda _: self._parts(found))

    def _parts(self, found: Found) -> tuple[QueryId, ...]:
        parts, views = [found], {found.query[0]}
        for part in parts:  # grows meanwhile
            if not part.is_cut:
                continue
            for view in self.masks.views_beyond(part.query[0], part.box, part.cut):
                if view not in views:
                    next_part = self._continued(part, view)
                    if next_part is not None:
                        parts.append(next_part)
                        views.add(view)
        return tuple(part.query for part in parts)

    def describe(
        self,
        found: Found,
        parts: tuple[QueryId, ...],
        top: int,
        *,
        probability: float | None = None,
        fit: float = 0.0,
    ) -> Candidate:
        """Return what is known of an object."""
        view, q = found.query
        measures = [self.look(query).measure for query in parts]
        box, area = measures[0].box, measures[0].area
        for measure in measures[1:]:
            box = _around(box, measure.box)
        if len(parts) > 1:
            ys, xs, step = sample_grid(box)
            area = int(self.is_inside(parts, ys, xs).sum()) * step * step
        categories = top_labels(self.masks.probabilities(view)[q], top)
        known = self._card.categories
        return Candidate(
            query=found.query,
            parts=parts,
            score=found.score,
            category_id=known[found.label].id,
            is_thing=known[found.label].is_thing,
            categories=tuple((known[k].id, p) for k, p in categories),
            box=box,
            area=area,
            probability=measures[0].mean if probability is None else probability,
            fit=fit,
            is_cut=found.is_cut,
        )

    def is_inside(
        self,
        parts: Iterable[QueryId],
        ys: npt.NDArray[np.int64],
        xs: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.bool_]:
        """Return which samples of the image lie in the union of masks, (k, l)."""
        inside = np.zeros((len(ys), len(xs)), np.bool_)
        for query in parts:
            region = self.masks.regions[query[0]]
            rows = slice(*np.searchsorted(ys, (region.y0, region.y1)))
            columns = slice(*np.searchsorted(xs, (region.x0, region.x1)))
            if len(ys[rows]) and len(xs[columns]):
                logits = self.masks.samples(query[0], [query[1]], ys[rows], xs[columns])
                inside[rows, columns] |= logits[0] > self.threshold
        return inside

    def _shared(self, one: Found, other: Found) -> tuple[int, int, int]:
        """Count samples in both masks, in one, in the other, where both views look."""
        box = _both(_around(one.box, other.box), self._common(one.query[0], other.query[0]))
        if _is_empty(_both(one.box, other.box)) or _is_empty(box):
            return 0, 0, 0
        ys, xs, _ = sample_grid(box, _COMPARED_PIXELS)
        a, b = (self.is_inside([found.query], ys, xs) for found in (one, other))
        return int((a & b).sum()), int(a.sum()), int(b.sum())

    def _continued(self, part: Found, view: int) -> Found | None:
        """Return the query of another view that is one with a part that is cut."""
        box = _both(part.box, self._common(part.query[0], view))
        probabilities = self.masks.probabilities(view)
        is_like = probabilities.argmax(1) == part.label
        queries = np.flatnonzero(is_like & (probabilities.max(1) >= FLOOR))
        if _is_empty(box) or not len(queries):
            return None
        ys, xs, _ = sample_grid(box, _GLANCED_PIXELS)
        here = self.is_inside([part.query], ys, xs)
        there = self.masks.samples(view, queries, ys, xs) > self.threshold
        shared = (there & here).sum((1, 2))
        # The best first: of several that fit, the one that shares most is the same.
        for k in np.argsort(-shared, kind="stable")[:3]:
            if shared[k]:
                found = self.look((view, int(queries[k])))
                if self.is_same(part, found):
                    return found
        return None

    def _common(self, one: int, other: int) -> Box:
        return _both(self.masks.box(one), self.masks.box(other))


def _remembered(known: dict[_Key, _Value], key: _Key, find: Callable[[_Key], _Value]) -> _Value:
    if key not in known:
        if len(known) >= _MOST_REMEMBERED:
            known.clear()
        known[key] = find(key)
    return known[key]


def top_labels(probabilities: npt.NDArray[np.float32], k: int) -> list[tuple[int, float]]:
    """Return the most probable of (K,) classes, (label, probability), best first."""
    order = np.argsort(-probabilities, kind="stable")[:k]
    return [(int(i), float(probabilities[i])) for i in order]


def _around(a: Box, b: Box) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _both(a: Box, b: Box) -> Box:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _is_empty(box: Box) -> bool:
    return box[0] >= box[2] or box[1] >= box[3]
