"""The best assignment of pairs: each row and column in one pair at most."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Ints = npt.NDArray[np.int64]


def best_pairs(rows: Ints, columns: Ints, gains: npt.NDArray[np.float64]) -> Ints:
    """Choose pairs so that their gains sum highest.

    Time and memory go with the largest group of pairs that hang together, not with all rows times
    all columns: thousands of objects need no matrix of them all.

    Parameters
    ----------
    rows, columns : (N,) int64
        From 0; each pair is there once.
    gains : (N,) float64
        Above 0.

    Returns
    -------
    (M,) int64
        Positions of the chosen pairs, rising.
    """
    n = len(rows)
    if n == 0:
        return np.zeros(0, np.int64)
    n_rows = int(rows.max()) + 1
    size = n_rows + int(columns.max()) + 1
    links = coo_array((np.ones(n), (rows, n_rows + columns)), shape=(size, size))
    _, numbers = connected_components(links, directed=False)
    of_pair = numbers[rows]
    order = np.argsort(of_pair, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(of_pair[order])) + 1)
    chosen = [_best_of_group(rows, columns, gains, group) for group in groups]
    return np.sort(np.concatenate(chosen))


def _best_of_group(rows: Ints, columns: Ints, gains: npt.NDArray[np.float64], pairs: Ints) -> Ints:
    if len(pairs) == 1:
        return pairs
    own_rows, row = np.unique(rows[pairs], return_inverse=True)
    own_columns, column = np.unique(columns[pairs], return_inverse=True)
    gain = np.zeros((len(own_rows), len(own_columns)))
    gain[row, column] = gains[pairs]
    place = np.full(gain.shape, -1, np.int64)
    place[row, column] = pairs
    chosen = place[linear_sum_assignment(gain, maximize=True)]
    found: Ints = chosen[chosen >= 0]
    return found
