"""The tracks of a document while somebody works on it: an edit changes what it names alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_eomt.annotation.tracks import TrackIndex
from napari_eomt.structures.segments import Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.edits import Edit
    from napari_eomt.annotation.session import Key
    from napari_eomt.structures.segments import Segment


class LiveTracks:
    """Follows the edits of a document; `index` is what `TrackIndex.of` would return.

    Edits are noted at once, which costs nothing, and taken up by `refresh`, so that many of them
    in a row are one. Where every segment says its track, as after a run, only the tracks of what
    has changed are touched; where some are known by their id alone, a change of who is there has
    everything looked at again.

    Parameters
    ----------
    document : Document
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self.index = TrackIndex({}, {})
        self.rejected: dict[int, set[Key]] = {}
        """What a person has rejected, by the track that it says it is of."""
        self.n_rebuilt = 0
        """How often everything was looked at."""
        self._parents: dict[int, int | None] = {}
        self._children: dict[int, list[int]] | None = None
        # As they were when the index was right the last time.
        self._before: dict[Key, Segment | None] = {}
        self._is_told = self._is_any_told = False
        self._rebuild()

    def note(self, edit: Edit) -> bool:
        """Remember an edit that was made; return whether `refresh` has something to do."""
        for change in edit.segments:
            self._before.setdefault((change.frame, change.id), change.before)
        return bool(self._before)

    def refresh(self) -> frozenset[int]:
        """Take up what was noted; return the tracks that are touched, gone ones as well."""
        before, self._before = self._before, {}
        if not before:
            return frozenset()
        touched = {self.index.numbers[key] for key in before if key in self.index.numbers}
        for key, old in before.items():
            touched |= self._follow_rejection(key, old, self._now(key))
        moved = [key for key, old in before.items() if _who(old) != _who(self._now(key))]
        if moved and not self._move(moved, touched):
            old_members = self.index.members
            self._rebuild()
            members = self.index.members
            touched |= {n for n in {*old_members, *members} if old_members.get(n) != members.get(n)}
        touched |= {self.index.numbers[key] for key in before if key in self.index.numbers}
        for number in touched:
            self._know_parent(number)
        return frozenset(touched)

    @property
    def has_tracks(self) -> bool:
        """Whether anything is known to be one thing in several frames, or a track by name."""
        is_any = self._is_any_told or len(self.index.numbers) > len(self.index.members)
        return is_any and self.document.n_frames > 1 and bool(self.index.members)

    def parent(self, number: int) -> int | None:
        """Return the track that a track came from by division, if it is there."""
        parent = self._parents.get(number)
        return parent if parent in self.index.members else None

    def children(self, number: int) -> list[int]:
        """Return the tracks that came from a track, in the order of their numbers."""
        if self._children is None:
            self._children = {}
            for child in sorted(self._parents):
                parent = self.parent(child)
                if parent is not None:
                    self._children.setdefault(parent, []).append(child)
        return self._children.get(number, [])

    def numbers(self, keys: Iterable[Key]) -> list[int]:
        """Return the tracks of segments, without repetition; rejected ones are in none."""
        found = (self.index.numbers.get(key) for key in keys)
        return list(dict.fromkeys(number for number in found if number is not None))

    def _now(self, key: Key) -> Segment | None:
        return self.document.segments(key[0]).get(key[1])

    def _move(self, keys: list[Key], touched: set[int]) -> bool:
        """Move segments from track to track; False if that needs a look at all of them."""
        now = {key: self._now(key) for key in keys}
        shown = {k: s for k, s in now.items() if s is not None and s.status is not Status.REJECTED}
        if not self._is_told or any(s.track_id is None for s in shown.values()):
            return False
        index, unsorted = self.index, set()
        for key in keys:
            number = index.numbers.pop(key, None)
            if number is not None:
                del index.members[number][key[0]]
        for (frame, i), segment in shown.items():
            number = segment.track_id
            if number is None or frame in index.members.get(number, {}):
                return False  # two of one frame say that they are one
            members = index.members.setdefault(number, {})
            if members and next(reversed(members)) > frame:
                unsorted.add(number)
            index.numbers[frame, i] = number
            members[frame] = i
            touched.add(number)
        for number in unsorted:
            index.members[number] = dict(sorted(index.members[number].items()))
        for number in touched:
            if not index.members.get(number, True):
                del index.members[number]
        return True

    def _rebuild(self) -> None:
        self.n_rebuilt += 1
        document = self.document
        self.index = index = TrackIndex.of(document)
        self.rejected = {}
        self._is_told, self._is_any_told = bool(index.members), False
        for frame, segment in document.iter_segments():
            self._follow_rejection((frame, segment.id), None, segment)
            if segment.status is not Status.REJECTED:
                number = index.numbers[frame, segment.id]
                self._is_told = self._is_told and segment.track_id == number
                self._is_any_told = self._is_any_told or segment.track_id is not None
        self._parents = {}
        for number in index.members:
            self._know_parent(number)

    def _follow_rejection(
        self, key: Key, before: Segment | None, after: Segment | None
    ) -> set[int]:
        touched = set()
        for segment in (before, after):
            if segment is None or segment.status is not Status.REJECTED:
                continue
            number = segment.id if segment.track_id is None else segment.track_id
            keys = self.rejected.setdefault(number, set())
            (keys.add if segment is after else keys.discard)(key)
            touched.add(number)
        return touched

    def _know_parent(self, number: int) -> None:
        members = self.index.members.get(number)
        self._children = None
        if members is None:
            self._parents.pop(number, None)
            return
        first = next(iter(members.items()))
        self._parents[number] = self.document.segments(first[0])[first[1]].parent_track_id


def _who(segment: Segment | None) -> tuple[int | None] | None:
    """Return what a segment says of who it is; None where it is in no track."""
    if segment is None or segment.status is Status.REJECTED:
        return None
    return (segment.track_id,)
