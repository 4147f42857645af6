"""Where frames come from: a stack in memory, on disk, or in a viewer."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy.typing as npt

Frame: TypeAlias = npt.NDArray[Any]
"""(H, W), or (H, W, C) with the channels last, of any dtype."""


class FrameSource(Protocol):
    """The frames of one image, read one at a time.

    `frame` may take long (a lazy array is computed, a file read), so no window calls it: the
    worker's client does from a thread of its own, and the command line directly.
    """

    @property
    def name(self) -> str:
        """What people call the image."""

    @property
    def n_frames(self) -> int:
        """How many frames there are; 1 for a single image."""

    def frame(self, index: int) -> Frame:
        """Return the frame at `index`, from 0, in memory."""
