"""Tracks out of a model whose queries follow things: identity is the query's.

A query is told by its view and its number there. Where a large frame is looked at by tiles, a
thing is followed by a query in each tile that sees it: those whose masks the stitcher has merged
are one track, and what leaves one tile for another goes on by the overlap of its masks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from napari_eomt.inference.track_assign import best_pairs
from napari_eomt.inference.track_match import doubts
from napari_eomt.inference.tracks import Linker
from napari_eomt.structures.segments import Segmentation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_eomt.inference.track_match import Candidates
    from napari_eomt.inference.track_memory import Seen, TrackMemory
    from napari_eomt.inference.track_params import TrackParams
    from napari_eomt.structures.candidates import QueryId
    from napari_eomt.structures.categories import Category
    from napari_eomt.structures.segments import Segment

Floats = npt.NDArray[np.float64]

# A pair that a query makes is worth more than any that overlap makes.
_OF_QUERY = 1.0


@dataclass(frozen=True, eq=False)
class QueryTrack:
    """What queries have said of a track.

    Parameters
    ----------
    queries : dict of (view, query) to int
        Those that follow it, and for how many frames they have not been part of it.
    class_sum : (K + 1,) float64
        Class logits of its best query, summed over the frames that show it.
    n_frames : int
        How many these are.
    mask_sum : float
        What its scores were, by its class probabilities: how sure the masks were.
    category_id : int or None
        What a person has said it is.
    """

    queries: dict[QueryId, int]
    class_sum: Floats
    n_frames: int = 0
    mask_sum: float = 0.0
    category_id: int | None = None


class QueryLinker(Linker):
    """Gives the segments of frame after frame ids that last, by their queries.

    Stuff, and the semantic task, is what its category says, as in `Linker`; so are births, gaps,
    divisions and what is given. A track's category is the most probable one of its mean class
    logits, and its score that probability times the mean of how sure its masks were.

    Parameters
    ----------
    categories : sequence of Category
        The model's, in the order of its class logits.
    params : TrackParams, optional
    first_id : int
    wanted : collection of int, optional
        Categories that a track may have, by their ids; by default all.

    Attributes
    ----------
    queries : dict of int to QueryTrack
        By the tracks' ids.
    """

    def __init__(
        self,
        categories: Sequence[Category],
        params: TrackParams | None = None,
        *,
        first_id: int = 1,
        wanted: Sequence[int] | None = None,
    ) -> None:
        super().__init__(params, first_id=first_id)
        self.queries: dict[int, QueryTrack] = {}
        self._categories = tuple(categories)
        self._label_of = {category.id: k for k, category in enumerate(categories)}
        self._is_choice = np.array(
            [c.is_thing and (wanted is None or c.id in wanted) for c in categories], bool
        )
        self._members: Mapping[int, Sequence[QueryId]] = {}

    def link_queries(
        self,
        segmentation: Segmentation,
        members: Mapping[int, Sequence[QueryId]],
        logits_of: Callable[[QueryId], Floats],
        known: Mapping[int, int] | None = None,
    ) -> Segmentation:
        """Return the next frame with track ids; see `Linker.link`.

        Parameters
        ----------
        segmentation : Segmentation
        members : mapping of int to sequence of (view, query)
            What each segment was made of, by its id; its own query first.
        logits_of : callable
            The (K + 1,) class logits of a query in this frame.
        known : mapping of int to int, optional
        """
        self._members = members
        linked = self.link(segmentation, known)
        self._remember(segmentation.segments, logits_of)
        return Segmentation(linked.id_map, tuple(self._told(one) for one in linked.segments))

    def _matched(
        self, tracks: Sequence[TrackMemory], seen: Sequence[Seen], candidates: Candidates
    ) -> list[tuple[int, int, float, float]]:
        keys = [set(self._members.get(one.segment.id, ())) for one in seen]
        own = [set(self._queries_of(track)) for track in tracks]
        owner = {key: i for i, its in enumerate(own) for key in its}
        places = {
            (int(i), int(k)): n
            for n, (i, k) in enumerate(zip(candidates.track, candidates.seen, strict=True))
        }
        gains: dict[tuple[int, int], float] = {}
        for k, here in enumerate(keys):
            for i in {owner[key] for key in here if key in owner}:
                if self._may_be(tracks[i], seen[k]):
                    n = places.get((i, k))
                    gains[i, k] = _OF_QUERY + (0.0 if n is None else float(candidates.iou[n]))
        followed = {key for here in keys for key in here}
        for (i, k), n in places.items():
            # Overlap decides where tiles meet, and for tracks that no query has followed yet.
            views = {view for view, _ in own[i]}
            is_elsewhere = not views & {view for view, _ in keys[k]}
            if is_elsewhere and not own[i] & followed and not keys[k] & set(owner):
                gains[i, k] = float(candidates.gain[n])
        pairs = sorted(gains)
        rows, columns = np.array(pairs, np.int64).reshape(-1, 2).T
        chosen = best_pairs(rows, columns, np.array([gains[pair] for pair in pairs]))
        found = []
        for i, k in (pairs[n] for n in chosen):
            place = places.get((i, k))
            if place is None:  # nothing but the query says so
                found.append((i, k, 0.0, 1.0))
                continue
            doubt = float(doubts(candidates, np.array([place]))[0])
            found.append((i, k, float(candidates.iou[place]), doubt))
        return found

    def _may_be(self, track: TrackMemory, one: Seen) -> bool:
        is_same = track.category_id == one.segment.category_id
        return is_same or self.params.category_rule == "vote"

    def _may_return(self, track: TrackMemory) -> bool:
        # As published, a query is who it follows for the whole video. There are so many queries,
        # so the tracks that are waited for do not grow in number with the frames.
        is_followed = self.params.max_gap is None and bool(self._queries_of(track))
        return is_followed or super()._may_return(track)

    def _queries_of(self, track: TrackMemory) -> Mapping[QueryId, int]:
        known = self.queries.get(track.track_id)
        return known.queries if known else {}

    def _remember(
        self, segments: Sequence[Segment], logits_of: Callable[[QueryId], Floats]
    ) -> None:
        """Take up what the frame says of each track, and which queries follow it now."""
        of_track = {self.ids[one.id]: one for one in segments if one.id in self.ids}
        taken = {key for one in of_track.values() for key in self._members.get(one.id, ())}
        none = np.zeros(len(self._categories) + 1)
        gap = self.params.max_gap
        after = {}
        for track in self.tracks:
            known = self.queries.get(track.track_id) or QueryTrack({}, none)
            queries = {
                key: missed + 1
                for key, missed in known.queries.items()
                if key not in taken and (gap is None or missed < gap)
            }
            segment = of_track.get(track.track_id)
            if segment is not None and segment.is_thing:
                members = self._members.get(segment.id, ())
                queries |= dict.fromkeys(members, 0)
                if segment.is_locked:
                    known = replace(known, category_id=segment.category_id)
                elif members:
                    known = self._added(known, segment, logits_of(members[0]))
            after[track.track_id] = replace(known, queries=queries)
        self.queries = after

    def _added(self, known: QueryTrack, segment: Segment, logits: Floats) -> QueryTrack:
        probability = float(softmax(logits)[self._label_of[segment.category_id]])
        sureness = 1.0 if segment.score is None else min(1.0, segment.score / probability)
        return replace(
            known,
            class_sum=known.class_sum + logits,
            n_frames=known.n_frames + 1,
            mask_sum=known.mask_sum + sureness,
        )

    def _told(self, segment: Segment) -> Segment:
        """Return a segment as its track is."""
        known = self.queries.get(segment.id)
        if segment.is_locked or not segment.is_thing or known is None or not known.n_frames:
            return segment
        probabilities = softmax(known.class_sum / known.n_frames)[:-1]
        label = int(np.where(self._is_choice, probabilities, -1).argmax())
        if known.category_id is not None:
            label = self._label_of.get(known.category_id, label)
        score = float(probabilities[label]) * known.mask_sum / known.n_frames
        category_id = self._categories[label].id if known.category_id is None else known.category_id
        return replace(segment, category_id=category_id, score=score)
