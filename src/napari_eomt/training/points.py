"""Points at which masks are compared, and bilinear values there.

Points are (x, y) in the unit square, as in PointRend and Mask2Former: (0, 0) is the outer corner
of the first pixel, so that a mask of any size can be read at the same point.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterator

_SAMPLE = 2048


def draw_points(
    shape: tuple[int, ...], device: torch.device, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Draw points of the unit square, evenly; shape + (2,) float32."""
    return torch.rand((*shape, 2), device=device, generator=generator)


def shifted_points(pool: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Shift points round the unit square, out on one side and in on the other.

    Parameters
    ----------
    pool : (P, 2) float32
    shifts : (M, 2) float32

    Returns
    -------
    (M, P, 2) float32
        Of points drawn evenly, again points drawn evenly.
    """
    # As complex numbers, x and y move together.
    moved = torch.view_as_complex(pool) + torch.view_as_complex(shifts)[:, None]
    return torch.view_as_real(moved).frac_()


def corners(points: torch.Tensor, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the four pixels around each point, in an image with a border, and their weights.

    Parameters
    ----------
    points : (..., 2) float32
        As (x, y), from 0 to 1.
    height, width : int
        Of the image that is read.

    Returns
    -------
    index : (4, ...) int64
        Into the flattened image after a border of one pixel was put round it: beyond their own
        border masks are 0.
    weight : (4, ...) float32
        Bilinear weights.
    """
    x = points[..., 0] * width + 0.5
    y = points[..., 1] * height + 0.5
    left, top = x.floor(), y.floor()
    right_part, lower_part = x - left, y - top
    first = (top * (width + 2) + left).long()
    index = torch.stack((first, first + 1, first + width + 2, first + width + 3))
    lower_right = right_part * lower_part
    upper_right, lower_left = right_part - lower_right, lower_part - lower_right
    upper_left = 1 - right_part - lower_left
    return index, torch.stack((upper_left, upper_right, lower_left, lower_right))


def with_border(maps: torch.Tensor, value: float = 0) -> torch.Tensor:
    """Put a border of one pixel round maps of shape (..., h, w)."""
    return functional.pad(maps, (1, 1, 1, 1), value=value)


def containing_pixels(points: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Find the pixel that each point lies in; (...) int64 into the flattened image."""
    column = (points[..., 0] * width).long().clamp(0, width - 1)
    row = (points[..., 1] * height).long().clamp(0, height - 1)
    return row * width + column


def iter_shared(
    maps: torch.Tensor, points: torch.Tensor, size: tuple[int, int], step: int
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Read the masks of each image at the image's own points, which all its masks share.

    Parameters
    ----------
    maps : (B, h · w, Q) float
        Pixels of each image, row by row, with the values of all masks side by side.
    points : (B, P, 2) float32
    size : (int, int)
        (h, w) of the maps.
    step : int
        Number of points to read at a time.

    Yields
    ------
    slice
        Which of the P points.
    (B, p, Q) float32
        The values there.
    """
    n_images, _, n_masks = maps.shape
    height, width = size
    grids = maps.float().view(n_images, height, width, n_masks)
    table = functional.pad(grids, (0, 0, 1, 1, 1, 1)).flatten(0, 2)
    index, weight = corners(points, height, width)
    n_pixels = (height + 2) * (width + 2)
    index += torch.arange(n_images, device=maps.device)[:, None] * n_pixels
    for start in range(0, points.shape[1], step):
        part = slice(start, start + step)
        # The values of all masks at a pixel are neighbours in memory: ten times faster on a CPU
        # than grid_sample, which would fetch each by itself.
        values = functional.embedding_bag(
            index[:, :, part].flatten(1).T.contiguous(),
            table,
            mode="sum",
            per_sample_weights=weight[:, :, part].flatten(1).T.contiguous(),
        )
        yield part, values.view(n_images, -1, n_masks)


def read_own(maps: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Read each map at points of its own.

    Parameters
    ----------
    maps : (M, h, w) float
    points : (M, P, 2) float32

    Returns
    -------
    (M, P) float32
        Gradients flow to the maps.
    """
    values = functional.grid_sample(
        maps[:, None].float(), (2 * points[:, :, None]).sub_(1), align_corners=False
    )
    return values[:, 0, :, 0]


def spread_own(values: torch.Tensor, maps: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Spread values at points over the pixels that `read_own` reads there: its gradient.

    Parameters
    ----------
    values : (M, P) float32
    maps : (M, h, w) float32
        Only its shape counts.
    points : (M, P, 2) float32

    Returns
    -------
    (M, h, w) float32
    """
    grid = (2 * points[:, :, None]).sub_(1)
    spread: torch.Tensor = torch.ops.aten.grid_sampler_2d_backward(
        values[:, None, :, None], maps[:, None], grid, 0, 0, False, [True, False]
    )[0]
    return spread[:, 0]


@torch.no_grad()
def draw_uncertain_points(
    maps: torch.Tensor,
    candidates: torch.Tensor,
    n_uncertain: int,
    excluded: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose of each map's candidate points those where it is least certain.

    Parameters
    ----------
    maps : (M, h, w) float
        Logits.
    candidates : (M, P, 2) float32
    n_uncertain : int
        How many to choose: those with the smallest absolute logits, in no particular order.
    excluded : (M, P) bool, optional
        Candidates to choose last.

    Returns
    -------
    points : (M, n_uncertain, 2) float32
    values : (M, n_uncertain) float32
        The logits there.
    """
    values = read_own(maps, candidates)
    certainty = values.abs()
    if excluded is not None:
        certainty.masked_fill_(excluded, torch.inf)
    chosen = smallest(certainty, n_uncertain)
    pairs = torch.view_as_complex(candidates)
    return torch.view_as_real(pairs.gather(1, chosen)), values.gather(1, chosen)


def smallest(values: torch.Tensor, n: int) -> torch.Tensor:
    """Find the n smallest values of each row, in no particular order.

    Parameters
    ----------
    values : (M, P) float32
        In random order, or it takes longer.
    n : int

    Returns
    -------
    (M, n) int64
    """
    share = n / values.shape[1]
    # Of what lies below a limit that the first few values tell, with five standard deviations to
    # spare, a CPU finds the smallest in a third of the time that all values would take.
    spare = 5 * math.sqrt(share * (1 - share) / _SAMPLE)
    rank = math.ceil((share + spare) * _SAMPLE)
    if values.device.type != "cpu" or rank > _SAMPLE or values.shape[1] < 4 * _SAMPLE:
        return values.topk(n, dim=1, largest=False, sorted=False).indices
    limits = values[:, :_SAMPLE].kthvalue(rank, dim=1).values
    chosen = torch.empty(len(values), n, dtype=torch.int64)
    for row, limit, out in zip(values, limits, chosen, strict=True):
        # numpy finds them in a fifth of torch's time, and chooses of them in half.
        known = row.numpy()
        below = np.flatnonzero(known <= limit.item())
        if len(below) < n:
            torch.topk(row, n, largest=False, sorted=False, out=(torch.empty(n), out))
        else:
            out.numpy()[:] = below[np.argpartition(known[below], n - 1)[:n]]
    return chosen
