"""Divisions: a track that ends, and two segments that lie where it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_eomt.inference.track_memory import shared_pixels

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from napari_eomt.inference.track_memory import Seen, TrackMemory
    from napari_eomt.inference.track_params import TrackParams

# Daughters of a cell are alike; a cell that sheds a fragment has not divided.
_MIN_AREA_RATIO = 0.5
# Together they are about as large as their parent: twice its area are two cells that came close.
_MAX_GROWTH = 1.6


def find_splits(
    tracks: Sequence[TrackMemory],
    seen: Sequence[Seen],
    id_map: npt.NDArray[np.integer[Any]],
    linked: Mapping[int, int],
    kept: Collection[int],
    params: TrackParams,
) -> list[tuple[int, tuple[int, int]]]:
    """Return which tracks divide into which two segments.

    Parameters
    ----------
    tracks : sequence of TrackMemory
    seen : sequence of Seen
        Segments of the frame.
    id_map : (H, W) int
        Of the frame.
    linked : dict of int to int
        For a segment, by its position, the track that it continues.
    kept : collection of int
        Positions of segments that keep their track whatever happens.
    params : TrackParams

    Returns
    -------
    list of (parent's track id, (position, position))
        A segment is in one of them at most, and continues no other track than the parent.
    """
    place = {one.segment.id: j for j, one in enumerate(seen)}
    taken = set(kept)
    found = []
    for track in tracks:
        if track.n_missed or track.seen.segment.is_crowd:
            continue
        children = []
        for segment_id, common in shared_pixels(track.seen, (0, 0), id_map).items():
            j = place.get(segment_id)
            if j is None or j in taken or linked.get(j, track.track_id) != track.track_id:
                continue
            is_alike = seen[j].segment.category_id == track.category_id
            if is_alike and common >= params.split_overlap * seen[j].area:
                children.append((common, j))
        if len(children) < 2:
            continue
        # Those that lie most where the parent was.
        (_, one), (_, other) = sorted(children, reverse=True)[:2]
        small, large = sorted((seen[one].area, seen[other].area))
        if small >= _MIN_AREA_RATIO * large and small + large <= _MAX_GROWTH * track.seen.area:
            taken |= {one, other}
            found.append((track.track_id, (min(one, other), max(one, other))))
    return found
