"""Segmenting frame after frame, with ids that last."""

from __future__ import annotations

import copy
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_eomt.errors import DataError
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.plan import task_of
from napari_eomt.inference.predict import iter_predict
from napari_eomt.inference.progress import result_of
from napari_eomt.inference.proposals import changed
from napari_eomt.inference.track_params import TrackParams
from napari_eomt.inference.tracks import Linker
from napari_eomt.inference.video_forward import VideoForward
from napari_eomt.inference.video_frames import iter_ahead, iter_frames
from napari_eomt.inference.video_given import lay_over
from napari_eomt.inference.video_queries import QueryLinker
from napari_eomt.inference.video_state import VideoState, check_model, identity_of
from napari_eomt.models.videomt import VideomtSegmenter

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    import numpy.typing as npt

    from napari_eomt.inference.predict import Prediction
    from napari_eomt.inference.progress import Progress
    from napari_eomt.inference.proposals import Proposals
    from napari_eomt.inference.track_frames import Link
    from napari_eomt.models.query_state import QueryState
    from napari_eomt.models.segmenter import Segmenter
    from napari_eomt.structures.candidates import QueryId
    from napari_eomt.structures.segments import Segmentation
    from napari_eomt.structures.tiles import Tile
    from napari_eomt.structures.uncertainty import Uncertainty


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """What a frame of a video gave.

    Parameters
    ----------
    segmentation : Segmentation
        The id of each segment, and its `track_id`, is its track's.
    links : tuple of Link
        How the segments came by their tracks, with a doubt each; in the order of the segments.
    ended : tuple of int
        Tracks that were given up, or have divided.
    n_tiles, n_full_tiles, object_size, notes
        As in `Prediction`.
    uncertainty : tuple of (Uncertainty or None)
        Of each segment; None where the model has said nothing of it.
    proposals : Proposals or None
        What the model has proposed, if it was to be kept.
    """

    segmentation: Segmentation
    links: tuple[Link, ...]
    ended: tuple[int, ...]
    n_tiles: int
    n_full_tiles: int
    object_size: float | None
    notes: tuple[str, ...] = ()
    uncertainty: tuple[Uncertainty | None, ...] = ()
    proposals: Proposals | None = None


class VideoTracker:
    """Segments frame after frame, and gives objects ids that last; in constant memory.

    A VidEoMT's queries follow things from frame to frame: who they follow is the track. Segments
    of a model that knows images alone are linked by the overlap of their masks.

    Parameters
    ----------
    segmenter : Segmenter
    params : PredictParams, optional
        With "auto", the size of objects is measured in the first frame that has some.
    track : TrackParams, optional
    first_id : int
        Of the first new track. Where there are tracks already, one more than the highest.

    Attributes
    ----------
    n_frames : int
        Frames so far, so also the number of the one that comes next.

    Raises
    ------
    DataError
        If the model does not serve the task.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        params: PredictParams | None = None,
        track: TrackParams | None = None,
        *,
        first_id: int = 1,
    ) -> None:
        self.segmenter = segmenter
        self.params = params or PredictParams()
        self.track = track or TrackParams()
        self.n_frames = 0
        self.object_size: float | None = None
        card = segmenter.card
        task_of(self.params, card)
        # Before memory runs out, and with it the precision changes.
        self._model = identity_of(segmenter)
        self._queries: Mapping[Tile, QueryState] = {}
        self._linker: Linker = (
            QueryLinker(
                card.categories, self.track, first_id=first_id, wanted=self.params.categories
            )
            if isinstance(segmenter, VideomtSegmenter)
            else Linker(self.track, first_id=first_id)
        )

    @property
    def next_id(self) -> int:
        """The id of the next new track."""
        return self._linker.next_id

    def iter_frame(
        self,
        frame: npt.NDArray[Any],
        given: Segmentation | None = None,
        *,
        keep_bytes: int = 0,
    ) -> Generator[Progress, None, VideoFrame]:
        """Segment the next frame; each step is progress and a place to stop.

        Stopped, or after an error, the tracker is as it was: the frame can be given again.

        Parameters
        ----------
        frame : (H, W) or (H, W, C)
            Of the size of the frames before.
        given : Segmentation, optional
            What is known of the frame, so that a run goes on from one that was corrected. Locked
            segments keep their pixels and their tracks, and the model follows them from here on;
            of the others, those with a track pass it on to what the model finds at their place.
        keep_bytes : int
            As of `iter_predict`.

        Returns
        -------
        VideoFrame

        Raises
        ------
        DataError
            If the frame cannot be used.
        ModelError
            If memory does not suffice, whatever was tried.
        """
        shape = np.shape(frame)[:2]
        if self._linker.shape not in (None, shape):
            raise DataError(
                f"The frame is {shape} px, the frames before are {self._linker.shape}. A video "
                "has frames of one size: track the others by themselves."
            )
        forward = None
        if isinstance(self.segmenter, VideomtSegmenter):
            forward = VideoForward(self.segmenter, self._queries)
        prediction = yield from iter_predict(
            frame,
            self.segmenter,
            self.params,
            keep_bytes=keep_bytes,
            object_size=self.object_size,
            forward=forward,
        )
        # A linker that fails has taken up half a frame: the one before is kept until it is done.
        linker = copy.copy(self._linker)
        segmentation = _link(linker, prediction, forward, given)
        self._linker = linker
        self._queries = forward.after if forward else {}
        self.object_size = prediction.object_size
        self.n_frames += 1
        said = dict(
            zip(
                (s.id for s in prediction.segmentation.segments),
                prediction.uncertainty,
                strict=False,
            )
        )
        numbers = {track_id: i for i, track_id in linker.ids.items()}
        return VideoFrame(
            segmentation,
            linker.links,
            linker.ended,
            prediction.n_tiles,
            prediction.n_full_tiles,
            prediction.object_size,
            prediction.notes,
            tuple(said.get(numbers[s.id]) for s in segmentation.segments),
            prediction.proposals,
        )

    def cut(self) -> None:
        """Forget what was seen, for a new scene: its tracks are new ones."""
        linker = copy.copy(self._linker)
        linker.tracks = []
        if isinstance(linker, QueryLinker):
            linker.queries = {}
        self._linker, self._queries = linker, {}

    def state(self) -> VideoState:
        """Return all that is needed to go on from here."""
        return VideoState.of_linker(
            self._linker,
            model=self._model,
            params=self.params,
            track=self.track,
            n_frames=self.n_frames,
            object_size=self.object_size,
            queries=dict(self._queries),
        )

    @classmethod
    def of_state(
        cls,
        segmenter: Segmenter,
        state: VideoState,
        params: PredictParams | None = None,
        track: TrackParams | None = None,
    ) -> VideoTracker:
        """Return a tracker that goes on from a state, as if it had not stopped.

        Parameters
        ----------
        segmenter : Segmenter
            The same model.
        state : VideoState
        params, track : optional
            By default those of the state; others are an error.

        Raises
        ------
        ModelError
            If another model has made the state.
        DataError
            If parameters differ, or the state is damaged.
        """
        tracker = cls(segmenter, state.params, state.track)
        check_model(tracker._model, state.model)
        for now, then in ((params, state.params), (track, state.track)):
            differ = [] if now is None else [k for k, v in then if getattr(now, k) != v]
            if differ:
                raise DataError(
                    f"The run was begun with another {', '.join(differ)}: "
                    f"{', '.join(f'{k} = {getattr(then, k)}' for k in differ)}. Go on with that, "
                    "or track the video from its start."
                )
        state.fill(tracker._linker, "The state of tracking")
        tracker._queries = dict(state.queries)
        tracker.n_frames, tracker.object_size = state.n_frames, state.object_size
        return tracker

    def save(self, path: Path) -> None:
        """Write the state to a file; see `VideoState.save`."""
        self.state().save(path)

    @classmethod
    def load(
        cls,
        path: Path,
        segmenter: Segmenter,
        params: PredictParams | None = None,
        track: TrackParams | None = None,
    ) -> VideoTracker:
        """Go on from a file; see `VideoState.load` and `of_state`."""
        return cls.of_state(segmenter, VideoState.load(path), params, track)


def _link(
    linker: Linker, prediction: Prediction, forward: VideoForward | None, given: Segmentation | None
) -> Segmentation:
    """Give the segments of a frame their tracks."""
    found = prediction.segmentation
    members = {
        s.id: queries for s, queries in zip(found.segments, prediction.members, strict=False)
    }
    known: dict[int, int] = {}
    if given is not None:
        corrected = lay_over(found, given)
        found, known = corrected.segmentation, corrected.known
        linker.expect(corrected.left)
        for i, parts in corrected.replaced.items():
            members[i] = tuple(query for part in parts for query in members.get(part, ()))
    if forward is None or not isinstance(linker, QueryLinker):
        return linker.link(found, known)
    tiles = list(forward.class_logits)

    def logits_of(query: QueryId) -> npt.NDArray[np.float64]:
        view, number = query
        logits: npt.NDArray[np.float64] = forward.class_logits[tiles[view]][number].double().numpy()
        return logits

    return linker.link_queries(found, members, logits_of, known)


def iter_video(
    frames: Any,
    segmenter: Segmenter,
    params: PredictParams | None = None,
    *,
    track: TrackParams | None = None,
    state: VideoTracker | VideoState | Path | str | None = None,
    start: int = 0,
    look_ahead: int = 2,
    **changes: Any,
) -> Iterator[Segmentation]:
    """Segment a video frame by frame; an object keeps its id through time.

    Frames are read while the model works, and no more than are needed: memory does not grow with
    the length of the video. Closing the iterator ends the reading.

    Parameters
    ----------
    frames : path, array, list, iterable or FrameSource
        A stack, a video file, a folder of images or a pattern; an array (T, H, W) or
        (T, H, W, C), which may be lazy; images or files, one after the other.
    segmenter : Segmenter
        A VidEoMT follows things by itself; frames of other models are linked by overlap.
    params : PredictParams, optional
    track : TrackParams, optional
    state : VideoTracker, VideoState or path, optional
        What the frames before have left. A tracker goes on itself, so that its state can be taken
        at any frame.
    start : int
        The first frame to take.
    look_ahead : int
        How many frames are read ahead.
    **changes
        Single parameters, of either kind, such as ``score_threshold=0.3`` or ``max_gap=5``.

    Yields
    ------
    Segmentation
        Of each frame, whose ids are those of tracks.

    Raises
    ------
    DataError
        If frames cannot be read or used; says which.
    ModelError
        If another model has made the state.
    """
    linking = {name: changes.pop(name) for name in TrackParams.model_fields if name in changes}
    if isinstance(state, VideoTracker):
        if params is not None or track is not None or changes or linking:
            raise ValueError("A tracker has its own parameters. Give one of both.")
        tracker = state
    else:
        if params is not None or changes or state is None:
            params = changed(params or PredictParams(), changes)
        if track is not None or linking or state is None:
            track = TrackParams(**{**(track or TrackParams()).model_dump(), **linking})
        if state is None:
            tracker = VideoTracker(segmenter, params, track)
        else:
            known = state if isinstance(state, VideoState) else VideoState.load(Path(state))
            tracker = VideoTracker.of_state(segmenter, known, params, track)
    return _iter_video(iter_ahead(iter_frames(frames, start=start), look_ahead), tracker)


def _iter_video(
    frames: Iterator[tuple[int, npt.NDArray[Any]]], tracker: VideoTracker
) -> Iterator[Segmentation]:
    with closing(frames):  # type: ignore[type-var]
        for i, frame in frames:
            try:
                found = result_of(tracker.iter_frame(frame))
            except DataError as error:
                raise DataError(f"Frame {i}: {error}") from error
            yield found.segmentation
