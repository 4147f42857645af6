"""The annotation of a track: made of its segments, or changed as they are."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_eomt.formats.coco_attributes import read_attributes, write_attributes
from napari_eomt.structures.segments import Segment, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_eomt.formats.coco_checks import Record
    from napari_eomt.structures.rle import Rle


def track_of(segments: Sequence[Segment], was: Segment | None, notes: list[str] | None) -> Segment:
    """Return the segments of a track as one, which is all that an annotation can say."""
    values: dict[str, Any] = {}
    for name in ("category_id", "is_crowd", "score", "status", "source", "locked", "note"):
        votes = Counter(getattr(segment, name) for segment in segments)
        if name not in ("category_id", "is_crowd", "status") and was is not None:
            # What was said in one frame is said of the track.
            votes = Counter({v: n for v, n in votes.items() if v != getattr(was, name)}) or votes
        values[name] = max(votes, key=lambda value: votes[value])
        if len(votes) > 1:
            if name == "status" and Status.PROPOSED in votes:
                values[name] = Status.PROPOSED
            if notes is not None and name in ("category_id", "is_crowd", "status", "note"):
                shown = getattr(values[name], "value", values[name])
                notes.append(
                    f"track {segments[0].id} has {len(votes)} values of {name} in its frames; a "
                    f"track has one, {shown!r} was written"
                )
    for name in ("track_id", "parent_track_id"):
        # What a person has drawn on by its id says nothing of it.
        said = (getattr(segment, name) for segment in segments)
        values[name] = next((value for value in said if value is not None), None)
    return replace(segments[0], **values)


def new_record(
    annotation_id: int, video_id: int, track: Segment, length: int, fields: Mapping[int, Record]
) -> Record:
    said: Record = dict(fields.get(track.annotation_id or 0, {}))
    write_attributes(said, track, mark=True)
    return {
        "id": annotation_id,
        "video_id": video_id,
        "category_id": int(track.category_id),
        "iscrowd": int(track.is_crowd),
        **said,
        "segmentations": [None] * length,
        "bboxes": [None] * length,
        "areas": [None] * length,
    }


def changed_record(
    record: Record, track: Segment | None, was: Segment, masks: Mapping[int, Rle | None]
) -> Record:
    """Return an annotation as its track is now."""
    changed = dict(record)
    if track is not None and replace(track, id=was.id, area=0, bbox=was.bbox) != was:
        if track.category_id != was.category_id:
            changed["category_id"] = int(track.category_id)
        if track.is_crowd != was.is_crowd:
            changed["iscrowd"] = int(track.is_crowd)
        if track.track_id == was.id:  # which it has without saying so
            before = read_attributes(Segment(was.id, was.category_id), record).track_id
            track = replace(track, track_id=before)
        write_attributes(changed, track, mark=False)
    for name in ("segmentations", "bboxes", "areas"):
        if masks and isinstance(record.get(name), list):
            changed[name] = list(record[name])
    for frame, mask in masks.items():
        values: tuple[Any, Any, Any] = (None, None, None)
        if mask is not None:
            y0, x0, y1, x1 = mask.bbox
            values = mask.as_coco(), [x0, y0, x1 - x0, y1 - y0], mask.area
        for name, value in zip(("segmentations", "bboxes", "areas"), values, strict=True):
            if isinstance(changed.get(name), list):
                changed[name][frame] = value
    return record if changed == record else changed
