"""Tracks: the same thing over time, as tables that are built frame by frame."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_eomt.errors import DataError
from napari_eomt.structures.segments import Segment, Segmentation, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from napari_eomt.structures.segments import IdMap


@dataclass(frozen=True, eq=False)
class Track:
    """One thing over time.

    Parameters
    ----------
    track_id : int
    category_id : int
        The one that most of its frames say.
    score : float or None
        The mean over the frames that have one.
    frames : (n,) int64
        Where it is present, rising.
    centroids : (n, 2) float64
        (y, x) of the middle of its pixels in each of these frames, in pixels.
    areas : (n,) int64
        In pixels.
    parent : int or None
        The track that it came from.
    """

    track_id: int
    category_id: int
    score: float | None
    frames: npt.NDArray[np.int64]
    centroids: npt.NDArray[np.float64]
    areas: npt.NDArray[np.int64]
    parent: int | None = None

    @property
    def begin(self) -> int:
        """The first frame where it is present."""
        return int(self.frames[0])

    @property
    def end(self) -> int:
        """The last frame where it is present."""
        return int(self.frames[-1])

    @property
    def gaps(self) -> tuple[tuple[int, int], ...]:
        """The frames in between where it is absent, as (first, one past the last)."""
        breaks = np.flatnonzero(np.diff(self.frames) > 1)
        return tuple((int(self.frames[k]) + 1, int(self.frames[k + 1])) for k in breaks)


@dataclass(frozen=True)
class TrackRow:
    """A track in one frame.

    Parameters
    ----------
    track_id, frame : int
    y, x : float
        The middle of its pixels, in pixels.
    area : int
        In pixels.
    category_id : int
    score : float or None
    status : Status
    parent : int or None
        The track that it came from.
    """

    track_id: int
    frame: int
    y: float
    x: float
    area: int
    category_id: int
    score: float | None = None
    status: Status = Status.PROPOSED
    parent: int | None = None


@dataclass(frozen=True, eq=False)
class TrackPoints:
    """Tracks as napari's layer of tracks takes them.

    Parameters
    ----------
    data : (N, 4) float64
        Rows of track id, frame, y and x (pixels), sorted by track id, then by frame.
    graph : dict of int to list of int
        The parents of a track.
    properties : dict of str to (N,) array
        ``category_id``, ``area`` in pixels, ``score`` (NaN where nobody gave one).
    """

    data: npt.NDArray[np.float64]
    graph: dict[int, list[int]]
    properties: dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class _Rows:
    """What is present in one frame, in the order of the track ids."""

    ids: npt.NDArray[np.int64]
    centroids: npt.NDArray[np.float64]
    areas: npt.NDArray[np.int64]
    segments: tuple[Segment, ...]


class TrackTable:
    """Collects tracks frame by frame; a row for each track in each frame, no pixels.

    Parameters
    ----------
    parents : mapping of int to int, optional
        The parents of tracks, beside those that segments tell.
    """

    def __init__(self, parents: Mapping[int, int] | None = None) -> None:
        self._parents = dict(parents or {})
        self._frames: dict[int, _Rows] = {}

    @classmethod
    def from_labels(
        cls,
        labels: Iterable[IdMap],
        *,
        category_id: int = 1,
        parents: Mapping[int, int] | None = None,
    ) -> TrackTable:
        """Return the tracks of frames whose pixels are track ids.

        Parameters
        ----------
        labels : (T, Y, X) int, or an iterable of (Y, X) int
            0 is void.
        category_id : int
            Of all tracks: labels tell none.
        parents : mapping of int to int, optional
        """
        table = cls(parents)
        for frame, id_map in enumerate(labels):
            ids = [int(i) for i in np.unique(id_map) if i]
            segments = tuple(Segment(i, category_id, track_id=i) for i in ids)
            table.add(frame, Segmentation(np.asarray(id_map), segments))
        return table

    def add(self, frame: int, segmentation: Segmentation) -> None:
        """Take up a frame, in place of what was known of it.

        Segments without a track, without a pixel, and rejected ones are left out.

        Raises
        ------
        DataError
            If two segments of the frame are of one track.
        """
        found = centroids(segmentation.id_map)
        here: dict[int, Segment] = {}
        for segment in segmentation.segments:
            track_id = segment.track_id
            is_shown = segment.id in found and segment.status is not Status.REJECTED
            if track_id is None or not is_shown:
                continue
            if track_id in here:
                raise DataError(
                    f"Frame {frame} has two objects of track {track_id}: {here[track_id].id} and "
                    f"{segment.id}. Give one of them another track."
                )
            here[track_id] = segment
        segments = tuple(here[i] for i in sorted(here))
        rows = np.array([found[s.id] for s in segments], np.float64).reshape(-1, 3)
        ids = np.array(sorted(here), np.int64)
        self._frames[frame] = _Rows(ids, rows[:, :2], rows[:, 2].astype(np.int64), segments)

    def remove(self, frame: int) -> None:
        """Forget a frame; one that is not known is none."""
        self._frames.pop(frame, None)

    def tracks(self) -> tuple[Track, ...]:
        """Return the tracks, in the order of their ids."""
        flat = self._flat()
        known, starts = np.unique(flat.ids, return_index=True)
        stops = [*starts.tolist()[1:], len(flat.ids)][: len(known)]
        found = []
        for track_id, start, stop in zip(known.tolist(), starts.tolist(), stops, strict=True):
            segments = [flat.segments[k] for k in flat.order[start:stop]]
            votes = Counter(s.category_id for s in segments)
            scores = [s.score for s in segments if s.score is not None]
            found.append(
                Track(
                    track_id,
                    max(votes, key=lambda i: votes[i]),
                    float(np.mean(scores)) if scores else None,
                    flat.frames[start:stop],
                    flat.centroids[start:stop],
                    flat.areas[start:stop],
                    self._parent(track_id, segments),
                )
            )
        return tuple(found)

    def iter_rows(self) -> Iterator[TrackRow]:
        """Yield where each track is in each frame, by track, then by frame."""
        flat = self._flat()
        parents = {track.track_id: track.parent for track in self.tracks()}
        for k, place in enumerate(flat.order):
            segment, (y, x) = flat.segments[place], flat.centroids[k].tolist()
            track_id = int(flat.ids[k])
            yield TrackRow(
                track_id,
                int(flat.frames[k]),
                y,
                x,
                int(flat.areas[k]),
                segment.category_id,
                segment.score,
                segment.status,
                parents[track_id],
            )

    def points(self) -> TrackPoints:
        """Return what napari's layer of tracks shows; parents that are nowhere are left out."""
        flat = self._flat()
        segments = [flat.segments[k] for k in flat.order]
        scores = [np.nan if s.score is None else s.score for s in segments]
        known = set(flat.ids.tolist())
        graph = {t.track_id: [t.parent] for t in self.tracks() if t.parent in known}
        return TrackPoints(
            np.column_stack((flat.ids, flat.frames, flat.centroids)).astype(np.float64),
            {child: [int(p) for p in parents if p is not None] for child, parents in graph.items()},
            {
                "category_id": np.array([s.category_id for s in segments], np.int64),
                "area": flat.areas,
                "score": np.array(scores, np.float64),
            },
        )

    def _parent(self, track_id: int, segments: Iterable[Segment]) -> int | None:
        if track_id in self._parents:
            return self._parents[track_id]
        votes = Counter(s.parent_track_id for s in segments if s.parent_track_id is not None)
        return max(votes, key=lambda i: votes[i]) if votes else None

    def _flat(self) -> _Flat:
        numbers = sorted(self._frames)
        rows = [self._frames[frame] for frame in numbers]
        none = np.zeros(0, np.int64)
        ids = np.concatenate([none, *(r.ids for r in rows)])
        frames = np.repeat(np.array(numbers, np.int64), [len(r.ids) for r in rows])
        middles = np.concatenate([np.zeros((0, 2)), *(r.centroids for r in rows)])
        sizes = np.concatenate([none, *(r.areas for r in rows)])
        # Stable, so frames keep their order within a track.
        order = np.argsort(ids, kind="stable")
        segments = [segment for r in rows for segment in r.segments]
        return _Flat(
            ids[order], frames[order], middles[order], sizes[order], order.tolist(), segments
        )


@dataclass(frozen=True, eq=False)
class _Flat:
    """All rows, sorted by track id, then by frame; segments in the order of the frames."""

    ids: npt.NDArray[np.int64]
    frames: npt.NDArray[np.int64]
    centroids: npt.NDArray[np.float64]
    areas: npt.NDArray[np.int64]
    order: list[int]
    segments: list[Segment]


def centroids(id_map: IdMap) -> dict[int, tuple[float, float, int]]:
    """Return (y, x, area) of the pixels of every id but 0, in pixels.

    Parameters
    ----------
    id_map : (H, W) int
    """
    height, width = id_map.shape
    if not height or not width:
        return {}
    # From runs of equal pixels in a row: there are far fewer of them than pixels.
    flat = np.ascontiguousarray(id_map).ravel()
    is_start = np.ones(flat.size, np.bool_)
    np.not_equal(flat[1:], flat[:-1], out=is_start[1:])
    is_start[::width] = True
    starts = np.flatnonzero(is_start)
    lengths = np.diff(starts, append=flat.size)
    is_segment = flat[starts] != 0
    starts, lengths = starts[is_segment], lengths[is_segment]
    ids, index = np.unique(flat[starts], return_inverse=True)
    rows, columns = np.divmod(starts, width)
    areas = np.bincount(index, lengths, len(ids))
    y = np.bincount(index, rows * lengths, len(ids)) / areas
    x = np.bincount(index, (columns + (lengths - 1) / 2) * lengths, len(ids)) / areas
    return {
        int(i): (float(a), float(b), int(n)) for i, a, b, n in zip(ids, y, x, areas, strict=True)
    }
