"""What a linker remembers of a track: where it was, how it moved, what it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_eomt.structures.id_maps import measure

if TYPE_CHECKING:
    from napari_eomt.structures.segments import Box, Segment, Segmentation

Point = tuple[float, float]
"""(y, x), in pixels."""

# Of a new step's weight in the velocity: cells turn, and a single step is half noise. On drawn
# objects of constant speed and on migrating cells, all from 0.3 to 0.7 give the same tracks.
_NEW_STEP = 0.5


@dataclass(frozen=True, eq=False)
class Seen:
    """A segment of a frame, as far as linking goes.

    Parameters
    ----------
    segment : Segment
    box : (y0, x0, y1, x1)
        Half-open, in pixels.
    mask : (h, w) bool
        Inside the box.
    area : int
        Pixels.
    centre : (y, x)
        Mean of its pixels.
    """

    segment: Segment
    box: Box
    mask: npt.NDArray[np.bool_]
    area: int
    centre: Point


@dataclass(frozen=True, eq=False)
class TrackMemory:
    """A track that may go on.

    Parameters
    ----------
    track_id : int
    seen : Seen
        Where it was last.
    velocity : (y, x)
        Pixels a frame.
    n_missed : int
        Frames since then without it.
    n_seen : int
        Frames with it.
    score_sum : float
        Over the frames in which it has a score.
    n_scores : int
    votes : tuple of (category id, float)
        What the scores of its frames sum to, category by category.
    parent_id : int or None
        The track that divided into this one.
    """

    track_id: int
    seen: Seen
    velocity: Point = (0.0, 0.0)
    n_missed: int = 0
    n_seen: int = 0
    score_sum: float = 0.0
    n_scores: int = 0
    votes: tuple[tuple[int, float], ...] = ()
    parent_id: int | None = None

    @property
    def category_id(self) -> int:
        """The category with most votes; of equals, the one that came first."""
        return max(self.votes, key=lambda vote: vote[1])[0]

    @property
    def score(self) -> float | None:
        """Mean over its frames; None where no frame has one."""
        return self.score_sum / self.n_scores if self.n_scores else None

    def step(self) -> tuple[int, int]:
        """Return how far it is expected from where it was last, in whole pixels."""
        frames = self.n_missed + 1
        return round(self.velocity[0] * frames), round(self.velocity[1] * frames)

    def missed(self) -> TrackMemory:
        """Return the same after a frame without it."""
        return replace(self, n_missed=self.n_missed + 1)

    def after(self, seen: Seen) -> TrackMemory:
        """Return the same after a frame with it."""
        segment = seen.segment
        votes = dict(self.votes)
        # A segment that nobody scored was drawn, or read: it is sure.
        weight = 1.0 if segment.score is None else segment.score
        votes[segment.category_id] = votes.get(segment.category_id, 0.0) + weight
        return replace(
            self,
            seen=seen,
            velocity=self._velocity(seen),
            n_missed=0,
            n_seen=self.n_seen + 1,
            score_sum=self.score_sum + (segment.score or 0.0),
            n_scores=self.n_scores + (segment.score is not None),
            votes=tuple(votes.items()),
        )

    def _velocity(self, seen: Seen) -> Point:
        if self.n_seen == 0:
            return 0.0, 0.0
        frames = self.n_missed + 1
        step = [(b - a) / frames for a, b in zip(self.seen.centre, seen.centre, strict=True)]
        if self.n_seen == 1:  # nothing is known of it yet
            return step[0], step[1]
        y, x = (v + _NEW_STEP * (s - v) for v, s in zip(self.velocity, step, strict=True))
        return y, x


def look(segmentation: Segmentation) -> list[Seen]:
    """Return the segments of a frame that have a pixel, in the order of their ids."""
    id_map = segmentation.id_map
    by_id = segmentation.by_id()
    found = []
    for i, (area, box) in measure(id_map, sorted(by_id)).items():
        y0, x0, y1, x1 = box
        mask = id_map[y0:y1, x0:x1] == i
        found.append(Seen(by_id[i], box, mask, area, centre_of(mask, box)))
    return found


def centre_of(mask: npt.NDArray[np.bool_], box: Box) -> Point:
    """Return the mean of a mask's pixels, (y, x)."""
    rows, columns = mask.sum(axis=1), mask.sum(axis=0)
    n = max(int(rows.sum()), 1)
    y = float(rows @ np.arange(len(rows))) / n + box[0]
    x = float(columns @ np.arange(len(columns))) / n + box[1]
    return y, x


def shared_pixels(
    seen: Seen, shift: tuple[int, int], id_map: npt.NDArray[np.integer[Any]]
) -> dict[int, int]:
    """Count the pixels that a mask, moved, shares with each id of an id map; void is not told."""
    height, width = id_map.shape
    y0, x0, y1, x1 = seen.box
    top, left = y0 + shift[0], x0 + shift[1]
    a, b = max(0, top), max(0, left)
    c, d = min(height, top + y1 - y0), min(width, left + x1 - x0)
    if a >= c or b >= d:  # it has left the frame
        return {}
    part = id_map[a:c, b:d][seen.mask[a - top : c - top, b - left : d - left]]
    # A handful of ids lie under a mask: sorting its pixels beats a table of all ids of the frame.
    ids, counts = np.unique(part, return_counts=True)
    return {int(i): int(n) for i, n in zip(ids, counts, strict=True) if i}
