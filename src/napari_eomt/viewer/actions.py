"""What a person can do to the objects of a result: each is one edit, and says what it did."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.annotation import operations, shapes
from napari_eomt.errors import DataError
from napari_eomt.structures.segments import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_eomt.annotation.edits import Edit
    from napari_eomt.annotation.session import Key
    from napari_eomt.structures.segments import Segment
    from napari_eomt.viewer.place import Place


def accept(place: Place) -> str:
    """Accept the objects, and go to the next one."""
    return _decide(place, lambda keys: _status(place, keys, Status.ACCEPTED))


def reject(place: Place) -> str:
    """Remove the objects, so that they are not proposed again, and go to the next one."""
    return _decide(place, lambda keys: operations.reject(place.result.document, keys))


def delete(place: Place) -> str:
    """Remove the objects."""
    return place.do(operations.delete(place.result.document, place.meant()))


def merge(place: Place) -> str:
    """Make the objects one."""
    keys = place.meant()
    message = place.do(operations.merge(place.result.document, keys))
    place.result.session.select(k for k in keys if k[1] in place.result.document.segments(k[0]))
    return message


def lock(place: Place) -> str:
    """Lock the objects; unlock them if all of them are."""
    keys, document = place.meant(), place.result.document
    are_locked = all(document.segments(frame)[i].locked for frame, i in keys)
    return place.do(operations.set_locked(document, keys, not are_locked))


def reopen(place: Place) -> str:
    """Make the objects proposals again."""
    return place.do(_status(place, place.meant(), Status.PROPOSED))


def fill_holes(place: Place) -> str:
    """Fill the holes of the objects."""
    return place.do(shapes.fill_holes(place.result.document, place.meant()))


def smooth(place: Place) -> str:
    """Smooth the outlines of the objects."""
    return place.do(shapes.smooth(place.result.document, place.meant()))


def keep_largest(place: Place) -> str:
    """Keep the largest part of each object."""
    return place.do(shapes.keep_largest(place.result.document, place.meant()))


def copy_to_next(place: Place) -> str:
    """Copy the objects into the next frame, and go there."""
    document, keys = place.result.document, place.meant()
    frame = place.frame + 1
    if frame >= document.n_frames:
        raise DataError("This is the last frame: there is none to copy to.")
    message = place.do(shapes.copy_to(document, keys, frame))
    place.show_frame(frame)
    place.result.session.select((frame, i) for _, i in keys if i in document.segments(frame))
    return message


def interpolate(place: Place) -> str:
    """Draw the object in the frames between two that have it, around the one that is shown."""
    document, here = place.result.document, place.frame
    ids = sorted({i for _, i in place.result.session.selection}) or [place.meant()[0][1]]
    if len(ids) > 1:
        raise DataError("Interpolating takes one object at a time. Select one.")
    frames = [f for f in document.frames_of(ids[0]) if _is_shown(document.segments(f)[ids[0]])]
    gaps = [(a, b) for a, b in pairwise(frames) if b - a > 1]
    if not gaps:
        raise DataError(
            f"Object {ids[0]} is in {len(frames)} frame{'s' if len(frames) != 1 else ''} without "
            "a gap between. Copy or draw it in another frame first."
        )
    first, last = min(gaps, key=lambda gap: _distance(gap, here))
    message = place.do(shapes.interpolate(document, ids[0], first, last))
    return f"{message} in {last - first - 1} frames"


def split_by_line(
    place: Place, points: Sequence[tuple[float, float]], key: Key | None = None
) -> str:
    """Split the object that a line crosses; of several the one with most of the line.

    Parameters
    ----------
    place : Place
    points : sequence of (y, x)
        Corners of the line, in pixels of the frame.
    key : (frame, id), optional
        Which object; by default a selected one that the line crosses, else any.
    """
    key = key or _crossed(place, points)
    return _split(place, key, shapes.split_by_line(place.result.document, key, points))


def split_by_clicks(place: Place, seeds: Sequence[tuple[float, float]]) -> str:
    """Split the object under the first of two clicks between them.

    Parameters
    ----------
    place : Place
    seeds : sequence of (y, x)
        In pixels of the frame.
    """
    key = (place.frame, place.under(seeds[0]))
    return _split(place, key, shapes.split_by_seeds(place.result.document, key, seeds))


def recategorise(place: Place, number: int) -> str:
    """Give the objects the category of a number; without objects, draw in it from now on.

    Parameters
    ----------
    place : Place
    number : int
        From 1, in the order of the categories.
    """
    categories = list(place.result.document.categories.values())
    if number > len(categories):
        raise DataError(f"There are {len(categories)} categories, no number {number}.")
    category = categories[number - 1]
    try:
        keys = place.meant()
    except DataError:
        place.result.view.category_id = category.id
        return f"What you draw is {category.name} now."
    return place.do(operations.recategorise(place.result.document, keys, category.id))


def undo(place: Place) -> str:
    """Take the last step back."""
    name = place.result.session.undo_name
    place.result.view.undo()
    return f"Undone: {name}" if name else "Nothing to undo."


def redo(place: Place) -> str:
    """Do again what was taken back last."""
    name = place.result.session.redo_name
    place.result.view.redo()
    return f"Done again: {name}" if name else "Nothing to do again."


def go_next(place: Place) -> str:
    """Go to the next object of the review."""
    return _go(place, 1)


def go_previous(place: Place) -> str:
    """Go to the previous object of the review."""
    return _go(place, -1)


def next_frame(place: Place) -> str:
    """Go to the next frame that has objects."""
    return _go_frame(place, 1)


def previous_frame(place: Place) -> str:
    """Go to the previous frame that has objects."""
    return _go_frame(place, -1)


def _status(place: Place, keys: Sequence[Key], status: Status) -> Edit:
    return operations.set_status(place.result.document, keys, status)


def _decide(place: Place, make: Callable[[list[Key]], Edit]) -> str:
    keys = place.meant()
    # Before the edit: what is decided is no longer in the order.
    following = _following(place, keys[-1])
    message = place.do(make(keys))
    there = [
        (f, i)
        for f, i in following
        if (f, i) not in keys and not place.result.document.segments(f)[i].is_locked
    ]
    if there:
        place.centre_on(there[0])
    else:
        place.result.session.select(())
        message += ". That was the last one to review"
    return message


def _following(place: Place, key: Key) -> list[Key]:
    """Return the order of the review, from what comes after an object, around to it."""
    order = list(place.order(place.result, place.frame))
    if key in order:
        at = order.index(key) + 1
        return order[at:] + order[: at - 1]
    after = [other for other in order if other > key]
    return after + [other for other in order if other < key]


def _go(place: Place, step: int) -> str:
    order = list(place.order(place.result, place.frame))
    if not order:
        return "Nothing is left to review."
    selected = sorted(place.result.session.selection)
    at = order.index(selected[0]) if selected and selected[0] in order else None
    index = (0 if step > 0 else len(order) - 1) if at is None else (at + step) % len(order)
    place.centre_on(order[index])
    frame, i = order[index]
    segment = place.result.document.segments(frame)[i]
    score = "" if segment.score is None else f" · {segment.score:.2f}"
    name = place.result.document.categories[segment.category_id].name
    return f"{index + 1} of {len(order)} to review · #{i} {name}{score}"


def _go_frame(place: Place, step: int) -> str:
    document, here = place.result.document, place.frame
    with_objects = sorted({f for f, s in document.iter_segments() if _is_shown(s)})
    found = [f for f in with_objects if (f - here) * step > 0]
    if not found:
        return f"No frame {'after' if step > 0 else 'before'} this one has objects."
    frame = found[0] if step > 0 else found[-1]
    place.show_frame(frame)
    n = sum(_is_shown(s) for s in document.segments(frame).values())
    return f"Frame {frame}: {n:,} object{'s' if n != 1 else ''}"


def _split(place: Place, key: Key, edit: Edit) -> str:
    place.do(edit)
    pieces = {c.id for c in edit.segments if c.after is not None and c.before is None}
    place.result.session.select((key[0], i) for i in {key[1], *pieces})
    return f"{edit.name} into {len(pieces) + 1}"


def _crossed(place: Place, points: Sequence[tuple[float, float]]) -> Key:
    """Return the object that a line runs through, preferably a selected one."""
    frame = place.frame
    ids = []
    for (ya, xa), (yb, xb) in pairwise(points):
        n = int(max(abs(yb - ya), abs(xb - xa))) + 2
        steps = zip(np.linspace(ya, yb, n), np.linspace(xa, xb, n), strict=True)
        ids += [place.under((float(y), float(x))) for y, x in steps]
    found, counts = np.unique([i for i in ids if i], return_counts=True)
    if not len(found):
        raise DataError("The line crosses no object. Draw it right across one.")
    by_length = [(frame, int(i)) for i in found[np.argsort(-counts, kind="stable")]]
    selected = [key for key in by_length if key in place.result.session.selection]
    return (selected or by_length)[0]


def _is_shown(segment: Segment) -> bool:
    return segment.status is not Status.REJECTED


def _distance(gap: tuple[int, int], frame: int) -> int:
    """Return how far a frame is from a gap; 0 within it."""
    first, last = gap
    return max(first - frame, frame - last, 0)
