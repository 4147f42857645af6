"""Operations on the shape of segments: split, fill, smooth, carry to another frame.

Like those of `operations`, they return the edit and change nothing.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_eomt.annotation.canvas import Canvas, Mask, around, edited
from napari_eomt.annotation.edits import Edit, joined
from napari_eomt.errors import DataError
from napari_eomt.structures.segments import Segment, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy.typing as npt

    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.session import Key
    from napari_eomt.structures.segments import Box

_EIGHT = np.ones((3, 3), np.bool_)


def split_by_line(document: Document, key: Key, points: Sequence[tuple[float, float]]) -> Edit:
    """Split a segment where a line crosses it.

    Parameters
    ----------
    document : Document
    key : (frame, id)
    points : sequence of (y, x)
        Corners of the line, in pixels of the frame.

    Returns
    -------
    Edit
        The largest piece keeps the id. Pixels under the line go to the nearest piece, so that
        nothing is lost.

    Raises
    ------
    DataError
        If the line does not divide the segment.
    """
    canvas, segment = _canvas(document, key)
    mask = canvas.mask(segment.id)
    line = _line(points, canvas.origin, mask.shape)
    rest = mask & ~line
    pieces, n = ndimage.label(rest, _EIGHT)
    if n <= ndimage.label(mask, _EIGHT)[1]:
        raise DataError(
            "The line does not divide the object. Draw it right across, from outside to outside."
        )
    return _divide(canvas, segment, mask, _grown(pieces, mask), f"Split object {segment.id}")


def split_by_seeds(document: Document, key: Key, seeds: Sequence[tuple[float, float]]) -> Edit:
    """Split a segment between points: by watershed on the distance to its edge.

    Parameters
    ----------
    document : Document
    key : (frame, id)
    seeds : sequence of (y, x)
        One inside of each piece, in pixels of the frame.

    Raises
    ------
    DataError
        If fewer than two different seeds lie in the segment.
    """
    from skimage.segmentation import watershed

    canvas, segment = _canvas(document, key)
    mask = canvas.mask(segment.id)
    markers = np.zeros(mask.shape, np.int32)
    y0, x0 = canvas.origin
    for y, x in seeds:
        row, column = round(y) - y0, round(x) - x0
        inside = 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]
        if inside and mask[row, column] and not markers[row, column]:
            markers[row, column] = int(markers.max()) + 1
    if markers.max() < 2:
        raise DataError(
            "Splitting takes two points within the object. Click once in each of its parts."
        )
    distance = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    pieces = watershed(-distance, markers, mask=mask)  # type: ignore[no-untyped-call]
    name = f"Split object {segment.id}"
    return _divide(canvas, segment, mask, _grown(pieces, mask), name)


def split_by_masks(
    document: Document,
    key: Key,
    probabilities: npt.NDArray[np.floating],
    origin: tuple[int, int],
    described: Sequence[Segment] = (),
) -> Edit:
    """Split a segment between several proposals of the model: each pixel goes to the surest.

    Parameters
    ----------
    document : Document
    key : (frame, id)
    probabilities : (N, h, w) float
        Of N proposals, in a part of the frame.
    origin : (y, x)
        Where its first pixel lies.
    described : sequence of Segment, optional
        What the pieces are; by default what the whole was.

    Raises
    ------
    DataError
        If only one of the proposals would have pixels.
    """
    canvas, segment = _canvas(document, key)
    mask = canvas.mask(segment.id)
    placed = np.zeros((len(probabilities), *mask.shape), np.float32)
    for k, probability in enumerate(probabilities):
        where = canvas.place(np.ones(probability.shape, np.bool_), origin)
        rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
        if len(rows):
            y, x = canvas.box[0] + rows[0] - origin[0], canvas.box[1] + columns[0] - origin[1]
            part = probability[y : y + len(rows), x : x + len(columns)]
            placed[k, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = part
    pieces = np.where(mask & (placed.max(0) > 0), placed.argmax(0) + 1, 0)
    if len(np.unique(pieces[pieces > 0])) < 2:
        raise DataError(
            "The model sees one object here, not two. Split it by a line or by two clicks."
        )
    return _divide(
        canvas, segment, mask, _grown(pieces, mask), f"Split object {segment.id}", described
    )


def fill_holes(document: Document, keys: Iterable[Key]) -> Edit:
    """Fill the holes of segments; locked segments in them stay."""

    def fill(mask: Mask) -> Mask:
        return np.asarray(ndimage.binary_fill_holes(mask))

    return _reshape(document, keys, "Fill holes of", fill)


def keep_largest(document: Document, keys: Iterable[Key]) -> Edit:
    """Keep the largest connected part of each segment."""

    def largest(mask: Mask) -> Mask:
        parts, n = ndimage.label(mask, _EIGHT)
        if n < 2:
            return mask
        return np.asarray(parts == np.bincount(parts.ravel())[1:].argmax() + 1)

    return _reshape(document, keys, "Keep largest part of", largest)


def smooth(document: Document, keys: Iterable[Key], radius: float = 2.0) -> Edit:
    """Smooth the outline of segments: the majority within a Gaussian of `radius` pixels."""

    def smoothed(mask: Mask) -> Mask:
        blurred = ndimage.gaussian_filter(mask.astype(np.float32), radius, mode="nearest")
        result = blurred > 0.5
        # Something thin would vanish: leave it as it is.
        return result if result.any() else mask

    return _reshape(document, keys, "Smooth", smoothed, margin=int(np.ceil(3 * radius)))


def copy_to(document: Document, keys: Iterable[Key], frame: int) -> Edit:
    """Copy segments into another frame, with their ids: there they are the same things.

    Raises
    ------
    DataError
        If nothing of them would fit between locked segments there.
    """
    found = [(key[0], _segment(document, key)) for key in sorted(keys) if key[0] != frame]
    masks = [(s, _mask(document, source, s), s.bbox[:2]) for source, s in found]
    edit = _put(document, frame, masks, f"Copy {_objects(len(masks))} to frame {frame}")
    if not edit:
        raise DataError(
            "Nothing was copied: the place is taken by objects that are accepted, edited or locked."
        )
    return edit


def interpolate(document: Document, segment_id: int, first: int, last: int) -> Edit:
    """Draw a segment in the frames between two that have it, by blending its outlines.

    The signed distances to both outlines are blended, each around its middle, so that things
    that move do not vanish half-way.

    Raises
    ------
    DataError
        If it is not in both frames, or there is no frame between.
    """
    for frame in (first, last):
        if segment_id not in document.segments(frame):
            raise DataError(
                f"Object {segment_id} is not in frame {frame}. Interpolating goes between two "
                "frames that have it: copy or draw it there first."
            )
    if last - first < 2:
        raise DataError("There is no frame between. Choose frames that are further apart.")
    ends = [_distances(document, frame, segment_id) for frame in (first, last)]
    segment = document.segments(first)[segment_id]
    edits = []
    for frame in range(first + 1, last):
        part = (frame - first) / (last - first)
        centre = tuple(a + part * (b - a) for a, b in zip(ends[0][1], ends[1][1], strict=True))
        sides = [max(d.shape[axis] for d, _ in ends) for axis in (0, 1)]
        origin = (round(centre[0] - sides[0] / 2), round(centre[1] - sides[1] / 2))
        blend = np.zeros(sides, np.float32)
        for weight, (distance, _) in zip((1 - part, part), ends, strict=True):
            shift = (
                (sides[0] - 1) / 2 - (distance.shape[0] - 1) / 2,
                (sides[1] - 1) / 2 - (distance.shape[1] - 1) / 2,
            )
            outside = float(distance.min())
            padded = np.full(sides, outside, np.float32)
            y, x = round(shift[0]), round(shift[1])
            padded[y : y + distance.shape[0], x : x + distance.shape[1]] = distance
            blend += np.float32(weight) * padded
        edits.append(_put(document, frame, [(segment, blend > 0, origin)], ""))
    return joined(f"Interpolate object {segment_id}", edits)


def _distances(
    document: Document, frame: int, segment_id: int
) -> tuple[npt.NDArray[np.float32], tuple[float, float]]:
    """Return the signed distance to a segment's outline around its box, and the box's middle."""
    segment = document.segments(frame)[segment_id]
    y0, x0, y1, x1 = segment.bbox
    mask = _mask(document, frame, segment)
    margin = max(mask.shape) // 2 + 2
    mask = np.pad(mask, margin)
    inside = ndimage.distance_transform_edt(mask)
    outside = ndimage.distance_transform_edt(~mask)
    return (inside - outside).astype(np.float32), ((y0 + y1) / 2, (x0 + x1) / 2)


def _mask(document: Document, frame: int, segment: Segment) -> Mask:
    """Return where a segment is, within its box."""
    y0, x0, y1, x1 = segment.bbox
    mask: Mask = document.id_map(frame)[y0:y1, x0:x1] == segment.id
    return mask


def _put(
    document: Document,
    frame: int,
    masks: Sequence[tuple[Segment, Mask, tuple[int, int]]],
    name: str,
) -> Edit:
    """Draw segments of other frames into this one, in place of what they were there."""
    here = document.segments(frame)
    boxes = [(y, x, y + mask.shape[0], x + mask.shape[1]) for _, mask, (y, x) in masks]
    boxes += [here[segment.id].bbox for segment, _, _ in masks if segment.id in here]
    canvas = Canvas(document, frame, around(boxes))
    free = canvas.free(yields=[segment.id for segment, _, _ in masks])
    drawn = {}
    for segment, mask, origin in masks:
        wanted = canvas.place(mask, origin) & free
        if wanted.any():
            canvas.pixels[canvas.mask(segment.id)] = 0
            canvas.pixels[wanted] = segment.id
            old = here.get(segment.id)
            # An annotation is of one image, but of a whole video.
            annotation_id = None if old is None else old.annotation_id
            if document.origin is not None and document.origin.video_id is not None:
                annotation_id = segment.annotation_id
            drawn[segment.id] = replace(
                segment, status=Status.DRAWN, score=None, mask=None, annotation_id=annotation_id
            )
    return canvas.edit(name, drawn)


def _reshape(
    document: Document,
    keys: Iterable[Key],
    word: str,
    change: Callable[[Mask], Mask],
    margin: int = 0,
) -> Edit:
    """Change the outline of segments one after the other; neighbours keep their pixels."""
    keys = sorted(keys)
    edits = []
    for frame in sorted({frame for frame, _ in keys}):
        segments = [_segment(document, key) for key in keys if key[0] == frame]
        # One canvas for all: the second must see what the first has taken.
        canvas = Canvas(document, frame, _wider(around(s.bbox for s in segments), margin))
        for segment in segments:
            y0, x0, y1, x1 = _wider(segment.bbox, margin, canvas.box)
            y, x = canvas.origin
            part = canvas.pixels[y0 - y : y1 - y, x0 - x : x1 - x]
            mask = part == segment.id
            new = change(mask) & (mask | (part == 0))
            part[mask & ~new] = 0
            part[new] = segment.id
        edits.append(canvas.edit(""))
    return joined(f"{word} {_objects(len(keys))}", edits)


def _divide(
    canvas: Canvas,
    segment: Segment,
    mask: Mask,
    pieces: npt.NDArray[np.integer],
    name: str,
    described: Sequence[Segment] = (),
) -> Edit:
    """Give every piece an id: the largest keeps the segment's."""
    sizes = np.bincount(pieces[mask], minlength=1)
    order = [int(k) for k in np.argsort(-sizes, kind="stable") if k and sizes[k]]
    ids = [segment.id, *range(canvas.document.next_id, canvas.document.next_id + len(order) - 1)]
    changed = {}
    for k, i in zip(order, ids, strict=True):
        canvas.pixels[mask & (pieces == k)] = i
        what = described[k - 1] if k <= len(described) else segment
        # One piece goes on as the annotation that the whole was read from; the others are new.
        annotation_id = segment.annotation_id if i == segment.id else None
        what = replace(what, id=i, status=segment.status, mask=None, annotation_id=annotation_id)
        changed[i] = edited(what)
    return canvas.edit(name, changed)


def _grown(pieces: npt.NDArray[np.integer], mask: Mask) -> npt.NDArray[np.integer]:
    """Give the pixels of a mask that are in no piece to the nearest one."""
    nearest = ndimage.distance_transform_edt(
        pieces == 0, return_distances=False, return_indices=True
    )
    grown: npt.NDArray[np.integer] = np.where(mask, pieces[tuple(nearest)], 0)
    return grown


def _line(
    points: Sequence[tuple[float, float]], origin: tuple[int, int], shape: tuple[int, ...]
) -> Mask:
    """Draw a line of which every step is to a side, so that no corner leaks through it."""
    line = np.zeros(shape, np.bool_)
    for (ya, xa), (yb, xb) in pairwise(points):
        n = int(2 * max(abs(yb - ya), abs(xb - xa))) + 2
        rows = np.round(np.linspace(ya, yb, n)).astype(int) - origin[0]
        columns = np.round(np.linspace(xa, xb, n)).astype(int) - origin[1]
        # Between two pixels that touch by a corner, one more.
        rows = np.concatenate((rows, rows[1:]))
        columns = np.concatenate((columns, columns[:-1]))
        inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
        line[rows[inside], columns[inside]] = True
    return line


def _canvas(document: Document, key: Key) -> tuple[Canvas, Segment]:
    segment = _segment(document, key)
    return Canvas(document, key[0], segment.bbox), segment


def _segment(document: Document, key: Key) -> Segment:
    frame, i = key
    segment = document.segments(frame).get(i)
    if segment is None or segment.status is Status.REJECTED:
        raise DataError(f"There is no object {i} in frame {frame} any more.")
    return segment


def _wider(box: Box, by: int, within: Box | None = None) -> Box:
    y0, x0, y1, x1 = box
    wide = (y0 - by, x0 - by, y1 + by, x1 + by)
    if within is None:
        return wide
    return (
        max(wide[0], within[0]),
        max(wide[1], within[1]),
        min(wide[2], within[2]),
        min(wide[3], within[3]),
    )


def _objects(n: int) -> str:
    return "1 object" if n == 1 else f"{n:,} objects"
