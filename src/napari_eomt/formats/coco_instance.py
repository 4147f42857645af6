"""COCO's instances as a document, and a document as COCO's instances, with nothing lost.

What was not touched is written back as it was, to the last bit: of what COCO knows and we do not,
and of masks that overlap, or that others hide.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from napari_eomt.annotation.document import Document, FrameState, Origin
from napari_eomt.annotation.edits import Edit, SegmentChange, StateChange
from napari_eomt.errors import DataError
from napari_eomt.formats.coco_attributes import (
    is_later,
    read_attributes,
    segment_id_of,
    write_attributes,
)
from napari_eomt.formats.coco_categories import read_category, write_categories
from napari_eomt.formats.coco_masks import (
    Painted,
    mask_of,
    paint_annotations,
    segmentation_of,
)
from napari_eomt.structures.id_maps import boxes as id_boxes
from napari_eomt.structures.id_maps import renumber
from napari_eomt.structures.rle import Rle, areas, boxes, encode
from napari_eomt.structures.segments import Segment, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_eomt.formats.coco_checks import Record, Size
    from napari_eomt.formats.coco_file import CocoFile

__all__ = [
    "Painted",
    "annotations_of",
    "categories_of",
    "mask_of",
    "paint_annotations",
    "read_document",
]


Form: TypeAlias = Literal["rle", "polygons"]
"""How masks are written."""


@dataclass(frozen=True)
class _Mask:
    rle: Rle
    area: int
    bbox: list[int]  # [x, y, width, height]

    def fields(self, segment: Segment, form: Form) -> Record:
        """Return what an annotation says of the mask."""
        return {
            "segmentation": segmentation_of(self.rle, "rle" if segment.is_crowd else form),
            "area": self.area,
            "bbox": self.bbox,
        }


@dataclass(frozen=True)
class _Before(Painted):
    """What was read, and the annotations that somebody else has added since."""

    later: tuple[Record, ...] = ()


def read_document(file: CocoFile, image_ids: Sequence[int], *, origin_path: Path | str) -> Document:
    """Read the annotations of an image, or of several of one size as the frames of a stack.

    Parameters
    ----------
    file : CocoFile
    image_ids : sequence of int
        One or more.
    origin_path : Path or str
        Where the file lies: the document remembers it.

    Returns
    -------
    Document
        With a segment for each annotation that has a mask of which something can be seen, see
        `paint_annotations`. Ids run from 1 in the order of the annotations, but where we wrote
        them before they are as they were.

    Raises
    ------
    DataError
        If there is no such image, they differ in size, or a mask cannot be drawn.
    """
    size = _size(file, image_ids)
    categories = [read_category(record) for record in file.categories]
    things = {category.id: category.is_thing for category in categories}
    origin = Origin(str(origin_path), tuple(image_ids), next_annotation_id=file.next_annotation_id)
    frame_shape = () if len(image_ids) == 1 else (len(image_ids),)
    try:
        document = Document(frame_shape, size, categories, origin)
    except (MemoryError, ValueError) as error:
        raise DataError(
            f"{len(image_ids)} frames of {size[0]} × {size[1]} pixels do not fit into memory. Open "
            "fewer at a time."
        ) from error
    painted = [paint_annotations(file.annotations_of(i), size) for i in image_ids]
    numbers = _numbered(painted)
    document.hold(max((int(n.max(initial=0)) for n in numbers), default=0))
    changes: list[SegmentChange] = []
    states: list[StateChange] = []
    for frame, (one, ids) in enumerate(zip(painted, numbers, strict=True)):
        id_map = renumber(one.id_map, np.concatenate(([0], ids)))
        document.id_map(frame)[...] = id_map
        where = id_boxes(id_map)
        segments = [
            read_attributes(
                Segment(
                    i,
                    record["category_id"],
                    is_thing=things[record["category_id"]],
                    is_crowd=bool(record.get("iscrowd")),
                    area=area,
                    bbox=where[i],
                    annotation_id=record["id"],
                ),
                record,
            )
            for record, i, area in zip(one.records, ids.tolist(), one.areas.tolist(), strict=True)
            if i
        ]
        changes += (SegmentChange(frame, None, segment) for segment in segments)
        if segments:
            is_decided = all(s.status is not Status.PROPOSED for s in segments)
            state = FrameState.REVIEWED if is_decided else FrameState.PROPOSED
            states.append(StateChange(frame, FrameState.NEW, state))
    document.apply(Edit("Open", segments=tuple(changes), states=tuple(states)), pixels=False)
    return document


def annotations_of(
    document: Document,
    frame: int,
    image_id: int,
    original: CocoFile | None,
    next_id: int,
    *,
    segmentation: Form = "rle",
) -> list[Record]:
    """Return the annotations of a frame.

    A segment whose pixels, category and all are as they were read is written as its annotation
    was. If only its pixels are, what is different is changed, and its mask stays as it was, with
    what others hide of it. Otherwise the mask is what the person sees; the annotation's other
    fields stay. Annotations without a mask, those of which nothing could be seen, and those that
    somebody else has added since, stay; those of segments that were deleted or rejected are left
    out.

    Parameters
    ----------
    document : Document
    frame : int
    image_id : int
        Of the frame's image, in the file that is to be written.
    original : CocoFile or None
        The file that the document was read from, read again; None if there is none.
    next_id : int
        For the first new annotation; the others count up from there.
    segmentation : {"rle", "polygons"}
        How new masks are written: compressed run lengths, or polygons, which draw them exactly,
        too. Crowds are always run lengths, as COCO has them.

    Returns
    -------
    list of dict
        Those that were there in their order, then new ones in the order of their ids. Records
        without any change are the original's own.
    """
    segments = {
        i: s
        for i, s in sorted(document.segments(frame).items())
        if s.status is not Status.REJECTED and s.area
    }
    painted = _painted_before(document, frame, image_id, original)
    owners = _owners(segments, painted)
    touched = _touched(document, frame, painted, owners)
    # A crowd lies below the others: what becomes one, or is none any more, would move.
    crowds = {i: bool(painted.records[place].get("iscrowd")) for i, place in owners.items()}
    touched |= {i for i, is_crowd in crowds.items() if segments[i].is_crowd != is_crowd}
    by_place = {place: i for i, place in owners.items()}
    needed = [i for i in segments if i in touched or i not in owners]
    masks = _measured(encode(document.id_map(frame), needed)) if needed else {}
    written: list[Record] = []
    for place, record in enumerate(painted.records):
        i = by_place.get(place)
        if i is None:
            if not painted.areas[place]:
                written.append(_of_image(record, image_id))
        elif i in masks or i not in touched:
            mask = masks.get(i)
            written.append(_changed(record, image_id, segments[i], mask, segmentation))
    written += (_of_image(record, image_id) for record in painted.later)
    ids = itertools.count(next_id)
    for i, segment in segments.items():
        if i not in owners and i in masks:
            written.append(_new(next(ids), image_id, segment, masks[i], segmentation))
    return written


def categories_of(document: Document, original: CocoFile | None) -> list[Record]:
    """Return the categories of a document, and those that other annotations of its origin need.

    Parameters
    ----------
    document : Document
    original : CocoFile or None
        The file that the document was read from.
    """
    if original is None:
        return write_categories(document.categories.values(), ())
    used: set[int] = set()
    if any(i not in document.categories for i in original.category_by_id):
        frames = _frames_of(document)
        used = {r["category_id"] for r in original.annotations if r.get("image_id") not in frames}
        for image_id, frame in frames.items():
            painted = _painted_before(document, frame, image_id, original)
            hidden = np.flatnonzero(painted.areas == 0)
            used |= {painted.records[k]["category_id"] for k in hidden}
    return write_categories(document.categories.values(), original.categories, used)


def _size(file: CocoFile, image_ids: Sequence[int]) -> Size:
    missing = [i for i in image_ids if i not in file.image_by_id]
    if missing or not image_ids:
        raise DataError(
            f"The file has no image {missing[0] if missing else ''}; it has "
            f"{len(file.images)} images. Choose one of these."
        )
    found = {i: (file.image_by_id[i]["height"], file.image_by_id[i]["width"]) for i in image_ids}
    first = found[image_ids[0]]
    for i, size in found.items():
        if size != first:
            raise DataError(
                f"Image {i} is {size[0]} × {size[1]}, image {image_ids[0]} is {first[0]} × "
                f"{first[1]}: the frames of a stack are of one size. Open them one by one."
            )
    return first


def _numbered(painted: Sequence[Painted]) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
    """Return the segment id of each annotation that can be seen, 0 of the others."""
    numbers = [np.zeros(len(one.records), np.int64) for one in painted]
    taken: dict[int, Any] = {}
    for one, ids in zip(painted, numbers, strict=True):
        here = set()
        for k in np.flatnonzero(one.areas).tolist():
            i = segment_id_of(one.records[k])
            # In two frames an id is one thing: only if its track says so.
            track = read_attributes(Segment(1, 0), one.records[k]).track_id
            if i is None or i in here or (i in taken and (track is None or taken[i] != track)):
                continue
            ids[k], taken[i] = i, track
            here.add(i)
    fresh = (i for i in itertools.count(1) if i not in taken)
    for one, ids in zip(painted, numbers, strict=True):
        for k in np.flatnonzero((one.areas > 0) & (ids == 0)):
            ids[k] = next(fresh)
    return numbers


def _frames_of(document: Document) -> dict[int, int]:
    """Return the frame of each image of the origin."""
    images = () if document.origin is None else document.origin.image_ids
    return {image_id: frame for frame, image_id in enumerate(images)}


def _painted_before(
    document: Document, frame: int, image_id: int, original: CocoFile | None
) -> _Before:
    """Paint what was read for a frame, as it was painted then."""
    images = () if document.origin is None else document.origin.image_ids
    source = images[frame] if frame < len(images) else image_id
    if original is None or source not in original.image_by_id:
        return _Before(**vars(paint_annotations((), document.image_shape)))
    size = _size(original, [source])
    if size != document.image_shape:
        raise DataError(
            f"Image {source} is {size[0]} × {size[1]} in the data set, and "
            f"{document.image_shape[0]} × {document.image_shape[1]} in the document. The data set "
            "has changed since it was read: export to a new one."
        )
    there: list[Record] = []
    later: list[Record] = []
    for record in original.annotations_of(source):
        (later if is_later(record, document.origin) else there).append(record)
    return _Before(**vars(paint_annotations(there, size)), later=tuple(later))


def _owners(segments: Mapping[int, Segment], painted: Painted) -> dict[int, int]:
    """Return the place of each segment's annotation."""
    places = {r["id"]: k for k, r in enumerate(painted.records) if painted.areas[k]}
    owners: dict[int, int] = {}
    for i, segment in segments.items():
        # One that two segments name is the first one's.
        place = (
            places.pop(segment.annotation_id, None) if segment.annotation_id is not None else None
        )
        if place is not None:
            owners[i] = place
    return owners


def _touched(
    document: Document, frame: int, painted: Painted, owners: Mapping[int, int]
) -> set[int]:
    """Return the segments whose pixels are not those that were read."""
    id_map = document.id_map(frame)
    places = np.zeros(max(document.next_id, int(id_map.max(initial=0)) + 1), np.int64)
    for i, place in owners.items():
        places[i] = place + 1
    now = places[id_map]
    differs = now != painted.id_map
    changed = set(now[differs].tolist()) | set(painted.id_map[differs].tolist())
    return {i for i, place in owners.items() if place + 1 in changed}


def _measured(masks: Mapping[int, Rle]) -> dict[int, _Mask]:
    """Measure masks, all at once."""
    rles = list(masks.values())
    measures = zip(areas(rles).tolist(), boxes(rles).tolist(), strict=True)
    return {
        i: _Mask(rle, area, [x0, y0, x1 - x0, y1 - y0])
        for (i, rle), (area, (y0, x0, y1, x1)) in zip(masks.items(), measures, strict=True)
    }


def _changed(
    record: Record, image_id: int, segment: Segment, mask: _Mask | None, form: Form
) -> Record:
    """Return an annotation as its segment is now; the mask stays if none is given."""
    changed = dict(_of_image(record, image_id))
    if segment.category_id != record["category_id"]:
        changed["category_id"] = int(segment.category_id)
    if segment.is_crowd != bool(record.get("iscrowd")):
        changed["iscrowd"] = int(segment.is_crowd)
    if mask is not None:
        changed |= mask.fields(segment, form)
    write_attributes(changed, segment, mark=mask is not None)
    return record if changed == record else changed


def _new(annotation_id: int, image_id: int, segment: Segment, mask: _Mask, form: Form) -> Record:
    described: Record = {}
    write_attributes(described, segment, mark=True)
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": int(segment.category_id),
        **mask.fields(segment, form),
        "iscrowd": int(segment.is_crowd),
        **described,
    }


def _of_image(record: Record, image_id: int) -> Record:
    return record if record["image_id"] == image_id else record | {"image_id": image_id}
