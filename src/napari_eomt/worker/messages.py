"""What the worker's client tells the window: states and events, all of them plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from napari_eomt.inference.track_frames import Link
    from napari_eomt.structures.candidates import Candidate, Patch, QueryId, Split
    from napari_eomt.structures.segments import Segmentation
    from napari_eomt.structures.uncertainty import Uncertainty


class WorkerState(str, Enum):
    """What the worker process is doing."""

    STARTING = "starting"
    """Being started, or loading its libraries."""
    WARM = "warm"
    """Idle and ready."""
    BUSY = "busy"
    """Working on a job."""
    FAILED = "failed"
    """Dead. STARTING follows, unless the detail says that it is not restarted by itself."""
    CLOSED = "closed"
    """Not started yet, or closed for good."""


@dataclass(frozen=True)
class ModelRef:
    """Which model, where and how precisely it shall run.

    Parameters
    ----------
    model, device, dtype, input_size, compiled
        As `load_segmenter` takes them.
    """

    model: str
    device: str = "auto"
    dtype: str = "auto"
    input_size: int | None = None
    compiled: bool = False


@dataclass(frozen=True)
class StateChanged:
    """The process is in another state, or does something else in the same state.

    Parameters
    ----------
    state : WorkerState
    detail : str
        One line for people.
    device, model : str or None
        Of the model last used; None before the first one is loaded, and after a restart.
    """

    state: WorkerState
    detail: str
    device: str | None = None
    model: str | None = None


@dataclass(frozen=True)
class JobProgress:
    """How far a job has come.

    Parameters
    ----------
    job : int
    done, total : int
        Within the frame at hand.
    what : str
        What is counted: "tile", or whatever the prediction says; while a model loads "model", or
        "compiling", or "downloading", "converting" and what else `hub_watch.Progress` says, then in
        bytes.
    frame : int or None
        Index of the frame in its source; None while a model loads.
    n_frames : int
        Frames of the whole job.
    n_done : int
        Frames of the job that are finished.
    """

    job: int
    done: int
    total: int
    what: str
    frame: int | None
    n_frames: int
    n_done: int = 0


@dataclass(frozen=True, eq=False)
class FrameDone:
    """A frame is segmented, or decided about once more.

    Parameters
    ----------
    job : int
    key : str
        As given with the job.
    frame : int
        Index of the frame in its source.
    segmentation : Segmentation
        Its arrays belong to the receiver.
    n_tiles, n_full_tiles : int
        Tiles, and those in which the model used up its queries.
    object_size : float or None
        Side of a typical object that was measured or assumed, in pixels.
    seconds : float
        Work on this frame, without the wait for it.
    notes : tuple of str
        What people should know, such as a retry with less memory.
    queries : tuple of (view, query)
        Of each segment, in the order of the segments; empty for the semantic task.
    uncertainty : tuple of (Uncertainty or None)
        Of each segment, likewise; None for what a person has decided.
    links : tuple of Link
        Of a frame that was tracked: how each segment came by its track, which is its id here.
    """

    job: int
    key: str
    frame: int
    segmentation: Segmentation
    n_tiles: int
    n_full_tiles: int
    object_size: float | None
    seconds: float
    notes: tuple[str, ...]
    queries: tuple[QueryId, ...] = ()
    uncertainty: tuple[Uncertainty | None, ...] = ()
    links: tuple[Link, ...] = ()


@dataclass(frozen=True)
class Finished:
    """A job is done.

    Parameters
    ----------
    job : int
    seconds : float
        From its start (not from when it was queued).
    n_frames : int
        Frames for which there was a `FrameDone`.
    missing : tuple of int
        Frames of `decide` whose proposals are no longer kept: segment them again.
    notes : tuple of str
        Those of all frames, each once.
    """

    job: int
    seconds: float
    n_frames: int
    missing: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cancelled:
    """A job was stopped before its end; the frames that were done have been reported.

    Parameters
    ----------
    job : int
    n_frames : int
        Frames for which there was a `FrameDone`.
    superseded_by : int or None
        The later `decide`, or the later question, that made this one pointless; None when
        somebody cancelled.
    """

    job: int
    n_frames: int
    superseded_by: int | None = None


@dataclass(frozen=True)
class Failed:
    """A job could not be done.

    Parameters
    ----------
    job : int
    message : str
        One line for people.
    details : str
        For "copy details": a traceback, or the last words of the process.
    """

    job: int
    message: str
    details: str = ""


@dataclass(frozen=True)
class CandidatesFound:
    """A question for candidates, or for hidden proposals, is answered.

    Parameters
    ----------
    job : int
    key : str
    frame : int
        As asked.
    candidates : tuple of Candidate
        Best first, with outlines.
    seconds : float
        Work on the answer, without the wait for it.
    """

    job: int
    key: str
    frame: int
    candidates: tuple[Candidate, ...]
    seconds: float


@dataclass(frozen=True, eq=False)
class MaskFound:
    """A question for the mask of a candidate is answered.

    Parameters
    ----------
    job : int
    key : str
    frame : int
    patch : Patch
        Its pixels are bool, or float32 if probabilities were asked for.
    seconds : float
    """

    job: int
    key: str
    frame: int
    patch: Patch
    seconds: float


@dataclass(frozen=True, eq=False)
class SplitFound:
    """A question how to split an object is answered.

    Parameters
    ----------
    job : int
    key : str
    frame : int
    split : Split or None
        None if the model sees one object.
    seconds : float
    """

    job: int
    key: str
    frame: int
    split: Split | None
    seconds: float


@dataclass(frozen=True)
class NoneKept:
    """A question cannot be answered: the proposals of the frame are no longer kept.

    They took too much memory, made room for others, were forgotten, or went with the process.
    Segmenting the frame again brings them back.

    Parameters
    ----------
    job : int
    key : str
    frame : int
    """

    job: int
    key: str
    frame: int


Event: TypeAlias = (
    StateChanged
    | JobProgress
    | FrameDone
    | Finished
    | Cancelled
    | Failed
    | CandidatesFound
    | MaskFound
    | SplitFound
    | NoneKept
)
"""Each job ends in exactly one `Finished`, `Cancelled` or `Failed`; each question in exactly one
`CandidatesFound`, `MaskFound`, `SplitFound`, `NoneKept`, `Cancelled` or `Failed`."""
