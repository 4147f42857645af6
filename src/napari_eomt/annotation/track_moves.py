"""How segments come to other tracks: ids, pixels, and the children that follow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.annotation.canvas import around, edited
from napari_eomt.annotation.edits import Edit, PixelChange, SegmentChange, joined
from napari_eomt.errors import DataError
from napari_eomt.structures.segments import Segment, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.session import Key
    from napari_eomt.annotation.tracks import TrackIndex


@dataclass(frozen=True)
class Identity:
    """What the segments of a track have in common.

    Parameters
    ----------
    number : int
        Of the track, see `TrackIndex`.
    id : int
        Of its segments.
    track_id : int or None
        None for a track that is known by its id alone.
    parent : int or None
    annotation_id : int or None
        In a document that was read from a video.
    """

    number: int
    id: int
    track_id: int | None
    parent: int | None = None
    annotation_id: int | None = None


def identity_of(document: Document, index: TrackIndex, track: int, frame: int) -> Identity:
    """Return what segments that come to a track get: as in its last frame before, if any."""
    here = index.members[track]
    before = [f for f in here if f < frame]
    nearest = max(before) if before else min(here)
    segment = segment_at(document, (nearest, here[nearest]))
    is_told = any(segment_at(document, key).track_id is not None for key in index.keys(track))
    return Identity(
        track,
        segment.id,
        track if is_told or track != segment.id else None,
        segment.parent_track_id,
        segment.annotation_id,
    )


def moved(document: Document, name: str, moves: Mapping[Key, Identity], index: TrackIndex) -> Edit:
    """Return the edit by which segments come to other tracks.

    Raises
    ------
    DataError
        If another segment has the id that one is to get, and nothing but the id tells its track.
    """
    ids = _ids(document, moves)
    heirs = _heirs(index, moves)
    begins: dict[Identity, int] = {}
    for (frame, _), identity in moves.items():
        begins[identity] = min(frame, begins.get(identity, frame))
    is_video = document.origin is not None and document.origin.video_id is not None
    by_frame: dict[int, dict[int, Segment]] = {}
    for (frame, i), identity in moves.items():
        segment = segment_at(document, (frame, i))
        parent = _heir(heirs, identity.parent, begins[identity], identity.number)
        after = replace(
            segment, id=ids[identity], track_id=identity.track_id, parent_track_id=parent
        )
        if is_video:  # An annotation is of one image, but of a whole video.
            after = replace(after, annotation_id=identity.annotation_id)
        if begins[identity] == frame and segment.status is Status.PROPOSED:
            after = edited(after)
        by_frame.setdefault(frame, {})[i] = after
    edits = [_in_frame(document, frame, here) for frame, here in sorted(by_frame.items())]
    # What is a track only as long as others are as they are says so from now on.
    others = {k: s for k, s in _settled(document, index).items() if k not in moves}
    # Children follow the end of the track that they came from.
    for frame, segment in document.iter_segments():
        number = index.numbers.get((frame, segment.id))
        if number is None or segment.parent_track_id is None or (frame, segment.id) in moves:
            continue
        parent = _heir(heirs, segment.parent_track_id, min(index.members[number]), number)
        if parent != segment.parent_track_id:
            changed = others.get((frame, segment.id), segment)
            others[frame, segment.id] = replace(changed, parent_track_id=parent)
    changes = (SegmentChange(key[0], segment_at(document, key), s) for key, s in others.items())
    return joined(name, [*edits, Edit("", segments=tuple(changes))])


def _settled(document: Document, index: TrackIndex) -> dict[Key, Segment]:
    """Return the segments whose track is told by other segments, as they tell it themselves."""
    told = {s.track_id for _, s in document.iter_segments()}
    found = {}
    for key, number in index.numbers.items():
        segment = segment_at(document, key)
        is_by_id = segment.track_id is None and number == segment.id and number not in told
        if segment.track_id != number and not is_by_id:
            found[key] = replace(segment, track_id=number)
    return found


def _ids(document: Document, moves: Mapping[Key, Identity]) -> dict[Identity, int]:
    """Return the id that the segments of each identity get: its own, if no other has it."""
    found: dict[Identity, int] = {}
    fresh = max([document.next_id, *(identity.id + 1 for identity in moves.values())])
    for identity in dict.fromkeys(moves.values()):
        blocked = [
            frame
            for (frame, _), other in moves.items()
            if other == identity
            and (frame, identity.id) not in moves
            and identity.id in document.segments(frame)
            and document.segments(frame)[identity.id].status is not Status.REJECTED
        ]
        if not blocked and identity.id not in found.values():
            found[identity] = identity.id
        elif identity.track_id is None:
            raise DataError(
                f"There is another object {identity.id} in frame {min(blocked, default=0)}. Cut "
                "that off there first, so that it gets an id of its own."
            )
        else:  # The track goes on under a new id.
            found[identity], fresh = fresh, fresh + 1
    return found


def _in_frame(document: Document, frame: int, here: Mapping[int, Segment]) -> Edit:
    """Return the edit of one frame: by the ids of now, what their segments become."""
    before = document.segments(frame)
    after = {segment.id: segment for segment in here.values()}
    free = sorted(set(here) - set(after))
    # A rejected segment has no pixels, but an id: it takes one that has become free.
    for i in sorted(set(after) - set(here)):
        if i in before:
            after[free[0]] = replace(before[i], id=free[0])
            del free[0]
    y0, x0, y1, x1 = around(before[i].bbox for i in here)
    part = document.id_map(frame)[y0:y1, x0:x1].astype(np.uint32)
    now = part.copy()
    for i, segment in here.items():
        now[part == i] = segment.id
    pixels = PixelChange.between(frame, part, now, (y0, x0))
    changes = (
        SegmentChange(frame, before.get(i), after.get(i)) for i in sorted(set(here) | set(after))
    )
    return Edit(
        "",
        () if pixels is None else (pixels,),
        tuple(change for change in changes if change.before != change.after),
    )


@dataclass(frozen=True)
class _Heir:
    """The track that goes on where a track ends now, from a frame on; or has taken all of it."""

    number: int
    start: int
    is_whole: bool


def _heirs(index: TrackIndex, moves: Mapping[Key, Identity]) -> dict[int, _Heir]:
    found: dict[int, _Heir] = {}
    for (frame, i), identity in moves.items():
        number = index.numbers[frame, i]
        start = min(frame, found[number].start) if number in found else frame
        taken = {identity.number for identity in moves.values()}
        is_whole = start == min(index.members[number]) and number not in taken
        found[number] = _Heir(identity.number, start, is_whole)
    return found


def _heir(heirs: Mapping[int, _Heir], parent: int | None, begin: int, child: int) -> int | None:
    """Return which track a child has come from now that tracks have other numbers."""
    heir = None if parent is None else heirs.get(parent)
    if heir is not None and (heir.is_whole or begin > heir.start):
        parent = heir.number
    return None if parent == child else parent


def segment_at(document: Document, key: Key) -> Segment:
    """Return a segment that there is."""
    frame, i = key
    return document.segments(frame)[i]
