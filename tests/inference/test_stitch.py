from __future__ import annotations

import numpy as np
import pytest

from napari_eomt.inference.postprocess import QuerySegments
from napari_eomt.inference.stitch import Stitcher
from napari_eomt.structures.id_maps import areas, boxes
from napari_eomt.structures.tiles import Tile, tile_grid
from napari_eomt.synthetic import drawn_nuclei


def cut_out(truth, region, label_of=lambda i: 0, score_of=lambda i: 0.9):
    """What a perfect model would say about a tile."""
    part = truth[region.y0 : region.y1, region.x0 : region.x1]
    ids = np.unique(part[part > 0])
    id_map = np.searchsorted(ids, part).astype(np.uint16) + (part > 0)
    id_map = np.where(part > 0, id_map, 0).astype(np.uint16)
    return QuerySegments(
        id_map=id_map,
        labels=np.array([label_of(i) for i in ids], np.int64),
        scores=np.array([score_of(i) for i in ids], np.float64),
        queries=np.arange(len(ids)),
        areas=areas(id_map, len(ids) + 1)[1:],
    )


def stitch(truth, regions, stuff=frozenset(), **kwargs):
    stitcher = Stitcher(truth.shape, tuple(regions), stuff)
    for region in regions:
        stitcher.add(region, cut_out(truth, region, **kwargs))
    return stitcher.result()


def assert_same_partition(found, truth):
    """Each segment of one map is exactly one of the other."""
    pairs = np.unique(np.stack([found.ravel(), truth.ravel()]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    assert not pairs[0, pairs[1] == 0].any()


@pytest.mark.parametrize(("size", "overlap"), [(64, 24), (64, 40), (100, 30), (200, 50)])
@pytest.mark.parametrize("seed", [0, 1])
def test_perfect_tiles_give_the_truth(size, overlap, seed):
    _, truth = drawn_nuclei((230, 310), n=60, seed=seed)
    regions = tile_grid(*truth.shape, size, overlap)
    result = stitch(truth, regions)
    assert_same_partition(result.id_map, truth)
    assert len(result.labels) == len(np.unique(truth)) - 1
    np.testing.assert_array_equal(result.areas, areas(result.id_map)[1:])
    assert dict(enumerate(result.boxes, start=1)) == boxes(result.id_map)


def test_an_object_longer_than_a_tile_is_one():
    truth = np.zeros((20, 400), np.uint16)
    truth[8:12, 5:395] = 1
    result = stitch(truth, tile_grid(20, 400, 64, 24))
    assert len(result.labels) == 1
    assert_same_partition(result.id_map, truth)


def test_other_labels_do_not_merge():
    truth = np.zeros((20, 100), np.uint16)
    truth[5:15, 20:80] = 1
    left, right = Tile(0, 0, 20, 60), Tile(0, 40, 20, 100)
    stitcher = Stitcher(truth.shape, (left, right), frozenset())
    stitcher.add(left, cut_out(truth, left, label_of=lambda i: 0))
    stitcher.add(right, cut_out(truth, right, label_of=lambda i: 1))
    assert sorted(stitcher.result().labels) == [0, 1]


def test_two_that_one_tile_tells_apart_stay_two():
    """The right tile saw one where the left saw two: the pair must not melt together."""
    truth = np.zeros((20, 100), np.uint16)
    truth[2:10, 30:60] = 1
    truth[10:18, 30:60] = 2
    left, right = Tile(0, 0, 20, 60), Tile(0, 40, 20, 100)
    stitcher = Stitcher(truth.shape, (left, right), frozenset())
    stitcher.add(left, cut_out(truth, left))
    stitcher.add(right, cut_out((truth > 0).astype(np.uint16), right))
    result = stitcher.result()
    assert result.id_map[5, 35] != result.id_map[15, 35]


def test_stuff_is_one_segment_and_lies_under_things():
    truth = np.ones((60, 150), np.uint16)
    truth[20:30, 40:70] = 2
    regions = tile_grid(60, 150, 64, 20)
    result = stitch(truth, regions, frozenset({5}), label_of=lambda i: 5 if i == 1 else 0)
    assert_same_partition(result.id_map, truth)
    assert sorted(result.labels) == [0, 5]


def test_nothing_found_is_empty():
    result = stitch(np.zeros((50, 90), np.uint16), tile_grid(50, 90, 32, 8))
    assert result.id_map.max() == 0
    assert len(result.labels) == 0


def test_best_member_speaks_for_the_object():
    truth = np.zeros((20, 100), np.uint16)
    truth[5:15, 42:58] = 1  # whole in both tiles
    left, right = Tile(0, 0, 20, 60), Tile(0, 40, 20, 100)
    stitcher = Stitcher(truth.shape, (left, right), frozenset())
    stitcher.add(left, cut_out(truth, left, score_of=lambda i: 0.6))
    stitcher.add(right, cut_out(truth, right, score_of=lambda i: 0.8))
    assert stitcher.result().scores.tolist() == [0.8]


def test_an_object_that_each_tile_leaves_to_the_other_stays():
    """Both see it whole, a pixel apart, so that its middle is past the line for both."""
    left, right = Tile(0, 0, 20, 60), Tile(0, 40, 20, 100)
    seen_left, seen_right = np.zeros((2, 20, 100), np.uint16)
    seen_left[5:15, 43:59] = 1  # its middle, 51, is the right tile's
    seen_right[5:15, 41:57] = 1  # 49, the left one's
    stitcher = Stitcher((20, 100), (left, right), frozenset())
    stitcher.add(left, cut_out(seen_left, left))
    stitcher.add(right, cut_out(seen_right, right))
    assert len(stitcher.result().labels) == 1


def test_what_only_a_tile_that_does_not_decide_there_sees_is_dropped():
    left, right = Tile(0, 0, 20, 60), Tile(0, 40, 20, 100)
    seen_left = np.zeros((20, 100), np.uint16)
    seen_left[5:15, 52:58] = 1
    stitcher = Stitcher((20, 100), (left, right), frozenset())
    stitcher.add(left, cut_out(seen_left, left))
    stitcher.add(right, cut_out(np.zeros_like(seen_left), right))
    assert len(stitcher.result().labels) == 0


def test_a_sliver_along_an_edge_that_two_tiles_share_is_no_object():
    """Both upper tiles see the top of something that the lower ones see whole."""
    truth = np.zeros((100, 100), np.uint16)
    truth[57:80, 42:58] = 1
    tiles = [Tile(y, x, y + 60, x + 60) for y in (0, 40) for x in (0, 40)]
    stitcher = Stitcher(truth.shape, tuple(tiles), frozenset())
    for tile in tiles:
        seen = truth
        if tile.y0 == 0:  # of other columns, so that it is not taken for a part of the whole
            seen = np.zeros_like(truth)
            seen[57:60, 50:58] = 1
            seen[55:57, 44:58] = 1
        stitcher.add(tile, cut_out(seen, tile))
    result = stitcher.result()
    np.testing.assert_array_equal(result.id_map > 0, truth > 0)
    assert len(result.labels) == 1


def test_an_object_that_every_tile_cuts_is_one():
    truth = np.zeros((100, 100), np.uint16)
    truth[5:95, 5:95] = 1
    tiles = [Tile(y, x, y + 60, x + 60) for y in (0, 40) for x in (0, 40)]
    stitcher = Stitcher(truth.shape, tuple(tiles), frozenset())
    for tile in tiles:
        stitcher.add(tile, cut_out(truth, tile))
    np.testing.assert_array_equal(stitcher.result().id_map, truth)
