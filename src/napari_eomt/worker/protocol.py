"""The messages between the client and the process. Both sides are the same installation.

The client has one job at a time at the process: `Begin`, a `Frame` for each frame as slots
become free, `End`. The process answers with `Result`, `Seen` or `Missing` for each frame, in order,
and with `Ended` once, after which it touches none of the job's slots.

Beside the jobs there are questions, `Ask`, which the process answers with an `Answer` each: at
once, by a thread beside the one that does the jobs. Of those that wait in one lane it answers the
newest only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Hashable

    import numpy as np
    import numpy.typing as npt

    from napari_eomt.inference.params import PredictParams
    from napari_eomt.inference.track_frames import Link
    from napari_eomt.inference.track_params import TrackParams
    from napari_eomt.structures.candidates import Patch, QueryId
    from napari_eomt.structures.segments import Segment
    from napari_eomt.structures.uncertainty import Uncertainty
    from napari_eomt.worker.arrays import StoredArray
    from napari_eomt.worker.given import GivenFrame
    from napari_eomt.worker.messages import Event, ModelRef


class Kind(str, Enum):
    """What a job is for."""

    LOAD = "load"
    SEGMENT = "segment"
    DECIDE = "decide"
    TRACK = "track"


@dataclass(frozen=True)
class Tracking:
    """How the frames of a TRACK job become tracks.

    Parameters
    ----------
    params : TrackParams
    first_id : int
        Of the first new track.
    before : tuple of int
        Frames that come first, so that the tracker knows where it is; they have no result.
    start : int
        The first frame that has one.
    resume : bool
        Whether nothing was changed since a run came this far.
    """

    params: TrackParams
    first_id: int
    before: tuple[int, ...]
    start: int
    resume: bool


@dataclass(frozen=True)
class Begin:
    """A job starts. `model` is None for DECIDE, `params` for LOAD, `tracking` for all but TRACK."""

    job: int
    kind: Kind
    model: ModelRef | None
    params: PredictParams | None
    key: str
    n_frames: int
    tracking: Tracking | None = None


@dataclass(frozen=True)
class Frame:
    """Work on this frame, and put the id map into the slot.

    `stored` is None for DECIDE; `given` is what is known of a frame to be tracked.
    """

    job: int
    frame: int
    slot: int
    stored: StoredArray | None
    given: GivenFrame | None = None


@dataclass(frozen=True)
class End:
    """No more frames for this job."""

    job: int


@dataclass(frozen=True)
class Cancel:
    """Stop this job at the next occasion."""

    job: int


@dataclass(frozen=True)
class Forget:
    """Drop the proposals kept under this key."""

    key: str


@dataclass(frozen=True)
class Release:
    """Let go of the models, and of proposals on a GPU: somebody else needs the memory."""


class Question(str, Enum):
    """What is asked about kept proposals."""

    POINT = "point"
    AREA = "area"
    HIDDEN = "hidden"
    MASK = "mask"
    PROBABILITY = "probability"
    SPLIT = "split"


_NEWEST_ONLY = (Question.POINT, Question.AREA, Question.HIDDEN)


@dataclass(frozen=True, eq=False)
class Ask:
    """A question. Of `point`, `area`, `parts` and `patch` it has the one that belongs to its kind.

    Parameters
    ----------
    job : int
    kind : Question
    key, frame
        Whose proposals.
    params : PredictParams
    limit : int
        Most candidates to return.
    point : (y, x)
    area : (4,) or (N, 2) float64
        A box (y0, x0, y1, x1), or points (y, x).
    parts : tuple of (view, query)
    patch : Patch
        The object to split.
    run : int
        Of the candidate that `parts` are of; 0 for whichever run is kept.
    """

    job: int
    kind: Question
    key: str
    frame: int
    params: PredictParams
    limit: int = 0
    point: tuple[float, float] | None = None
    area: npt.NDArray[np.float64] | None = None
    parts: tuple[QueryId, ...] = ()
    patch: Patch | None = None
    run: int = 0

    @property
    def lane(self) -> Hashable:
        """What it has in common with those that make it pointless when they come later.

        Only the newest place of the cursor matters; but every mask that is asked for does.
        """
        return self.kind if self.kind in _NEWEST_ONLY else self.job


ToWorker: TypeAlias = Begin | Frame | End | Cancel | Forget | Release | Ask


@dataclass(frozen=True)
class Ready:
    """The libraries are loaded; jobs may come."""


@dataclass(frozen=True)
class StartFailed:
    """The libraries could not be loaded; the process ends."""

    message: str
    details: str


@dataclass(frozen=True)
class Loading:
    """A model is being loaded for this job, after it was brought here if need be.

    `what` is "model", or what is done before, and then `done` and `total` count its bytes.
    """

    job: int
    model: str
    done: int = 0
    total: int = 1
    what: str = "model"


@dataclass(frozen=True)
class Using:
    """The job's model is loaded."""

    job: int
    model: str
    device: str


@dataclass(frozen=True)
class Step:
    """How far the frame at hand has come."""

    job: int
    frame: int
    done: int
    total: int
    what: str


@dataclass(frozen=True)
class Result:
    """A frame is done; its id map is in the slot."""

    job: int
    frame: int
    id_map: StoredArray
    segments: tuple[Segment, ...]
    n_tiles: int
    n_full_tiles: int
    object_size: float | None
    seconds: float
    notes: tuple[str, ...]
    queries: tuple[QueryId, ...]
    uncertainty: tuple[Uncertainty | None, ...]
    links: tuple[Link, ...] = ()


@dataclass(frozen=True)
class Seen:
    """A frame before the first one to track was looked at; the slot was not used."""

    job: int
    frame: int
    slot: int


@dataclass(frozen=True)
class Missing:
    """There are no proposals of this frame; the slot was not used."""

    job: int
    frame: int
    slot: int


class Outcome(str, Enum):
    """How a job ended."""

    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True)
class Ended:
    """The job is over. `message` and `details` say why it failed."""

    job: int
    outcome: Outcome
    seconds: float
    message: str = ""
    details: str = ""


@dataclass(frozen=True, eq=False)
class Answer:
    """A question is answered: the event is for the window."""

    job: int
    event: Event


FromWorker: TypeAlias = (
    Ready | StartFailed | Loading | Using | Step | Result | Seen | Missing | Ended | Answer
)
