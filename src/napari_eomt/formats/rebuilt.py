"""Documents with other ids or categories: what was read as one thing, told as another."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from napari_eomt.annotation.document import Document
from napari_eomt.annotation.edits import Edit, SegmentChange, StateChange
from napari_eomt.annotation.tracks import TrackIndex
from napari_eomt.formats.changes import renumbered
from napari_eomt.structures.segments import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from napari_eomt.structures.categories import Category


def rebuilt(
    document: Document,
    categories: Iterable[Category],
    category_ids: Mapping[int, int],
    ids: Callable[[int, int], int] = lambda _, i: i,
) -> Document:
    """Return a document with other categories, and other ids by frame and id."""
    new = Document(document.frame_shape, document.image_shape, categories, document.origin)
    new.hold(document.next_id - 1)
    for frame in range(document.n_frames):
        here = document.segments(frame)
        numbers = {i: ids(frame, i) for i in here}
        segments = [
            replace(s, id=numbers[i], category_id=category_ids.get(s.category_id, s.category_id))
            for i, s in here.items()
        ]
        changes = tuple(SegmentChange(frame, None, segment) for segment in segments)
        state = StateChange(frame, new.state(frame), document.state(frame))
        new.apply(Edit("Open", segments=changes, states=(state,)), pixels=False)
        new.id_map(frame)[...] = renumbered(document.id_map(frame), numbers)
    return new


def by_track(document: Document) -> Document:
    """Return a document in which the segments of a track have one id in all frames.

    And no two tracks have the same; what is a track `TrackIndex` says. Annotations of the video
    that the document was read from keep theirs, whatever track they say.
    """
    index = TrackIndex.of(document)
    is_video = document.origin is not None and document.origin.video_id is not None
    read: dict[int, int] = {}
    if is_video:
        for frame, s in document.iter_segments():
            if s.annotation_id is not None and s.status is not Status.REJECTED:
                read.setdefault(index.numbers[frame, s.id], s.id)
    fresh = count(document.next_id)
    ids: dict[int, int] = {}
    taken = set(read.values())
    numbers: dict[tuple[int, int], int] = {}
    for frame in range(document.n_frames):
        used: set[int] = set()
        # What has an id of its own goes before what gets it.
        here = document.segments(frame).values()
        for s in sorted(here, key=lambda s: not is_video or s.annotation_id is None):
            number = index.numbers.get((frame, s.id))
            if number is None:
                new = s.id if s.id not in taken else next(fresh)
            elif is_video and s.annotation_id is not None:
                new = s.id
            elif number in read or number in ids:
                new = read.get(number, ids.get(number, 0))
            else:
                new = ids[number] = s.id if s.id not in taken else next(fresh)
            if new in used:  # two things of one frame are two
                new = next(fresh)
            taken.add(new)
            used.add(new)
            numbers[frame, s.id] = new
    if all(i == new for (_, i), new in numbers.items()):
        return document
    categories = document.categories.values()
    return rebuilt(document, categories, {}, lambda frame, i: numbers[frame, i])
