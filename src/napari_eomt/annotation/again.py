"""What is proposed again, so that it keeps its id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.structures.segments import Box, IdMap, Segment

SAME_IOU = 0.5
"""A proposal is an earlier one again if they overlap this much: above a half, no other can."""

_MOST_PIXELS = 2**18
"""Pixels that overlaps are counted on; the whole of 2048² takes 40 ms."""


def same_again(
    earlier: Sequence[Segment], proposed: Sequence[Segment], before: IdMap, now: IdMap
) -> dict[int, int]:
    """Return which earlier proposal each of the new ones is, where it is one.

    Parameters
    ----------
    earlier : sequence of Segment
        Of `before`.
    proposed : sequence of Segment
        Of `now`.
    before, now : (H, W) int

    Returns
    -------
    dict of int to int
        The earlier id by the new one.
    """
    # A threshold moved by a little changes little: most are the same to the pixel.
    exact: dict[tuple[Box, int, int], int] = {
        (s.bbox, s.area, s.category_id): s.id for s in earlier if s.area
    }
    others = {s.id for s in earlier if s.area}
    same: dict[int, int] = {}
    moved = []
    for s in proposed:
        known = exact.pop((s.bbox, s.area, s.category_id), None)
        if known is None:
            moved.append(s)
        else:
            same[s.id] = known
            others.discard(known)
    if moved and others:
        same.update(_overlapping({s.id for s in moved}, others, before, now))
    return same


def _overlapping(new: set[int], old: set[int], before: IdMap, now: IdMap) -> dict[int, int]:
    """Return the old id by the new one where their IoU is above `SAME_IOU`."""
    step = max(1, round((now.size / _MOST_PIXELS) ** 0.5))
    before, now = before[::step, ::step], now[::step, ::step]
    index_old, index_new = np.array(sorted(old)), np.array(sorted(new))
    n_old, n_new = len(index_old) + 1, len(index_new) + 1
    tables = []
    for ids, id_map in ((index_old, before), (index_new, now)):
        table = np.zeros(max(int(ids[-1]), int(id_map.max(initial=0))) + 1, np.int64)
        table[ids] = np.arange(1, len(ids) + 1)
        tables.append(table)
    pairs = tables[0][before] * n_new + tables[1][now]
    # Sorted, not counted in a table: of 5,000 and 5,000 objects that would be 200 MB.
    met, shared = np.unique(pairs, return_counts=True)
    i, j = np.divmod(met, n_new)
    in_old = np.bincount(i, shared, minlength=n_old)
    in_new = np.bincount(j, shared, minlength=n_new)
    is_same = (i > 0) & (j > 0) & (shared > SAME_IOU * (in_old[i] + in_new[j] - shared))
    return dict(
        zip(index_new[j[is_same] - 1].tolist(), index_old[i[is_same] - 1].tolist(), strict=True)
    )
