"""Video files as sources of frames, read one after the other."""

from __future__ import annotations

from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np

from napari_eomt.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_eomt.structures.frames import Frame

VIDEO_SUFFIXES = frozenset(
    {".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv"}
)
"""What is taken for a film."""


class VideoFile:
    """The frames of a video file, (H, W, 3) uint8 each; see `FrameSource`.

    Frames are decoded in their order: one that lies behind starts again from the first.

    Parameters
    ----------
    path : Path

    Raises
    ------
    DataError
        If it is no video that can be read, or the package that reads them is not installed.
    """

    def __init__(self, path: Path) -> None:
        if find_spec("av") is None:
            raise DataError(
                f"{path}: reading videos needs the package av, which is not installed. Install "
                'it with `pip install "napari-eomt[video]"`, or save the frames as images.'
            )
        if not path.is_file():
            raise DataError(f"{path}: there is no such file.")
        self.path = path
        self.notes: tuple[str, ...] = ()
        with self._readable():
            self._file: Any = iio.imopen(path, "r", plugin="pyav")
            properties = self._file.properties()
        # 0 where the file does not say: Matroska and WebM do not.
        self._n_said = int(properties.shape[0])
        self._n_counted: int | None = None
        self.frame_shape: tuple[int, int] = (int(properties.shape[1]), int(properties.shape[2]))
        self._next = 0
        self._frames: Iterator[Frame] | None = None

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    @property
    def n_told(self) -> int | None:
        """How many frames there are, if the file says so: known at once."""
        return self._n_counted if self._n_counted is not None else self._n_said or None

    @property
    def n_frames(self) -> int:
        """How many frames there are; where the file does not say, all are decoded to count."""
        if self.n_told is None:
            with self._readable(), iio.imopen(self.path, "r", plugin="pyav") as file:
                self._n_counted = sum(1 for _ in file.iter(thread_count=1))
        return self.n_told or 0

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._frames = None
        self._file.close()

    def frame(self, index: int) -> Frame:
        """Return a frame, in memory.

        Raises
        ------
        DataError
            If there is no such frame, or the file is damaged there.
        """
        pixels = self._at(index)
        if pixels is None:
            raise DataError(
                f"{self.path}: ends after {self._next} frames; frame {index} was asked for. Copy "
                "the file again, or choose fewer frames."
            )
        return pixels

    def iter_from(self, start: int = 0) -> Iterator[tuple[int, Frame]]:
        """Yield all frames from one on, with their numbers, as many as there are."""
        index = start
        while self.n_told is None or index < self.n_told:
            # Without a number in the file, its end tells.
            pixels = self._at(index) if self.n_told is None else self.frame(index)
            if pixels is None:
                self._n_counted = self._next
                return
            yield index, pixels
            index += 1

    def _at(self, index: int) -> Frame | None:
        """Return a frame, None past the end."""
        if self._frames is None or index < self._next:
            with self._readable():
                self._file.close()
                self._file = iio.imopen(self.path, "r", plugin="pyav")
                self._frames, self._next = self._file.iter(thread_count=1), 0
        while True:
            with self._readable(self._next):
                pixels = next(self._frames, None)
            if pixels is None:
                return None
            self._next += 1
            if self._next == index + 1:
                return np.asarray(pixels)

    @contextmanager
    def _readable(self, index: int | None = None) -> Iterator[None]:
        """Turn whatever the decoder raises into one line about the file."""
        try:
            yield
        except DataError:
            raise
        except Exception as error:
            # Decoders raise errors of every kind; for the user they are one.
            first = str(error).strip().split("\n", 1)[0] or type(error).__name__
            where = "" if index is None else f" at frame {index}"
            raise DataError(
                f"{self.path}: cannot be read as a video{where} ({first}). Is the file complete, "
                "and a video?"
            ) from error
