"""Outlines of a mask along the edges of its pixels, and holes joined to them by keyholes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator

Point: TypeAlias = tuple[int, int, bool]
"""(x, y) where pixels meet, and whether a keyhole starts or ends there."""


class _Corners(NamedTuple):
    """Where outlines turn, in the order of rows: 2k and 2k + 1 are the ends of an edge in a row."""

    y: npt.NDArray[np.intp]
    x: npt.NDArray[np.intp]
    along_column: npt.NDArray[np.intp]
    """The corner at the other end of the edge in the column."""


class _Ring(NamedTuple):
    """One closed outline: its corners in order, clockwise from the first of the topmost row."""

    corners: list[int]
    is_hole: bool


def outlines(mask: npt.NDArray[np.bool_], *, with_holes: bool) -> tuple[list[list[Point]], int]:
    """Trace a mask's parts, one ring each.

    Pixels that share an edge are one part; those that share a corner alone are not. The pixel
    (y, x) reaches from y to y + 1 and from x to x + 1.

    Parameters
    ----------
    mask : (h, w) bool
    with_holes : bool
        Whether holes are joined to the ring around them, by a cut straight up from their first
        corner, which the ring passes down and up again.

    Returns
    -------
    rings : list of list of (x, y, is_cut)
        Not closed: the last point is not the first. Parts clockwise on the screen, their holes
        the other way round.
    n_holes : int
        Of the mask, joined or not.
    """
    padded = np.pad(mask, 1)
    corners = _corners(padded)
    rings = _rings(corners, padded)
    holes = [k for k, ring in enumerate(rings) if ring.is_hole]
    ys, xs = corners.y.tolist(), corners.x.tolist()
    cuts: dict[int, list[tuple[int, int]]] = {}
    if with_holes and holes:
        cuts = _cuts(padded, corners, rings, holes)
    found = []
    for k, ring in enumerate(rings):
        if not ring.is_hole:
            points: list[Point] = []
            for point in _walk(k, rings, cuts, ys, xs):
                if points and points[-1][:2] == point[:2]:
                    points[-1] = (*point[:2], point[2] or points[-1][2])
                else:
                    points.append(point)
            found.append(points)
    return found, len(holes)


def _corners(padded: npt.NDArray[np.bool_]) -> _Corners:
    """Find the corners of a mask that has one empty pixel around it."""
    a, b = padded[:-1, :-1], padded[:-1, 1:]
    c, d = padded[1:, :-1], padded[1:, 1:]
    y, x = np.nonzero(a ^ b ^ c ^ d)
    right, down = (b != d)[y, x], (c != d)[y, x]
    # Where two pixels share a corner alone, each has a corner of its own there.
    y2, x2 = np.nonzero((a == d) & (b == c) & (a != b))
    falls = a[y2, x2]  # from the upper left to the lower right
    y, x = np.concatenate((y, y2, y2)), np.concatenate((x, x2, x2))
    right = np.concatenate((right, np.zeros(len(y2), bool), np.ones(len(y2), bool)))
    down = np.concatenate((down, ~falls, falls))
    # Edges in a row go from a corner that opens to the right to the next, which opens to the left.
    order = np.lexsort((right, x, y))
    y, x, down = y[order], x[order], down[order]
    in_columns = np.lexsort((down, y, x)).reshape(-1, 2)
    along_column = np.empty(len(y), np.intp)
    along_column[in_columns] = in_columns[:, ::-1]
    return _Corners(y, x, along_column)


def _rings(corners: _Corners, padded: npt.NDArray[np.bool_]) -> list[_Ring]:
    """Follow the edges, in rows and columns by turns."""
    # The pixel to the lower right of a ring's first corner is inside the ring.
    is_inside = padded[corners.y + 1, corners.x + 1].tolist()
    along_column = corners.along_column.tolist()
    seen = bytearray(len(along_column))
    rings = []
    for start in range(0, len(along_column), 2):
        if seen[start]:
            continue
        ring: list[int] = []
        at = start
        while not seen[at]:
            seen[at] = seen[at ^ 1] = 1
            ring += (at, at ^ 1)
            at = along_column[at ^ 1]
        rings.append(_Ring(ring, not is_inside[start]))
    return rings


def _cuts(
    padded: npt.NDArray[np.bool_], corners: _Corners, rings: list[_Ring], holes: list[int]
) -> dict[int, list[tuple[int, int]]]:
    """Return for each edge in a row (half its corners' numbers) the (x, hole) that hang on it."""
    # Row at which the run of pixels above a pixel begins, in every column.
    rows = np.arange(len(padded), dtype=np.int32)[:, None]
    top = np.maximum.accumulate(np.where(padded, 0, rows), axis=0)
    first = np.array([rings[k].corners[0] for k in holes])
    y, x = corners.y[first], corners.x[first]
    # Going up between two columns, a cut ends where either stops being inside.
    ends = np.maximum(top[y, x], top[y, x + 1])
    width = padded.shape[1]
    keys = corners.y[::2] * width + corners.x[::2]
    edges = np.searchsorted(keys, ends * width + x, side="right") - 1
    cuts: dict[int, list[tuple[int, int]]] = {}
    for edge, column, k in sorted(zip(edges.tolist(), x.tolist(), holes, strict=True)):
        cuts.setdefault(edge, []).append((column, k))
    return cuts


def _walk(
    ring: int,
    rings: list[_Ring],
    cuts: dict[int, list[tuple[int, int]]],
    ys: list[int],
    xs: list[int],
) -> Iterator[Point]:
    """Go around a ring, down each cut, around the hole and up again."""

    def steps(k: int) -> Iterator[Point | int]:
        corners, is_hole = rings[k]
        order = corners
        if is_hole:
            # Against the clock, from the first corner back to it: there the cut arrives.
            yield xs[corners[0]], ys[corners[0]], True
            order = corners[::-1]
        for one, other in zip(order[::2], order[1::2], strict=True):
            yield xs[one], ys[one], False
            hanging = cuts.get(one >> 1, ())
            for x, hole in hanging if one < other else reversed(hanging):
                yield x, ys[one], True
                yield hole
                yield x, ys[one], True
            yield xs[other], ys[other], is_hole and other == corners[0]

    # A stack of our own: holes hang on holes, more deeply than Python calls itself.
    stack = [steps(ring)]
    while stack:
        step = next(stack[-1], None)
        if step is None:
            stack.pop()
        elif isinstance(step, int):
            stack.append(steps(step))
        else:
            yield step
