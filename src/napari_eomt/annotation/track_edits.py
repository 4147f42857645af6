"""Edits in time: which segments are one thing, from a frame on.

Like those of `operations`, they return the edit and change nothing. Tracks are told by the numbers
of `TrackIndex`. A segment that comes to another track takes that track's id as well, so that one
thing goes on having one id, one colour and one row in all frames.

Masks stay as they are, and so does what was decided about them: only in the frame where a person
has changed an identity a proposal becomes edited, and so lasts when a model runs again from there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_eomt.annotation import operations
from napari_eomt.annotation.edits import Edit, SegmentChange
from napari_eomt.annotation.track_moves import Identity, identity_of, moved, segment_at
from napari_eomt.annotation.tracks import TrackIndex
from napari_eomt.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.session import Key


def change_identity(document: Document, frame: int, track: int, into: int) -> Edit:
    """Let a track be another one from a frame on: what is `track` from there is `into`.

    Raises
    ------
    DataError
        If there is nothing of the track from there on, or both are in one frame.
    """
    index = TrackIndex.of(document)
    keys = _from_here(index, frame, track)
    _check_known(index, into)
    shared = sorted(f for f, _ in keys if f in index.members[into])
    if track == into:
        return Edit(f"Make {track} be {into}")
    if shared:
        raise DataError(
            f"{track} and {into} are both in {_frames(shared)}: they cannot be one. Swap them "
            f"from frame {frame} on, or cut {into} there first."
        )
    moves = dict.fromkeys(keys, identity_of(document, index, into, frame))
    return moved(document, f"Make {track} be {into} from frame {frame}", moves, index)


def swap_identities(document: Document, frame: int, first: int, second: int) -> Edit:
    """Let two tracks change places from a frame on; one of them may have nothing there.

    Raises
    ------
    DataError
        If there is no such track, or nothing of either from there on.
    """
    index = TrackIndex.of(document)
    for track in (first, second):
        _check_known(index, track)
    if first == second:
        return Edit(f"Swap {first} and {second}")
    firsts, seconds = index.keys(first, frame), index.keys(second, frame)
    if not firsts and not seconds:
        raise DataError(
            f"Neither {first} nor {second} is in frame {frame} or later. Go to a frame before "
            "they end."
        )
    moves = dict.fromkeys(firsts, identity_of(document, index, second, frame))
    moves |= dict.fromkeys(seconds, identity_of(document, index, first, frame))
    return moved(document, f"Swap {first} and {second} from frame {frame}", moves, index)


def cut_track(document: Document, frame: int, track: int) -> Edit:
    """Let a track be a new one from a frame on.

    Raises
    ------
    DataError
        If there is nothing of the track from there on, or nothing before.
    """
    index = TrackIndex.of(document)
    keys = _from_here(index, frame, track)
    if not index.keys(track, 0, frame):
        raise DataError(
            f"{track} is not there before frame {frame}: nothing would be cut off. Go to a frame "
            "after its first."
        )
    number = max([document.next_id - 1, *index.members]) + 1
    is_told = any(segment_at(document, key).track_id is not None for key in index.keys(track))
    new_id = document.next_id
    fresh = Identity(number if is_told else new_id, new_id, number if is_told else None)
    return moved(document, f"Cut {track} at frame {frame}", dict.fromkeys(keys, fresh), index)


def join_tracks(document: Document, first: int, second: int) -> Edit:
    """Make two tracks one: the one that begins first, or has the lower number.

    Raises
    ------
    DataError
        If there is no such track, or both are in one frame.
    """
    index = TrackIndex.of(document)
    for track in (first, second):
        _check_known(index, track)
    if first == second:
        return Edit(f"Join {first} and {second}")
    stays, goes = sorted((first, second), key=lambda i: (min(index.members[i]), i))
    shared = sorted(set(index.members[stays]) & set(index.members[goes]))
    if shared:
        raise DataError(
            f"{first} and {second} are both in {_frames(shared)}: they cannot be one. Delete one "
            "of them there, or merge the two objects."
        )
    keys = index.keys(goes)
    moves = dict.fromkeys(keys, identity_of(document, index, stays, keys[0][0]))
    return moved(document, f"Join {first} and {second}", moves, index)


def delete_from(document: Document, frame: int, track: int) -> Edit:
    """Remove the segments of a track from a frame on, and their pixels.

    Raises
    ------
    DataError
        If there is nothing of the track from there on.
    """
    index = TrackIndex.of(document)
    keys = _from_here(index, frame, track)
    edit = operations.delete(document, keys)
    orphans: tuple[SegmentChange, ...] = ()
    if not index.keys(track, 0, frame):
        orphans = tuple(
            SegmentChange(f, s, replace(s, parent_track_id=None))
            for f, s in document.iter_segments()
            if s.parent_track_id == track and (f, s.id) not in set(keys)
        )
    return replace(
        edit, name=f"Delete {track} from frame {frame}", segments=edit.segments + orphans
    )


def set_parent(document: Document, track: int, parent: int | None) -> Edit:
    """Say which track another came from, by division; None: from none.

    Raises
    ------
    DataError
        If there is no such track, they are known by no `track_id`, or the parent does not begin
        before the child.
    """
    index = TrackIndex.of(document)
    _check_known(index, track)
    if parent is not None:
        _check_known(index, parent)
        if min(index.members[parent]) >= min(index.members[track]):
            raise DataError(
                f"{parent} begins in frame {min(index.members[parent])}, {track} in frame "
                f"{min(index.members[track])}: a track comes from one that was there before it."
            )
        told = _told(document, index, parent)
    else:
        told = ()
    before = [(f, segment_at(document, (f, i))) for f, i in index.keys(track)]
    changes = tuple(
        SegmentChange(f, s, replace(s, track_id=track, parent_track_id=parent)) for f, s in before
    )
    name = f"{track} came from {'none' if parent is None else parent}"
    return Edit(name, segments=tuple(c for c in (*told, *changes) if c.before != c.after))


def _told(document: Document, index: TrackIndex, track: int) -> tuple[SegmentChange, ...]:
    """Write the number of a track to its segments: a child can name nothing else."""
    pairs = ((frame, segment_at(document, (frame, i))) for frame, i in index.keys(track))
    return tuple(SegmentChange(f, s, replace(s, track_id=track)) for f, s in pairs)


def _from_here(index: TrackIndex, frame: int, track: int) -> list[Key]:
    _check_known(index, track)
    keys = index.keys(track, frame)
    if not keys:
        last = max(index.members[track])
        raise DataError(
            f"{track} ends in frame {last}: there is nothing of it from frame {frame} on. Go to "
            "an earlier frame."
        )
    return keys


def _check_known(index: TrackIndex, track: int) -> None:
    if track not in index.members:
        raise DataError(f"There is no track {track} any more. Choose another object.")


def _frames(frames: Sequence[int]) -> str:
    if len(frames) == 1:
        return f"frame {frames[0]}"
    shown = ", ".join(str(frame) for frame in frames[:5])
    return f"frames {shown}" + (f" and {len(frames) - 5} more" if len(frames) > 5 else "")
