"""The runs of ones of several masks at once, as pixels counted down the columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from napari_eomt.structures.rle_strings import Ints, concatenated, pack, places

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CHUNK = 1 << 18  # pixels at a time: their indices, 2 MB each, stay in the cache


class MaskRuns(NamedTuple):
    """The runs of ones of N masks, one mask after the other, each in the order of its pixels."""

    offsets: Ints
    """(N + 1,): where each mask's runs start, and the end."""
    starts: Ints
    """(R,): first pixel of each run."""
    stops: Ints
    """(R,): the pixel behind each run."""

    @property
    def owners(self) -> Ints:
        """(R,): which mask each run is of."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


def from_counts(counts: Ints, offsets: Ints, sizes: Sequence[tuple[int, int]]) -> MaskRuns:
    """Find the runs of ones in run lengths; those of no pixels are left out.

    Parameters
    ----------
    counts : (M,) int64
        Of all masks, one mask after the other.
    offsets : (N + 1,) int64
        Where each mask's counts start, and the end.
    sizes : sequence of (H, W)
        Of each mask.

    Raises
    ------
    ValueError
        If a count is negative, or a mask's counts do not add up to its pixels.
    """
    if counts.min(initial=0) < 0:
        raise ValueError(
            f"The run lengths hold the count {counts.min()}; counts are not negative. They are "
            "damaged, or not COCO's."
        )
    n_pixels = np.array([height * width for height, width in sizes], np.int64)
    # Bounded before they are summed: numbers from a damaged file must not wrap around.
    most = np.repeat(n_pixels, np.diff(offsets))
    sums = concatenated(np.minimum(counts, most + 1))
    total = np.diff(sums[offsets])
    wrong = np.flatnonzero(total != n_pixels)
    if wrong.size:
        k = wrong[0]
        height, width = sizes[k]
        said = f"{total[k]}" if total[k] < n_pixels[k] else "more than the"
        of = " of the" if total[k] < n_pixels[k] else ""
        raise ValueError(
            f"The run lengths cover {said}{of} {n_pixels[k]} pixels of an image of "
            f"{height} × {width}. They are damaged, or of another image."
        )
    starts = sums[:-1] - np.repeat(sums[offsets[:-1]], np.diff(offsets))
    is_run = ((places(offsets) & 1) == 1) & (counts > 0)
    starts = starts[is_run]
    n_before = concatenated(is_run)
    return MaskRuns(n_before[offsets], starts, starts + counts[is_run])


def joined(runs: MaskRuns) -> MaskRuns:
    """Make one run of those that touch, so that equal masks have equal runs."""
    goes_on = np.zeros(len(runs.starts), bool)
    goes_on[1:] = (runs.starts[1:] == runs.stops[:-1]) & (np.diff(runs.owners) == 0)
    is_end = np.ones(len(goes_on), bool)
    is_end[:-1] = ~goes_on[1:]
    n_before = concatenated(~goes_on)
    return MaskRuns(n_before[runs.offsets], runs.starts[~goes_on], runs.stops[is_end])


def to_strings(runs: MaskRuns, n_pixels: int) -> list[bytes]:
    """Write the compressed counts of masks of one size; their runs do not touch."""
    n_runs = np.diff(runs.offsets)
    some = n_runs > 0
    last = np.zeros(len(n_runs), np.int64)
    last[some] = runs.stops[runs.offsets[1:][some] - 1]
    # Zeros and ones by turns, and zeros to the end unless a run reaches it. No runs: zeros only.
    has_tail = (last < n_pixels) | ~some
    offsets = concatenated(2 * n_runs + has_tail)
    before = np.zeros(len(runs.starts), np.int64)
    before[1:] = runs.stops[:-1]
    before[runs.offsets[:-1][some]] = 0
    at = np.repeat(offsets[:-1], n_runs) + 2 * places(runs.offsets)
    counts = np.empty(offsets[-1], np.int64)
    counts[at] = runs.starts - before
    counts[at + 1] = runs.stops - runs.starts
    counts[offsets[1:][has_tail] - 1] = n_pixels - last[has_tail]
    return pack(counts, offsets)


def covered(runs: MaskRuns, n_masks: int) -> MaskRuns:
    """Return one mask: the pixels that lie in at least `n_masks` of the masks."""
    at = np.concatenate((runs.starts, runs.stops))
    step = np.repeat(np.array([1, -1]), len(runs.starts))
    order = np.argsort(at, kind="stable")
    at, depth = at[order], np.cumsum(step[order])
    # Of the changes at one pixel, the sum counts.
    is_final = np.ones(len(at), bool)
    is_final[:-1] = at[1:] != at[:-1]
    at, inside = at[is_final], depth[is_final] >= n_masks
    change = np.flatnonzero(np.diff(inside, prepend=False))
    edges = at[change]
    return MaskRuns(np.array([0, len(edges) // 2]), edges[::2], edges[1::2])


def iter_pixels(
    runs: MaskRuns, height: int
) -> Iterator[tuple[Ints, npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """Go through the pixels of all runs in order, some at a time.

    Parameters
    ----------
    runs : MaskRuns
    height : int
        Of the image, in pixels.

    Yields
    ------
    (n,) int64
        Which run each pixel is of.
    y, x : (n,) int
        The pixel.
    """
    if not len(runs.starts):
        return
    # Cut where the columns end: within a piece x is the same.
    first, last = runs.starts // height, (runs.stops - 1) // height
    n_pieces = last - first + 1
    run = np.repeat(np.arange(len(first)), n_pieces)
    x = first[run] + places(concatenated(n_pieces))
    y0 = np.maximum(runs.starts[run] - x * height, 0)
    n_pixels = np.minimum(runs.stops[run] - x * height, height) - y0
    ends = np.cumsum(n_pixels)
    cuts = np.searchsorted(ends, np.arange(0, ends[-1], _CHUNK), side="left")
    for start, stop in zip(cuts, np.append(cuts[1:], len(ends)), strict=True):
        part = slice(start, stop)
        n = n_pixels[part]
        shift = y0[part] - concatenated(n)[:-1]
        yield (
            np.repeat(run[part], n),
            np.arange(n.sum()) + np.repeat(shift, n),
            np.repeat(x[part], n),
        )
