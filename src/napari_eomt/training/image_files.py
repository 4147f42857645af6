"""Where the files of a dataset's images are: all there, and none in two parts. No torch."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from napari_eomt.errors import DataError
from napari_eomt.formats.dataset_images import find_image, image_file, roots_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from napari_eomt.formats.coco_checks import Record

_GLANCE_BYTES, _BLOCK_BYTES = 1 << 16, 1 << 22
_N_NAMED = 3


def check_files(
    path: Path, records: Sequence[Record], others: Mapping[int, Path] | None = None
) -> None:
    """Check that the files of a dataset's images are there, all at once rather than one by one.

    Parameters
    ----------
    path : Path
        The dataset's JSON.
    records : sequence of dict
        Its images.
    others : dict of int to Path, optional
        What each image needs besides, by its id: the PNG of its segments.

    Raises
    ------
    DataError
        If some are not: how many, and which is the first.
    """
    roots = roots_of(path)
    missing: list[str] = []
    for record in records:
        try:
            image_file(roots, record)
        except DataError as error:
            missing.append(str(error))
            continue
        other = None if others is None else others[record["id"]]
        if other is not None and not other.is_file():
            missing.append(
                f"Image {record['id']}: there is no file {other.name!r} in {other.parent}. Put "
                "the PNGs of the segments there."
            )
    if missing:
        raise DataError(
            f"The files of {len(missing)} of {len(records)} images cannot be found. The first: "
            f"{missing[0]}"
        )


def image_files(path: Path, records: Iterable[Record]) -> list[Path]:
    """Return the files of a dataset's images, of those that are there."""
    roots = roots_of(path)
    return [found for record in records if (found := find_image(roots, record)) is not None]


def check_apart(learn: Sequence[Path], check: Sequence[Path], where: Path) -> None:
    """Check that no image that checks is learnt from.

    Files are compared, not names: the same file, a link to it, or a copy. Most are told apart by
    their sizes and a glance into them, so that large datasets are not read whole.

    Parameters
    ----------
    learn, check : sequence of Path
        Image files.
    where : Path
        The JSON of those that check.

    Raises
    ------
    DataError
        If some are: which, and how many; or one cannot be read.
    """
    try:
        same = _same_files(learn, check)
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be read ({error.strerror or error}). Look at its permissions."
        ) from error
    if not same:
        return
    shown = [f"{one} is {other}" for one, other in list(same.items())[:_N_NAMED]]
    more = f", and {len(same) - _N_NAMED} more" if len(same) > _N_NAMED else ""
    raise DataError(
        f"{len(same)} of the {len(check)} images that check are learnt from as well: "
        f"{', '.join(shown)}{more}. They cannot tell whether learning helped. Take them out of "
        f"{where} or of what is learnt from; or leave the other dataset out, and some images of "
        "the first check."
    )


def _same_files(learn: Sequence[Path], check: Sequence[Path]) -> dict[Path, Path]:
    """Return for each of `check` that is among `learn` the file that it is there."""
    by_place = {path.resolve(): path for path in learn}
    same = {path: by_place[path.resolve()] for path in check if path.resolve() in by_place}
    left = [path for path in check if path not in same]
    looks: dict[Path, tuple[object, ...]] = dict.fromkeys((*learn, *left), ())
    # Ever dearer looks, each only at files that have their like in the other part until then.
    for look in (_size, _glance, _digest):
        looks = {path: (*before, look(path)) for path, before in looks.items()}
        shared = {looks[p] for p in learn if p in looks} & {looks[p] for p in left if p in looks}
        looks = {path: found for path, found in looks.items() if found in shared}
    by_look = {looks[path]: path for path in learn if path in looks}
    same |= {path: by_look[looks[path]] for path in left if path in looks}
    return {path: same[path] for path in check if path in same}


def _size(path: Path) -> int:
    return path.stat().st_size


def _glance(path: Path) -> bytes:
    """Return the middle of a file: what stands before is often the same for all."""
    with path.open("rb") as file:
        file.seek(max(0, _size(path) - _GLANCE_BYTES) // 2)
        return blake2b(file.read(_GLANCE_BYTES)).digest()


def _digest(path: Path) -> bytes:
    found = blake2b()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            found.update(block)
    return found.digest()
