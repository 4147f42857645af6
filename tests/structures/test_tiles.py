from __future__ import annotations

import itertools

import numpy as np
import pytest

from napari_eomt.structures.tiles import Tile, starts, tile_grid


def test_pieces_cover_the_length_and_share_enough():
    for length, size, overlap in itertools.product(range(1, 90, 4), (1, 7, 16), (0, 3, 6, 15)):
        if overlap >= size:
            continue
        begins = starts(length, size, overlap)
        if length <= size:
            assert begins == [0]
            continue
        assert begins[0] == 0
        assert begins[-1] + size == length
        steps = np.diff(begins)
        assert (size - steps >= overlap).all()
        assert (steps > 0).all()
        # Spread evenly, and no more of them than are needed.
        assert steps.max() - steps.min() <= 1
        assert (len(begins) - 2) * (size - overlap) + size < length


@pytest.mark.parametrize(("size", "overlap"), [(16, 16), (16, 20), (16, -1), (0, 0)])
def test_an_overlap_that_does_not_fit_is_refused(size, overlap):
    with pytest.raises(ValueError, match="must be from 0 to below the size"):
        starts(100, size, overlap)


@pytest.mark.parametrize("shape", [(1, 1), (5, 100), (64, 64), (65, 64), (131, 203)])
@pytest.mark.parametrize("overlap", [0, 10, 63])
def test_a_grid_covers_every_pixel_row_by_row(shape, overlap):
    tiles = tile_grid(*shape, 64, overlap)
    seen = np.zeros(shape, int)
    for tile in tiles:
        assert (tile.height, tile.width) == (min(64, shape[0]), min(64, shape[1]))
        assert 0 <= tile.y0 < tile.y1 <= shape[0]
        assert 0 <= tile.x0 < tile.x1 <= shape[1]
        seen[tile.y0 : tile.y1, tile.x0 : tile.x1] += 1
    assert (seen > 0).all()
    assert len(set(tiles)) == len(tiles)
    assert tiles == sorted(tiles, key=lambda tile: (tile.y0, tile.x0))


def test_sides_of_a_tile():
    tile = Tile(2, 3, 7, 20)
    assert (tile.height, tile.width) == (5, 17)
