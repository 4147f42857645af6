"""What a person, or a model, can do to a document's segments: each returns the edit for it.

Nothing is changed here: a `Session` does the edit, and can take it back. Pixels of locked segments
are never overwritten by what a model proposes; a person's own deeds go before.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.annotation.again import same_again
from napari_eomt.annotation.canvas import Canvas, Mask, around, edited
from napari_eomt.annotation.document import FrameState
from napari_eomt.annotation.edits import (
    CategoryChange,
    Edit,
    PixelChange,
    SegmentChange,
    StateChange,
    joined,
)
from napari_eomt.errors import DataError
from napari_eomt.structures.id_maps import areas, boxes, measure, renumber
from napari_eomt.structures.runs import Runs
from napari_eomt.structures.segments import Segment, Segmentation, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.session import Key
    from napari_eomt.structures.categories import Category
    from napari_eomt.structures.segments import Box, IdMap

VISIBLE_PART = 0.5
"""A proposal of which locked segments leave less than this is the same thing proposed again; and
one that shares this much (IoU) with a rejected segment is rejected with it."""


def propose(document: Document, frame: int, proposed: Segmentation, name: str = "Segment") -> Edit:
    """Replace what is merely proposed in a frame; locked segments keep their pixels.

    What is proposed again keeps its id, and with it its colour, its row and its annotation; the
    others take the ids that are left over, lowest first, then new ones.

    Raises
    ------
    ValueError
        If the segmentation is of another size.
    """
    if proposed.shape != document.image_shape:
        raise ValueError(f"The proposal is {proposed.shape}; the image is {document.image_shape}.")
    current = document.segments(frame)
    locked = {i: segment for i, segment in current.items() if segment.is_locked}
    # A person may have drawn an id on in another frame: there it is the same thing.
    elsewhere = {s.id for other, s in document.iter_segments() if other != frame and s.is_locked}
    free = sorted(set(current) - set(locked) - elsewhere)
    id_map = document.id_map(frame)
    painted = [i for i, segment in locked.items() if segment.status is not Status.REJECTED]
    is_locked = np.isin(id_map, painted) if painted else None
    n = int(proposed.id_map.max(initial=0)) + 1
    shown = proposed.id_map if is_locked is None else np.where(is_locked, 0, proposed.id_map)
    visible = {s.id: s.area for s in proposed.segments}
    is_measured = is_locked is None and all(visible.values())
    if not is_measured:
        visible = dict(enumerate(areas(shown, n).tolist()))
    refused = _rejected_again(locked.values(), proposed)
    kept = [
        s
        for s in proposed.segments
        if visible[s.id] >= max(1, VISIBLE_PART * s.area) and s.id not in refused
    ]
    same = same_again([current[i] for i in free], kept, id_map, shown)
    left = iter(sorted(set(free) - set(same.values())))
    fresh = itertools.count(document.next_id)
    ids = [same[s.id] if s.id in same else next(left, None) or next(fresh) for s in kept]
    table = np.zeros(n, np.int64)
    for segment, new_id in zip(kept, ids, strict=True):
        table[segment.id] = new_id
    after = renumber(shown, table)
    where = {} if is_measured else boxes(after)
    if is_locked is not None:
        after = np.where(is_locked, id_map, after)
    segments = {
        new_id: replace(
            segment,
            id=new_id,
            area=visible[segment.id],
            bbox=where.get(new_id, segment.bbox),
            annotation_id=current[new_id].annotation_id if segment.id in same else None,
        )
        for segment, new_id in zip(kept, ids, strict=True)
    }
    changes = [
        SegmentChange(frame, current.get(i), segments.get(i))
        for i in sorted((set(current) - set(locked)) | set(segments))
        if current.get(i) != segments.get(i)
    ]
    pixels = PixelChange.between(frame, id_map, after)
    return Edit(
        name,
        () if pixels is None else (pixels,),
        tuple(changes),
        states=_state(document, frame, FrameState.PROPOSED),
    )


def painted(
    document: Document, frame: int, difference: IdMap, origin: tuple[int, int], category_id: int
) -> Edit:
    """Return the edit for pixels that a viewer has painted already.

    Known segments become edited (drawn ones stay drawn), unknown ids drawn segments of the given
    category, and segments without a pixel left are gone.

    Parameters
    ----------
    document : Document
        Its id map has the new pixels.
    frame : int
    difference : (h, w) int
        The exclusive or of the ids before and now, in a part of the frame.
    origin : (y, x)
        Where its first pixel lies.
    category_id : int
        Of what is new.
    """
    zeros = np.zeros_like(difference)
    change = PixelChange.between(frame, zeros, difference, origin)
    if change is None:
        return Edit("Paint")
    id_map, known = document.id_map(frame), document.segments(frame)
    rows, columns = change.difference.slices
    now = id_map[rows, columns]
    is_changed = change.difference.array() != 0
    before = now[is_changed] ^ change.difference.array()[is_changed].astype(now.dtype)
    touched = sorted(
        (set(np.unique(now[is_changed]).tolist()) | set(np.unique(before).tolist())) - {0}
    )
    box = around([change.box, *(known[i].bbox for i in touched if i in known)])
    y0, x0, y1, x1 = box
    found = measure(id_map[y0:y1, x0:x1], touched, (y0, x0))
    category = document.categories[category_id]
    changes = []
    for i in touched:
        old = known.get(i)
        new = None
        if i in found:
            area, bbox = found[i]
            new = (
                Segment(i, category_id, is_thing=category.is_thing, status=Status.DRAWN)
                if old is None
                else edited(old)
            )
            new = replace(new, area=area, bbox=bbox)
        if old != new:
            changes.append(SegmentChange(frame, old, new))
    drawn = any(c.before is None for c in changes)
    erased = any(c.after is None for c in changes)
    return Edit(
        "Draw" if drawn else "Erase" if erased or not now[is_changed].any() else "Paint",
        (change,),
        tuple(changes),
    )


def add(
    document: Document,
    frame: int,
    mask: Mask,
    origin: tuple[int, int],
    segment: Segment,
    name: str = "Add object",
) -> Edit:
    """Add a segment where no locked one is; it takes a new id.

    Parameters
    ----------
    mask : (h, w) bool
    origin : (y, x)
        Where the mask's first pixel lies in the frame.
    segment : Segment
        What it is; id, area and box are set here.

    Raises
    ------
    DataError
        If nothing of the mask is free.
    """
    canvas = Canvas(document, frame, _box(mask, origin))
    free = canvas.place(mask, origin) & canvas.free()
    if not free.any():
        raise DataError(
            "There is no room for the object: all its pixels belong to objects that are accepted, "
            "edited or locked. Unlock or delete these first."
        )
    canvas.pixels[free] = document.next_id
    added = replace(segment, id=document.next_id)
    return _proposals_stay(canvas.edit(name, {added.id: added}), document)


def repaint(document: Document, key: Key, mask: Mask, origin: tuple[int, int], name: str) -> Edit:
    """Give a segment other pixels; those of locked others stay theirs."""
    frame, i = key
    segment = _segment(document, key)
    canvas = Canvas(document, frame, around([_box(mask, origin), segment.bbox]))
    free = canvas.place(mask, origin) & canvas.free(yields=[i])
    canvas.pixels[canvas.mask(i)] = 0
    canvas.pixels[free] = i
    return _proposals_stay(canvas.edit(name, {i: edited(segment)}), document, but=i)


def delete(document: Document, keys: Iterable[Key]) -> Edit:
    """Remove segments, and their pixels."""
    keys = sorted(keys)
    return joined(f"Delete {_objects(len(keys))}", (_cleared(document, key, None) for key in keys))


def reject(document: Document, keys: Iterable[Key]) -> Edit:
    """Remove the pixels of segments, and remember where they were: not to be proposed again."""
    edits = []
    for key in sorted(keys):
        segment = _segment(document, key)
        y0, x0, y1, x1 = segment.bbox
        mask = document.id_map(key[0])[y0:y1, x0:x1] == segment.id
        runs = Runs.of(mask, (y0, x0))
        edits.append(_cleared(document, key, replace(segment, status=Status.REJECTED, mask=runs)))
    return joined(f"Reject {_objects(len(edits))}", edits)


def set_status(document: Document, keys: Iterable[Key], status: Status) -> Edit:
    """Accept segments, or make them proposals again."""
    word = {Status.ACCEPTED: "Accept", Status.PROPOSED: "Reopen"}.get(status, "Mark")
    return _update(document, keys, word, lambda segment: replace(segment, status=status))


def recategorise(document: Document, keys: Iterable[Key], category_id: int) -> Edit:
    """Give segments another category; proposals become edited."""
    category = document.categories[category_id]

    def change(segment: Segment) -> Segment:
        if segment.category_id == category_id:
            return segment
        return replace(
            edited(segment) if segment.status is Status.PROPOSED else segment,
            category_id=category_id,
            is_thing=category.is_thing,
        )

    return _update(document, keys, f"Make {category.name}:", change)


def set_locked(document: Document, keys: Iterable[Key], locked: bool) -> Edit:
    """Lock segments against any model, or unlock them."""
    word = "Lock" if locked else "Unlock"
    return _update(document, keys, word, lambda segment: replace(segment, locked=locked))


def set_note(document: Document, keys: Iterable[Key], note: str) -> Edit:
    """Write a note to segments."""
    return _update(document, keys, "Note on", lambda segment: replace(segment, note=note))


def merge(document: Document, keys: Iterable[Key]) -> Edit:
    """Make segments of one frame one: the largest, whose id and category stay.

    Raises
    ------
    DataError
        If they are fewer than two, or of several frames.
    """
    keys = sorted(keys)
    frames = {frame for frame, _ in keys}
    if len(keys) < 2 or len(frames) != 1:
        raise DataError(
            f"Merging takes two objects or more of one frame; {len(keys)} of {len(frames)} frames "
            "are selected. Select them with Shift, in one frame."
        )
    segments = [_segment(document, key) for key in keys]
    largest = max(segments, key=lambda segment: (segment.area, -segment.id))
    canvas = Canvas(document, keys[0][0], around(segment.bbox for segment in segments))
    canvas.pixels[np.isin(canvas.pixels, [segment.id for segment in segments])] = largest.id
    return canvas.edit(f"Merge {_objects(len(keys))}", {largest.id: edited(largest)})


def mark_frame(document: Document, frame: int, state: FrameState) -> Edit:
    """Say how far a frame has come."""
    changes = _state(document, frame, state)
    return Edit(f"Mark as {state.value}", states=changes)


def add_categories(document: Document, categories: Iterable[Category]) -> Edit:
    """Take up the categories that are not known yet; known ids stay as they are."""
    new = [c for c in categories if c.id not in document.categories]
    name = f"Add {new[0].name}" if len(new) == 1 else f"Add {len(new)} categories"
    return Edit(name, categories=tuple(CategoryChange(None, category) for category in new))


def change_category(document: Document, category: Category) -> Edit:
    """Rename or recolour a category, or turn things into stuff; its id stays."""
    before = document.categories[category.id]
    if before == category:
        return Edit(f"Change {category.name}")
    segments: tuple[SegmentChange, ...] = ()
    if before.is_thing != category.is_thing:
        segments = tuple(
            SegmentChange(frame, s, replace(s, is_thing=category.is_thing))
            for frame, s in document.iter_segments()
            if s.category_id == category.id
        )
    return Edit(
        f"Change {before.name}",
        segments=segments,
        categories=(CategoryChange(before, category),),
    )


def remove_category(document: Document, category_id: int, into: int | None = None) -> Edit:
    """Remove a category.

    Parameters
    ----------
    into : int, optional
        Category that its segments get.

    Raises
    ------
    DataError
        If it has segments and they are to go nowhere, or it is the last one.
    """
    category = document.categories[category_id]
    keys = [(f, s.id) for f, s in document.iter_segments() if s.category_id == category_id]
    if len(document.categories) == 1:
        raise DataError(f"{category.name} is the only category. Rename it, or add another first.")
    if keys and into is None:
        raise DataError(
            f"{_objects(len(keys))} {'is' if len(keys) == 1 else 'are'} {category.name}. Choose "
            "the category that they become, or delete them first."
        )
    edit = Edit(f"Remove {category.name}")
    if keys and into is not None:
        edit = edit.then(recategorise(document, keys, into))
    position = list(document.categories).index(category_id)
    return edit.then(Edit("", categories=(CategoryChange(category, None, position),)))


def _update(
    document: Document, keys: Iterable[Key], word: str, change: Callable[[Segment], Segment]
) -> Edit:
    keys = sorted(keys)
    before = [(frame, _segment(document, (frame, i))) for frame, i in keys]
    pairs = [(frame, old, change(old)) for frame, old in before]
    return Edit(
        f"{word} {_objects(len(keys))}",
        segments=tuple(SegmentChange(f, old, new) for f, old, new in pairs if old != new),
    )


def _cleared(document: Document, key: Key, after: Segment | None) -> Edit:
    """Take the pixels of a segment away; it is gone, or what `after` says."""
    frame, _ = key
    segment = _segment(document, key)
    y0, x0, y1, x1 = segment.bbox
    part = document.id_map(frame)[y0:y1, x0:x1]
    pixels = PixelChange.between(frame, part, np.where(part == segment.id, 0, part), (y0, x0))
    change = SegmentChange(frame, segment, after)
    return Edit("", () if pixels is None else (pixels,), (change,))


def _proposals_stay(edit: Edit, document: Document, but: int = 0) -> Edit:
    """Let proposals that lose pixels to another segment stay proposals: no person painted them."""
    changes = []
    for change in edit.segments:
        before, after = change.before, change.after
        if before is not None and after is not None and change.id != but:
            after = replace(after, status=before.status)
        changes.append(SegmentChange(change.frame, before, after))
    return replace(edit, segments=tuple(changes))


def _rejected_again(locked: Iterable[Segment], proposed: Segmentation) -> set[int]:
    """Return the ids of proposals that are what a person has rejected."""
    by_id: Mapping[int, Segment] = proposed.by_id()
    refused = set()
    for segment in locked:
        if segment.mask is None:
            continue
        mask = segment.mask.array() != 0
        there = np.bincount(proposed.id_map[segment.mask.slices][mask])
        for i in np.flatnonzero(there):
            shared = int(there[i])
            if i and shared >= VISIBLE_PART * (by_id[int(i)].area + int(mask.sum()) - shared):
                refused.add(int(i))
    return refused


def _state(document: Document, frame: int, state: FrameState) -> tuple[StateChange, ...]:
    before = document.state(frame)
    return () if before is state else (StateChange(frame, before, state),)


def _segment(document: Document, key: Key) -> Segment:
    frame, i = key
    try:
        return document.segments(frame)[i]
    except KeyError:
        raise DataError(f"There is no object {i} in frame {frame} any more.") from None


def _box(mask: Mask, origin: tuple[int, int]) -> Box:
    y, x = origin
    return y, x, y + mask.shape[0], x + mask.shape[1]


def _objects(n: int) -> str:
    return "1 object" if n == 1 else f"{n:,} objects"
