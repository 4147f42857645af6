"""Panoptic post-processing: every pixel goes to the query that claims it most."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from napari_eomt.inference.query_segments import (
    QuerySegments,
    check_geometry,
    check_logits,
    count_codes,
    first_true,
    numbered,
)
from napari_eomt.inference.resample import MaskSampler, block_size

# Probabilities are rounded to about 1e-7 of their size; bounds of them are widened by more.
_SLACK = 1e-6
# Parts along each side of a block.
_PARTS = 2
# After so many blocks, look whether more of them can change a decision.
_PATIENCE = 16


def panoptic_segments(
    class_logits: torch.Tensor,
    mask_logits: torch.Tensor,
    *,
    input_size: int,
    content: tuple[int, int],
    shape: tuple[int, int],
    stuff: frozenset[int] = frozenset(),
    score_threshold: float,
    mask_threshold: float = 0.5,
    overlap_threshold: float = 0.8,
    min_area: int = 0,
) -> QuerySegments:
    """Segment one view into things and stuff.

    A pixel's owner is the query with the largest product of class and mask probability. A query
    becomes a segment when it owns more than `overlap_threshold` times the area of its mask, and
    the segment is the part of the mask that it owns. The id map equals that of
    `EomtImageProcessor.post_process_panoptic_segmentation` in transformers, up to the numbering.

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
    stuff : frozenset of int
        Labels whose segments become one.
    score_threshold : float
        Queries whose class probability is this or less are dropped.
    mask_threshold : float
        A mask is where its probability reaches this; above 0, below 1.
    overlap_threshold : float
        From 0 to 1.
    min_area : int
        Segments of fewer pixels in the result are dropped.

    Returns
    -------
    QuerySegments

    Raises
    ------
    ValueError
        If logits are not finite, or shapes do not fit.
    """
    check_logits(class_logits, mask_logits)
    check_geometry(input_size, content, shape)
    n_labels = class_logits.shape[1] - 1
    probabilities, classes = class_logits.float().softmax(-1).max(-1)
    queries = torch.nonzero((classes != n_labels) & (probabilities > score_threshold))[:, 0]
    sampler = MaskSampler(
        mask_logits,
        queries,
        input_size=input_size,
        content=content,
        shape=shape,
        block_size=block_size(mask_logits.device),
    )
    scores, labels = probabilities[queries], classes[queries].cpu().numpy()
    owners = _Owners(sampler, scores, mask_threshold, shape)
    owners.assign()
    is_valid = owners.validate(overlap_threshold)

    segment_of = np.arange(len(queries))
    for label in stuff:
        fused = np.flatnonzero(is_valid & (labels == label))
        segment_of[fused] = fused[:1]
    table = np.append(0, np.where(is_valid, segment_of + 1, 0)).astype(np.int16)
    # Codes below 0 are pixels outside their owner's mask.
    codes = table.take(np.maximum(owners.codes.cpu().numpy(), 0))
    return numbered(
        codes,
        queries.cpu().numpy(),
        labels,
        scores.cpu().numpy().astype(np.float64),
        min_area,
    )


class _Owners:
    """Who owns which pixel, computed where it can matter.

    Parameters
    ----------
    sampler : MaskSampler
        Of N queries.
    scores : (N,) float32
        Class probabilities.
    mask_threshold : float
    shape : (int, int)
        (H, W) of the result.

    Attributes
    ----------
    codes : (H, W) int16
        1 + the owner; its negative outside the owner's mask; 0 where nobody was assigned: such
        pixels lie outside their owner's mask.
    """

    def __init__(
        self,
        sampler: MaskSampler,
        scores: torch.Tensor,
        mask_threshold: float,
        shape: tuple[int, int],
    ) -> None:
        self._sampler = sampler
        self._scores = scores
        self._threshold = mask_threshold
        device = sampler.device
        self.codes = torch.zeros(shape, dtype=torch.int16, device=device)
        # Rivals are found in parts of a block: a border anywhere in it would make all of them so.
        part = sampler.block_size // _PARTS
        low, high = (_sigmoid(bound) for bound in sampler.bounds(part))
        low, high = low * (1 - _SLACK), high * (1 + _SLACK)
        is_touched = high >= mask_threshold
        weights = scores.cpu().numpy()[:, None, None]
        is_rival = weights * high >= (weights * low).max(0, initial=0) * (1 - _SLACK)
        # The mask may have pixels in the block, or covers it; who may own a pixel of the block.
        self._is_touched, self._is_full = _any(is_touched), ~_any(low < mask_threshold)
        self._is_rival = _any(is_rival)
        self._is_open = _any((is_rival & is_touched).any(0))
        # Pixels inside each mask; blocks still to be looked at, here and for owners.
        self._inside = np.zeros(len(scores), np.int64)
        self._is_uncounted = self._is_touched.copy()
        self._sizes = np.zeros(sampler.n_blocks, np.int64)
        for i, j, rows, columns in sampler.iter_blocks():
            self._sizes[i, j] = (rows.stop - rows.start) * (columns.stop - columns.start)

    def assign(self) -> None:
        """Find the owners in every block where a pixel may lie in its owner's mask."""
        for i, j, rows, columns in self._sampler.iter_blocks():
            if self._is_open[i, j]:
                self._assign_block(i, j, rows, columns)

    def _assign_block(self, i: int, j: int, rows: slice, columns: slice) -> None:
        rivals = np.flatnonzero(self._is_rival[:, i, j])
        if len(rivals) == 1:
            k = rivals[0]
            if self._is_full[k, i, j]:
                self.codes[rows, columns] = int(k) + 1
                return
            if not self._is_touched[k, i, j]:
                self.codes[rows, columns] = -int(k) - 1
                return
        here = torch.from_numpy(rivals).to(self._sampler.device)
        probabilities = self._sampler.block(here, i, j).sigmoid_()
        claims = probabilities * self._scores[here][:, None, None]
        owner = first_true(torch.eq(claims, claims.amax(0), out=claims))
        inside = torch.ge(probabilities, self._threshold, out=claims)
        self._count(rivals, i, j, inside)
        is_inside = inside.gather(0, owner[None])[0]
        self.codes[rows, columns] = ((here[owner] + 1) * (2 * is_inside - 1)).to(torch.int16)

    def _count(self, queries: npt.NDArray[np.int64], i: int, j: int, inside: torch.Tensor) -> None:
        new = self._is_uncounted[queries, i, j]
        counts = inside.sum((1, 2)).cpu().numpy().astype(np.int64)
        self._inside[queries[new]] += counts[new]
        self._is_uncounted[queries, i, j] = False

    def validate(self, overlap_threshold: float) -> npt.NDArray[np.bool_]:
        """Return which queries own enough of their masks to be segments, (N,) bool.

        What the decision needs is counted block by block until it is certain.
        """
        n = len(self._scores)
        counts = count_codes(self.codes.cpu().numpy(), 2 * n + 1, offset=n)
        visible, owned = counts[n + 1 :], counts[n + 1 :] + counts[:n][::-1]
        # Covered blocks count whole.
        covered = self._is_uncounted & self._is_full
        self._inside += (covered * self._sizes).sum((1, 2))
        self._is_uncounted &= ~self._is_full

        def undecided() -> npt.NDArray[np.bool_]:
            unknown_inside = (self._is_uncounted * self._sizes).sum((1, 2))
            unowned = self._is_rival & ~self._is_open
            alone = unowned & (self._is_rival.sum(0) == 1)
            least_owned = owned + (alone * self._sizes).sum((1, 2))
            most_owned = owned + (unowned * self._sizes).sum((1, 2))
            least = _ratio(least_owned, self._inside + unknown_inside)
            most = _ratio(most_owned, np.maximum(self._inside, visible))
            is_valid[:] = (visible > 0) & (least > overlap_threshold)
            open_: npt.NDArray[np.bool_] = (visible > 0) & ~is_valid & (most > overlap_threshold)
            return open_

        is_valid = np.zeros(n, bool)
        is_undecided = undecided()
        blocks = list(self._sampler.iter_blocks())
        for step, (i, j, _, _) in enumerate(blocks):
            queries = np.flatnonzero(is_undecided & self._is_uncounted[:, i, j])
            if len(queries):
                here = torch.from_numpy(queries).to(self._sampler.device)
                logits = self._sampler.block(here, i, j).sigmoid_()
                self._count(queries, i, j, torch.ge(logits, self._threshold, out=logits))
                if step % _PATIENCE == 0:
                    is_undecided = undecided()
        is_undecided = undecided()
        for i, j, rows, columns in blocks:
            if not self._is_open[i, j] and (is_undecided & self._is_rival[:, i, j]).any():
                self._assign_block(i, j, rows, columns)
                self._is_open[i, j] = True
                counts = count_codes(self.codes[rows, columns].cpu().numpy(), n + 1, offset=n)
                owned += counts[:n][::-1]
        undecided()
        return is_valid


def _any(flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Whether any part of each block is flagged: (..., down, across) of parts, then of blocks."""
    for axis in (-1, -2):
        starts = np.arange(0, flags.shape[axis], _PARTS)
        flags = np.logical_or.reduceat(flags, starts, axis=axis)
    return flags


def _sigmoid(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return torch.from_numpy(logits).sigmoid_().numpy()


def _ratio(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    # torch divides in float32 and compares in float64: there 4/5 is more than 0.8, and kept.
    quotient = part.astype(np.float32) / np.maximum(whole, 1).astype(np.float32)
    return np.where(whole > 0, quotient, 0).astype(np.float64)
