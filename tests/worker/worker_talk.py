"""Talking with a worker in tests: frames to segment, and waiting for events."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_eomt.inference.params import PredictParams
from napari_eomt.worker.client import (
    Cancelled,
    Event,
    Failed,
    Finished,
    FrameDone,
    StateChanged,
    WorkerClient,
    WorkerState,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PROPOSALS_BYTES = 4 * 2**20

WHOLE = PredictParams(score_threshold=0.2, tiling="whole", object_size="as_is")
"""One forward pass a frame."""

TILES = PredictParams(score_threshold=0.2, tiling="tiles", object_size="as_is")


class Frames:
    """Drawn frames, each of another seed; knows which were read."""

    name = "drawn"

    def __init__(self, n_frames: int = 4, side: int = 128) -> None:
        self.n_frames = n_frames
        self.side = side
        self.read: list[int] = []

    def frame(self, index: int) -> np.ndarray:
        self.read.append(index)
        return draw(index, self.side)


def draw(seed: int, side: int) -> np.ndarray:
    """Return (side, side) uint8: bright discs on a dark ground."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    image = rng.normal(20, 4, (side, side))
    for cy, cx, r in zip(*rng.uniform(8, side - 8, (2, 12)), rng.uniform(5, 10, 12), strict=True):
        image[(y - cy) ** 2 + (x - cx) ** 2 < r**2] += 120
    return image.clip(0, 255).astype(np.uint8)


class Talk:
    """Polls a client and remembers what it said."""

    def __init__(self, client: WorkerClient) -> None:
        self.client = client
        self.events: list[Event] = []
        self._n_seen = 0
        client.poll()

    def until(self, wanted: Callable[[Event], bool], timeout: float = 60) -> Any:
        """Return the next event that is wanted, after the one returned last."""
        start = time.monotonic()
        while time.monotonic() - start < timeout:
            while self._n_seen < len(self.events):
                self._n_seen += 1
                if wanted(self.events[self._n_seen - 1]):
                    return self.events[self._n_seen - 1]
            time.sleep(0.005)
            self.events += self.client.poll()
        raise TimeoutError(f"Not within {timeout} s; there were {self.events}")

    def end(self, job: int, timeout: float = 60) -> Any:
        """Return how a job ended."""
        ends = Finished | Cancelled | Failed
        start = time.monotonic()
        while time.monotonic() - start < timeout:
            for event in self.events:
                if isinstance(event, ends) and event.job == job:
                    return event
            time.sleep(0.005)
            self.events += self.client.poll()
        raise TimeoutError(f"Not within {timeout} s; there were {self.events}")

    def clear(self) -> None:
        """Forget what was said."""
        self.events.clear()
        self._n_seen = 0

    def of(self, kind: type, job: int) -> list[Any]:
        """Return the events of a kind about a job."""
        return [e for e in self.events if isinstance(e, kind) and e.job == job]

    def frames(self, job: int) -> list[int]:
        """Return the frames that were done, in their order."""
        return [e.frame for e in self.of(FrameDone, job)]

    def states(self) -> list[WorkerState]:
        """Return the states, in their order."""
        return [e.state for e in self.events if isinstance(e, StateChanged)]


def is_alive(pid: int) -> bool:
    """Whether there is such a process that is not a zombie."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        except OSError:
            return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def named_memory(pid: int) -> set[str]:
    """Return the files in /dev/shm that a process uses, so that it could leave them behind."""
    used = Path(f"/proc/{pid}/maps").read_text().split()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed by now, as the one that lists this folder
            used.append(os.readlink(link))
    return {name for name in used if name.startswith("/dev/shm/")}
