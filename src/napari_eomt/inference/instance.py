"""Instance post-processing: every query that is sure enough becomes an object."""

from __future__ import annotations

from math import log
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from napari_eomt.inference.query_segments import (
    QuerySegments,
    check_geometry,
    check_logits,
    first_true,
    numbered,
)
from napari_eomt.inference.resample import MaskSampler, block_size

Overlap = Literal["best_score", "query_order"]


def instance_segments(
    class_logits: torch.Tensor,
    mask_logits: torch.Tensor,
    *,
    input_size: int,
    content: tuple[int, int],
    shape: tuple[int, int],
    score_threshold: float,
    mask_threshold: float = 0.5,
    min_area: int = 0,
    overlap: Overlap = "best_score",
    overlap_threshold: float = 0.0,
) -> QuerySegments:
    """Segment one view into objects.

    A query's label is its most probable category, its mask the pixels more probable than
    `mask_threshold`, its score that category's probability times the mean probability of the
    mask's pixels. With the threshold at 0.5 and `overlap` "query_order" the id map equals that of
    `EomtImageProcessor.post_process_instance_segmentation` in transformers, up to the numbering.

    Parameters
    ----------
    class_logits : (Q, K + 1) float
        The last class is "no object".
    mask_logits : (Q, h, w) float
    input_size : int
        Side of the model's input, in pixels.
    content : (int, int)
        Rows and columns of the input that hold the image, from the top left; the rest is padding.
    shape : (int, int)
        (H, W) of the result, in pixels.
    score_threshold : float
        Queries that score less are dropped.
    mask_threshold : float
        Above 0, below 1.
    min_area : int
        Queries whose mask has fewer pixels, before others cover any, are dropped.
    overlap : {"best_score", "query_order"}
        Which object gets a pixel that several claim: the best scored (of equal ones the first
        query), or the last query.
    overlap_threshold : float
        With "best_score", objects of which better ones leave this part of their mask or less are
        dropped. Without it, a second query for an object leaves a rim around the first: on nuclei
        0.8 raised AP at IoU 0.5 from 0.55 to 0.68.

    Returns
    -------
    QuerySegments
        Objects without a visible pixel are not in it.

    Raises
    ------
    ValueError
        If logits are not finite, or shapes do not fit.
    """
    check_logits(class_logits, mask_logits)
    check_geometry(input_size, content, shape)
    probabilities, labels = class_logits.float().softmax(-1)[:, :-1].max(-1)
    # A score is at most the class probability, whatever the mask; the margin is for rounding.
    queries = torch.nonzero(probabilities >= score_threshold * (1 - 1e-4))[:, 0]
    sampler = MaskSampler(
        mask_logits,
        queries,
        input_size=input_size,
        content=content,
        shape=shape,
        block_size=block_size(mask_logits.device),
    )
    logit_threshold = log(mask_threshold / (1 - mask_threshold))
    low, high = sampler.bounds(sampler.block_size)
    masks = _Masks(sampler, low > logit_threshold, high > logit_threshold, logit_threshold)

    mask_areas, mean = masks.measure(len(queries))
    scores = (probabilities[queries] * mean).cpu().numpy().astype(np.float64)
    kept = (mask_areas >= max(min_area, 1)) & (scores >= score_threshold)
    order = np.flatnonzero(kept)[::-1]
    if overlap == "best_score":
        # Reversed twice: a stable sort then leaves the lower of two equal queries first.
        order = order[::-1][np.argsort(-scores[order[::-1]], kind="stable")]
    codes = masks.paint(order, shape)
    if overlap == "best_score" and overlap_threshold > 0:
        visible = np.bincount(codes.ravel(), minlength=len(mask_areas) + 1)[1:]
        hidden = np.flatnonzero(visible <= overlap_threshold * mask_areas)
        codes[np.isin(codes, hidden + 1)] = 0
    return numbered(codes, queries.cpu().numpy(), labels[queries].cpu().numpy(), scores)


class _Masks:
    """Masks of queries that are never whole in memory: two passes over the blocks.

    Parameters
    ----------
    sampler : MaskSampler
    is_full, is_touched : (N, down, across) bool
        Whether a query's mask covers a block for certain, and whether it may have pixels there.
    threshold : float
        Logits above it belong to the mask.
    """

    def __init__(
        self,
        sampler: MaskSampler,
        is_full: npt.NDArray[np.bool_],
        is_touched: npt.NDArray[np.bool_],
        threshold: float,
    ) -> None:
        self._sampler = sampler
        self._is_full = is_full
        self._is_touched = is_touched
        self._threshold = threshold

    def measure(self, n_queries: int) -> tuple[npt.NDArray[np.int64], torch.Tensor]:
        """Return the area, in pixels, and the mean probability of each mask."""
        device = self._sampler.device
        totals = torch.zeros(2, n_queries, dtype=torch.float64, device=device)
        for i, j, _, _ in self._sampler.iter_blocks():
            found = np.flatnonzero(self._is_touched[:, i, j])
            if not len(found):
                continue
            here = torch.from_numpy(found).to(device)
            logits = self._sampler.block(here, i, j)
            inside = torch.gt(logits, self._threshold, out=torch.empty_like(logits))
            probabilities = logits.sigmoid_().mul_(inside)
            sums = torch.stack([inside.sum((1, 2)), probabilities.sum((1, 2))])
            totals.index_add_(1, here, sums.double())
        counts, sums = totals
        mean = sums.float() / (counts.float() + 1e-6)
        return counts.long().cpu().numpy(), mean

    def paint(self, order: npt.NDArray[np.int64], shape: tuple[int, int]) -> npt.NDArray[np.int16]:
        """Paint 1 + the number of the first mask in `order` that covers a pixel, 0 elsewhere."""
        device = self._sampler.device
        codes = torch.zeros(shape, dtype=torch.int16, device=device)
        table = np.append(order + 1, 0).astype(np.int16)
        for i, j, rows, columns in self._sampler.iter_blocks():
            ranks = np.flatnonzero(self._is_touched[order, i, j])
            full = np.flatnonzero(self._is_full[order[ranks], i, j])
            if len(full):
                # Nothing behind a mask that covers the block can be seen.
                ranks = ranks[: full[0] + 1]
            if not len(ranks):
                continue
            if len(full) and full[0] == 0:
                codes[rows, columns] = int(table[ranks[0]])
                continue
            logits = self._sampler.block(torch.from_numpy(order[ranks]).to(device), i, j)
            local = torch.from_numpy(table[np.append(ranks, -1)]).to(device)
            codes[rows, columns] = local[first_true(torch.gt(logits, self._threshold, out=logits))]
        return codes.cpu().numpy()
