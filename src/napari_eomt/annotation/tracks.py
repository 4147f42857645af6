"""What is one thing over time in a document.

Segments of one id are one thing in whatever frames they are: so people draw, and so videos are
read. What a model or a file tells by `track_id` is one thing too, whatever its ids are, and goes
before: frames that were segmented one by one have other ids each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

from napari_eomt.structures.segments import Segment, Segmentation, Status
from napari_eomt.structures.tracks import TrackTable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.session import Key


@dataclass(frozen=True)
class TrackIndex:
    """The tracks of a document at one moment, by a number each.

    The number is the `track_id`; of a thing that has none it is its id, or if a track has that
    number a free one.

    Parameters
    ----------
    numbers : dict of (frame, id) to int
        Rejected segments are in no track.
    members : dict of int to dict of int to int
        The segment ids of each track, by frame, in the order of the frames.
    """

    numbers: dict[Key, int]
    members: dict[int, dict[int, int]]

    @classmethod
    def of(cls, document: Document) -> TrackIndex:
        """Return the tracks of a document.

        Of two segments of one frame that say the same `track_id`, the second is a thing of its
        own: two things of one frame are two, whatever they say.
        """
        shown = [(f, s) for f, s in document.iter_segments() if s.status is not Status.REJECTED]
        told = {s.track_id for _, s in shown if s.track_id is not None}
        # What a person has drawn on, by its id, in a frame where no model had seen it.
        drawn_on: dict[int, int] = {}
        for _, s in shown:
            if s.track_id is not None:
                drawn_on.setdefault(s.id, s.track_id)
        free = count(max([document.next_id - 1, *told]) + 1)
        alone: dict[int, int] = {}
        numbers: dict[Key, int] = {}
        members: dict[int, dict[int, int]] = {}
        # Who says it goes before who is merely taken for it.
        for frame, s in sorted(shown, key=lambda row: (row[0], row[1].track_id is None)):
            number = s.track_id if s.track_id is not None else drawn_on.get(s.id)
            if number is None or frame in members.get(number, {}):
                if s.id not in alone:
                    alone[s.id] = next(free) if s.id in told or s.id in drawn_on else s.id
                number = alone[s.id]
            numbers[frame, s.id] = number
            members.setdefault(number, {})[frame] = s.id
        return cls(numbers, members)

    def keys(self, number: int, start: int = 0, stop: int | None = None) -> list[Key]:
        """Return the segments of a track, by frame, within frames; the last is not included."""
        here = self.members.get(number, {})
        return [(f, i) for f, i in here.items() if f >= start and (stop is None or f < stop)]


def track_segmentation(document: Document, frame: int, index: TrackIndex) -> Segmentation:
    """Return a frame with the number of its track as the `track_id` of every segment."""
    shown = (s for s in document.segments(frame).values() if s.status is not Status.REJECTED)
    segments: Iterable[Segment] = (
        replace(s, track_id=index.numbers[frame, s.id]) for s in sorted(shown, key=lambda s: s.id)
    )
    return Segmentation(document.id_map(frame), tuple(segments))


def track_table(document: Document) -> TrackTable:
    """Return the tracks of a document as a table: of things, not of areas of stuff."""
    index, table = TrackIndex.of(document), TrackTable()
    for frame in range(document.n_frames):
        if not document.segments(frame):
            continue
        found = track_segmentation(document, frame, index)
        things = tuple(s for s in found.segments if s.is_thing)
        table.add(frame, Segmentation(found.id_map, things))
    return table
