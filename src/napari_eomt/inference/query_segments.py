"""One view, segmented by queries: the result, and what instance and panoptic share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from napari_eomt.structures.id_maps import id_dtype

if TYPE_CHECKING:
    from napari_eomt.structures.segments import Box, IdMap

_BAND = 256


@dataclass(frozen=True, eq=False)
class QuerySegments:
    """One whole view (one model input), segmented.

    Parameters
    ----------
    id_map : (H, W) uint16, or uint32 past 65,535 ids
        Segment ids, 1 to S without gaps, in the order of their queries; 0 is void.
    labels : (S,) int64
        Of id i + 1: the index in the class logits, 0 to K - 1.
    scores : (S,) float64
        Confidence, 0 to 1.
    queries : (S,) int64
        Which query; of a fused stuff segment its first.
    areas : (S,) int64
        Pixels in `id_map`.
    boxes : tuple of (y0, x0, y1, x1), or None
        Around them, half-open; None where nobody has looked yet.
    members : tuple of tuple of int, or None
        Of what tiles made together, the queries of all its pieces; None where there are no pieces.
    """

    id_map: IdMap
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    queries: npt.NDArray[np.int64]
    areas: npt.NDArray[np.int64]
    boxes: tuple[Box, ...] | None = None
    members: tuple[tuple[int, ...], ...] | None = None


def check_logits(class_logits: torch.Tensor, mask_logits: torch.Tensor) -> None:
    """Raise a ValueError unless the logits of one view fit together and are finite.

    Parameters
    ----------
    class_logits : (Q, K + 1) float
    mask_logits : (Q, h, w) float
    """
    if class_logits.ndim != 2 or mask_logits.ndim != 3 or len(class_logits) != len(mask_logits):
        raise ValueError(
            "Expected class logits (Q, K + 1) and mask logits (Q, h, w) of one view with the same "
            f"queries; got {tuple(class_logits.shape)} and {tuple(mask_logits.shape)}. Pass the "
            "views of a batch one by one."
        )
    for name, logits in (("class", class_logits), ("mask", mask_logits)):
        # Two reductions pass NaN and infinities on; isfinite would write as many bytes again.
        if logits.numel() and not torch.isfinite(torch.stack(logits.aminmax())).all():
            raise ValueError(
                f"The {name} logits are not finite. Run the model in float32 or bfloat16: float16 "
                "overflows in some of them."
            )


def check_geometry(input_size: int, content: tuple[int, int], shape: tuple[int, int]) -> None:
    """Raise a ValueError unless the content lies in the input and the output has pixels."""
    if not all(1 <= side <= input_size for side in content):
        raise ValueError(
            f"The content, {content} px, must be from 1 px to the input size, {input_size} px."
        )
    if min(shape) < 1:
        raise ValueError(f"The output shape {shape} must have at least one pixel in each axis.")


def first_true(flags: torch.Tensor) -> torch.Tensor:
    """Return the first index along the first axis where `flags` is 1, N where none is.

    Parameters
    ----------
    flags : (N, H, W) float32
        0 or 1; overwritten. As floats, because torch compares into floats in 0.1 ns a value and
        into bools in 0.5 ns, and its argmax along the first axis takes 12 ns.

    Returns
    -------
    (H, W) int64
    """
    n = len(flags)
    ranks = torch.arange(n, 0, -1, dtype=flags.dtype, device=flags.device)
    return n - flags.mul_(ranks[:, None, None]).amax(0).long()


def count_codes(codes: IdMap, n_codes: int, offset: int = 0) -> npt.NDArray[np.int64]:
    """Count the pixels of every code, in little memory.

    Parameters
    ----------
    codes : (H, W) int
        From `-offset`, to below `n_codes - offset`.
    n_codes : int
    offset : int

    Returns
    -------
    (n_codes,) int64
        At ``[i]`` the pixels whose code is ``i - offset``.
    """
    counts = np.zeros(n_codes, np.int64)
    # bincount copies to int64: eight bytes a pixel of the whole map, were it not for the bands.
    for start in range(0, len(codes), _BAND):
        band = codes[start : start + _BAND].ravel().astype(np.int64)
        counts += np.bincount(band + offset, minlength=n_codes)
    return counts


def numbered(
    codes: IdMap,
    queries: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float64],
    min_area: int = 0,
) -> QuerySegments:
    """Give ids to the segments that are visible, without gaps.

    Parameters
    ----------
    codes : (H, W) int
        At each pixel 1 + the position of its segment in the next three; 0 is void.
    queries, labels, scores : (N,)
    min_area : int
        Segments of fewer pixels become void.
    """
    counts = count_codes(codes, len(queries) + 1)
    visible = counts >= max(min_area, 1)
    visible[0] = False
    table: IdMap = np.where(visible, visible.cumsum(), 0).astype(id_dtype(int(visible.sum())))
    kept = visible[1:]
    id_map: IdMap = table[codes]
    return QuerySegments(id_map, labels[kept], scores[kept], queries[kept], counts[1:][kept])
