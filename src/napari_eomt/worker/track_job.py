"""Following things through the frames of a job, inside the worker process.

A run that goes on from a frame begins with the frames before it. What the document says of them
tells the linker where tracks are, which way they move and which of them are missing: a person may
have corrected it, so that it goes before what a tracker remembers. The queries of a VidEoMT are
taken from the state that is kept closest before, and the frames after that are seen again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_eomt.inference.tracks import Linker
from napari_eomt.inference.video import VideoTracker
from napari_eomt.inference.video_queries import QueryLinker
from napari_eomt.inference.video_state import VideoState, identity_of
from napari_eomt.models.videomt import VideomtSegmenter
from napari_eomt.worker.given import FRAMES_BACK

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy.typing as npt

    from napari_eomt.inference.params import PredictParams
    from napari_eomt.inference.progress import Progress
    from napari_eomt.inference.video import VideoFrame
    from napari_eomt.models.segmenter import Segmenter
    from napari_eomt.worker.given import GivenFrame
    from napari_eomt.worker.protocol import Tracking
    from napari_eomt.worker.track_states import TrackStates


class TrackJob:
    """Takes the frames of a job one after the other.

    Parameters
    ----------
    segmenter : Segmenter
    params : PredictParams
    tracking : Tracking
    key : str
        Of the run.
    states : TrackStates
        What was kept of runs before, and is kept of this one.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        params: PredictParams,
        tracking: Tracking,
        key: str,
        states: TrackStates,
    ) -> None:
        self._segmenter, self._params, self._tracking = segmenter, params, tracking
        self._key, self._states = key, states
        self._tracker: VideoTracker | None = None
        self._next: int | None = None
        is_video = isinstance(segmenter, VideomtSegmenter)
        first = tracking.before[0] if tracking.before else tracking.start
        goes_on = bool(tracking.before) or tracking.resume
        known = states.nearest(key, first, tracking.start) if goes_on else None
        if known is not None and identity_of(segmenter) != known[1].model:
            known = None
        self._known = None if known is None else known[1]
        # An image model sees no frame again: of those before, only what is given counts.
        self._seen_from = tracking.start
        if is_video:
            self._seen_from = first if known is None else known[0]
        if known is not None and known[0] == tracking.start and tracking.resume:
            self._resume(known[1])
        self._is_resumed = self._tracker is not None
        # What another run has left of later frames is not what this one is going to know.
        states.forget(key, after=tracking.start)
        categories, first_id = segmenter.card.categories, tracking.first_id
        self._linker: Linker = (
            QueryLinker(categories, tracking.params, first_id=first_id, wanted=params.categories)
            if is_video
            else Linker(tracking.params, first_id=first_id)
        )

    def iter_frame(
        self,
        frame: int,
        pixels: npt.NDArray[Any],
        given: GivenFrame | None,
        *,
        keep_bytes: int = 0,
    ) -> Generator[Progress, None, VideoFrame | None]:
        """Take the next frame; each step is progress and a place to stop.

        Returns
        -------
        VideoFrame or None
            None of the frames before the first one that has a result.

        Raises
        ------
        DataError, ModelError
            See `VideoTracker.iter_frame`.
        """
        is_before = frame < self._tracking.start
        if is_before and (self._is_resumed or frame < self._seen_from):
            self._look_at(given)
            return None
        tracker = self._tracker or self._begin()
        self._tracker = tracker
        if not is_before and frame % FRAMES_BACK == 0:
            self._states.put(self._key, frame, tracker.state())
        known = None if given is None else given.segmentation()
        found = yield from tracker.iter_frame(pixels, known, keep_bytes=keep_bytes)
        self._next = frame + 1
        return None if is_before else found

    def close(self) -> None:
        """Keep what is known after the last frame that was done, so that it can go on there."""
        if self._tracker is not None and self._next is not None:
            self._states.put(self._key, self._next, self._tracker.state())

    def _look_at(self, given: GivenFrame | None) -> None:
        """Take up where the tracks were, without the model."""
        if given is not None:
            tracks = {s.id: s.track_id for s in given.segments if s.track_id is not None}
            self._linker.link(given.segmentation(), tracks)

    def _resume(self, state: VideoState) -> None:
        params, track = self._params, self._tracking.params
        if (state.params, state.track) == (params, track):
            self._tracker = VideoTracker.of_state(self._segmenter, state)

    def _begin(self) -> VideoTracker:
        """Return a tracker that knows the tracks so far, and what is kept of a VidEoMT."""
        params, track, known = self._params, self._tracking.params, self._known
        if known is None and not self._linker.n_frames:
            first_id = self._tracking.first_id
            return VideoTracker(self._segmenter, params, track, first_id=first_id)
        state = VideoState.of_linker(
            self._linker,
            model=identity_of(self._segmenter) if known is None else known.model,
            params=params,
            track=track,
            n_frames=self._linker.n_frames,
            object_size=None if known is None else known.object_size,
            queries={} if known is None else known.queries,
        )
        return VideoTracker.of_state(self._segmenter, state)
