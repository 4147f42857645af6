"""What is still to be looked at, and which comes next.

Counted are the objects that a model proposed; what a person has drawn is no proposal.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from psygnal import Signal

from napari_eomt.annotation.document import FrameState
from napari_eomt.annotation.edits import Edit, StateChange
from napari_eomt.annotation.operations import set_status
from napari_eomt.annotation.review_order import Order, Rank, rank, uncertainty_of
from napari_eomt.annotation.review_tally import Counts, Evidence, FrameReview, Hint, Tally, Verdict
from napari_eomt.structures.segments import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_eomt.annotation.session import Key, Session
    from napari_eomt.structures.segments import Segment
    from napari_eomt.structures.uncertainty import Uncertainty

_MANY = 500  # changes from which on everything is sorted anew

_MARKED = (FrameState.REVIEWED, FrameState.EXPORTED)


class _Entry(NamedTuple):
    verdict: Verdict
    uncertainty: float
    rank: Rank | None  # None: not in the line
    is_evidence: bool


class ReviewQueue:
    """The objects of a session that are still to be decided, in order; follows every edit.

    After a decision about the current object (accepted, rejected, deleted) the one after it is
    current; after an undo that which is to be decided again. After a stroke none is, so that no
    view moves while somebody paints; `go` then goes on from there.

    Parameters
    ----------
    session : Session
    doubts : mapping of (frame, id) to Uncertainty, optional
        What the model says of its proposals; of others their score counts.
    frame : int or None
        Only this one; None: all.
    order : Order
    below : float, optional
        Only objects of which the model is less sure than this: certainty, 1 - uncertainty.
    """

    changed = Signal()
    """What is left, or the order, or how far the frames are, has changed."""
    moved = Signal(tuple)
    """By a decision or an undo another object is current: its key."""

    def __init__(
        self,
        session: Session,
        doubts: Mapping[Key, Uncertainty] | None = None,
        *,
        frame: int | None = None,
        order: Order = Order.WORST,
        below: float | None = None,
    ) -> None:
        self.session = session
        self._document = session.document
        self._doubts: Mapping[Key, Uncertainty] = doubts or {}
        self._identities: Mapping[Key, float] = {}
        self.frame, self.order, self.below = frame, order, below
        self.current: Key | None = None
        self._after: Rank | None = None
        # What the document does not say: which were proposed once; of these, which a person has
        # deleted, with their uncertainty; and which were accepted many at a time.
        found = self._document.iter_segments()
        self._once = {(f, s.id) for f, s in found if s.status is not Status.DRAWN}
        self._gone: dict[Key, float] = {}
        self._unseen: set[Key] = set()
        self._build()
        session.changed.connect(self._on_edit)
        session.selection_changed.connect(self._on_selection)

    def close(self) -> None:
        """Let go of the session."""
        self.session.changed.disconnect(self._on_edit)
        self.session.selection_changed.disconnect(self._on_selection)

    def show(self, *, frame: int | None, order: Order, below: float | None) -> None:
        """Look through another frame, or in another order; the current object stays if it can."""
        if (frame, order, below) != (self.frame, self.order, self.below):
            self.frame, self.order, self.below = frame, order, below
            self._build()
            self.changed.emit()

    def set_doubts(self, doubts: Mapping[Key, Uncertainty]) -> None:
        """Take what a model says of its proposals, in place of what was known before."""
        self._doubts = doubts
        self._build()
        self.changed.emit()

    def set_identities(self, doubts: Mapping[Key, float]) -> None:
        """Take how doubtful identities are, 0 to 1: what `Order.IDENTITY` goes by."""
        if dict(doubts) == dict(self._identities):
            return
        self._identities = dict(doubts)
        if self.order is Order.IDENTITY:
            self._build()
            self.changed.emit()

    def identity_doubt(self, key: Key) -> float:
        """Return how doubtful it is that an object is the one of the frame before, 0 to 1."""
        return self._identities.get(key, 0.0)

    def __len__(self) -> int:
        return len(self._line)

    def keys(self) -> list[Key]:
        """Return what is left in the frame, or in all, in order."""
        return [(entry[2], entry[3]) for entry in self._line]

    @property
    def position(self) -> int | None:
        """Place of the current object in the order, from 1; None if there is none."""
        entry = None if self.current is None else self._entries.get(self.current)
        if entry is None or entry.rank is None:
            return None
        return bisect_left(self._line, entry.rank) + 1

    def uncertainty(self, key: Key) -> float:
        """Return how unsure the model is of an object, 0 to 1."""
        return self._entries[key].uncertainty

    def doubt(self, key: Key) -> Uncertainty | None:
        """Return what the model is unsure of, where it said so."""
        return self._doubts.get(key)

    def go(self, step: int) -> Key | None:
        """Go on by so many objects, around the end; return the current one, None if none is left.

        From an object that has been decided meanwhile, 1 goes to the one after it.
        """
        if not self._line:
            self.current = None
            return None
        at = self.position
        if at is not None:
            index = at - 1 + step
        elif self._after is not None:
            index = bisect_left(self._line, self._after) + (step - 1 if step > 0 else step)
        else:
            index = 0 if step > 0 else -1
        self._make_current(self._line[index % len(self._line)])
        self.changed.emit()
        return self.current

    def stand_at(self, key: Key) -> None:
        """Make an object current, if it is left: after a decision the one after it is next."""
        entry = self._entries.get(key)
        if entry is not None and entry.rank is not None and key != self.current:
            self._make_current(entry.rank)
            self.changed.emit()

    def tally(self, frame: int | None) -> Tally:
        """Count what became of the proposals of a frame, or of all; whatever `below` says."""
        return self._counts.tally(frame)

    def frames_done(self) -> tuple[int, int]:
        """Count the frames in which nothing is left to decide, and those with proposals."""
        return len(self._counts.done), len(self._counts.frames)

    def frames(self) -> list[FrameReview]:
        """Return the frames that have proposals, the one with the worst that is left first."""
        left: dict[int, list[float]] = {frame: [] for frame in self._counts.frames}
        for (frame, _), entry in self._entries.items():
            if entry.verdict is Verdict.LEFT:
                left[frame].append(entry.uncertainty)
        rows = [
            FrameReview(f, self.tally(f), max(u, default=0.0), sum(u) / len(u) if u else 0.0)
            for f, u in left.items()
        ]
        return sorted(rows, key=lambda row: (-row.worst, -row.mean, row.frame))

    def frame_state(self, frame: int) -> FrameState:
        """Return how far a frame has come.

        A frame stays reviewed, or exported, while a person edits it. New proposals make it a
        proposed one again, and so it counts while anything in it is left to decide: after an
        undo, or when an object is reopened.
        """
        if self.tally(frame).n_left:
            return FrameState.PROPOSED
        return self._document.state(frame)

    @property
    def hint(self) -> Hint | None:
        """That the rest may be right; None while too few in a row were, or nothing is left."""
        found = self._evidence.hint()
        return None if found is None else found[0]

    def rest(self) -> list[Key]:
        """Return what the hint is about."""
        found = self._evidence.hint()
        if found is None:
            return []
        return [
            key
            for key, entry in self._entries.items()
            if entry.verdict is Verdict.LEFT and self._is_in(key) and entry.uncertainty <= found[1]
        ]

    def accept_rest(self) -> Edit:
        """Return the edit that accepts what the hint is about, and marks frames that are done."""
        rest = self.rest()
        left = {frame: self.tally(frame).n_left for frame, _ in rest}
        for frame, _ in rest:
            left[frame] -= 1
        edit = set_status(self._document, rest, Status.ACCEPTED)
        edit = edit.then(self._marked(frame for frame, n in left.items() if not n))
        name = "Accept the last one" if len(rest) == 1 else f"Accept the other {len(rest):,}"
        return replace(edit, name=name)

    def unmarked(self) -> list[int]:
        """Return the frames with proposals of which all are decided, and that nobody marked."""
        if self.frame is None:
            return sorted(self._unmarked)
        return [self.frame] if self.frame in self._unmarked else []

    def mark_reviewed(self) -> Edit:
        """Return the edit that marks the frames as reviewed in which nothing is left."""
        frames = self.unmarked()
        what = "frame" if len(frames) == 1 else f"{len(frames):,} frames"
        return replace(self._marked(frames), name=f"Mark {what} as reviewed")

    def _marked(self, frames: Iterable[int]) -> Edit:
        after = FrameState.REVIEWED
        before = ((frame, self._document.state(frame)) for frame in sorted(frames))
        return Edit(
            "", states=tuple(StateChange(f, s, after) for f, s in before if s not in _MARKED)
        )

    def _on_selection(self, selection: frozenset[Key]) -> None:
        if len(selection) == 1:
            self.stand_at(*selection)

    def _on_edit(self, edit: Edit) -> None:
        keys = list(dict.fromkeys((change.frame, change.id) for change in edit.segments))
        decided = [key for key in keys if self._is_decided(key)]
        self._remember(edit, keys)
        # New proposals may move whole frames.
        if len(keys) > _MANY or (self.order is Order.FRAMES and _has_other_scores(edit)):
            self._build()
        else:
            for key in keys:
                self._take_out(key)
                self._file(key, self._document.segments(key[0]).get(key[1]))
            for frame in edit.frames:
                self._mark(frame)
        was = self.current
        again = [self._entries[key].rank for key in decided if key in self._entries]
        ranks = [where for where in again if where is not None]
        if ranks:
            self._make_current(min(ranks))
        elif was in keys:
            self._leave(was, edit)
        if keys or edit.states:
            self.changed.emit()
        if self.current is not None and self.current != was:
            self.moved.emit(self.current)

    def _leave(self, key: Key, edit: Edit) -> None:
        """Find the current object after an edit of it."""
        entry = self._entries.get(key)
        if entry is not None and entry.rank is not None:
            self._after = entry.rank
            return
        self.current = None
        segment = self._document.segments(key[0]).get(key[1])
        if segment is None:
            is_decision = _is_deletion(edit)
        else:
            is_decision = segment.status in (Status.ACCEPTED, Status.REJECTED)
        if is_decision and self._after is not None and self._line:
            at = bisect_left(self._line, self._after) % len(self._line)
            self._make_current(self._line[at])

    def _make_current(self, to: Rank) -> None:
        self.current, self._after = (to[2], to[3]), to

    def _is_decided(self, key: Key) -> bool:
        entry = self._entries.get(key)
        return entry is not None and entry.verdict is not Verdict.LEFT

    def _remember(self, edit: Edit, keys: list[Key]) -> None:
        """Note what the document does not say."""
        by_model = _is_by_model(edit)
        accepted = []
        for key in keys:
            segment = self._document.segments(key[0]).get(key[1])
            entry = self._entries.get(key)
            if segment is not None:
                self._gone.pop(key, None)
                if segment.status is Status.PROPOSED:
                    self._once.add(key)
                if segment.status is not Status.ACCEPTED:
                    self._unseen.discard(key)
                elif entry is None or entry.verdict is not Verdict.RIGHT:
                    accepted.append(key)
            elif entry is not None and not by_model:
                self._gone[key] = entry.uncertainty
        if len(accepted) > 1:
            # They may all be right, but nobody has looked at each: they prove nothing.
            self._unseen.update(accepted)

    def _build(self) -> None:
        """File everything anew."""
        self._entries: dict[Key, _Entry] = {}
        self._counts = Counts()
        self._line: list[Rank] = []
        self._evidence = Evidence()
        self._worst: dict[int, float] = {}
        segments = list(self._document.iter_segments())
        if self.order is Order.FRAMES:
            self._rank_frames()
        for frame, segment in segments:
            self._file((frame, segment.id), segment, is_sorted=False)
        for key in self._gone:
            self._file(key, None, is_sorted=False)
        self._unmarked: set[int] = set()
        for frame in self._counts.done:
            self._mark(frame)
        self._evidence.sort()
        self._line.sort()
        entry = None if self.current is None else self._entries.get(self.current)
        if entry is not None and entry.rank is not None:
            self._after = entry.rank
        elif entry is None or entry.verdict is Verdict.LEFT:
            self.current = self._after = None

    def _rank_frames(self) -> None:
        values = list(self._gone.items())
        for frame, segment in self._document.iter_segments():
            key = frame, segment.id
            if self._counts_as_proposal(key, segment):
                values.append((key, uncertainty_of(segment, self._doubts.get(key))))
        for (frame, _), value in values:
            self._worst[frame] = max(value, self._worst.get(frame, 0.0))

    def _mark(self, frame: int) -> None:
        """Note whether a frame is done, and nobody has said so."""
        is_marked = self._document.state(frame) in _MARKED
        belongs = frame in self._counts.done and not is_marked
        (self._unmarked.add if belongs else self._unmarked.discard)(frame)

    def _file(self, key: Key, segment: Segment | None, *, is_sorted: bool = True) -> None:
        """Put an object where it belongs now; None is one that is not there any more."""
        entry = self._entry(key, segment)
        if entry is None:
            return
        self._entries[key] = entry
        self._counts.add(key[0], entry.verdict)
        if entry.is_evidence:
            self._evidence.add(entry.verdict, entry.uncertainty, is_sorted=is_sorted)
        if entry.rank is not None and is_sorted:
            insort(self._line, entry.rank)
        elif entry.rank is not None:
            self._line.append(entry.rank)

    def _take_out(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self._counts.add(key[0], entry.verdict, -1)
        if entry.is_evidence:
            self._evidence.remove(entry.verdict, entry.uncertainty)
        if entry.rank is not None:
            del self._line[bisect_left(self._line, entry.rank)]

    def _entry(self, key: Key, segment: Segment | None) -> _Entry | None:
        is_in = self._is_in(key)
        if segment is None:
            value = self._gone.get(key)
            return None if value is None else _Entry(Verdict.CHANGED, value, None, is_in)
        if not self._counts_as_proposal(key, segment):
            return None
        value = uncertainty_of(segment, self._doubts.get(key))
        verdict = Verdict.of(segment)
        where, identity = None, self.identity_doubt(key)
        doubt = identity if self.order is Order.IDENTITY else value
        if verdict is Verdict.LEFT and is_in and (self.below is None or 1 - doubt < self.below):
            shape = self._document.image_shape
            where = rank(self.order, key, segment, value, shape, self._worst, identity)
        return _Entry(verdict, value, where, is_in and key not in self._unseen)

    def _counts_as_proposal(self, key: Key, segment: Segment) -> bool:
        return key in self._once and segment.status is not Status.DRAWN

    def _is_in(self, key: Key) -> bool:
        return self.frame is None or key[0] == self.frame


def _is_by_model(edit: Edit) -> bool:
    """Whether proposals that an edit removes were replaced, rather than deleted by a person."""
    statuses = {s.status for c in edit.segments for s in (c.before, c.after) if s is not None}
    # A person who only deletes leaves no other trace than the name of the step.
    return statuses == {Status.PROPOSED} and not edit.name.startswith(("Delete", "Erase"))


def _has_other_scores(edit: Edit) -> bool:
    return _is_by_model(edit) and any(
        c.before is None or c.after is None or c.before.score != c.after.score
        for c in edit.segments
    )


def _is_deletion(edit: Edit) -> bool:
    return not edit.name.startswith("Erase") and all(c.after is None for c in edit.segments)
