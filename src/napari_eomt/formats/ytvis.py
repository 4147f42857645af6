"""YouTube-VIS: videos in COCO's manner, one annotation for each track, with a mask a frame.

In a document a track's segments have one id in all frames, from 1 in the order of the annotations,
or the one that they had when we wrote them. `coco_file` reads and checks the JSON.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.annotation.document import Document, Origin
from napari_eomt.annotation.edits import Edit, SegmentChange
from napari_eomt.annotation.label_pages import measured
from napari_eomt.errors import DataError
from napari_eomt.formats.changes import (
    merged_categories,
    numbering,
    opened,
    renumbered,
    touched,
)
from napari_eomt.formats.coco_attributes import is_later, read_attributes, segment_id_of
from napari_eomt.formats.coco_categories import read_category
from napari_eomt.formats.coco_checks import n_frames
from napari_eomt.formats.coco_file import CocoFile, save_coco
from napari_eomt.formats.coco_masks import paint_annotations
from napari_eomt.formats.rebuilt import by_track
from napari_eomt.formats.ytvis_records import changed_record, new_record, track_of
from napari_eomt.structures.rle import Rle, encode
from napari_eomt.structures.segments import Segment, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_eomt.formats.coco_checks import Record
    from napari_eomt.structures.segments import IdMap

_Masks = dict[int, "dict[int, Rle | None]"]
"""New masks by track and frame; None where a track has no pixel any more."""


def read_video(file: CocoFile, video_id: int, *, origin_path: Path | str) -> Document:
    """Read the tracks of a video as the frames of a stack.

    Where masks overlap they are painted as `paint_annotations` does, frame by frame. The
    `track_id` is that of the annotation, else the segment's id.

    Parameters
    ----------
    file : CocoFile
        With ``videos``.
    video_id : int
    origin_path : Path or str
        Where the file lies: the document remembers it.

    Raises
    ------
    DataError
        If there is no such video, or a mask cannot be drawn.
    """
    video = _video(file, video_id)
    size, length = (video["height"], video["width"]), n_frames(video)
    categories = [read_category(record) for record in file.categories]
    origin = Origin(str(origin_path), (), video_id, file.next_annotation_id)
    try:
        document = Document((length,), size, categories, origin)
    except (MemoryError, ValueError) as error:
        raise DataError(
            f"Video {video_id}: {length} frames of {size[0]} × {size[1]} pixels do not fit into "
            "memory. Split it into shorter ones."
        ) from error
    records = file.annotations_of_video(video_id)
    described = _described(file, records)
    ids = [segment.id for segment in described]
    document.hold(max(ids, default=0))
    by_id = {segment.id: segment for segment in described}
    for frame in range(length):
        id_map = renumbered(_painted(records, frame, size), dict(enumerate(ids, 1)))
        found = measured(id_map)
        document.id_map(frame)[...] = id_map
        segments = [replace(by_id[i], area=n, bbox=box) for i, (n, box) in found.items()]
        changes = tuple(SegmentChange(frame, None, segment) for segment in segments)
        edit = Edit("Open", segments=changes, states=opened(frame, segments))
        document.apply(edit, pixels=False)
    return document


def save_ytvis(
    file: CocoFile,
    path: Path,
    videos: Iterable[tuple[int, Document]] = (),
    *,
    fields: Mapping[int, Record] | None = None,
    notes: list[str] | None = None,
) -> None:
    """Write videos and their tracks.

    A track is what `TrackIndex` says, whatever ids its segments have. One that was not changed is
    written as it was; of a changed one, the masks of those frames that have changed, every other
    field stays. A track that no frame shows any more is left out.

    Parameters
    ----------
    file : CocoFile
        As it was read; of videos that are in it without an annotation, everything is new.
    path : Path
    videos : iterable of (video_id, Document)
        What replaces the tracks of these videos.
    fields : dict of int to dict, optional
        Other fields of new tracks, by their `annotation_id`.
    notes : list of str, optional
        Filled with what a track cannot say, for people.

    Raises
    ------
    DataError
        If a document does not fit its video.
    OutputError
        If it cannot be written.
    """
    changed: dict[int, Record | None] = {}
    new: list[Record] = []
    categories = file.categories
    for video_id, document in videos:
        categories = merged_categories(categories, document)
        next_id = file.next_annotation_id + len(new)
        there, added = _updated(file, video_id, document, next_id, fields or {}, notes)
        changed |= there
        new += added

    def records() -> Iterator[Record]:
        for record in file.annotations:
            kept = changed.get(record["id"], record)
            if kept is not None:
                yield kept
        yield from new

    save_coco(replace(file, categories=categories), path, records())


def _video(file: CocoFile, video_id: int) -> Record:
    if video_id not in file.video_by_id:
        raise DataError(
            f"There is no video {video_id}; the file has {len(file.videos)}. Choose one of these."
        )
    return file.video_by_id[video_id]


def _described(file: CocoFile, records: Sequence[Record]) -> list[Segment]:
    """Return what the annotations say of their tracks, without pixels."""
    things = {record["id"]: read_category(record).is_thing for record in file.categories}
    taken: set[int] = set()
    ids: list[int | None] = []
    for record in records:
        marked = segment_id_of(record)
        ids.append(None if marked in taken else marked)
        taken |= set(ids[-1:]) - {None}  # type: ignore[arg-type]
    fresh = (i for i in count(1) if i not in taken)
    found = []
    for record, marked in zip(records, ids, strict=True):
        i = next(fresh) if marked is None else marked
        segment = Segment(
            i,
            record["category_id"],
            is_thing=things[record["category_id"]],
            is_crowd=bool(record.get("iscrowd")),
            annotation_id=record["id"],
        )
        segment = read_attributes(segment, record)
        if segment.track_id is None:
            segment = replace(segment, track_id=i)
        if segment.status is Status.REJECTED:  # but there it is
            segment = replace(segment, status=Status.PROPOSED)
        found.append(segment)
    return found


def _painted(records: Sequence[Record], frame: int, size: tuple[int, int]) -> IdMap:
    """Return a frame: at each pixel 1 + the place of the track on top."""
    masks = [
        {
            "id": record.get("id"),
            "image_id": f"frame {frame}",
            "iscrowd": record.get("iscrowd", 0),
            "segmentation": record["segmentations"][frame],
        }
        for record in records
    ]
    return paint_annotations(masks, size).id_map


def _updated(
    file: CocoFile,
    video_id: int,
    document: Document,
    next_id: int,
    fields: Mapping[int, Record],
    notes: list[str] | None,
) -> tuple[dict[int, Record | None], list[Record]]:
    """Return what becomes of each annotation of a video, None if it goes, and the new ones."""
    video = _video(file, video_id)
    size, length = (video["height"], video["width"]), n_frames(video)
    if document.frame_shape != (length,) or document.image_shape != size:
        raise DataError(
            f"Video {video_id} has {length} frames of {size[0]} × {size[1]} pixels; the document "
            f"{document.frame_shape} of {document.image_shape}. Choose the file that it was read "
            "from, or make a new one."
        )
    # Frames that were segmented one by one have other ids for the same thing.
    document = by_track(document)
    records = [
        record
        for record in file.annotations_of_video(video_id)
        if not is_later(record, document.origin)
    ]
    before = _described(file, records)
    was = {segment.id: segment for segment in before}
    here = [
        (frame, segment)
        for frame, segment in document.iter_segments()
        if segment.status is not Status.REJECTED and segment.area
    ]
    numbers = numbering((segment for _, segment in here), before)
    tracks: dict[int, list[Segment]] = {}
    for _, segment in here:
        tracks.setdefault(numbers[segment.id], []).append(segment)
    masks, visible = _compare(records, [s.id for s in before], document, numbers)
    gone = visible - set(tracks)
    kept = {s.id: r for s, r in zip(before, records, strict=True) if s.id not in gone}
    new = sorted(set(tracks) - set(was))
    order = [*kept, *new]
    for frame in sorted({frame for changes in masks.values() for frame in changes}):
        shown = renumbered(document.id_map(frame), numbers)
        _mend(kept, order, masks, frame, shown)
    written: dict[int, Record | None] = {was[i].annotation_id or 0: None for i in gone}
    for i, record in kept.items():
        track = track_of(tracks[i], was[i], notes) if i in tracks else None
        written[record["id"]] = changed_record(record, track, was[i], masks.get(i, {}))
    added = []
    for annotation_id, i in zip(count(next_id), new, strict=False):
        track = track_of(tracks[i], None, notes)
        record = new_record(annotation_id, video_id, track, length, fields)
        added.append(changed_record(record, None, track, masks.get(i, {})))
    return written, added


def _compare(
    records: Sequence[Record], ids: Sequence[int], document: Document, numbers: Mapping[int, int]
) -> tuple[_Masks, set[int]]:
    """Return the masks that have changed, and the tracks of which something could be seen."""
    masks: _Masks = {}
    visible: set[int] = set()
    as_ids = dict(enumerate(ids, 1))
    for frame in range(document.n_frames):
        old = renumbered(_painted(records, frame, document.image_shape), as_ids)
        now = renumbered(document.id_map(frame), numbers)
        visible |= set(np.unique(old).tolist()) - {0}
        differ = touched(old, now)
        found = encode(now, differ) if differ else {}
        for i in differ:
            masks.setdefault(i, {})[frame] = found.get(i)
    return masks, visible


def _mend(
    kept: Mapping[int, Record], order: Sequence[int], masks: _Masks, frame: int, shown: IdMap
) -> None:
    """Make sure that a frame that has changed is painted as it is shown.

    Masks that hide each other are painted by their areas: what a person draws over one may come to
    lie beneath it. Those that do not come out as they are shown lose what is hidden of them.
    """
    void: Record = {"segmentations": {}}
    while True:
        rows = []
        for i in order:
            changed = masks.get(i, {})
            mask = changed[frame].as_coco() if changed.get(frame) is not None else None  # type: ignore[union-attr]
            if frame not in changed and i in kept:
                mask = kept[i]["segmentations"][frame]
            rows.append({**kept.get(i, void), "segmentations": {frame: mask}})
        ids = dict(enumerate(order, 1))
        painted = renumbered(_painted(rows, frame, (shown.shape[0], shown.shape[1])), ids)
        # What was hidden by something that is gone may be seen: nobody took it away.
        painted[shown == 0] = 0
        wrong = touched(shown, painted) - {i for i in masks if frame in masks[i]}
        if not wrong:
            return
        found = encode(shown, wrong)
        for i in wrong:
            masks.setdefault(i, {})[frame] = found.get(i)
