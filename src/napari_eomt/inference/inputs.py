"""Finding the images that people name: files, folders, patterns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_eomt.errors import DataError
from napari_eomt.inference.readers import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def find_images(
    inputs: Sequence[str], *, recursive: bool = False, out: Path | None = None
) -> tuple[list[Path], list[DataError]]:
    """Find the images that files, folders and patterns name.

    Parameters
    ----------
    inputs : sequence of str
        Files, zarr folders, folders of images, or patterns such as ``"data/*.tif"``.
    recursive : bool
        Look into folders of folders.
    out : Path, optional
        Folder of the results; what a listing finds there is no input.

    Returns
    -------
    images : list of Path
        In the order of the inputs, each listing sorted, no image twice.
    errors : list of DataError
        One for each input that names no image.
    """
    images: dict[Path, Path] = {}
    errors = []
    for given in inputs:
        try:
            for path in _expand(Path(given).expanduser(), recursive, out):
                images.setdefault(path.resolve(), path)
        except DataError as error:
            errors.append(error)
    return list(images.values()), errors


def _expand(path: Path, recursive: bool, out: Path | None) -> list[Path]:
    if path.is_file() or _is_zarr(path):
        return [path]
    if path.is_dir():
        if out is not None and out.resolve() == path.resolve():
            raise DataError(
                f"{path}: results would be written among the images, and be read as images next "
                "time. Choose another folder for --out."
            )
        found = sorted(_listed(path, recursive, out))
        if not found:
            hint = "" if recursive else " Use --recursive to look into its folders."
            raise DataError(f"{path}: holds no images.{hint}")
        return found
    if any(sign in str(path) for sign in "*?["):
        # A quoted pattern, or one that the shell did not expand, as on Windows.
        start = Path(path.anchor) if path.anchor else Path()
        pattern = str(path.relative_to(path.anchor)) if path.anchor else str(path)
        found = sorted(p for p in start.glob(pattern) if _is_visible(p))
        if found:
            return found
        raise DataError(f"{path}: no file fits this pattern.")
    raise DataError(f"{path}: there is no such file or folder.")


def _listed(folder: Path, recursive: bool, out: Path | None) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith(".") or (out is not None and path.resolve() == out.resolve()):
            continue
        if _is_zarr(path) or (path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES):
            yield path
        elif recursive and path.is_dir() and not path.is_symlink():
            yield from _listed(path, recursive, out)


def _is_visible(path: Path) -> bool:
    return not path.name.startswith(".") and (path.is_file() or _is_zarr(path))


def _is_zarr(path: Path) -> bool:
    marks = ("zarr.json", ".zarray", ".zgroup")
    return path.is_dir() and any((path / mark).is_file() for mark in marks)
