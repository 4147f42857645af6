"""COCO's compressed run lengths, read and written for many masks at once.

A count is written in groups of five bits, lowest first, a character each: 48 + the bits, + 32 where
more follow; the highest bit of the last group is the sign. From the fourth count of a mask on, what
is written is the difference to the count two before.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

Ints: TypeAlias = npt.NDArray[np.int64]

_FIRST, _MORE, _SIGN = 48, 32, 16
_MAX_CHARS = 7  # 5 bits each: 7 hold every difference of two counts of 32 bits, with its sign


def concatenated(lengths: Ints) -> Ints:
    """Return where each of several pieces in a row starts, and the end: (N + 1,)."""
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)))


def places(offsets: Ints) -> Ints:
    """Return the place of every element within its piece: (M,), for `offsets` of (N + 1,)."""
    return np.arange(offsets[-1], dtype=np.int64) - np.repeat(offsets[:-1], np.diff(offsets))


def pack(counts: Ints, offsets: Ints) -> list[bytes]:
    """Write run lengths as pycocotools does.

    Parameters
    ----------
    counts : (M,) int64
        The counts of all masks, one mask after the other; at least 0.
    offsets : (N + 1,) int64
        Where each mask's counts start, and the end.
    """
    values = counts.copy()
    is_difference = np.flatnonzero(places(offsets) > 2)
    values[is_difference] -= counts[is_difference - 2]

    # n groups hold −2^(5n − 1) … 2^(5n − 1) − 1; x and −x − 1 take as many.
    size = values ^ (values >> 63)
    n_chars = np.ones(len(values), np.int64)
    for n in range(1, _MAX_CHARS + 1):
        longer = size >= 1 << (5 * n - 1)
        if not longer.any():
            break
        n_chars += longer
    starts = concatenated(n_chars)
    text = np.empty(starts[-1], np.uint8)
    has = np.arange(len(values))
    for n in range(int(n_chars.max(initial=0))):
        has = has[n_chars[has] > n]
        group = (values[has] >> (5 * n)) & 31
        text[starts[has] + n] = _FIRST + group + _MORE * (n_chars[has] > n + 1)
    data, cuts = text.tobytes(), starts[offsets].tolist()
    return [data[start:stop] for start, stop in pairwise(cuts)]


def unpack(strings: Sequence[bytes]) -> tuple[Ints, Ints]:
    """Read run lengths.

    Returns
    -------
    counts : (M,) int64
        The counts of all masks, one mask after the other; damaged strings can give any number.
    offsets : (N + 1,) int64
        Where each mask's counts start, and the end.

    Raises
    ------
    ValueError
        If a string has a character that run lengths have not, stops within a number, or holds a
        number too long for a count.
    """
    data = np.frombuffer(b"".join(strings), np.uint8)
    groups = data - np.uint8(_FIRST)  # below 48 they wrap around, to beyond 63
    strange = np.flatnonzero(groups > 63)
    if strange.size:
        raise ValueError(
            f"The run lengths hold the character {chr(data[strange[0]])!r}; compressed counts are "
            "written in the characters '0' to 'o'."
        )
    ends = concatenated(np.fromiter(map(len, strings), np.int64, len(strings)))
    is_last = groups < _MORE
    if not is_last[ends[1:][np.diff(ends) > 0] - 1].all():
        raise ValueError("The run lengths stop within a number: their last characters are missing.")
    last = np.flatnonzero(is_last)
    n_chars = np.diff(last, prepend=-1)
    if n_chars.max(initial=0) > _MAX_CHARS:
        raise ValueError(
            f"The run lengths hold a number of {n_chars.max()} characters; counts take at most "
            f"{_MAX_CHARS}."
        )
    first = last - n_chars + 1
    values = np.zeros(len(last), np.int64)
    has = np.arange(len(last))
    for n in range(int(n_chars.max(initial=0))):
        has = has[n_chars[has] > n]
        values[has] |= (groups[first[has] + n] & np.uint8(31)).astype(np.int64) << (5 * n)
    negative = (groups[last] & _SIGN) > 0
    values[negative] |= np.int64(-1) << (5 * n_chars[negative])
    offsets = np.searchsorted(last, ends).astype(np.int64)
    return _summed(values, offsets), offsets


def _summed(values: Ints, offsets: Ints) -> Ints:
    """Turn the differences back into counts."""
    counts: Ints = values.copy()
    place, n = places(offsets), np.diff(offsets)
    # Differences follow each other on the odd places, and on the even ones from the third on.
    for is_chain, n_chain in (
        ((place & 1) == 1, n // 2),
        (((place & 1) == 0) & (place > 0), np.maximum(n - 1, 0) // 2),
    ):
        sums = concatenated(values[is_chain])
        before = sums[concatenated(n_chain)[:-1]]
        counts[is_chain] = sums[1:] - np.repeat(before, n_chain)
    return counts
