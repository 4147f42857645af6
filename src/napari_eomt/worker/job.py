"""A job of the client, from its place in the queue to its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_eomt.worker.messages import Cancelled, Finished
from napari_eomt.worker.protocol import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_eomt.inference.params import PredictParams
    from napari_eomt.structures.frames import FrameSource
    from napari_eomt.worker.given import GivenFrame
    from napari_eomt.worker.messages import ModelRef
    from napari_eomt.worker.protocol import Tracking


@dataclass(eq=False)
class Job:
    """Something to do, and how far it is.

    Parameters
    ----------
    kind : Kind
    model : ModelRef or None
        None for DECIDE.
    source : FrameSource or None
        None unless frames are segmented.
    name : str
        The source's.
    frames : tuple of int
    params : PredictParams or None
        None for LOAD.
    key : str
    tracking : Tracking or None
        None unless frames are tracked.
    given : mapping of int to GivenFrame
        What is known of frames to be tracked.
    id : int
        Given when it is queued.
    """

    kind: Kind
    model: ModelRef | None = None
    source: FrameSource | None = None
    name: str = ""
    frames: tuple[int, ...] = ()
    params: PredictParams | None = None
    key: str = ""
    tracking: Tracking | None = None
    given: Mapping[int, GivenFrame] = field(default_factory=dict)
    id: int = 0
    n_done: int = 0
    missing: list[int] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    is_cancelled: bool = False
    superseded_by: int | None = None
    failure: tuple[str, str] | None = None

    def cancelled(self) -> Cancelled:
        """Return the event that ends it early."""
        return Cancelled(self.id, self.n_done, self.superseded_by)

    def finished(self, seconds: float) -> Finished:
        """Return the event that ends it well."""
        return Finished(self.id, seconds, self.n_done, tuple(self.missing), tuple(self.notes))

    @property
    def description(self) -> str:
        """What is being done, for people."""
        if self.kind is Kind.LOAD and self.model is not None:
            return f"Loading {self.model.model}"
        doing = "Tracking" if self.kind is Kind.TRACK else "Segmenting"
        return "Deciding anew" if self.kind is Kind.DECIDE else f"{doing} {self.name}"

    @property
    def all_frames(self) -> tuple[int, ...]:
        """The frames to read, with those that only lead up to the first one."""
        return (*(self.tracking.before if self.tracking is not None else ()), *self.frames)
