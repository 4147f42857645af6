"""Points and what is read there, against torch's own sampling and sorting."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from napari_eomt.training import points as points_module
from napari_eomt.training.points import (
    containing_pixels,
    draw_points,
    draw_uncertain_points,
    iter_shared,
    read_own,
    shifted_points,
    smallest,
    spread_own,
)

CPU = torch.device("cpu")
SIZES = [(5, 7), (1, 4), (3, 1), (16, 16)]


def read_shared(maps, points, size):
    """Read all points at once."""
    return next(iter_shared(maps, points, size, points.shape[1]))[1]


def edges_and_others(n=200):
    grid = torch.cartesian_prod(*[torch.tensor([0, 1e-7, 0.5, 0.999999, 1.0])] * 2)
    return torch.cat((grid, draw_points((n,), CPU, torch.Generator().manual_seed(0))))


@pytest.mark.parametrize("size", SIZES)
def test_shared_points_read_as_grid_sample_does(size):
    maps = torch.randn(2, size[0] * size[1], 9)
    points = edges_and_others()[None].repeat(2, 1, 1)
    points[1] = points[1].flip(0)
    images = maps.view(2, *size, 9).permute(0, 3, 1, 2)
    expected = functional.grid_sample(images, 2 * points[:, :, None] - 1, align_corners=False)
    found = read_shared(maps, points, size)
    torch.testing.assert_close(found, expected[..., 0].transpose(1, 2), rtol=1e-5, atol=1e-5)


def test_own_points_read_as_each_map_by_itself():
    maps = torch.randn(3, 6, 5)
    points = torch.stack([edges_and_others().roll(i, 0) for i in range(3)])
    found = read_own(maps, points)
    for one, at, values in zip(maps, points, found, strict=True):
        shared = read_shared(one.flatten()[None, :, None], at[None], (6, 5))
        torch.testing.assert_close(values, shared[0, :, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("step", [1, 64, 1000])
def test_shared_points_in_parts_read_as_the_whole(step):
    maps, points = torch.randn(2, 35, 9), draw_points((2, 225), CPU)
    parts = list(iter_shared(maps, points, (5, 7), step))
    assert len(parts) == -(-225 // step)
    expected = read_shared(maps, points, (5, 7))
    for part, values in parts:
        torch.testing.assert_close(values, expected[:, part])


def test_values_are_spread_where_they_would_be_read():
    maps = torch.randn(3, 6, 5, requires_grad=True)
    points = torch.stack([edges_and_others().roll(i, 0) for i in range(3)])
    weights = torch.randn(points.shape[:2])
    (expected,) = torch.autograd.grad((read_own(maps, points) * weights).sum(), maps)
    torch.testing.assert_close(spread_own(weights, maps.detach(), points), expected)


@pytest.mark.parametrize("size", SIZES)
def test_a_point_lies_in_one_pixel(size):
    height, width = size
    for row in range(height):
        for column in range(width):
            inside = torch.tensor([(column + 0.3) / width, (row + 0.7) / height])
            assert containing_pixels(inside, height, width) == row * width + column
    assert containing_pixels(torch.ones(2), height, width) == height * width - 1


@pytest.mark.parametrize("n", [1, 700, 3000, 9408, 12_000])
@pytest.mark.parametrize("kind", ["random", "sorted", "equal", "excluded"])
def test_the_smallest_are_found(n, kind):
    values = torch.rand(3, 12_000, generator=torch.Generator().manual_seed(0))
    if kind == "sorted":  # the first few then tell nothing of the others
        values = values.sort(descending=True).values
    elif kind == "equal":
        values = values.mul(5).round()
    elif kind == "excluded":
        values[:, 100:11_000] = torch.inf
    chosen = smallest(values, n)
    assert chosen.shape == (3, n)
    for row, indices in zip(values, chosen, strict=True):
        assert len(indices.unique()) == n
        assert torch.equal(row[indices].sort().values, row.sort().values[:n])


def test_the_quick_way_is_taken_where_it_can_be(monkeypatch):
    values = torch.rand(2, 37_632, generator=torch.Generator().manual_seed(0))
    sizes = []
    chosen = np.argpartition

    def remember(values, n):
        sizes.append(len(values))
        return chosen(values, n)

    monkeypatch.setattr(np, "argpartition", remember)
    smallest(values, 9408)
    assert len(sizes) == 2
    assert max(sizes) < 37_632 / 2
    assert points_module._SAMPLE * 4 < 37_632


def test_uncertain_points_are_those_nearest_to_the_border():
    # One logit a column, growing from left to right: least certain in the middle.
    maps = torch.linspace(-3, 3, 64).repeat(2, 64, 1)
    candidates = draw_points((2, 500), CPU, torch.Generator().manual_seed(1))
    excluded = candidates[..., 1] > 0.5
    found, values = draw_uncertain_points(maps, candidates, 100)
    torch.testing.assert_close(values, read_own(maps, found))
    for chosen, among in zip(found, candidates, strict=True):
        limit = (among[:, 0] - 0.5).abs().sort().values[100]
        assert ((chosen[:, 0] - 0.5).abs() <= limit).all()
    upper, _ = draw_uncertain_points(maps, candidates, 100, excluded)
    assert (upper[..., 1] <= 0.5).all()


def test_shifted_points_are_drawn_evenly_and_unlike_each_other():
    generator = torch.Generator().manual_seed(2)
    pool = draw_points((20_000,), CPU, generator)
    found = shifted_points(pool, draw_points((6,), CPU, generator))
    assert found.shape == (6, 20_000, 2)
    assert found.min() >= 0
    assert found.max() < 1
    for one in found:
        counts = torch.histc(one[:, 0], 10, 0, 1) + torch.histc(one[:, 1], 10, 0, 1)
        assert (counts / 4000 - 1).abs().max() < 0.1
    assert len(found[:, 0].unique(dim=0)) == 6
