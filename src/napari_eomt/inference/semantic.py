"""Semantic post-processing: every pixel gets the category that all queries together say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch

from napari_eomt.inference.query_segments import check_logits, first_true
from napari_eomt.inference.resample import Bilinear, Span, block_size, spans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.structures.tiles import Tile

Blend = Literal["mean", "ramp"]

# Canvas rows computed at once: 33 MB of mask probabilities of 200 queries took 0.7 s at 640²
# where 12 MB took 0.5 s, and fewer rows are computed twice where bands meet more often.
_BAND = 24
# Interpolated evidence may round past its bounds by so much of its size.
_SLACK = 2e-6


@dataclass(frozen=True, eq=False)
class SemanticView:
    """What the model says of one window.

    Parameters
    ----------
    tile : Tile
        Where the window lies on the canvas, the resized image, in pixels. Where it is smaller
        than the model's input, the rest of the input is padding.
    class_logits : (Q, K + 1) float
        The last class is "no object".
    mask_logits : (Q, h, w) float
    """

    tile: Tile
    class_logits: torch.Tensor
    mask_logits: torch.Tensor


def semantic_map(
    views: Sequence[SemanticView],
    *,
    canvas_shape: tuple[int, int],
    input_size: int,
    shape: tuple[int, int],
    blend: Blend = "mean",
) -> npt.NDArray[np.uint16]:
    """Label every pixel of an image that the model saw in one window or several.

    A category's evidence at a pixel of the canvas is the sum over all queries of class times mask
    probability, averaged over windows; it is brought bilinearly to the image, where the category
    with the most evidence wins. With `blend` "mean" the map equals that of
    `EomtImageProcessor.post_process_semantic_segmentation` in transformers plus 1.

    Parameters
    ----------
    views : sequence of SemanticView
        Windows that cover the canvas.
    canvas_shape : (int, int)
        Rows and columns of the resized image, in pixels.
    input_size : int
        Side of the model's input, in pixels.
    shape : (int, int)
        (H, W) of the result, in pixels.
    blend : {"mean", "ramp"}
        Whether windows count alike wherever they overlap, or less towards an edge within the
        canvas: linearly, from 1 in their middle to 0 at the edge.

    Returns
    -------
    (H, W) uint16
        Label + 1, never 0.

    Raises
    ------
    ValueError
        If logits are not finite, shapes do not fit, or windows leave part of the canvas out.
    """
    if not views or min(shape) < 1:
        raise ValueError(f"Expected at least one view and one pixel, got {len(views)} and {shape}.")
    canvas = _Canvas(views, canvas_shape, input_size, blend)
    device = views[0].mask_logits.device
    n_classes = canvas.n_classes
    to_output = Bilinear(canvas_shape, shape, n_classes, device)
    labels = torch.zeros(shape, dtype=torch.int16, device=device)
    size = block_size(device)
    columns = [(span, to_output.columns.source(span)) for span in spans(shape[1], size)]
    band_rows = min(size, max(16, _BAND * shape[0] // canvas_shape[0]))
    for rows in spans(shape[0], band_rows):
        # K categories on the canvas rows of a band: 7 MB at K = 133, and 2 GB at 2048² for all.
        band = canvas.evidence(to_output.rows.source(rows))
        low, high = band.amin(1), band.amax(1)
        least = torch.stack([low[:, slice(*x)].amin(1) for _, x in columns], 1).amax(0)
        most = torch.stack([high[:, slice(*x)].amax(1) for _, x in columns], 1)
        is_rival = (most * (1 + _SLACK) >= least * (1 - _SLACK)).cpu().numpy()
        for j, (span, source) in enumerate(columns):
            rivals = np.flatnonzero(is_rival[:, j])
            here = slice(*rows), slice(*span)
            if len(rivals) == 1:
                labels[here] = int(rivals[0]) + 1
                continue
            channels = torch.from_numpy(rivals).to(device)
            patch = band[:, :, slice(*source)].index_select(0, channels)
            evidence = to_output(patch, rows, span, channels)
            winner = first_true(torch.eq(evidence, evidence.amax(0), out=evidence))
            labels[here] = (channels + 1).short()[winner]
    return labels.cpu().numpy().astype(np.uint16)


class _Canvas:
    """Evidence for each category on the resized image, a band of rows at a time."""

    def __init__(
        self,
        views: Sequence[SemanticView],
        canvas_shape: tuple[int, int],
        input_size: int,
        blend: Blend,
    ) -> None:
        self._views = views
        self._shape = canvas_shape
        self._device = views[0].mask_logits.device
        self.n_classes = views[0].class_logits.shape[1] - 1
        self._probabilities = []
        self._to_input = []
        self._weights = []
        for view in views:
            check_logits(view.class_logits, view.mask_logits)
            tile = view.tile
            if max(tile.height, tile.width) > input_size:
                raise ValueError(f"{tile} is larger than the input, {input_size} px.")
            self._probabilities.append(view.class_logits.float().softmax(-1)[:, :-1].T)
            n_queries, height, width = view.mask_logits.shape
            square = (input_size, input_size)
            self._to_input.append(Bilinear((height, width), square, n_queries, self._device))
            ramps = (
                _ramp(tile.y0, tile.y1, canvas_shape[0], blend),
                _ramp(tile.x0, tile.x1, canvas_shape[1], blend),
            )
            self._weights.append([torch.from_numpy(ramp).to(self._device) for ramp in ramps])

    def evidence(self, rows: Span) -> torch.Tensor:
        """Return the evidence in these rows of the canvas, (K, rows, columns) float32."""
        start, stop = rows
        width = self._shape[1]
        total: torch.Tensor | None = None
        weight = torch.zeros(stop - start, width, device=self._device)
        for view, probabilities, to_input, (weight_y, weight_x) in zip(
            self._views, self._probabilities, self._to_input, self._weights, strict=True
        ):
            tile = view.tile
            first, last = max(start, tile.y0), min(stop, tile.y1)
            if first >= last:
                continue
            span_y, span_x = (first - tile.y0, last - tile.y0), (0, tile.width)
            y, x = to_input.source(span_y, span_x)
            patch = view.mask_logits[:, slice(*y), slice(*x)].float()
            channels = torch.arange(len(patch), device=self._device)
            masks = to_input(patch, span_y, span_x, channels).sigmoid()
            evidence = (probabilities @ masks.flatten(1)).view(-1, last - first, tile.width)
            weights = weight_y[slice(*span_y), None] * weight_x
            if not weights.eq(1).all():
                evidence.mul_(weights)
            here = slice(first - start, last - start), slice(tile.x0, tile.x1)
            weight[here] += weights
            if total is None and (last - first, tile.width) == (stop - start, width):
                # One window fills the band: 0.1 s less at 640² than adding it to zeros.
                total = evidence
                continue
            if total is None:
                total = torch.zeros(self.n_classes, stop - start, width, device=self._device)
            total[:, here[0], here[1]] += evidence
        if total is None or not weight.all():
            raise ValueError("The views leave part of the canvas uncovered.")
        return total if weight.eq(1).all() else total.div_(weight)


def _ramp(start: int, stop: int, length: int, blend: Blend) -> npt.NDArray[np.float32]:
    weights = np.ones(stop - start)
    if blend == "ramp":
        to_edge = (np.arange(stop - start) + 0.5) / ((stop - start) / 2)
        if start > 0:
            weights = np.minimum(weights, to_edge)
        if stop < length:
            weights = np.minimum(weights, to_edge[::-1])
    return weights.astype(np.float32)
