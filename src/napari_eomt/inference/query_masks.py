"""Masks of single queries in the pixels of the image, computed only where somebody looks."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from napari_eomt.inference.resample import Axis, Bilinear

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.inference.decision import View
    from napari_eomt.inference.plan import Plan
    from napari_eomt.structures.candidates import QueryId
    from napari_eomt.structures.segments import Box
    from napari_eomt.structures.tiles import Tile

MEASURED_PIXELS = 2**15
"""A mask in a larger box is measured on every n-th row and column: 0.4 ms at most, where a mask
over 1024² pixels takes 12 ms."""

GLANCED_CELLS = 80
"""Rows and columns of a model's grid from which many masks are told roughly."""

Indices = npt.NDArray[np.int64]
CutSides = tuple[bool, bool, bool, bool]
"""Whether the top, bottom, left and right edge of a view cut something."""


@dataclass(frozen=True)
class Measure:
    """Size of a query's mask.

    Parameters
    ----------
    box : (y0, x0, y1, x1)
        In pixels of the image; empty if the mask is.
    area : int
        Pixels.
    mean : float
        Of the probability, over the mask.
    """

    box: Box
    area: int
    mean: float


class QueryMasks:
    """The masks of all queries of all views, in pixels of the image.

    Masks are where the mask logit is above a threshold. Everything but `logits` is computed by
    two matrix products, which round otherwise than the path of a decision: values differ by about
    1e-6 of their size.

    Parameters
    ----------
    plan : Plan
    input_size : int
        Side of the model's input, in pixels.
    views : sequence of View
    """

    def __init__(self, plan: Plan, input_size: int, views: Sequence[View]) -> None:
        self.shape = plan.shape
        self.regions = tuple(plan.region(view.tile) for view in views)
        self._boxes = np.array([(r.y0, r.x0, r.y1, r.x1) for r in self.regions])
        self._views = views
        self._input_size = input_size
        self._lines: dict[tuple[int, int, int], _Line] = {}
        self._probabilities: dict[int, npt.NDArray[np.float32]] = {}

    def views_at(self, y: int, x: int) -> list[int]:
        """Return the views that see a pixel."""
        return self.views_in((y, x, y + 1, x + 1))

    def box(self, view: int) -> Box:
        """Return what a view sees of the image."""
        region = self.regions[view]
        return region.y0, region.x0, region.y1, region.x1

    def views_in(self, box: Box) -> list[int]:
        """Return the views that see a part of a box."""
        (y0, x0, y1, x1), of = box, self._boxes.T
        sees = (of[0] < y1) & (of[1] < x1) & (y0 < of[2]) & (x0 < of[3])
        return [int(view) for view in np.flatnonzero(sees)]

    def home(self, box: Box) -> int:
        """Return the view that sees the middle of a box furthest from the view's edges."""
        y, x = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        views = self.views_at(int(y), int(x))
        return max(views, key=lambda view: (self._margins(view, y, x), -view), default=0)

    def probabilities(self, view: int) -> npt.NDArray[np.float32]:
        """Return the class probabilities of a view's queries, (Q, K) without "no object"."""
        if view not in self._probabilities:
            logits = self._views[view].class_logits.float()
            self._probabilities[view] = logits.softmax(-1)[:, :-1].cpu().numpy()
        return self._probabilities[view]

    def samples(
        self, view: int, queries: Sequence[int] | Indices | None, ys: Indices, xs: Indices
    ) -> npt.NDArray[np.float32]:
        """Return mask logits on chosen rows and columns of the image.

        Parameters
        ----------
        view : int
        queries : (n,) int or None
            None for all.
        ys, xs : (k,), (l,) int64
            Rising; within the view's region.

        Returns
        -------
        (n, k, l) float32
        """
        region, logits = self.regions[view], self._views[view].mask_logits
        rows, weights_y = self._line(view, 0).weights(ys - region.y0)
        columns, weights_x = self._line(view, 1).weights(xs - region.x0)
        part = logits[:, slice(*rows), slice(*columns)]
        if queries is not None:
            part = part[torch.as_tensor(queries, device=logits.device)]
        to_y, to_x = weights_y.to(logits.device), weights_x.to(logits.device)
        found: npt.NDArray[np.float32] = (to_y @ (part.float() @ to_x.T)).cpu().numpy()
        return found

    def outer_box(self, query: QueryId, threshold: float) -> Box:
        """Return a box that holds the mask: of the cells above the threshold, and around them."""
        view, q = query
        grid, region = self._views[view].mask_logits, self.regions[view]
        is_above = grid[q] > threshold
        return self._box_of(view, is_above.any(1), is_above.any(0), region)

    def measure(self, query: QueryId, threshold: float) -> Measure:
        """Measure a mask; see `MEASURED_PIXELS`."""
        y0, x0, y1, x1 = self.outer_box(query, threshold)
        if y0 >= y1 or x0 >= x1:
            return Measure((y0, x0, y0, x0), 0, 0.0)
        ys, xs, step = sample_grid((y0, x0, y1, x1))
        logits = self.samples(query[0], [query[1]], ys, xs)[0]
        is_inside = logits > threshold
        n = int(is_inside.sum())
        if not n:
            return Measure((y0, x0, y0, x0), 0, 0.0)
        rows, columns = np.flatnonzero(is_inside.any(1)), np.flatnonzero(is_inside.any(0))
        margin = step - 1
        box = (
            max(y0, int(ys[rows[0]]) - margin),
            max(x0, int(xs[columns[0]]) - margin),
            min(y1, int(ys[rows[-1]]) + 1 + margin),
            min(x1, int(xs[columns[-1]]) + 1 + margin),
        )
        mean = torch.from_numpy(logits[is_inside]).sigmoid().mean()
        return Measure(box, n * step * step, float(mean))

    def cut_sides(self, query: QueryId, box: Box, threshold: float) -> CutSides:
        """Return at which edges of its view a mask, which has this box, is cut.

        Returns
        -------
        (bool, bool, bool, bool)
            At the top, the bottom, the left, the right; never where the image itself ends.
        """
        view, q = query
        region, (height, width) = self.regions[view], self.shape
        y0, x0, y1, x1 = box
        if y0 >= y1 or x0 >= x1:  # nothing is inside, so nothing is cut
            return False, False, False, False
        rows, columns = np.arange(y0, y1), np.arange(x0, x1)

        def touches(ys: Indices, xs: Indices) -> bool:
            return bool((self.samples(view, [q], ys, xs) > threshold).any())

        return (
            y0 <= region.y0 > 0 and touches(np.array([region.y0]), columns),
            y1 >= region.y1 < height and touches(np.array([region.y1 - 1]), columns),
            x0 <= region.x0 > 0 and touches(rows, np.array([region.x0])),
            x1 >= region.x1 < width and touches(rows, np.array([region.x1 - 1])),
        )

    def views_beyond(self, view: int, box: Box, sides: CutSides) -> list[int]:
        """Return the views that see a part of a box, and more beyond one of these sides."""
        r = self.regions[view]
        beyond = (
            self._boxes[:, 0] < r.y0,
            self._boxes[:, 2] > r.y1,
            self._boxes[:, 1] < r.x0,
            self._boxes[:, 3] > r.x1,
        )
        is_beyond = np.any([b for b, is_cut in zip(beyond, sides, strict=True) if is_cut], 0)
        return [v for v in self.views_in(box) if is_beyond[v]]

    def logits(self, query: QueryId, box: Box) -> npt.NDArray[np.float32]:
        """Return mask logits exactly as a decision computes them.

        Parameters
        ----------
        query : (view, query)
        box : (y0, x0, y1, x1)
            Within the view's region.

        Returns
        -------
        (h, w) float32
        """
        view, q = query
        region, grid = self.regions[view], self._views[view].mask_logits
        tile = self._views[view].tile
        n_queries, *cells = grid.shape
        square = (self._input_size, self._input_size)
        # Made anew: each remembers every span that it was asked for.
        to_input = Bilinear((cells[0], cells[1]), square, n_queries, grid.device)
        shape = (region.height, region.width)
        to_output = Bilinear((tile.height, tile.width), shape, n_queries, grid.device)
        rows = (box[0] - region.y0, box[2] - region.y0)
        columns = (box[1] - region.x0, box[3] - region.x0)
        middle = to_output.source(rows, columns)
        y, x = to_input.source(*middle)
        channels = torch.tensor([q], device=grid.device)
        patch = to_input(grid[q : q + 1, slice(*y), slice(*x)].float(), *middle, channels)
        found: npt.NDArray[np.float32] = to_output(patch, rows, columns, channels)[0].cpu().numpy()
        return found

    def cell_means(self, view: int, queries: Indices, threshold: float) -> npt.NDArray[np.float32]:
        """Return the mean probability of several masks on the model's own grid, (n,): roughly."""
        grid = self._views[view].mask_logits
        step = max(1, round(max(grid.shape[1:]) / GLANCED_CELLS))
        chosen = torch.from_numpy(queries).to(grid.device)
        logits = grid[:, ::step, ::step][chosen].float().flatten(1)
        is_above = logits > threshold
        sums = logits.sigmoid_().mul_(is_above).sum(1)
        found: npt.NDArray[np.float32] = (sums / is_above.sum(1).clamp(min=1)).cpu().numpy()
        return found

    def cells(self, query: QueryId, threshold: float) -> tuple[npt.NDArray[np.float32], Box]:
        """Return the logits of the cells around a mask, (r, c), and which rows and columns."""
        view, q = query
        grid = self._views[view].mask_logits[q]
        is_above = grid > threshold
        (y0, y1), (x0, x1) = _extent(is_above.any(1)), _extent(is_above.any(0))
        y0, x0 = max(y0 - 1, 0), max(x0 - 1, 0)
        y1, x1 = min(y1 + 1, grid.shape[0]), min(x1 + 1, grid.shape[1])
        return grid[y0:y1, x0:x1].float().cpu().numpy(), (y0, x0, y1, x1)

    def from_cells(
        self, view: int, y: npt.NDArray[np.float64], x: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return where positions among the cells of a view lie in the image, in pixels."""
        region, tile, grid = self.regions[view], self._views[view].tile, self._views[view]
        n_rows, n_columns = grid.mask_logits.shape[1:]
        in_input = [(a + 0.5) * self._input_size / n for a, n in ((y, n_rows), (x, n_columns))]
        return (
            in_input[0] * region.height / tile.height - 0.5 + region.y0,
            in_input[1] * region.width / tile.width - 0.5 + region.x0,
        )

    def _margins(self, view: int, y: float, x: float) -> list[float]:
        """Return how far a place is from a view's edges, but for those of the image; rising."""
        region, (height, width) = self.regions[view], self.shape
        margins = (
            inf if region.y0 == 0 else y - region.y0,
            inf if region.y1 == height else region.y1 - y,
            inf if region.x0 == 0 else x - region.x0,
            inf if region.x1 == width else region.x1 - x,
        )
        return sorted(margins)

    def _line(self, view: int, axis: int) -> _Line:
        region, tile = self.regions[view], self._views[view].tile
        n_cells = self._views[view].mask_logits.shape[1 + axis]
        content = (tile.height, tile.width)[axis]
        length = (region.height, region.width)[axis]
        key = (n_cells, content, length)
        if key not in self._lines:
            self._lines[key] = _Line(n_cells, self._input_size, content, length)
        return self._lines[key]

    def _box_of(self, view: int, rows: torch.Tensor, columns: torch.Tensor, region: Tile) -> Box:
        y0, y1 = self._line(view, 0).outputs(*_extent(rows))
        x0, x1 = self._line(view, 1).outputs(*_extent(columns))
        return region.y0 + y0, region.x0 + x0, region.y0 + y1, region.x0 + x1


class _Line:
    """Which cells make the pixels of one axis of a view: cells to input to content to image."""

    def __init__(self, n_cells: int, input_size: int, content: int, length: int) -> None:
        cpu = torch.device("cpu")
        inner = Axis(n_cells, input_size, cpu).taps((0, input_size))
        outer = Axis(content, length, cpu).taps((0, length))
        self._lowest = inner.low[outer.low].numpy()
        self._highest = inner.high[outer.high].numpy()
        # All at once, 0.7 MB for 1024 pixels of 160 cells: made for each call they took most of
        # the time of a candidate.
        self._matrix = torch.zeros(length, n_cells)
        every = torch.arange(length)
        for pixel, weight in ((outer.low, outer.weight_low), (outer.high, outer.weight_high)):
            for cell, share in ((inner.low, inner.weight_low), (inner.high, inner.weight_high)):
                self._matrix[every, cell[pixel]] += weight * share[pixel]

    def weights(self, at: Indices) -> tuple[tuple[int, int], torch.Tensor]:
        """Return which cells make some pixels, (start, stop), and their weights (k, cells)."""
        start, stop = int(self._lowest[at[0]]), int(self._highest[at[-1]]) + 1
        return (start, stop), self._matrix[torch.from_numpy(at), start:stop]

    def outputs(self, start: int, stop: int) -> tuple[int, int]:
        """Return the pixels, (start, stop), that these cells have a part in."""
        if start >= stop:
            return 0, 0
        first = int(np.searchsorted(self._highest, start, "left"))
        last = int(np.searchsorted(self._lowest, stop, "left"))
        return first, max(first, last)


def sample_grid(box: Box, n_pixels: int = MEASURED_PIXELS) -> tuple[Indices, Indices, int]:
    """Return rows and columns to sample a box at, so many pixels at most, and the step between."""
    y0, x0, y1, x1 = box
    step = max(1, int(np.ceil(np.sqrt((y1 - y0) * (x1 - x0) / n_pixels))))
    # The middle row of each step; of something thin at least the first.
    ys, xs = (
        np.arange(start + max(0, min(step // 2, stop - start - 1)), stop, step)
        for start, stop in ((y0, y1), (x0, x1))
    )
    return ys, xs, step


def logit(probability: float) -> float:
    """Return the logit of a probability above 0 and below 1."""
    return float(np.log(probability / (1 - probability)))


def _extent(flags: torch.Tensor) -> tuple[int, int]:
    found = flags.nonzero()[:, 0]
    return (int(found[0]), int(found[-1]) + 1) if len(found) else (0, 0)
