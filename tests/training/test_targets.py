"""Targets as masks and as id maps, and what they refuse."""

from __future__ import annotations

import pytest
import torch

from napari_eomt.errors import DataError
from napari_eomt.training.points import draw_points, read_own
from napari_eomt.training.targets import ImageTargets

CPU = torch.device("cpu")


@pytest.fixture
def id_map():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 5, (12, 9), generator=generator) * 1000


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.uint8])
def test_id_maps_and_masks_read_the_same(id_map, dtype):
    ids = (id_map // 20).to(dtype)  # up to 200
    known = [150, 50, 200]
    masks = torch.stack([ids == one for one in known])
    points = draw_points((400,), CPU)
    from_map = ImageTargets.from_id_map(ids, known, [0, 1, 2])
    from_masks = ImageTargets(torch.arange(3), masks=masks)
    expected = read_own(masks, points.expand(3, -1, -1))
    torch.testing.assert_close(from_map.at(points), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(from_masks.at(points), expected, rtol=1e-5, atol=1e-5)
    own, which = draw_points((4, 50), CPU), torch.tensor([2, 0, 0, 1])
    expected = read_own(masks[which], own)
    torch.testing.assert_close(from_map.at_own(which, own), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(from_masks.at_own(which, own), expected, rtol=1e-5, atol=1e-5)


def test_no_objects_read_as_nothing(id_map):
    points = draw_points((7,), CPU)
    empty = torch.zeros(0, dtype=torch.int64)
    for targets in (
        ImageTargets.from_id_map(id_map, [], []),
        ImageTargets(empty, masks=torch.zeros(0, 12, 9, dtype=torch.bool)),
    ):
        assert len(targets) == 0
        assert targets.at(points).shape == (0, 7)
        assert targets.at_own(empty, draw_points((0, 7), CPU)).shape == (0, 7)


def test_ids_that_are_not_in_the_map_have_no_pixels(id_map):
    targets = ImageTargets.from_id_map(id_map, [7, 1000], [0, 0])
    assert not targets.at(draw_points((50,), CPU))[0].any()


def test_targets_move_whole(id_map):
    targets = ImageTargets.from_id_map(id_map, [1000], [0], ignore=id_map == 0)
    moved = targets.to(torch.device("meta"))
    assert all(t.is_meta for t in (moved.labels, moved.rows, moved.ignore))
    assert moved.masks is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "either masks or rows"),
        ({"masks": torch.zeros(1, 4, 4, dtype=torch.bool)}, r"expected \(2, h, w\)"),
        ({"masks": torch.zeros(2, 4, 4)}, "expected bool, or uint8"),
        ({"rows": torch.zeros(4, dtype=torch.int32)}, r"expected \(h, w\)"),
        (
            {"rows": torch.zeros(4, 4, dtype=torch.int32), "ignore": torch.zeros(3)},
            "ignore mask",
        ),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(DataError, match=message):
        ImageTargets(torch.zeros(2, dtype=torch.int64), **fields)


@pytest.mark.parametrize(("ids", "labels"), [([1, 1], [0, 0]), ([1, 2], [0])])
def test_ids_and_labels_go_together(ids, labels, id_map):
    with pytest.raises(DataError, match="one label for each id"):
        ImageTargets.from_id_map(id_map, ids, labels)
