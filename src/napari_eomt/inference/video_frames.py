"""The frames of a video, whatever it is given as; read ahead while the model works."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from napari_eomt.errors import DataError
from napari_eomt.inference.inputs import find_images
from napari_eomt.inference.sources import open_source
from napari_eomt.inference.video_files import VIDEO_SUFFIXES, VideoFile
from napari_eomt.structures.axes import guess_axes, take_frame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_eomt.inference.sources import FileSource
    from napari_eomt.structures.frames import Frame, FrameSource

_T = TypeVar("_T")

# How often a thread that waits looks whether it is still wanted, in seconds.
_LOOK = 0.1


class ArrayFrames:
    """The frames of an array: (T, H, W) or (T, H, W, C), in memory or lazy; see `FrameSource`.

    Parameters
    ----------
    array : array-like with ``shape`` and ``__getitem__``
    axes : str, optional
        A letter for each axis, such as "TYXC"; by default what the shape says.
    """

    def __init__(self, array: Any, axes: str | None = None) -> None:
        shape = tuple(int(length) for length in array.shape)
        self._array, self._roles = array, guess_axes(shape, names=axes)
        self.name = "array"
        self.n_frames = self._roles.n_frames(shape)

    def frame(self, index: int) -> Frame:
        """Return a frame, in memory."""
        return take_frame(self._array, self._roles, index)


class ListedFrames:
    """Images, arrays or files, one frame each; see `FrameSource`.

    Parameters
    ----------
    items : sequence of array, str or Path
    axes : str, optional
        Of the files.
    """

    def __init__(self, items: Sequence[Any], axes: str | None = None) -> None:
        self._items, self._axes = items, axes
        self.name = f"{len(items)} images"
        self.n_frames = len(items)

    @property
    def file_names(self) -> list[str] | None:
        """The names of the files; None if not all are files."""
        if not all(isinstance(item, str | Path) for item in self._items):
            return None
        return [Path(item).name for item in self._items]

    def frame(self, index: int) -> Frame:
        """Return a frame, in memory.

        Raises
        ------
        DataError
            If it cannot be read, or a file holds several.
        """
        item = self._items[index]
        if not isinstance(item, str | Path):
            return np.asarray(item)
        with open_source(Path(item), self._axes) as source:
            if source.n_frames != 1:
                raise DataError(
                    f"{item} holds {source.n_frames} frames; in a list each file is one. Give "
                    "the file by itself, or say what its axes are."
                )
            return source.frame(0)


def open_frames(
    source: Any, axes: str | None = None, *, out: Path | None = None
) -> FrameSource | FileSource | VideoFile:
    """Open whatever a video can be given as.

    Parameters
    ----------
    source : str, Path, array, sequence, or FrameSource
        A stack or a video file, a folder of images or a pattern such as ``"t*.png"`` in the order
        of their names (numbers by their value), an array (T, H, W) or (T, H, W, C), or a list of
        images.
    axes : str, optional
        A letter for each axis, such as "TYXC"; by default what the source says.
    out : Path, optional
        Folder of results: nothing in it is an input.

    Raises
    ------
    DataError
        If there is nothing, or it cannot be read.
    """
    if isinstance(source, str | Path):
        return _open_path(Path(source).expanduser(), axes, out)
    if hasattr(source, "n_frames") and hasattr(source, "frame"):
        return cast("FrameSource", source)
    if hasattr(source, "shape") and hasattr(source, "__getitem__"):
        return ArrayFrames(source, axes)
    if isinstance(source, Sequence):
        if not source:
            raise DataError("There is no frame in an empty list. Give at least one.")
        return ListedFrames(source, axes)
    raise DataError(
        f"A video cannot be read from {type(source).__name__}. Give a path, an array, or a list of "
        "images."
    )


def iter_frames(
    source: Any, frames: Iterable[int] | None = None, *, start: int = 0
) -> Iterator[tuple[int, Frame]]:
    """Yield the frames of a source with their numbers, each when it is asked for.

    Parameters
    ----------
    source : whatever `open_frames` takes, or an iterable of images
    frames : iterable of int, optional
        Which, from 0; by default all.
    start : int
        Of all, the first to take.

    Raises
    ------
    DataError
        If one cannot be read; says which.
    """
    is_opened = isinstance(source, str | Path)
    if not is_opened and isinstance(source, Iterable) and not _is_indexed(source):
        wanted = None if frames is None else set(frames)
        yield from (
            (i, ListedFrames([item]).frame(0))
            for i, item in enumerate(source)
            if (i >= start if wanted is None else i in wanted)
        )
        return
    opened = open_frames(source)
    try:
        if frames is None and isinstance(opened, VideoFile):
            yield from opened.iter_from(start)
            return
        for i in range(start, opened.n_frames) if frames is None else frames:
            yield i, _read(opened, i)
    finally:
        if is_opened and hasattr(opened, "close"):
            opened.close()


def iter_ahead(items: Iterable[_T], n: int) -> Iterator[_T]:
    """Yield items that a thread takes up to `n` ahead, so that reading and computing overlap.

    The thread waits when it is so far ahead, and ends when the iterator is closed. What it raises
    is raised here, in its turn.

    Parameters
    ----------
    items : iterable
        Used in the thread alone.
    n : int
        Of items that wait; 0 is without a thread.

    Raises
    ------
    ValueError
        If `n` is below 0.
    """
    if n < 0:
        raise ValueError(f"{n} frames cannot be read ahead. Give 0 or more.")
    return _iter_ahead(items, n) if n else iter(items)


def _iter_ahead(items: Iterable[_T], n: int) -> Iterator[_T]:
    waiting: queue.Queue[tuple[str, Any]] = queue.Queue(n)
    is_over = threading.Event()

    def put(kind: str, value: Any = None) -> bool:
        while not is_over.is_set():
            try:
                waiting.put((kind, value), timeout=_LOOK)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        source = iter(items)
        try:
            for item in source:
                if not put("item", item):
                    break
                del item  # or it would be one more than were asked for
            else:
                put("end")
        except BaseException as error:  # noqa: BLE001 - raised again where the items are used
            put("error", error)
        finally:
            if callable(close := getattr(source, "close", None)):
                close()

    thread = threading.Thread(target=read, name="frames ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = waiting.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
            del value
    finally:
        is_over.set()
        thread.join()


def _open_path(path: Path, axes: str | None, out: Path | None) -> FrameSource | FileSource:
    if path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir():
        return VideoFile(path)
    images, errors = find_images([str(path)], out=out)
    if errors:
        raise errors[0]
    if images == [path]:
        return open_source(path, axes)
    found = ListedFrames(sorted(images, key=_natural), axes)
    found.name = path.name
    return found


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """A key that sorts t2 before t10."""
    parts = re.split(r"(\d+)", path.name)
    return [(1, int(part), part) if part.isdigit() else (0, 0, part) for part in parts]


def _is_indexed(source: Any) -> bool:
    is_source = hasattr(source, "n_frames") and hasattr(source, "frame")
    return is_source or hasattr(source, "shape") or isinstance(source, Sequence)


def _read(source: Any, index: int) -> Frame:
    try:
        frame: Frame = source.frame(index)
    except DataError as error:
        raise DataError(f"Frame {index}: {error}") from error
    except Exception as error:
        # A lazy array computes here: it may raise anything.
        first = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise DataError(f"Frame {index} cannot be read ({first}).") from error
    return frame
