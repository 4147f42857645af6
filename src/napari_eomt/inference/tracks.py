"""Tracks out of single frames: an image model's segments, linked frame by frame.

Each frame's segments are assigned to the tracks so far by the overlap of their masks. A segment
that continues none is born; a track that is missed may come back where its motion leads, and is
forgotten after too many frames. What is remembered does not grow with the number of frames.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_eomt.errors import DataError
from napari_eomt.inference.track_frames import MAX_ID, Link, given_tracks, in_track_ids
from napari_eomt.inference.track_match import assign, doubts, find_candidates
from napari_eomt.inference.track_memory import TrackMemory, look
from napari_eomt.inference.track_params import TrackParams
from napari_eomt.inference.track_splits import find_splits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from napari_eomt.inference.track_match import Candidates
    from napari_eomt.inference.track_memory import Seen
    from napari_eomt.structures.segments import Segmentation


class Linker:
    """Gives the segments of frame after frame ids that last.

    Parameters
    ----------
    params : TrackParams, optional
    first_id : int
        Of the first new track; from 1. Where tracks are already there, one more than the highest.

    Attributes
    ----------
    tracks : list of TrackMemory
        Those that may go on, by their ids.
    links : tuple of Link
        How the segments of the last frame came by their tracks, in the order of their ids.
    ended : tuple of int
        Tracks that were given up, or have divided, with the last frame.
    ids : dict of int to int
        The track of each segment of the last frame that has one, by the segment's id before.
    n_frames : int
        Frames so far.
    next_id : int
        Of the next new track.
    """

    def __init__(self, params: TrackParams | None = None, *, first_id: int = 1) -> None:
        if first_id < 1:
            raise ValueError(f"The first id is {first_id}; ids count from 1, 0 is void.")
        self.params = params or TrackParams()
        self.tracks: list[TrackMemory] = []
        self.links: tuple[Link, ...] = ()
        self.ended: tuple[int, ...] = ()
        self.ids: dict[int, int] = {}
        self.n_frames = 0
        self.next_id = first_id
        self.shape: tuple[int, int] | None = None

    def link(
        self, segmentation: Segmentation, known: Mapping[int, int] | None = None
    ) -> Segmentation:
        """Return the next frame with track ids.

        A locked segment that has a track keeps it, and with it what a person decided; so may a
        run go on from a corrected frame.

        Parameters
        ----------
        segmentation : Segmentation
            Of the size of the frames before.
        known : mapping of int to int, optional
            The track of segments that are no longer in question, by the segment's id.

        Returns
        -------
        Segmentation
            Each segment's id and its pixels are its track's id. Of what a model proposed, the
            category is the track's (see `TrackParams.category_rule`), and the score its mean so
            far.

        Raises
        ------
        DataError
            If the size differs from the frames before, or two segments have the same track.
        """
        if self.shape not in (None, segmentation.shape):
            raise DataError(
                f"Frame {self.n_frames} is {segmentation.shape} px, the frames before are "
                f"{self.shape}. A video has frames of one size: track the others by themselves."
            )
        seen = look(segmentation)
        given = given_tracks(seen, self.n_frames, known or {})
        self.shape = segmentation.shape
        self.next_id = max([self.next_id, *(i + 1 for i in given.values())])
        open_ = {track.track_id: track for track in self.tracks}
        of_seen: dict[int, tuple[TrackMemory, Link]] = {}
        for j, track_id in given.items():
            track = open_.pop(track_id, None) or TrackMemory(track_id, seen[j])
            of_seen[j] = track, Link(track_id, "given", n_missed=track.n_missed)
        self._continue(list(open_.values()), seen, segmentation, of_seen)
        kept = {track.track_id: track.after(seen[j]) for j, (track, _) in of_seen.items()}
        self.links = tuple(
            replace(link, score=seen[j].segment.score)
            for j, (_, link) in sorted(of_seen.items(), key=lambda item: item[1][1].track_id)
        )
        parents = {link.parent_id for link in self.links if link.event == "split"}
        missed = [t.missed() for t in self.tracks if t.track_id not in kept]
        gone = [t.track_id for t in missed if t.track_id in parents or not self._may_return(t)]
        self.ended = tuple(gone)
        kept |= {t.track_id: t for t in missed if t.track_id not in set(gone)}
        self.tracks = [kept[i] for i in sorted(kept)]
        self.n_frames += 1
        self.ids = {seen[j].segment.id: t.track_id for j, (t, _) in of_seen.items()}
        return in_track_ids(
            segmentation, {j: kept[t.track_id] for j, (t, _) in of_seen.items()}, seen
        )

    def expect(self, segmentation: Segmentation) -> None:
        """Say where tracks are that it does not know, in the frame that comes next.

        So a run goes on from a frame whose tracks are there already, although none of the frames
        before it were linked here.

        Parameters
        ----------
        segmentation : Segmentation
            Its segments that have a track, and are no track's that may go on.
        """
        known = {track.track_id for track in self.tracks}
        for one in look(segmentation):
            track_id = one.segment.track_id
            if track_id is None or track_id in known or not 1 <= track_id <= MAX_ID:
                continue
            known.add(track_id)
            track = TrackMemory(track_id, one, parent_id=one.segment.parent_track_id).after(one)
            # What it scores there, the frame itself is going to say.
            self.tracks = [*self.tracks, replace(track, score_sum=0.0, n_scores=0)]
            self.next_id = max(self.next_id, track_id + 1)
        self.tracks.sort(key=lambda track: track.track_id)

    def _continue(
        self,
        tracks: list[TrackMemory],
        seen: Sequence[Seen],
        segmentation: Segmentation,
        of_seen: dict[int, tuple[TrackMemory, Link]],
    ) -> None:
        """Find a track for each segment that has none."""
        free = [j for j in range(len(seen)) if j not in of_seen]
        areas = {t.category_id: t for t in tracks if not t.seen.segment.is_thing}
        for j in [j for j in free if not seen[j].segment.is_thing]:
            # Sky is sky: an area of stuff is what its category says, wherever it lies.
            track = areas.pop(seen[j].segment.category_id, None)
            if track is not None:
                event: Literal["returned", "continued"] = (
                    "returned" if track.n_missed else "continued"
                )
                of_seen[j] = track, Link(track.track_id, event, 1.0, n_missed=track.n_missed)
        things = [t for t in tracks if t.seen.segment.is_thing]
        objects = [j for j in free if seen[j].segment.is_thing]
        candidates = find_candidates(
            things, [seen[j] for j in objects], segmentation.id_map, self.params
        )
        for i, k, iou, doubt in self._matched(things, [seen[j] for j in objects], candidates):
            track = things[i]
            of_seen[objects[k]] = (
                track,
                Link(
                    track.track_id,
                    "returned" if track.n_missed else "continued",
                    iou,
                    doubt,
                    n_missed=track.n_missed,
                ),
            )
        refused = np.zeros(len(objects))
        np.maximum.at(refused, candidates.seen, candidates.gain)
        doubt_of = dict(zip(objects, refused.tolist(), strict=True))
        self._split(things, seen, segmentation, of_seen)
        for j in free:
            score = seen[j].segment.score
            if j not in of_seen and (score is None or score >= self.params.birth_score):
                born = self._new(seen[j])
                of_seen[j] = born, Link(born.track_id, "born", doubt=doubt_of.get(j, 0.0))

    def _matched(
        self, tracks: Sequence[TrackMemory], seen: Sequence[Seen], candidates: Candidates
    ) -> list[tuple[int, int, float, float]]:
        """Return which track continues in which object: positions of both, IoU, and doubt."""
        chosen = assign(candidates)
        return [
            (int(candidates.track[k]), int(candidates.seen[k]), float(candidates.iou[k]), doubt)
            for k, doubt in zip(chosen, doubts(candidates, chosen).tolist(), strict=True)
        ]

    def _split(
        self,
        things: Sequence[TrackMemory],
        seen: Sequence[Seen],
        segmentation: Segmentation,
        of_seen: dict[int, tuple[TrackMemory, Link]],
    ) -> None:
        """Let tracks end in two children, where that is wanted."""
        if not self.params.splits:
            return
        linked = {j: t.track_id for j, (t, link) in of_seen.items() if link.event != "given"}
        given = {j for j, (_, link) in of_seen.items() if link.event == "given"}
        for parent, children in find_splits(
            things, seen, segmentation.id_map, linked, given, self.params
        ):
            for j in children:
                child = replace(self._new(seen[j]), parent_id=parent)
                of_seen[j] = child, Link(child.track_id, "split", parent_id=parent)

    def _new(self, one: Seen) -> TrackMemory:
        if self.next_id > MAX_ID:
            raise DataError(
                f"Frame {self.n_frames} needs the track id {self.next_id}; label images hold ids "
                f"up to {MAX_ID}. Track the video in parts."
            )
        self.next_id += 1
        return TrackMemory(self.next_id - 1, one)

    def _may_return(self, track: TrackMemory) -> bool:
        return not track.seen.segment.is_thing or track.n_missed <= self.params.linked_gap


def iter_linked(
    segmentations: Iterable[Segmentation],
    params: TrackParams | None = None,
    *,
    linker: Linker | None = None,
) -> Iterator[Segmentation]:
    """Yield frames with track ids, each as soon as it comes.

    Parameters
    ----------
    segmentations : iterable of Segmentation
        Frame by frame.
    params : TrackParams, optional
    linker : Linker, optional
        One that has seen frames before, to go on; it has parameters of its own.

    Raises
    ------
    DataError
        If frames differ in size.
    """
    if linker is None:
        linker = Linker(params)
    elif params is not None:
        raise ValueError("A linker has its own parameters. Give one of both, params or linker.")
    for segmentation in segmentations:
        yield linker.link(segmentation)
