"""A job that the Segment page has given to the worker, and what to say of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_eomt.widgets.download_job import size_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_eomt.models.card import ModelCard
    from napari_eomt.viewer.results import Result
    from napari_eomt.worker.messages import Finished, FrameDone, JobProgress, ModelRef


@dataclass
class Run:
    """A job that this page has given to the worker."""

    n_frames: int
    is_decision: bool
    card: ModelCard
    ref: ModelRef
    create: Callable[[], Result] | None = None
    """Makes the result, and its layer, when the first frame comes in."""
    key: str = ""
    drag: int = 0
    """Which drag of the sliders, of a decision."""
    n_objects: int = 0
    n_full: int = 0
    n_tiles: int = 0

    def take(self, event: FrameDone) -> None:
        """Count what has come."""
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
        if self.n_full:
            text += (
                f". {self.n_full} of {self.n_tiles} tiles are full: a smaller object size would "
                "find more"
            )
        if not self.n_objects:
            text += ". A lower score, or another object size, may find some"
        return ". ".join([text, *event.notes])


def _loading(name: str, event: JobProgress) -> tuple[str, float, float]:
    """Say what keeps a model from running yet, and how much of it is done."""
    if event.what in ("downloading", "checking") and event.total:
        text = f"{event.what.capitalize()} {name}: {size_of(event.done, event.total)}"
        return text, event.done / event.total, 1
    if event.what == "waiting":
        return f"Waiting for the server, or for another program that fetches {name}…", 0, 0
    doing = event.what.capitalize() if event.what in ("converting", "compiling") else "Loading"
    return f"{doing} {name}…", 0, 0


def frames_text(n: int) -> str:
    """Write a number of frames to be segmented."""
    return "this frame" if n == 1 else f"{n:,} frames"


def objects_text(n: int) -> str:
    """Write a number of objects."""
    return "1 object" if n == 1 else f"{n:,} objects"
