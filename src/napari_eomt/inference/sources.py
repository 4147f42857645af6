"""Image files as sources of frames, read a frame at a time."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_eomt.errors import DataError
from napari_eomt.inference.readers import read_array
from napari_eomt.structures.axes import guess_axes, take_frame
from napari_eomt.tiff_stack import known_axes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from napari_eomt.structures.axes import AxisRoles
    from napari_eomt.structures.frames import Frame


class FileSource:
    """The frames of an image file; see `FrameSource`.

    Parameters
    ----------
    path : Path
    array : array-like
        Lazy where the format allows.
    roles : AxisRoles
    names : sequence of str
        One for each axis of the array; empty if the file says nothing.
    notes : tuple of str
        What the user should know about how the file was read.
    """

    def __init__(
        self,
        path: Path,
        array: Any,
        roles: AxisRoles,
        names: Sequence[str] = (),
        notes: tuple[str, ...] = (),
    ) -> None:
        self.path, self.roles, self.notes = path, roles, notes
        self._array, self._names = array, tuple(names)

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(int(length) for length in self._array.shape)

    @property
    def n_frames(self) -> int:
        """How many frames there are."""
        return self.roles.n_frames(self.shape)

    @property
    def stack_shape(self) -> tuple[int, ...]:
        """How many frames there are along each axis that is stepped through."""
        return tuple(self.shape[axis] for axis in self.roles.frames)

    @property
    def stack_names(self) -> tuple[str, ...]:
        """Names of the axes that are stepped through; empty if the file says nothing."""
        return tuple(self._names[axis] for axis in self.roles.frames) if self._names else ()

    def __enter__(self) -> FileSource:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if callable(close := getattr(self._array, "close", None)):
            close()

    def frame(self, index: int) -> Frame:
        """Return a frame, in memory.

        Raises
        ------
        DataError
            If the file is damaged there.
        """
        with _readable(self.path):
            return take_frame(self._array, self.roles, index)


def open_source(path: Path, axes: str | None = None) -> FileSource:
    """Open an image file: TIFF, zarr or OME-Zarr, .npy, or what Pillow and imageio read.

    Of a pyramid the full resolution is read, of a file with several images the first. The
    pixels of photographs stay as they are stored, whatever their EXIF orientation says.

    Parameters
    ----------
    path : Path
    axes : str, optional
        A letter for each axis, such as "TZCYX"; by default what the file says.

    Raises
    ------
    DataError
        If there is no such file, it cannot be read, or the axes do not fit it.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such file.")
    with _readable(path):
        array, names, notes = read_array(path, axes)
        shape = tuple(int(length) for length in array.shape)
        names = known_axes(names) if axes is None else tuple(axes)
        roles = guess_axes(shape, names=names if names or axes is not None else None)
        if axes is None and not names and roles.frames and shape[0] in (3, 4) and len(shape) == 3:
            notes = (
                *notes,
                f"read as {shape[0]} frames; if these are channels, use --axes CYX",
            )
        return FileSource(path, array, roles, names, notes)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into one line about the file."""
    try:
        # What libraries warn about is either harmless or followed by an error.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except MemoryError as error:
        raise DataError(
            f"{path}: there is not enough memory to read a frame. Save it as OME-Zarr."
        ) from error
    except Exception as error:
        # Decoders raise errors of every kind; for the user they are one: the file is unreadable.
        first = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise DataError(
            f"{path}: cannot be read as an image ({first}). Is the file complete, and an image?"
        ) from error
