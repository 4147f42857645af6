"""The images of a dataset: where they lie, and how new ones come there, all together."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path, PurePosixPath
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_eomt.errors import DataError, OutputError
from napari_eomt.folder_swap import sync_folder
from napari_eomt.formats.image_files import read_image, storable, suffix_for, write_image
from napari_eomt.formats.safe_paths import folded, free_stem, inside
from napari_eomt.formats.slices import place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy.typing as npt

    from napari_eomt.formats.coco_checks import Record
    from napari_eomt.formats.coco_file import CocoFile
    from napari_eomt.formats.slices import ImagePlace


_TEMPORARY = ".dataset-"
_N_LOOKED_AT = 20  # images, to find out in which folder they lie


class PendingImages:
    """Image files that are written, but not yet part of the dataset.

    Nothing that is there is overwritten: an image whose pixels have changed gets another name, so
    that the dataset of before stays whole until the one of after is.

    Parameters
    ----------
    folder : Path
        In which the dataset's images lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pending: dict[str, Path] = {}
        self._stems: set[str] = set()
        self._placed: list[Path] = []

    def clean(self) -> None:
        """Remove what writers that were killed have left. Only who has the lock may call it."""
        mine = set(self._pending.values())
        for path in self.folder.glob(f"{_TEMPORARY}*"):
            if path not in mine:
                with suppress(OSError):
                    path.unlink()

    def put(self, pixels: npt.NDArray[Any], base: str, is_taken: Callable[[str], bool]) -> str:
        """Write an image aside, and return the name that it will have.

        Parameters
        ----------
        pixels : (H, W) or (H, W, C)
        base : str
            The wanted name, without a suffix.
        is_taken : callable
            Whether another image of the dataset has a stem; it is asked with folded ones.

        Raises
        ------
        OutputError
            If it cannot be written.
        DataError
            If the pixels cannot be held by an image file.
        """
        pixels = storable(pixels)
        suffix = suffix_for(pixels)
        other: set[str] = set()
        while True:
            stem = free_stem(base, lambda s: s in self._stems or s in other or is_taken(s))
            path = self.folder / f"{stem}{suffix}"
            # Of an export that was cut short, or somebody else's.
            if not path.exists() or shows(path, pixels):
                break
            other.add(folded(stem))
        if not path.exists():
            temporary = self.folder / f"{_TEMPORARY}{token_hex(6)}{suffix}"
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _unwritable(self.folder, error) from error
            write_image(temporary, pixels)
            self._pending[path.name] = temporary
            self._stems.add(folded(stem))
        return path.name

    def drop(self, names: Iterable[str]) -> None:
        """Remove some of what was put."""
        for name in names:
            temporary = self._pending.pop(name, None)
            if temporary is not None:
                self._stems.discard(folded(PurePosixPath(name).stem))
                with suppress(OSError):
                    temporary.unlink()

    def place(self) -> None:
        """Give all images their names, lasting through a power cut.

        Raises
        ------
        OutputError
            If that fails; what is in place then is removed by `discard`.
        """
        try:
            for name, temporary in list(self._pending.items()):
                path = self.folder / name
                if path.exists():
                    raise FileExistsError(None, f"{name} has come there meanwhile")
                temporary.rename(path)
                del self._pending[name]
                self._placed.append(path)
            if self._placed:
                sync_folder(self.folder)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def settle(self) -> None:
        """Say that what is in place is part of the dataset now."""
        self._placed.clear()
        self._stems.clear()

    def discard(self) -> None:
        """Remove all that is not part of the dataset."""
        self.drop(list(self._pending))
        for path in self._placed:
            with suppress(OSError):
                path.unlink()
        self._placed.clear()


def shows(path: Path, pixels: npt.NDArray[Any]) -> bool:
    """Whether a file holds exactly these pixels, as `storable` returns them."""
    try:
        there = read_image(path, (pixels.shape[0], pixels.shape[1]))
    except DataError:
        return False
    return there.dtype == pixels.dtype and np.array_equal(there, pixels)


def roots_of(path: Path) -> tuple[Path, ...]:
    """Return the folders in which a dataset's images may lie, by where its JSON does."""
    folder = path.parent
    roots = [folder / "images", folder]
    if folder.name == "annotations":  # COCO's own: annotations/instances_val2017.json, val2017/
        above = folder.parent
        part = path.stem.partition("_")[2] or path.stem
        roots = [above / "images" / part, above / part, above / "images", above, *roots]
    return tuple(roots)


def find_image(roots: Sequence[Path], record: Record) -> Path | None:
    """Return the file of an image, if it is there.

    Raises
    ------
    DataError
        If its name leads out of the dataset, or is no file's.
    """
    name = record.get("file_name")
    if not isinstance(name, str):
        return None
    for root in roots:
        path = inside(root, name, record["id"])
        if path.is_file():
            return path
    return None


def image_file(roots: Sequence[Path], record: Record) -> Path:
    """Return the file of an image.

    Raises
    ------
    DataError
        If it is not there, or its name leads out of the dataset.
    """
    path = find_image(roots, record)
    if path is None:
        raise DataError(
            f"Image {record['id']}: there is no file {record.get('file_name')!r} in {roots[0]} or "
            f"{roots[1]}. Put the images there."
        )
    return path


def image_files(
    path: Path, records: Iterable[Record], file: CocoFile | None = None
) -> dict[str, ImagePlace]:
    """Return where a dataset's images are, by their ids; of those whose files are there, in it.

    Parameters
    ----------
    path : Path
        The dataset's JSON.
    records : iterable of dict
        Its images.
    file : CocoFile, optional
        What is in it, which tells images of one file apart.
    """
    roots = roots_of(path)
    found: dict[str, ImagePlace] = {}
    for record in records:
        there = None
        with suppress(DataError):  # which is told when it is read
            there = find_image(roots, record)
        if there is not None:
            is_shared = file is not None and file.is_shared(record)
            found[str(record["id"])] = place_of(there, record, is_shared=is_shared)
    return found


def image_folder(roots: Sequence[Path], records: Sequence[Record]) -> Path:
    """Return the folder in which the images lie that are there, or else that of the first one.

    Parameters
    ----------
    roots : sequence of Path
        As `roots_of` returns them.
    records : sequence of dict
        The dataset's images.
    """
    for record in records[:_N_LOOKED_AT]:
        for root in roots:
            with suppress(DataError):
                if find_image([root], record):
                    return root
    return roots[0]


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{folder}: the images cannot be written ({error.strerror or error.filename or error}). "
        "Free the disk, or choose another folder."
    )
