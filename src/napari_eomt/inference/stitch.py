"""Merge the segments of overlapping tiles: what a seam cuts becomes one object again."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_eomt.inference.postprocess import QuerySegments
from napari_eomt.structures.id_maps import areas, id_dtype, renumber

if TYPE_CHECKING:
    from napari_eomt.structures.segments import Box, IdMap
    from napari_eomt.structures.tiles import Tile

SAME_IOU = 0.5
"""Two segments are one object when they overlap this much where both tiles look: above a half,
at most one segment of the other tile can."""

SAME_PART = 0.7
"""A segment cut by a tile's edge is part of one that covers this part of it."""

VISIBLE_PART = 0.5
"""A merged object of which better ones leave less than this is the same object seen twice."""


@dataclass(frozen=True, eq=False)
class _Piece:
    """One tile's segment: where it is in the image, its mask there, and how sure it is."""

    tile: int
    y0: int
    x0: int
    mask: npt.NDArray[np.bool_]
    label: int
    score: float
    query: int
    is_cut: bool
    is_home: bool
    area: int

    @property
    def box(self) -> Box:
        """Around its pixels."""
        height, width = self.mask.shape
        return self.y0, self.x0, self.y0 + height, self.x0 + width

    @property
    def where(self) -> tuple[slice, slice]:
        height, width = self.mask.shape
        return slice(self.y0, self.y0 + height), slice(self.x0, self.x0 + width)


@dataclass(frozen=True, eq=False)
class _Cut:
    """A tile cut up into pieces.

    Parameters
    ----------
    region : Tile
    found : QuerySegments
        What was found in it.
    id_map : (h, w) int
        Of it, without the stuff.
    pieces : tuple of _Piece
        Of the ids from 1; those of stuff have no pixels.
    """

    region: Tile
    found: QuerySegments
    id_map: IdMap
    pieces: tuple[_Piece, ...]


_Match: TypeAlias = tuple[float, int, int]
"""How surely two segments of two tiles are the same: overlap, and the number of each."""


class StitchMemory:
    """What a `Stitcher` found out about tiles, for the next one of the same tiles.

    It holds for as long as a tile's segments are the very same object.
    """

    def __init__(self) -> None:
        self.cuts: dict[int, _Cut] = {}
        self.neighbours: dict[int, list[int]] = {}
        self.matches: dict[tuple[int, int], tuple[_Cut, _Cut, list[_Match]]] = {}


class Stitcher:
    """Takes the segments of tiles, row by row, and merges them into one segmentation.

    Segments of two tiles are the same thing when they have one label and overlap where both tiles
    look. Of those that are, one that no tile's edge cuts is taken as it is; if all are cut, their
    union. Each tile decides about things whose middle lies in its own middle, up to half of what
    two tiles see: what it alone sees elsewhere is dropped. Stuff of one label is one segment, and
    each tile decides about it in its own middle. Memory grows with the area of the segments, not
    with the number of tiles.

    Parameters
    ----------
    shape : (H, W)
        Of the image, in pixels.
    regions : sequence of Tile
        What the tiles show, in image pixels.
    stuff : frozenset of int
        Labels that are one segment each.
    memory : StitchMemory, optional
        Of the one before.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        regions: tuple[Tile, ...],
        stuff: frozenset[int],
        memory: StitchMemory | None = None,
    ) -> None:
        self._shape = shape
        self._stuff = stuff
        self._regions = regions
        self._rows = _cores(sorted({(r.y0, r.y1) for r in regions}))
        self._columns = _cores(sorted({(r.x0, r.x1) for r in regions}))
        self._memory = memory
        self._pieces: list[_Piece] = []
        self._same: list[_Match] = []  # pieces, counted over all tiles
        self._seen: dict[int, tuple[int, _Cut]] = {}  # of a tile: its first piece
        self._stuff_map = np.zeros(shape, np.uint16) if stuff else None  # label + 1
        self._stuff_scores: dict[int, tuple[float, int]] = {}  # label: (score, query)
        self._n_tiles = 0

    def add(self, region: Tile, found: QuerySegments) -> None:
        """Take the segments of the next tile."""
        index, self._n_tiles = self._n_tiles, self._n_tiles + 1
        self._write_stuff(region, found)
        cut = self._memory.cuts.get(index) if self._memory else None
        if cut is None or cut.found is not found:
            cut = self._cut(index, region, found)
            if self._memory:
                self._memory.cuts[index] = cut
        first = len(self._pieces)
        self._pieces += cut.pieces
        for other_index in self._neighbours(index, region):
            other_first, other = self._seen[other_index]
            matches = self._matches(other_index, other, index, cut)
            self._same += [(how, p + other_first, q + first) for how, p, q in matches]
        self._seen[index] = first, cut

    def result(self) -> QuerySegments:
        """Return the merged segments of all tiles."""
        groups = [group for group in self._groups() if self._is_decided(group)]
        merged = [(self._merge(group), tuple(piece.query for piece in group)) for group in groups]
        # The best is painted last, so that it wins where two remain on one pixel.
        merged.sort(key=lambda one: one[0].score)
        objects = [piece for piece, _ in merged]
        labels = sorted(self._stuff_scores)
        n_stuff = len(labels)
        n = n_stuff + len(objects)
        id_map: IdMap = np.zeros(self._shape, id_dtype(n))
        visible = np.zeros(n + 1, np.int64)
        if self._stuff_map is not None:
            ids = np.zeros(max(labels, default=0) + 2, np.int64)
            ids[[label + 1 for label in labels]] = np.arange(1, n_stuff + 1)
            id_map = renumber(self._stuff_map, ids).astype(id_map.dtype)
        for i, piece in enumerate(objects, start=n_stuff + 1):
            id_map[piece.where][piece.mask] = i
        if n_stuff:
            visible[:] = areas(id_map, n + 1)
        else:
            # A look at where they are: the whole of a large image takes ten times as long.
            for i, piece in enumerate(objects, start=1):
                visible[i] = np.count_nonzero(id_map[piece.where] == i)
        kept = visible > 0
        kept[0] = False
        boxes: list[Box] = []
        for i, piece in enumerate(objects, start=n_stuff + 1):
            kept[i] &= bool(visible[i] >= VISIBLE_PART * piece.area)
            if kept[i]:
                is_whole = visible[i] == piece.area
                boxes.append(piece.box if is_whole else _box_of(id_map, piece, i))
        old = np.flatnonzero(kept)
        if len(old) < n:
            new_ids = np.zeros(n + 1, np.int64)
            new_ids[old] = np.arange(1, len(old) + 1)
            id_map = renumber(id_map, new_ids)
        facts = [(label, *self._stuff_scores[label]) for label in labels]
        facts += [(piece.label, piece.score, piece.query) for piece in objects]
        members = [(query,) for _, _, query in facts[:n_stuff]] + [queries for _, queries in merged]
        return QuerySegments(
            id_map=id_map,
            labels=np.array([facts[i - 1][0] for i in old], np.int64),
            scores=np.array([facts[i - 1][1] for i in old], np.float64),
            queries=np.array([facts[i - 1][2] for i in old], np.int64),
            areas=visible[old],
            boxes=None if n_stuff else tuple(boxes),
            members=tuple(members[i - 1] for i in old),
        )

    def _write_stuff(self, region: Tile, found: QuerySegments) -> None:
        """Write the tile's stuff where the tile decides."""
        is_stuff = np.isin(found.labels, list(self._stuff))
        if self._stuff_map is None or not is_stuff.any():
            return
        labels = np.zeros(len(found.labels) + 1, np.uint16)
        labels[1:] = np.where(is_stuff, found.labels + 1, 0)
        (y0, y1), (x0, x1) = self._core(region)
        core = found.id_map[y0 - region.y0 : y1 - region.y0, x0 - region.x0 : x1 - region.x0]
        self._stuff_map[y0:y1, x0:x1] = labels[core]
        for i in np.flatnonzero(is_stuff):
            label, score = int(found.labels[i]), float(found.scores[i])
            if score > self._stuff_scores.get(label, (-1.0, 0))[0]:
                self._stuff_scores[label] = (score, int(found.queries[i]))

    def _things(self, found: QuerySegments) -> IdMap:
        """Return the map of a tile without its stuff."""
        is_stuff = np.isin(found.labels, list(self._stuff))
        if not is_stuff.any():
            return found.id_map
        things = np.arange(len(found.labels) + 1)
        things[1:][is_stuff] = 0
        return renumber(found.id_map, things)

    def _cut(self, index: int, region: Tile, found: QuerySegments) -> _Cut:
        """Cut a tile up into its pieces."""
        id_map = self._things(found)
        cut = self._cut_ids(region, id_map)
        (home_y0, home_y1), (home_x0, home_x1) = self._core(region)
        pieces = []
        # One entry an id: the ids of a tile have no gaps, but stuff was taken out of its map.
        boxes = ndimage.find_objects(id_map.astype(np.int32), len(found.labels))
        for i, where in enumerate(boxes, start=1):
            rows, columns = where or (slice(0, 0), slice(0, 0))
            middle_y = region.y0 + (rows.start + rows.stop) / 2
            middle_x = region.x0 + (columns.start + columns.stop) / 2
            mask = id_map[rows, columns] == i
            pieces.append(
                _Piece(
                    index,
                    region.y0 + rows.start,
                    region.x0 + columns.start,
                    mask,
                    int(found.labels[i - 1]),
                    float(found.scores[i - 1]),
                    int(found.queries[i - 1]),
                    is_cut=i in cut,
                    is_home=home_y0 <= middle_y < home_y1 and home_x0 <= middle_x < home_x1,
                    area=int(np.count_nonzero(mask)),
                )
            )
        return _Cut(region, found, id_map, tuple(pieces))

    def _core(self, region: Tile) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the rows and the columns that a tile decides about."""
        return self._rows[region.y0, region.y1], self._columns[region.x0, region.x1]

    def _cut_ids(self, region: Tile, id_map: IdMap) -> set[int]:
        """Return the ids that touch an edge of the tile inside the image."""
        height, width = self._shape
        edges = []
        if region.y0 > 0:
            edges.append(id_map[0])
        if region.y1 < height:
            edges.append(id_map[-1])
        if region.x0 > 0:
            edges.append(id_map[:, 0])
        if region.x1 < width:
            edges.append(id_map[:, -1])
        return {int(i) for edge in edges for i in np.unique(edge)} - {0}

    def _neighbours(self, index: int, region: Tile) -> list[int]:
        """Return the tiles before this one that overlap it."""
        known = None if self._memory is None else self._memory.neighbours.get(index)
        if known is None:
            # Tiles come row by row: this one and later ones overlap none of those above.
            if self._memory is None:
                self._seen = {i: s for i, s in self._seen.items() if s[1].region.y1 > region.y0}
            known = [i for i, (_, cut) in self._seen.items() if _overlap(cut.region, region)]
            if self._memory is not None:
                self._memory.neighbours[index] = known
        return known

    def _matches(self, one_index: int, one: _Cut, other_index: int, other: _Cut) -> list[_Match]:
        """Return which segments of two tiles are the same, remembered or anew."""
        if self._memory is None:
            return _compare(one, other)
        pair = (one_index, other_index)
        known = self._memory.matches.get(pair)
        if known is None or known[0] is not one or known[1] is not other:
            known = self._memory.matches[pair] = (one, other, _compare(one, other))
        return known[2]

    def _groups(self) -> list[list[_Piece]]:
        """Join the pieces that are the same, the surest first.

        Two segments of one tile never join: the model told them apart where it saw both.
        """
        group_of = list(range(len(self._pieces)))
        members = {i: [i] for i, piece in enumerate(self._pieces) if piece.mask.size}
        tiles = {i: {self._pieces[i].tile} for i in members}
        for _, p, q in sorted(self._same, key=lambda same: (-same[0], same[1], same[2])):
            p, q = group_of[p], group_of[q]
            if p == q or tiles[p] & tiles[q]:
                continue
            for i in members[q]:
                group_of[i] = p
            members[p] += members.pop(q)
            tiles[p] |= tiles.pop(q)
        return [[self._pieces[i] for i in sorted(group)] for group in members.values()]

    def _is_decided(self, group: list[_Piece]) -> bool:
        """Tell whether the tile that should know has seen a thing, too.

        A tile that sees a thing further from its edge knows better whether it is one. What two
        tiles see, each may leave to the other: their middles of it differ by a pixel or so. Where
        all of them see it cut, it may be a sliver of something else, along an edge that they have
        in common: then the tile that has the middle of all pieces must be among them.
        """
        if any(piece.is_home for piece in group):
            return True
        if len(group) == 1 or not all(piece.is_cut for piece in group):
            return len(group) > 1
        y = (min(p.box[0] for p in group) + max(p.box[2] for p in group)) / 2
        x = (min(p.box[1] for p in group) + max(p.box[3] for p in group)) / 2
        cores = (self._core(self._regions[piece.tile]) for piece in group)
        return any(y0 <= y < y1 and x0 <= x < x1 for (y0, y1), (x0, x1) in cores)

    def _merge(self, group: list[_Piece]) -> _Piece:
        """Make one object of the pieces that are one."""
        whole = [piece for piece in group if not piece.is_cut]
        if whole or len(group) == 1:
            return max(whole or group, key=lambda piece: (piece.is_home, piece.score))
        best = max(group, key=lambda piece: piece.score)
        y0, x0 = min(p.y0 for p in group), min(p.x0 for p in group)
        y1 = max(p.y0 + p.mask.shape[0] for p in group)
        x1 = max(p.x0 + p.mask.shape[1] for p in group)
        union = np.zeros((y1 - y0, x1 - x0), np.bool_)
        for piece in group:
            rows, columns = piece.where
            union[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0] |= (
                piece.mask
            )
        area = int(np.count_nonzero(union))
        return _Piece(
            best.tile, y0, x0, union, best.label, best.score, best.query, True, True, area
        )


def _box_of(id_map: IdMap, piece: _Piece, i: int) -> Box:
    """Return the box around what can be seen of a piece."""
    is_seen = id_map[piece.where] == i
    rows, columns = np.flatnonzero(is_seen.any(1)), np.flatnonzero(is_seen.any(0))
    return (
        piece.y0 + int(rows[0]),
        piece.x0 + int(columns[0]),
        piece.y0 + int(rows[-1]) + 1,
        piece.x0 + int(columns[-1]) + 1,
    )


def _overlap(one: Tile, other: Tile) -> bool:
    return max(one.y0, other.y0) < min(one.y1, other.y1) and max(one.x0, other.x0) < min(
        one.x1, other.x1
    )


def _compare(one: _Cut, other: _Cut) -> list[_Match]:
    """Return which segments of two tiles are the same, and how surely."""
    y0, y1 = max(one.region.y0, other.region.y0), min(one.region.y1, other.region.y1)
    x0, x1 = max(one.region.x0, other.region.x0), min(one.region.x1, other.region.x1)
    if y0 >= y1 or x0 >= x1:
        return []
    a, b = (
        cut.id_map[y0 - cut.region.y0 : y1 - cut.region.y0, x0 - cut.region.x0 : x1 - cut.region.x0]
        for cut in (one, other)
    )
    n_a, n_b = int(a.max()) + 1, int(b.max()) + 1
    pairs = a.ravel().astype(np.int64) * n_b + b.ravel()
    shared = np.bincount(pairs, minlength=n_a * n_b).reshape(n_a, n_b)
    area_a, area_b = shared.sum(1), shared.sum(0)
    same = []
    for p, q in zip(*(axis.tolist() for axis in np.nonzero(shared[1:, 1:])), strict=True):
        if one.pieces[p].label != other.pieces[q].label:
            continue
        both, in_a, in_b = int(shared[p + 1, q + 1]), int(area_a[p + 1]), int(area_b[q + 1])
        iou = both / (in_a + in_b - both)
        smaller, part = (
            (one.pieces[p], both / in_a) if in_a <= in_b else (other.pieces[q], both / in_b)
        )
        if iou > SAME_IOU or (part > SAME_PART and smaller.is_cut):
            same.append((max(iou, part * SAME_PART), p, q))
    return same


def _cores(spans: list[tuple[int, int]]) -> dict[tuple[int, int], tuple[int, int]]:
    """Share an axis out among the tiles along it: each up to the middle of what two see."""
    middles = [(after[0] + before[1]) // 2 for before, after in itertools.pairwise(spans)]
    starts = [spans[0][0], *middles]
    stops = [*middles, spans[-1][1]]
    return {span: (start, stop) for span, start, stop in zip(spans, starts, stops, strict=True)}
