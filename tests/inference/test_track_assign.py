from __future__ import annotations

import itertools

import numpy as np
import pytest

from napari_eomt.inference.track_assign import best_pairs


@pytest.mark.parametrize("seed", range(20))
def test_the_gains_sum_highest_of_all_assignments(seed):
    rng = np.random.default_rng(seed)
    n_rows, n_columns = rng.integers(1, 6, 2)
    table = rng.uniform(size=(n_rows, n_columns)) * (rng.uniform(size=(n_rows, n_columns)) < 0.5)
    rows, columns = np.nonzero(table)
    order = rng.permutation(len(rows))
    rows, columns = rows[order], columns[order]
    chosen = best_pairs(rows, columns, table[rows, columns])
    assert len(set(rows[chosen])) == len(set(columns[chosen])) == len(chosen)
    padded = np.hstack([table, np.zeros((n_rows, n_rows))])
    best = max(
        sum(padded[i, j] for i, j in enumerate(order))
        for order in itertools.permutations(range(padded.shape[1]), int(n_rows))
    )
    assert table[rows[chosen], columns[chosen]].sum() == pytest.approx(best)


def test_thousands_of_small_groups_need_no_large_matrix():
    n = 50_000  # a matrix of all would be 20 GB
    rows = np.repeat(np.arange(n), 2)
    columns = rows + np.tile([0, 1], n) * (rows % 2 == 0)
    gains = np.tile([0.4, 0.5], n)
    keep = np.append(True, (np.diff(rows) != 0) | (np.diff(columns) != 0))
    chosen = best_pairs(rows[keep], columns[keep], gains[keep])
    # Of each two rows, the first may have its own column or the second's; together 0.4 + 0.4.
    np.testing.assert_array_equal(rows[keep][chosen], np.arange(n))
    np.testing.assert_array_equal(columns[keep][chosen], np.arange(n))


def test_no_pairs():
    empty = np.zeros(0, np.int64)
    assert len(best_pairs(empty, empty, np.zeros(0))) == 0
