"""A job that the Segment page has given to the worker, and what to say of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_eomt.inference.params import PredictParams
from napari_eomt.widgets.download_job import size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from napari_eomt.annotation.document import Document
    from napari_eomt.models.card import ModelCard
    from napari_eomt.structures.frames import FrameSource
    from napari_eomt.viewer.results import Result
    from napari_eomt.worker.client import WorkerClient
    from napari_eomt.worker.messages import Finished, FrameDone, JobProgress, ModelRef


@dataclass
class Run:
    """A job that this page has given to the worker."""

    n_frames: int
    is_decision: bool
    card: ModelCard
    ref: ModelRef
    params: PredictParams = field(default_factory=PredictParams)
    frames: tuple[int, ...] = ()
    create: Callable[[], Result] | None = None
    """Makes the result, and its layer, when the first frame comes in."""
    key: str = ""
    step: Hashable = None
    """What its frames merge with: they are one step to undo."""
    n_objects: int = 0
    n_full: int = 0
    n_tiles: int = 0
    n_taken: int = 0
    n_tracked: int = 0
    """Frames that a decision leaves out."""
    n_cut: int = 0
    """Objects of tracks that a run of single frames has not found again."""

    @property
    def name(self) -> str:
        """What its step is called."""
        return "Change thresholds" if self.is_decision else f"Segment {frames_text(self.n_frames)}"

    @property
    def stopped_text(self) -> str:
        """What a run that was stopped has left."""
        done = f"{self.n_taken} of {self.n_frames} frames are done and stay."
        return done if self.n_frames > 1 else "Nothing changed."

    def submit(self, client: WorkerClient, source: FrameSource, result: Result | None) -> int:
        """Give the frames to the worker, to be segmented; return the job's id.

        Parameters
        ----------
        client : WorkerClient
        source : FrameSource
        result : Result or None
            Where they are taken up; None for a new one.
        """
        job = client.segment(self.ref, source, self.frames, self.params, self.key)
        self.step = ("run", job)
        return job

    def propose(self, result: Result, event: FrameDone) -> None:
        """Take up a frame, as part of the run's one step."""
        document = result.document
        tracked = [i for i, s in document.segments(event.frame).items() if s.track_id is not None]
        result.propose(event.frame, event.segmentation, self.name, self.step)
        # What is proposed again keeps its id, and so is the same thing as in other frames.
        self.n_cut += len(set(tracked) - set(document.segments(event.frame)))

    def take(self, event: FrameDone) -> None:
        """Count what has come."""
        self.n_taken += 1
        self.n_objects += len(event.segmentation.segments)
        self.n_full += event.n_full_tiles
        self.n_tiles += event.n_tiles

    def progress(self, event: JobProgress) -> tuple[str, float, float]:
        """Return what is done now, and how far it is, of how much."""
        if event.frame is None:
            return _loading(self.card.name, event)
        where = f"frame {event.n_done + 1} of {event.n_frames} · " if event.n_frames > 1 else ""
        if event.what == "tile":
            text = f"{where}tile {event.done} of {event.total}"
        else:
            text = f"{where}measuring the {event.what}"
        part = event.done / event.total if event.total and event.what == "tile" else 0
        return text.capitalize(), event.n_done + part, event.n_frames

    def summary(self, event: Finished) -> str:
        """Return what came of it, in one line."""
        text = f"{objects_text(self.n_objects)} in {event.seconds:.1f} s"
        if self.n_frames > 1:
            text += f", {event.n_frames} frames"
        return ". ".join([text, *self.advice(), *event.notes])

    def advice(self) -> list[str]:
        """Return what would find more, or mend something, in sentences without their dots."""
        found = []
        if self.n_full:
            found.append(
                f"{self.n_full} of {self.n_tiles} tiles are full: a smaller object size would "
                "find more"
            )
        if not self.n_objects:
            found.append("A lower score, or another object size, may find some")
        if self.n_cut:
            where = "this frame" if self.n_frames == 1 else "frames"
            miss = "1 track misses" if self.n_cut == 1 else f"{self.n_cut:,} tracks miss"
            found.append(f"{miss} {where} now: Track from here on looks for them")
        return found


def _loading(name: str, event: JobProgress) -> tuple[str, float, float]:
    """Say what keeps a model from running yet, and how much of it is done."""
    if event.what in ("downloading", "checking") and event.total:
        text = f"{event.what.capitalize()} {name}: {size_of(event.done, event.total)}"
        return text, event.done / event.total, 1
    if event.what == "waiting":
        return f"Waiting for the server, or for another program that fetches {name}…", 0, 0
    doing = event.what.capitalize() if event.what in ("converting", "compiling") else "Loading"
    return f"{doing} {name}…", 0, 0


def is_tracked(document: Document, frame: int) -> bool:
    """Whether a model's proposals in a frame belong to tracks, which a decision would lose."""
    return any(
        segment.track_id is not None and not segment.is_locked
        for segment in document.segments(frame).values()
    )


def frames_text(n: int) -> str:
    """Write a number of frames to be segmented."""
    return "this frame" if n == 1 else f"{n:,} frames"


def objects_text(n: int) -> str:
    """Write a number of objects."""
    return "1 object" if n == 1 else f"{n:,} objects"
