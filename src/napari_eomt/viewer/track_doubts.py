"""How doubtful identities are: what a run has said of its links, else what the masks say."""

from __future__ import annotations

from bisect import bisect_left
from types import MappingProxyType
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_eomt.annotation.track_doubts import identity_doubts
from napari_eomt.structures.segments import Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from napari_eomt.annotation.edits import Edit, SegmentChange
    from napari_eomt.annotation.session import Key
    from napari_eomt.annotation.track_doubts import IdentityDoubt
    from napari_eomt.annotation.track_live import LiveTracks

MAX_STEPS = 200
"""Steps of tracks that are judged in one go: some 30 ms."""

_AFTER = 3
"""How many steps after a change look back at it."""


class LinkDoubts:
    """Holds, by result, how doubtful a run found its links; it is in no document."""

    changed = Signal(str)
    """More is known of a result: its key."""

    def __init__(self) -> None:
        self._by_result: dict[str, dict[Key, float]] = {}

    def of(self, key: str) -> Mapping[Key, float]:
        """Return what is known of the objects of a result, by frame and id, 0 to 1."""
        return MappingProxyType(self._by_result.setdefault(key, {}))

    def know(self, key: str, frame: int, doubts: Mapping[Key, float]) -> None:
        """Take what a run says of the links that end in a frame, in place of what it said before.

        To be called after the frame's edit: an edit of an object ends what was said of it.
        """
        known = self._by_result.setdefault(key, {})
        for old in [old for old in known if old[0] == frame]:
            del known[old]
        known.update(doubts)
        self.changed.emit(key)

    def forget(self, key: str, keys: Iterable[Key]) -> None:
        """Forget what was said of some objects: they are others by now."""
        known = self._by_result.get(key, {})
        for old in keys:
            known.pop(old, None)

    def keep(self, keys: Collection[str]) -> None:
        """Forget all results but these."""
        self._by_result = {key: known for key, known in self._by_result.items() if key in keys}


class IdentityDoubts:
    """How doubtful the identities of a document are; follows its tracks, a part at a time.

    Parameters
    ----------
    tracks : LiveTracks
    said : mapping of (frame, id) to float, optional
        What a run has said, 0 to 1: it goes before what the masks say.
    """

    def __init__(self, tracks: LiveTracks, said: Mapping[Key, float] | None = None) -> None:
        self._tracks = tracks
        self._said: Mapping[Key, float] = {} if said is None else said
        self._judged: dict[Key, IdentityDoubt] = {}
        self._waiting: dict[int, set[int]] = {}
        self.n_judged = 0
        """How many steps were judged."""
        for number, members in tracks.index.members.items():
            self._waiting[number] = set(members)

    def note(self, edit: Edit, touched: Iterable[int] = ()) -> None:
        """Have the steps judged anew that an edit changes.

        Parameters
        ----------
        edit : Edit
        touched : iterable of int
            The tracks that `LiveTracks` found touched by it.
        """
        index, document = self._tracks.index, self._tracks.document
        others = [change for change in edit.segments if _is_other(change)]
        frames = sorted({c.frame for c in edit.pixels} | {c.frame for c in others})
        for change in others:
            self._judged.pop((change.frame, change.id), None)
        # What is where others are, or begins where they end.
        for frame in {*frames, *(frame + 1 for frame in frames)}:
            for i in document.segments(frame):
                number = index.numbers.get((frame, i))
                if number is not None:
                    self._waiting.setdefault(number, set()).add(frame)
        for number in touched if others else ():
            members = list(index.members.get(number, ()))
            for frame in frames:
                at = bisect_left(members, frame)
                self._waiting.setdefault(number, set()).update(members[at : at + _AFTER + 1])

    @property
    def n_left(self) -> int:
        """How many tracks have steps that are still to be judged."""
        return len(self._waiting)

    def judge(self, n_steps: int = MAX_STEPS) -> set[int]:
        """Judge steps, about so many at most; return their tracks."""
        wanted: dict[int, set[int]] = {}
        n = 0
        while self._waiting and n < n_steps:
            number, frames = self._waiting.popitem()
            part = sorted(frames)[: n_steps - n]
            if len(part) < len(frames):
                self._waiting[number] = frames - set(part)
            wanted[number] = set(part)
            n += len(part)
        for number, frames in wanted.items():
            for key in self._tracks.index.keys(number):
                if key[0] in frames:
                    self._judged.pop(key, None)
        self._judged.update(identity_doubts(self._tracks.document, self._tracks.index, wanted))
        self.n_judged += n
        return set(wanted)

    def score(self, key: Key) -> float:
        """Return how doubtful it is that an object is the one of the frame before, 0 to 1."""
        said = self._said.get(key)
        if said is not None:
            return min(1.0, max(0.0, said))
        judged = self._judged.get(key)
        return 0.0 if judged is None else judged.score

    def reason(self, key: Key) -> str:
        """Say why it is doubtful, in words for people; empty where nothing was seen."""
        judged = self._judged.get(key)
        return "" if judged is None or not judged.score else judged.reason

    def scores(self) -> dict[Key, float]:
        """Return the doubt of every object of which there is any."""
        numbers = self._tracks.index.numbers
        found = {key: self.score(key) for key in {*self._judged, *self._said} if key in numbers}
        return {key: value for key, value in found.items() if value > 0}


def _is_other(change: SegmentChange) -> bool:
    """Whether a segment is another one, or of another track, after a change."""
    before, after = change.before, change.after
    if before is None or after is None:
        return True
    is_gone = [s.status is Status.REJECTED for s in (before, after)]
    return (
        before.track_id != after.track_id
        or before.parent_track_id != after.parent_track_id
        or is_gone[0] != is_gone[1]
    )
