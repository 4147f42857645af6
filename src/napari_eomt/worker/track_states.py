"""What trackers remember before some frames of a run, within a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_eomt.inference.video_state import VideoState

STATES_BYTES = 64 * 2**20


class TrackStates:
    """States by the key of their run and the frame that comes next; on the CPU.

    Where they become too many those of the run that was used least recently go first, all of
    them. Within a run every second one goes, in the order in which they lie closest: what is
    left is spread over all of its frames, and a new run from one of them sees more frames again.

    Parameters
    ----------
    max_bytes : int
        They never take more together; one that is larger by itself is not kept.
    """

    def __init__(self, max_bytes: int = STATES_BYTES) -> None:
        self.max_bytes = max_bytes
        self.nbytes = 0
        self._runs: OrderedDict[str, dict[int, tuple[VideoState, int]]] = OrderedDict()

    def frames(self, key: str) -> list[int]:
        """Return the frames before which something is kept."""
        return sorted(self._runs.get(key, ()))

    def put(self, key: str, frame: int, state: VideoState) -> None:
        """Keep what a tracker knows when `frame` is the next."""
        state = replace(state, queries={t: q.to("cpu") for t, q in state.queries.items()})
        n_bytes = state_bytes(state)
        self._drop(key, frame)
        if n_bytes > self.max_bytes:
            return
        self._runs.setdefault(key, {})[frame] = (state, n_bytes)
        self._runs.move_to_end(key)
        self.nbytes += n_bytes
        while self.nbytes > self.max_bytes:
            oldest = next(iter(self._runs))
            if oldest != key:
                self.forget(oldest)
            else:
                self._drop(key, self._least_missed(key, frame))

    def nearest(self, key: str, first: int, last: int) -> tuple[int, VideoState] | None:
        """Return the last state before a frame of `first` to `last`, with that frame."""
        known = [frame for frame in self._runs.get(key, ()) if first <= frame <= last]
        return (max(known), self._runs[key][max(known)][0]) if known else None

    def forget(self, key: str, after: int = -1) -> None:
        """Drop the states of a run; with `after`, those before later frames than that."""
        for frame in [frame for frame in self._runs.get(key, ()) if frame > after]:
            self._drop(key, frame)

    def _drop(self, key: str, frame: int) -> None:
        run = self._runs.get(key, {})
        _, n_bytes = run.pop(frame, (None, 0))
        self.nbytes -= n_bytes
        if not run:
            self._runs.pop(key, None)

    def _least_missed(self, key: str, newest: int) -> int:
        """Return the frame whose neighbours lie closest together; not the newest."""
        frames = [frame for frame in self.frames(key) if frame != newest]
        around = zip([-1, *frames], frames, [*frames[1:], newest], strict=False)
        return min(around, key=lambda three: (three[2] - three[0], three[1]))[1]


def state_bytes(state: VideoState) -> int:
    """Count the memory of a state, near enough."""
    queries = sum(query.queries.nbytes for query in state.queries.values())
    tracks = sum(track.class_sum.nbytes for track in (state.query_tracks or {}).values())
    return sum(array.nbytes for array in state.linker.values()) + queries + tracks
