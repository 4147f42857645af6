"""How unsure the model is of each segment of a decision.

Everything is counted on the cells of the model's own grid whose middles lie in the segment: a
tenth of the time of a decision, where pixels would take half of it. With p the probability of the
segment's query, c its class probabilities, m its mask (the cells above the mask's threshold) and
s the cells of the segment that are in m:

- doubt: 1 - the segment's score, which for a score that is the class probability alone is taken
  times the mean of p over s;
- entropy: -Σ q·log q / log(K + 1), over the probabilities q of the K categories and "no object";
- softness: the mean of 4·p·(1 - p) over s;
- rival: the largest c'·|m' ∩ s| / (c·|s|), at most 1, c being the largest class probability of a
  query, over the other queries of the view that say something else: whose category is another, or
  whose IoU with m is below `SAME_MASK`. Those whose c' is below `RIVAL_FLOOR` do not count;
- lost: 1 - |s| / |m|.

A segment without a cell of its own takes p from its query's surest cell, and has no rival and
nothing lost. Of a segment that tiles made together, its best tile speaks; of fused stuff, the
first query.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit

from napari_eomt.inference.query_masks import logit
from napari_eomt.structures.uncertainty import Uncertainty

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_eomt.inference.decision import View
    from napari_eomt.inference.query_segments import QuerySegments
    from napari_eomt.structures.candidates import QueryId
    from napari_eomt.structures.tiles import Tile

SAME_MASK = 0.8
"""Another query of this IoU and the same category says the same."""

RIVAL_FLOOR = 0.1
"""A query whose class probability is less is nobody's rival."""

MOST_CELLS = 80
"""Rows and columns of cells that are looked at: with all 160 of a common model's, deciding about
a view took 29 % longer instead of 8 %."""

_AT_ONCE = 2**22
"""Mask logits of the views that are looked at together."""

_Indices: TypeAlias = npt.NDArray[np.int64]

DoubtMemory: TypeAlias = "dict[int, tuple[QuerySegments, dict[QueryId, Uncertainty]]]"
"""By the number of a view."""


class Doubts:
    """Collects what the model says of the segments of one view after the other.

    Parameters
    ----------
    input_size : int
        Side of the model's input, in pixels.
    mask_threshold : float
        Probability.
    is_instance : bool
        Whether a score has the mask's mean probability in it.
    memory : dict, optional
        What was found out about each view before; it holds for as long as the view's segments are
        the very same object, and the threshold is the same.
    """

    def __init__(
        self,
        input_size: int,
        mask_threshold: float,
        is_instance: bool,
        memory: DoubtMemory | None = None,
    ) -> None:
        self._input_size = input_size
        self._is_instance = is_instance
        self._threshold = logit(mask_threshold)
        self._memory: DoubtMemory = {} if memory is None else memory
        self._found: dict[QueryId, Uncertainty] = {}
        self._seen: list[_Seen] = []
        self._n_waiting = 0

    def add(self, index: int, view: View, region: Tile, found: QuerySegments) -> None:
        """Take the segments of a view, before they are merged with those of others.

        Parameters
        ----------
        index : int
            The view's number.
        view : View
        region : Tile
            What it sees of the image.
        found : QuerySegments
            Of the region.
        """
        if not len(found.queries):
            return
        known = self._memory.get(index)
        if known is not None and known[0] is found:
            self._found.update(known[1])
            return
        n_rows, n_columns = view.mask_logits.shape[1:]
        step = max(1, round(max(n_rows, n_columns) / MOST_CELLS))
        logits = view.mask_logits[:, step // 2 :: step, step // 2 :: step]
        rows = _middles(n_rows, step, self._input_size, view.tile.height, region.height)
        columns = _middles(n_columns, step, self._input_size, view.tile.width, region.width)
        ids = np.full(logits.shape[1:], -1, np.int64)
        ids[: len(rows), : len(columns)] = found.id_map[rows[:, None], columns]
        self._seen.append(_Seen(index, view.class_logits, logits, ids.ravel(), found))
        self._n_waiting += logits.numel()
        if self._n_waiting >= _AT_ONCE:
            self._look()

    def result(self, queries: Iterable[QueryId]) -> tuple[Uncertainty, ...]:
        """Return how unsure the model is of the segments of these queries."""
        self._look()
        return tuple(self._found[query] for query in queries)

    def _look(self) -> None:
        if self._seen:
            self._memory.update({one.index: (one.found, {}) for one in self._seen})
            for where, doubt in zip(
                *_doubts(self._seen, self._threshold, self._is_instance), strict=True
            ):
                self._found[where] = doubt
                self._memory[where[0]][1][where] = doubt
        self._seen, self._n_waiting = [], 0


@dataclass(frozen=True, eq=False)
class _Seen:
    """What was decided about a view.

    Parameters
    ----------
    index : int
        The view's number.
    class_logits : (Q, K + 1)
    mask_logits : (Q, h, w)
        At the cells.
    ids : (cells,) int64
        Ids of the segments at the cells; 0 is void, -1 padding.
    found : QuerySegments
    """

    index: int
    class_logits: torch.Tensor
    mask_logits: torch.Tensor
    ids: _Indices
    found: QuerySegments


def _doubts(
    seen: Sequence[_Seen], threshold: float, is_instance: bool
) -> tuple[list[QueryId], list[Uncertainty]]:
    """Look at several views at once: one by one they took four times as long.

    Below, s counts segments and r the queries that are segments or could be rivals.
    """
    n_segments = np.array([len(one.found.queries) for one in seen])
    first_s = n_segments.cumsum() - n_segments
    view_s = np.repeat(np.arange(len(seen)), n_segments)
    query_s = np.concatenate([one.found.queries for one in seen])
    device = seen[-1].class_logits.device
    classes = torch.stack([one.class_logits.to(device) for one in seen]).float().softmax(-1)
    probabilities = classes.cpu().numpy()
    sure, label = probabilities[..., :-1].max(-1), probabilities[..., :-1].argmax(-1)

    is_chosen = sure >= RIVAL_FLOOR
    is_chosen[view_s, query_s] = True
    view_r, query_r = np.nonzero(is_chosen)
    n_r = is_chosen.sum(1)
    first_r = n_r.cumsum() - n_r
    r_of = np.cumsum(is_chosen).reshape(is_chosen.shape) - 1
    own = r_of[view_s, query_s]
    logits = _logits(seen, np.split(query_r, first_r[1:]))
    ids = np.stack([one.ids for one in seen])
    if (ids < 0).any():
        logits[(ids < 0)[view_r]] = -np.inf
    masks = (logits > threshold).astype(np.float32)
    areas = masks.sum(1)

    view_at, cell = np.nonzero(ids > 0)
    s = first_s[view_at] + ids[view_at, cell] - 1
    value = logits[own[s], cell]
    is_in = value > threshold
    s, cell, value = s[is_in], cell[is_in], value[is_in]
    n_cells = np.bincount(s, minlength=len(own))
    n_or_one = n_cells.clip(min=1)
    p, surest = expit(value), expit(logits[own].max(1))
    mean = np.bincount(s, p, minlength=len(own)) / n_or_one
    mean = np.where(n_cells > 0, mean, surest)
    softness = np.bincount(s, 4 * p * (1 - p), minlength=len(own)) / n_or_one
    softness = np.where(n_cells > 0, softness, 4 * surest * (1 - surest))
    lost = np.where(n_cells > 0, 1 - n_cells / areas[own].clip(min=1), 0)

    # For each segment its own cells and its query's mask; then, with every query of its view,
    # how many cells both have: one product a view.
    cells = np.zeros((2, len(own), ids.shape[1]), np.float32)
    cells[0, s, cell] = 1
    cells[1] = masks[own]
    shared = [
        (cells[:, start_s : start_s + n] @ masks[start : start + m].T).reshape(2, -1)
        for start_s, n, start, m in zip(first_s, n_segments, first_r, n_r, strict=True)
    ]
    in_segment, in_mask = np.concatenate(shared, 1)
    n_pairs = n_r[view_s]
    first_pair = n_pairs.cumsum() - n_pairs
    pair_s = np.repeat(np.arange(len(own)), n_pairs)
    pair_r = np.arange(len(pair_s)) + np.repeat(first_r[view_s] - first_pair, n_pairs)
    iou = in_mask / (areas[pair_r] + areas[own][pair_s] - in_mask).clip(min=1)
    sure_r, label_r = sure[is_chosen], label[is_chosen]
    is_other = (label_r[pair_r] != label_r[own][pair_s]) | (iou < SAME_MASK)
    is_other &= pair_r != own[pair_s]
    claims = sure_r[pair_r] * in_segment / (sure_r[own] * n_or_one)[pair_s]
    rival = np.maximum.reduceat(np.where(is_other, claims, 0), first_pair)

    of_s = probabilities[view_s, query_s]
    entropy = -(of_s * np.log(of_s.clip(min=1e-12))).sum(1) / np.log(of_s.shape[1])
    scores = np.concatenate([one.found.scores for one in seen])
    doubt = 1 - (scores if is_instance else scores * mean)
    parts = np.stack([doubt, entropy, softness, rival, lost], 1).clip(0, 1)
    where = [(seen[v].index, q) for v, q in zip(view_s.tolist(), query_s.tolist(), strict=True)]
    return where, [Uncertainty(*part) for part in parts.tolist()]


@lru_cache(maxsize=64)
def _middles(n_cells: int, step: int, input_size: int, content: int, length: int) -> _Indices:
    """Return the pixels of a result in the middle of every n-th cell, of those that show it."""
    middles = (np.arange(step // 2, n_cells, step) + 0.5) * input_size / n_cells
    return (middles[middles < content] * length / content).astype(np.int64)


def _logits(seen: Sequence[_Seen], queries: Sequence[_Indices]) -> npt.NDArray[np.float32]:
    """Return the mask logits of some queries of each view, (R, cells)."""
    device = seen[-1].mask_logits.device
    chosen = [
        one.mask_logits[torch.from_numpy(q).to(one.mask_logits.device)].to(device)
        for one, q in zip(seen, queries, strict=True)
    ]
    logits: npt.NDArray[np.float32] = torch.cat(chosen).flatten(1).float().cpu().numpy()
    return logits
