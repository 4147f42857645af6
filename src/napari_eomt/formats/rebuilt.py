"""Documents with other ids or categories: what was read as one thing, told as another."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_eomt.annotation.document import Document
from napari_eomt.annotation.edits import Edit, SegmentChange, StateChange
from napari_eomt.formats.changes import renumbered

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
    """Return a document in which the segments of a track have one id in all frames."""
    first: dict[int, int] = {}
    numbers: dict[tuple[int, int], int] = {}
    for frame in range(document.n_frames):
        taken: set[int] = set()
        for i, segment in document.segments(frame).items():
            track = segment.track_id
            number = i if track is None else first.setdefault(track, i)
            # Two things of one frame are two, whatever they say.
            numbers[frame, i] = i if number in taken else number
            taken.add(numbers[frame, i])
    categories = document.categories.values()
    return rebuilt(document, categories, {}, lambda frame, i: numbers[frame, i])
