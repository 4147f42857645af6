"""Bilinear resampling of any block of the output, with the rounding of torch's own kernels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Span = tuple[int, int]
"""Where a run of rows or columns starts and stops, half-open."""

# ATen takes another kernel, which rounds in another order, for outputs of at most so many rows
# and columns together, and for exactly three channels.
_SMALL_OUTPUT = 128
_CORNER_CHANNELS = 3
# Channels that ATen's small kernel takes at once; those left over are rounded differently.
_VECTOR = 8
# Weights and sums round, so a result may leave the range of its corners by a few parts in 1e7.
_SLACK = 2e-6


class Axis:
    """Which two samples, with which weights, make each output of one axis.

    Coordinates are computed as ATen does, in float32 with a fused multiply-add, and are therefore
    the same to the last bit: half an ulp more at coordinate 640 moves a logit by 1e-4.

    Parameters
    ----------
    n_in, n_out : int
        Samples before and after.
    device : torch.device
    """

    def __init__(self, n_in: int, n_out: int, device: torch.device) -> None:
        scale = np.float64(np.float32(n_in) / np.float32(n_out))
        # The product is exact in float64, so this rounds once, as the fused operation does.
        centre = (scale * (np.arange(n_out) + 0.5) - 0.5).astype(np.float32)
        centre = np.maximum(centre, np.float32(0))
        low = np.minimum(np.floor(centre).astype(np.int64), n_in - 1)
        weight = np.clip(centre - low.astype(np.float32), np.float32(0), np.float32(1))
        self.n_out = n_out
        self.is_identity = n_in == n_out
        self._first = low
        self._last = low if self.is_identity else np.minimum(low + 1, n_in - 1)
        self._low = torch.from_numpy(self._first).to(device)
        self._high = torch.from_numpy(self._last).to(device)
        self._weight_low = torch.from_numpy(np.float32(1) - weight).to(device)
        self._weight_high = torch.from_numpy(weight).to(device)
        self._taps: dict[Span, Taps] = {}

    def source(self, span: Span) -> Span:
        """Return the input samples that these outputs are made of."""
        start, stop = span
        return int(self._first[start]), int(self._last[stop - 1]) + 1

    def taps(self, span: Span) -> Taps:
        """Return samples and weights of these outputs, counted from the start of their source."""
        if span not in self._taps:
            first, here = self.source(span)[0], slice(*span)
            self._taps[span] = Taps(
                self._low[here] - first,
                self._high[here] - first,
                self._weight_low[here],
                self._weight_high[here],
            )
        return self._taps[span]


@lru_cache(maxsize=32)
def _axis(n_in: int, n_out: int, device: torch.device) -> Axis:
    # The tiles of an image have one size or a few: made anew, axes took a tenth of a decision.
    return Axis(n_in, n_out, device)


@dataclass(frozen=True, eq=False)
class Taps:
    """Two samples and their weights for each of n outputs: (n,) int64 and (n,) float32."""

    low: torch.Tensor
    high: torch.Tensor
    weight_low: torch.Tensor
    weight_high: torch.Tensor


class Bilinear:
    """One bilinear step, `F.interpolate(mode="bilinear")`, on any block of its output.

    On x86-64 the values equal those of `F.interpolate` bit for bit. Elsewhere the kernels may
    round in another order, and values differ by about 1e-6 of their size.

    Parameters
    ----------
    n_in, n_out : (int, int)
        Rows and columns before and after.
    n_channels : int
        That `F.interpolate` would be given; its arithmetic depends on it.
    device : torch.device
    """

    def __init__(
        self, n_in: tuple[int, int], n_out: tuple[int, int], n_channels: int, device: torch.device
    ) -> None:
        self.rows = _axis(n_in[0], n_out[0], device)
        self.columns = _axis(n_in[1], n_out[1], device)
        self._by_corners = n_channels == _CORNER_CHANNELS or sum(n_out) <= _SMALL_OUTPUT
        self._n_vectorised = n_channels - n_channels % _VECTOR

    def source(self, rows: Span, columns: Span) -> tuple[Span, Span]:
        """Return the rows and columns of the input that a block of the output is made of."""
        return self.rows.source(rows), self.columns.source(columns)

    def __call__(
        self, source: torch.Tensor, rows: Span, columns: Span, channels: torch.Tensor
    ) -> torch.Tensor:
        """Compute a block of the output.

        Parameters
        ----------
        source : (N, r, c) float32
            The part of the input that `source` names.
        rows, columns : (start, stop)
            Of the output.
        channels : (N,) int64
            Which of the channels these are.

        Returns
        -------
        (N, rows, columns) float32
        """
        if self.rows.is_identity and self.columns.is_identity:
            return source
        y, x = self.rows.taps(rows), self.columns.taps(columns)
        if self._by_corners:
            return _by_corners(source, y, x, channels < self._n_vectorised)
        if not self.columns.is_identity:
            # gather takes 0.35 ns a value here, index_select along the last axis 5 ns.
            shape = (*source.shape[:-1], -1)
            low = source.gather(-1, x.low.expand(shape))
            high = source.gather(-1, x.high.expand(shape))
            source = high.mul_(x.weight_high).addcmul_(low, x.weight_low)
        if not self.rows.is_identity:
            low, high = source.index_select(-2, y.low), source.index_select(-2, y.high)
            source = high.mul_(y.weight_high[:, None]).addcmul_(low, y.weight_low[:, None])
        return source


def _by_corners(
    source: torch.Tensor, y: Taps, x: Taps, is_vectorised: torch.Tensor
) -> torch.Tensor:
    # ATen's kernel for small outputs weighs the four corners, and adds them in one order for
    # whole vectors of channels and in another for those left over.
    top, bottom = source.index_select(-2, y.low), source.index_select(-2, y.high)
    top_low, top_high = top[..., x.low], top[..., x.high]
    bottom_low, bottom_high = bottom[..., x.low], bottom[..., x.high]
    weight_top, weight_bottom = y.weight_low[:, None], y.weight_high[:, None]
    top_low_weight, top_high_weight = weight_top * x.weight_low, weight_top * x.weight_high
    bottom_low_weight = weight_bottom * x.weight_low
    bottom_high_weight = weight_bottom * x.weight_high
    left_over = (
        (top_high * top_high_weight)
        .addcmul_(top_low, top_low_weight)
        .addcmul_(bottom_low, bottom_low_weight)
        .addcmul_(bottom_high, bottom_high_weight)
    )
    vectorised = (
        (bottom_low * bottom_low_weight)
        .addcmul_(bottom_high, bottom_high_weight)
        .addcmul_(top_high, top_high_weight)
        .addcmul_(top_low, top_low_weight)
    )
    return torch.where(is_vectorised[:, None, None], vectorised, left_over)


class MaskSampler:
    """Mask logits at the size of the output, block by block.

    The logits of a coarse grid are brought to the model's input size, cropped to the content,
    and brought to the output size, as `transformers` does; but only where somebody asks.

    Parameters
    ----------
    mask_logits : (Q, h, w) float
        Of all queries of a forward pass.
    queries : (N,) int64
        Those to sample; everything else speaks of them by their position here.
    input_size : int
        Side of the model's input, in pixels.
    content : (int, int)
        Rows and columns of the input that hold the image, from the top left.
    shape : (int, int)
        Rows and columns of the output.
    block_size : int
        Side of a block of the output, in pixels.
    """

    def __init__(
        self,
        mask_logits: torch.Tensor,
        queries: torch.Tensor,
        *,
        input_size: int,
        content: tuple[int, int],
        shape: tuple[int, int],
        block_size: int,
    ) -> None:
        n_queries, height, width = mask_logits.shape
        device = mask_logits.device
        square = (input_size, input_size)
        self._to_input = Bilinear((height, width), square, n_queries, device)
        self._to_output = Bilinear(content, shape, n_queries, device)
        self.block_size = block_size
        self._spans_y = spans(shape[0], block_size)
        self._spans_x = spans(shape[1], block_size)
        self._queries = queries
        self._grid = mask_logits.index_select(0, queries).float()

    @property
    def device(self) -> torch.device:
        """Where logits are computed."""
        return self._grid.device

    @property
    def n_blocks(self) -> tuple[int, int]:
        """How many blocks there are down and across."""
        return len(self._spans_y), len(self._spans_x)

    def iter_blocks(self) -> Iterator[tuple[int, int, slice, slice]]:
        """Yield every block: its row and column among blocks, its rows and columns of pixels."""
        for i, y in enumerate(self._spans_y):
            for j, x in enumerate(self._spans_x):
                yield i, j, slice(*y), slice(*x)

    def block(self, queries: torch.Tensor, i: int, j: int) -> torch.Tensor:
        """Compute the logits of one block.

        Parameters
        ----------
        queries : (n,) int64
            Positions among the sampled queries.
        i, j : int
            The block's row and column among blocks.

        Returns
        -------
        (n, rows, columns) float32
        """
        rows, columns = self._spans_y[i], self._spans_x[j]
        middle = self._to_output.source(rows, columns)
        y, x = self._to_input.source(*middle)
        patch = self._grid[:, slice(*y), slice(*x)].index_select(0, queries)
        channels = self._queries[queries]
        patch = self._to_input(patch, *middle, channels)
        return self._to_output(patch, rows, columns, channels)

    def bounds(self, size: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Bound the logits of every block: an interpolated value lies between its corners.

        Parameters
        ----------
        size : int
            Side of these blocks, in pixels.

        Returns
        -------
        low, high : (N, down, across) float32
        """
        low = self._pooled(torch.amin, size)
        high = self._pooled(torch.amax, size)
        slack = _SLACK * np.maximum(np.abs(low), np.abs(high))
        return (low - slack).astype(np.float32), (high + slack).astype(np.float32)

    def _pooled(
        self, reduce: Callable[[torch.Tensor, int], torch.Tensor], size: int
    ) -> npt.NDArray[np.float32]:
        rows, columns = (
            [to_input.source(to_output.source(span)) for span in spans(to_output.n_out, size)]
            for to_input, to_output in (
                (self._to_input.rows, self._to_output.rows),
                (self._to_input.columns, self._to_output.columns),
            )
        )
        bands = torch.stack([reduce(self._grid[:, slice(*y)], 1) for y in rows], 1)
        pooled = torch.stack([reduce(bands[:, :, slice(*x)], 2) for x in columns], 2)
        return pooled.cpu().numpy()


def spans(length: int, size: int) -> list[Span]:
    """Cut a length into runs of `size`; the last may be shorter."""
    return [(start, min(start + size, length)) for start in range(0, length, size)]


def block_size(device: torch.device) -> int:
    """Return the side of a block that is quick on this device, in pixels."""
    # CPU: small blocks cull better and stay in cache. CUDA: each block costs kernel launches.
    return 64 if device.type == "cpu" else 256
