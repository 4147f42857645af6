"""Instance post-processing: every query that is sure enough becomes an object."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import numpy.typing as npt
import torch

from napari_eomt.inference.query_segments import (
    QuerySegments,
    check_geometry,
    check_logits,
    first_true,
)
from napari_eomt.inference.resample import MaskSampler, block_size
from napari_eomt.structures.id_maps import id_dtype

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_eomt.structures.segments import IdMap

Overlap = Literal["best_score", "query_order"]

HELD_BYTES = 2**26
"""Masks of one view that take more memory than this are sampled again when they are painted."""


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
    view = InstanceView(
        class_logits,
        mask_logits,
        input_size=input_size,
        content=content,
        shape=shape,
        floor=score_threshold,
        mask_threshold=mask_threshold,
    )
    return view.segments(
        score_threshold=score_threshold,
        min_area=min_area,
        overlap=overlap,
        overlap_threshold=overlap_threshold,
    )


class InstanceView:
    """The masks of one view, measured once: other thresholds then cost what they change.

    Parameters
    ----------
    class_logits, mask_logits, input_size, content, shape, mask_threshold
        As in `instance_segments`.
    floor : float
        The least score threshold that can be asked for.
    max_bytes : int
        Memory of the masks that are held, in bytes.

    Raises
    ------
    ValueError
        If logits are not finite, or shapes do not fit.
    """

    def __init__(
        self,
        class_logits: torch.Tensor,
        mask_logits: torch.Tensor,
        *,
        input_size: int,
        content: tuple[int, int],
        shape: tuple[int, int],
        floor: float,
        mask_threshold: float = 0.5,
        max_bytes: int = HELD_BYTES,
    ) -> None:
        check_logits(class_logits, mask_logits)
        check_geometry(input_size, content, shape)
        self.floor = floor
        probabilities, labels = class_logits.float().softmax(-1)[:, :-1].max(-1)
        # A score is at most the class probability, whatever the mask; the margin is for rounding.
        queries = torch.nonzero(probabilities >= floor * (1 - 1e-4))[:, 0]
        sampler = MaskSampler(
            mask_logits,
            queries,
            input_size=input_size,
            content=content,
            shape=shape,
            block_size=block_size(mask_logits.device),
        )
        self._masks = _Masks(sampler, log(mask_threshold / (1 - mask_threshold)), max_bytes)
        self._areas, mean = self._masks.measure(len(queries))
        self._scores = (probabilities[queries] * mean).cpu().numpy().astype(np.float64)
        self._sorted = np.sort(self._scores)
        self._queries = queries.cpu().numpy()
        self._labels = labels[queries].cpu().numpy()
        self._codes = np.zeros(shape, np.int16)
        self._visible = np.zeros(len(queries) + 1, np.int64)
        self._visible[0] = self._codes.size
        self._order: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._last: tuple[tuple[Overlap, float], QuerySegments] | None = None
        self._last_key: tuple[int, int, Overlap, float] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the masks and the last result take."""
        return self._masks.nbytes + 2 * self._codes.nbytes

    def segments(
        self,
        *,
        score_threshold: float,
        min_area: int = 0,
        overlap: Overlap = "best_score",
        overlap_threshold: float = 0.0,
    ) -> QuerySegments:
        """Decide which queries become objects: see `instance_segments`.

        Where nothing changes, the answer is the same object as before.
        """
        if score_threshold < self.floor:
            raise ValueError(f"Measured down to a score of {self.floor}, not {score_threshold}.")
        key = (
            len(self._sorted) - int(self._sorted.searchsorted(score_threshold)),
            min_area,
            overlap,
            overlap_threshold,
        )
        if self._last and self._last_key == key:
            return self._last[1]
        self._last_key = key
        kept = (self._areas >= max(min_area, 1)) & (self._scores >= score_threshold)
        order = np.flatnonzero(kept)[::-1]
        if overlap == "best_score":
            # Reversed twice: a stable sort then leaves the lower of two equal queries first.
            order = order[::-1][np.argsort(-self._scores[order[::-1]], kind="stable")]
        how = (overlap, overlap_threshold)
        if self._last and self._last[0] == how and np.array_equal(order, self._order):
            return self._last[1]
        changed = np.setxor1d(order, self._order)
        if self._last and self._last[0][0] != overlap:
            changed = np.union1d(order, self._order)
        for rows, columns, codes in self._masks.paint(order, changed):
            self._visible -= np.bincount(
                self._codes[rows, columns].ravel(), minlength=len(kept) + 1
            )
            self._visible += np.bincount(codes.ravel(), minlength=len(kept) + 1)
            self._codes[rows, columns] = codes
        visible = self._visible[1:]
        shown = visible > 0
        if overlap == "best_score" and overlap_threshold > 0:
            shown &= visible > overlap_threshold * self._areas
        ids = np.append(0, np.where(shown, shown.cumsum(), 0))
        found = QuerySegments(
            cast("IdMap", ids.astype(id_dtype(int(shown.sum())))[self._codes]),
            self._labels[shown],
            self._scores[shown],
            self._queries[shown],
            visible[shown],
        )
        self._order, self._last = order, (how, found)
        return found


class _Masks:
    """Masks of queries, block by block; never all of them at full size in memory.

    Parameters
    ----------
    sampler : MaskSampler
    threshold : float
        Logits above it belong to the mask.
    max_bytes : int
        Memory of the blocks that are held; the others are sampled each time they are painted.
    """

    def __init__(self, sampler: MaskSampler, threshold: float, max_bytes: int) -> None:
        self.nbytes = 0
        self._sampler: MaskSampler | None = sampler
        self._blocks = {(i, j): (y, x) for i, j, y, x in sampler.iter_blocks()}
        self._device = sampler.device
        self._threshold = threshold
        self._max_bytes = max_bytes
        low, high = sampler.bounds(sampler.block_size)
        # Whether a mask covers a block for certain, and whether it may have pixels there.
        self._is_full, self._is_touched = low > threshold, high > threshold
        # Which masks, and (n, rows, columns) where they are.
        self._held: dict[tuple[int, int], tuple[npt.NDArray[np.int64], torch.Tensor]] = {}

    def measure(self, n_queries: int) -> tuple[npt.NDArray[np.int64], torch.Tensor]:
        """Return the area, in pixels, and the mean probability of each mask."""
        assert self._sampler is not None  # noqa: S101 - dropped below
        totals = torch.zeros(2, n_queries, dtype=torch.float64, device=self._device)
        is_all_held = True
        for i, j in self._blocks:
            found = np.flatnonzero(self._is_touched[:, i, j])
            if not len(found):
                continue
            here = torch.from_numpy(found).to(self._device)
            logits = self._sampler.block(here, i, j)
            inside = torch.gt(logits, self._threshold, out=torch.empty_like(logits))
            if self.nbytes + inside.numel() <= self._max_bytes:
                self._held[i, j] = found, inside.bool()
                self.nbytes += inside.numel()
            else:
                is_all_held = False
            probabilities = logits.sigmoid_().mul_(inside)
            sums = torch.stack([inside.sum((1, 2)), probabilities.sum((1, 2))])
            totals.index_add_(1, here, sums.double())
        if is_all_held:
            self._sampler = None
        counts, sums = totals
        mean = sums.float() / (counts.float() + 1e-6)
        return counts.long().cpu().numpy(), mean

    def paint(
        self, order: npt.NDArray[np.int64], changed: npt.NDArray[np.int64]
    ) -> Iterator[tuple[slice, slice, npt.NDArray[np.int16]]]:
        """Yield the blocks where some of the masks `changed` may be, painted anew.

        Each with 1 + the number of the first mask in `order` that covers a pixel, 0 elsewhere.
        """
        table = np.append(order + 1, 0).astype(np.int16)
        for i, j in zip(*np.nonzero(self._is_touched[changed].any(0)), strict=True):
            rows, columns = self._blocks[int(i), int(j)]
            shape = (rows.stop - rows.start, columns.stop - columns.start)
            ranks = np.flatnonzero(self._is_touched[order, i, j])
            full = np.flatnonzero(self._is_full[order[ranks], i, j])
            if len(full):
                # Nothing behind a mask that covers the block can be seen.
                ranks = ranks[: full[0] + 1]
            if not len(ranks) or (len(full) and full[0] == 0):
                yield rows, columns, np.full(shape, table[ranks[0]] if len(ranks) else 0, np.int16)
                continue
            first = first_true(self._inside(order[ranks], int(i), int(j)))
            yield rows, columns, table[np.append(ranks, -1)].take(first.cpu().numpy())

    def _inside(self, masks: npt.NDArray[np.int64], i: int, j: int) -> torch.Tensor:
        """Return where the masks are in a block: (n, rows, columns) float32, 0 or 1."""
        if (i, j) in self._held:
            found, inside = self._held[i, j]
            rows = torch.from_numpy(np.searchsorted(found, masks)).to(self._device)
            return inside.index_select(0, rows).float()
        assert self._sampler is not None  # noqa: S101 - kept where not all is held
        logits = self._sampler.block(torch.from_numpy(masks).to(self._device), i, j)
        return torch.gt(logits, self._threshold, out=logits)
