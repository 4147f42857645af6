"""What a model finds frame by frame, taken up so that a track has one id in all frames."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.annotation import operations
from napari_eomt.annotation.document import Document
from napari_eomt.annotation.edits import Edit, PixelChange, SegmentChange
from napari_eomt.annotation.tracks import TrackIndex
from napari_eomt.structures.segments import Segment, Segmentation, Status

if TYPE_CHECKING:
    from napari_eomt.structures.segments import IdMap


class TrackRun:
    """Makes the edits of a run over the frames of a stack; the session does each at once.

    A frame is proposed as `operations.propose` does it: locked segments keep their pixels, and
    what was rejected stays so. A proposal of a track that a locked segment of the frame is of is
    left out: the person's stays.

    Parameters
    ----------
    document : Document
    goes_on : bool
        Whether the run's track ids are those of the document: it goes on from a frame of it. Else
        they get new numbers, after all that there are, and nothing old is taken for them.
    """

    def __init__(self, document: Document, *, goes_on: bool = False) -> None:
        self._document = document
        index = TrackIndex.of(document)
        self._offset = 0
        self._ids: dict[int, int] = {}
        if goes_on:
            self._ids = {n: list(frames.values())[-1] for n, frames in index.members.items()}
        else:
            self._offset = max([document.next_id - 1, *index.members])

    def propose(self, frame: int, proposed: Segmentation, name: str = "Track") -> Edit:
        """Return the edit that takes up a frame; it has to be done before the next is asked for.

        Parameters
        ----------
        frame : int
        proposed : Segmentation
            Its segments have a `track_id`; those without are proposed as any others.
        name : str
            Of the step.

        Raises
        ------
        ValueError
            If the segmentation is of another size.
        """
        document = self._document
        before, old = dict(document.segments(frame)), document.id_map(frame)
        locked = {s.track_id for s in before.values() if _is_kept(s)} - {None}
        numbered = [self._numbered(s) for s in proposed.segments]
        kept = tuple(s for s in numbered if s.track_id is None or s.track_id not in locked)
        id_map = proposed.id_map
        if len(kept) < len(numbered):
            id_map = np.where(np.isin(id_map, [s.id for s in kept]), id_map, 0).astype(id_map.dtype)
        # Alone, so that a frame costs what is in it, however long the stack.
        alone = Document((), document.image_shape, document.categories.values())
        alone.hold(document.next_id - 1)
        alone.id_maps = old.copy()
        there = tuple(SegmentChange(0, None, segment) for segment in before.values())
        alone.apply(Edit("", segments=there), pixels=False)
        edit = operations.propose(alone, 0, Segmentation(id_map, kept), name)
        alone.apply(edit)
        names = self._names(alone)
        after = {names[i]: replace(s, id=names[i]) for i, s in alone.segments(0).items()}
        pixels = PixelChange.between(frame, old, _renamed(alone.id_maps, names))
        changes = (
            SegmentChange(frame, before.get(i), after.get(i)) for i in sorted({*before, *after})
        )
        return Edit(
            name,
            () if pixels is None else (pixels,),
            tuple(change for change in changes if change.before != change.after),
            states=tuple(
                replace(change, frame=frame, before=document.state(frame))
                for change in edit.states
                if document.state(frame) is not change.after
            ),
        )

    def _numbered(self, segment: Segment) -> Segment:
        if segment.track_id is None:
            return segment
        parent = segment.parent_track_id
        return replace(
            segment,
            track_id=segment.track_id + self._offset,
            parent_track_id=None if parent is None else parent + self._offset,
        )

    def _names(self, alone: Document) -> dict[int, int]:
        """Return the id that each segment of the frame gets: that of its track."""
        segments = alone.segments(0)
        names = {i: i for i, s in segments.items() if s.is_locked}
        # Where nothing had the number of a new track, people see one number for both.
        unused = self._document.next_id
        wanted = {s.track_id for s in segments.values()}
        taken, fresh = set(names.values()), alone.next_id
        for i, segment in segments.items():
            if i in names:
                continue
            track = segment.track_id
            known = None if track is None else self._ids.get(track)
            if known is None and track is not None and track >= unused:
                known = track
            if known is None or known in taken:
                # Not the one that was left over in the frame: others may have it in other frames.
                while fresh in taken or fresh in wanted:
                    fresh += 1
                known = fresh
            if track is not None:
                self._ids[track] = known
            names[i] = known
            taken.add(known)
        return names


def _is_kept(segment: Segment) -> bool:
    return segment.is_locked and segment.status is not Status.REJECTED


def _renamed(id_map: IdMap, names: dict[int, int]) -> IdMap:
    table = np.zeros(int(id_map.max(initial=0)) + 1, np.uint32)
    for i, name in names.items():
        if i < len(table):
            table[i] = name
    renamed: IdMap = table[id_map]
    return renamed
