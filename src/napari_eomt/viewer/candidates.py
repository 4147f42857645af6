"""Make objects of candidates: a query of the model becomes a segment, or its outline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.annotation import operations, shapes
from napari_eomt.errors import DataError
from napari_eomt.structures.segments import Segment, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_eomt.annotation.edits import Edit
    from napari_eomt.annotation.session import Key
    from napari_eomt.structures.candidates import Candidate, Patch, Split
    from napari_eomt.viewer.place import Place

SAME_IOU = 0.5
"""A candidate that shares more than this with a proposal is that object with another outline."""


def describe(place: Place, candidate: Candidate) -> str:
    """Return a candidate's category and score for people."""
    category = place.result.document.categories.get(candidate.category_id)
    name = f"category {candidate.category_id}" if category is None else category.name
    return f"{name} {candidate.score:.2f}"


def take(place: Place, frame: int, candidate: Candidate, patch: Patch) -> str:
    """Make a candidate an object, or the outline of the proposal that it is nearly the same as.

    Parameters
    ----------
    place : Place
    frame : int
        Which the candidate was found in.
    candidate : Candidate
    patch : Patch
        Its mask.

    Returns
    -------
    str
        What was done.

    Raises
    ------
    DataError
        If its place is taken by objects that a person has decided about, or its category is not
        one of the document's.
    """
    document, session = place.result.document, place.result.session
    if candidate.category_id not in document.categories:
        raise DataError(
            f"The candidate is of category {candidate.category_id}, which was removed. Add it "
            "again, or undo its removal."
        )
    mask, origin = inside(patch, document.image_shape)
    what = describe(place, candidate)
    same = _same(place, frame, mask, origin)
    place.result.view.flush()
    if same is None:
        edit = operations.add(document, frame, mask, origin, _segment(candidate), f"Take {what}")
        key = (frame, document.next_id)
        session.do(edit)
        session.select([key])
        return f"Took {what} as object {key[1]}"
    with session.step(f"Take {what}"):
        session.do(operations.repaint(document, same, mask, origin, f"Take {what}"))
        session.do(operations.recategorise(document, [same], candidate.category_id))
    session.select([same])
    return f"Object {same[1]} took the outline of {what}"


def inside(patch: Patch, shape: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the part of a mask that lies in the image, and where its first pixel lies."""
    y0, x0, y1, x1 = patch.box
    top, left = max(0, y0), max(0, x0)
    bottom, right = max(top, min(y1, shape[0])), max(left, min(x1, shape[1]))
    pixels = patch.pixels[top - y0 : bottom - y0, left - x0 : right - x0]
    return np.asarray(pixels, np.bool_), (top, left)


def under(candidates: Iterable[Candidate], point: tuple[float, float]) -> Candidate | None:
    """Return the smallest candidate whose outlines enclose (y, x)."""
    there = [c for c in candidates if _encloses(c, point)]
    return min(there, key=lambda candidate: candidate.area) if there else None


def split(place: Place, key: Key, found: Split) -> str:
    """Split an object between the queries of the model that see several there.

    Raises
    ------
    DataError
        If only one of them would have pixels.
    """
    document = place.result.document
    described = [_segment(candidate) for candidate in found.candidates]
    if any(segment.category_id not in document.categories for segment in described):
        described = []
    edit = shapes.split_by_masks(document, key, found.probabilities, found.origin, described)
    place.do(edit)
    pieces = _pieces(edit)
    place.result.session.select((key[0], i) for i in {key[1], *pieces})
    return f"{edit.name} into {len(pieces) + 1}, as the model sees it"


def _pieces(edit: Edit) -> set[int]:
    return {c.id for c in edit.segments if c.after is not None and c.before is None}


def _segment(candidate: Candidate) -> Segment:
    """Return what a candidate is; a person has chosen it, so it is accepted."""
    return Segment(
        0,
        candidate.category_id,
        score=candidate.score,
        is_thing=candidate.is_thing,
        status=Status.ACCEPTED,
    )


def _same(place: Place, frame: int, mask: np.ndarray, origin: tuple[int, int]) -> Key | None:
    """Return the proposal that a mask is nearly the same as; None if there is none."""
    document = place.result.document
    y, x = origin
    part = document.id_map(frame)[y : y + mask.shape[0], x : x + mask.shape[1]]
    ids, shared = np.unique(part[mask], return_counts=True)
    segments, area = document.segments(frame), int(mask.sum())
    best: tuple[float, int] | None = None
    for i, n in zip(ids.tolist(), shared.tolist(), strict=True):
        segment = segments.get(i)
        if segment is not None and not segment.is_locked:
            iou = n / (segment.area + area - n)
            if iou > SAME_IOU and (best is None or iou > best[0]):
                best = iou, i
    return None if best is None else (frame, best[1])


def _encloses(candidate: Candidate, point: tuple[float, float]) -> bool:
    """Whether a ray from the point crosses the outlines an odd number of times."""
    y, x = point
    y0, x0, y1, x1 = candidate.box
    if not (y0 - 1 <= y <= y1 and x0 - 1 <= x <= x1):
        return False
    crossings = 0
    for line in candidate.outlines:
        closed = np.concatenate((line, line[:1]))
        (ya, xa), (yb, xb) = closed[:-1].T, closed[1:].T
        crosses = (ya > y) != (yb > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            at = xa + (y - ya) / (yb - ya) * (xb - xa)
        crossings += int((crosses & (at > x)).sum())
    return crossings % 2 == 1
