"""What of a frame is as it was read, and what a person has changed since."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.annotation.document import FrameState
from napari_eomt.annotation.edits import StateChange
from napari_eomt.formats.coco_categories import read_category, write_categories
from napari_eomt.structures.id_maps import renumber
from napari_eomt.structures.segments import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_eomt.annotation.document import Document
    from napari_eomt.formats.coco_checks import Record
    from napari_eomt.structures.segments import IdMap, Segment


def numbering(
    now: Iterable[Segment], before: Iterable[Segment], next_id: int | None = None
) -> dict[int, int]:
    """Tell for each segment which one it was when the annotations were read.

    Parameters
    ----------
    now, before : iterable of Segment
        Of a frame, or of all frames of a video; rejected ones do not count.
    next_id : int, optional
        New segments are numbered from here; by default after the largest id of `before`.

    Returns
    -------
    dict of int to int
        The id in `before` by the id in `now`. Of several that say they are the same annotation
        it is the one that has kept the id, else the one with the most frames; others are new.
    """
    read = {s.annotation_id: s.id for s in before if s.annotation_id is not None}
    claims: dict[int, dict[int, int]] = {}
    ids: dict[int, None] = {}
    for segment in now:
        if segment.status is Status.REJECTED:
            continue
        ids[segment.id] = None
        if segment.annotation_id in read:
            votes = claims.setdefault(read[segment.annotation_id], {})
            votes[segment.id] = votes.get(segment.id, 0) + 1
    found: dict[int, int] = {}
    for was, votes in claims.items():
        best = max(votes, key=lambda i: (i == was, votes[i], -i))
        # A track that was joined of two is the annotation that it has most frames of.
        if best not in found or votes[best] > claims[found[best]][best]:
            found[best] = was
    new = max(read.values(), default=0) + 1 if next_id is None else next_id
    for i in ids:
        if i not in found:
            found[i], new = new, new + 1
    return found


def renumbered(id_map: IdMap, numbers: Mapping[int, int]) -> IdMap:
    """Return an id map with other ids; those that are not known become void."""
    table = np.zeros(int(id_map.max(initial=0)) + 1, np.int64)
    for i, number in numbers.items():
        if i < len(table):
            table[i] = number
    return renumber(id_map, table)


def touched(before: IdMap, now: IdMap) -> set[int]:
    """Return the ids that have gained or lost a pixel; both id maps are (H, W)."""
    differs = before != now
    ids = np.union1d(before[differs], now[differs])
    return {int(i) for i in ids if i}


def opened(frame: int, segments: Sequence[Segment]) -> tuple[StateChange, ...]:
    """Return how far a frame has come that was read: reviewed, if a person decided all of it."""
    if not segments:
        return ()
    is_decided = all(s.status is not Status.PROPOSED for s in segments)
    state = FrameState.REVIEWED if is_decided else FrameState.PROPOSED
    return (StateChange(frame, FrameState.NEW, state),)


def merged_categories(records: list[Record], document: Document) -> list[Record]:
    """Return a file's categories with those that a document has changed or added.

    None is taken away: annotations of other images may need it.
    """
    if [read_category(record) for record in records] == list(document.categories.values()):
        return records
    return write_categories(
        document.categories.values(), records, {record["id"] for record in records}
    )
