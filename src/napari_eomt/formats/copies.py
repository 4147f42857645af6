"""Images that are there twice: what checks is not learnt from, under whatever name.

Files are compared, not names: the same file, a link to it, or a copy. Most are told apart by their
sizes and a glance into them, so that large datasets are not read whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from napari_eomt.errors import DataError
from napari_eomt.formats.slices import Slice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from napari_eomt.formats.slices import ImagePlace

_Key = TypeVar("_Key")
_Row: TypeAlias = "tuple[Path, ...]"

_GLANCES, _BLOCK_BYTES = (1 << 12, 1 << 16), 1 << 22
_N_NAMED = 3


@dataclass(frozen=True)
class Shared:
    """Images that learn, and others that check, of equal files.

    Parameters
    ----------
    learn : dict of str to str
        For each such image that learns, by its key, one that checks.
    check : dict of str to str
        For each that checks, one that learns.
    """

    learn: dict[str, str]
    check: dict[str, str]

    def left_of(self, keys: Sequence[str]) -> tuple[str, ...]:
        """Return which images are learnt from if none of them is to check.

        Raises
        ------
        DataError
            If there is none.
        """
        left = tuple(key for key in keys if key not in self.learn)
        if keys and not left:
            raise DataError(
                f"All {len(keys)} images that learn check as well: none is left to learn from. "
                "Choose others to learn from, or to check."
            )
        return left


def find_shared(learn: Mapping[str, ImagePlace], check: Mapping[str, ImagePlace]) -> Shared:
    """Find the images that learn and check.

    Parameters
    ----------
    learn, check : dict of str to (Path or Slice)
        Image files by their keys, which may mean different images in the two. Slices of equal
        files are the same image if they are the same frame.

    Raises
    ------
    DataError
        If a file cannot be read.
    """
    both = {(True, key): [place] for key, place in learn.items()}
    both |= {(False, key): [place] for key, place in check.items()}
    of_learn: dict[str, str] = {}
    of_check: dict[str, str] = {}
    for same in _equal(both, lambda keys: len({learns for learns, _ in keys}) == 2):
        learning = [key for learns, key in same if learns]
        checking = [key for learns, key in same if not learns]
        of_learn |= dict.fromkeys(learning, checking[0])
        of_check |= dict.fromkeys(checking, learning[0])
    return Shared(
        {key: of_learn[key] for key in learn if key in of_learn},
        {key: of_check[key] for key in check if key in of_check},
    )


def left_out_text(names: Sequence[str], n_all: int) -> str:
    """Say which images that would learn are left out, for people.

    Parameters
    ----------
    names : sequence of str
        What they are called; at least one.
    n_all : int
        How many were to learn, with these.
    """
    n = len(names)
    same = "1 is the same as one that checks" if n == 1 else f"{n} are the same as ones that check"
    return f"Of {n_all} images that were to learn {same}, left out: {listed(names)}."


def join_copies(groups: Mapping[str, str], files: Mapping[str, ImagePlace]) -> dict[str, str]:
    """Find the groups of images that are copies of others: a split keeps them together.

    Equal are images, stacks and videos of which all files are, one by one in their order; so are
    videos of which each is in one file. Stacks that have some frames in common are not: frames
    that show nothing are often the same in stacks that have nothing else in common.

    Parameters
    ----------
    groups : dict of str to str
        The group of each image, by its key, in the order of the dataset.
    files : dict of str to (Path or Slice)
        Of the images, by their keys. A group of which one has none is not compared.

    Returns
    -------
    dict of str to str
        For each group the first one that it is a copy of, else itself. New images come last: a
        copy that comes goes where the image is, which stays.

    Raises
    ------
    DataError
        If a file cannot be read.
    """
    order = {group: k for k, group in enumerate(dict.fromkeys(groups.values()))}
    places: dict[str, list[ImagePlace]] = {group: [] for group in order}
    for key, group in groups.items():
        if key in files and group in places:
            places[group].append(files[key])
        else:
            places.pop(group, None)
    joined = {group: group for group in order}
    for same in _equal(places, lambda found: len(found) > 1):
        joined |= dict.fromkeys(same, min(same, key=order.__getitem__))
    return joined


def listed(names: Sequence[str]) -> str:
    """Name the first of some, and count the others."""
    more = f", and {len(names) - _N_NAMED} more" if len(names) > _N_NAMED else ""
    return ", ".join(names[:_N_NAMED]) + more


def _equal(
    files: Mapping[_Key, Sequence[ImagePlace]], matters: Callable[[Sequence[_Key]], bool]
) -> list[list[_Key]]:
    """Return the keys of equal rows of files, or frames of them, of such sets as matter."""
    keys_at: dict[_Row, list[_Key]] = {}
    frames: dict[_Key, tuple[tuple[int, int], ...]] = {}
    folder_of = cache(lambda path: path.resolve())  # many images lie in one
    for key, places in files.items():
        found: dict[tuple[Path, int], None] = {}
        for place in places:
            path, frame = (place.path, place.frame) if isinstance(place, Slice) else (place, 0)
            is_plain = not path.is_symlink()
            there = folder_of(path.parent) / path.name if is_plain else path.resolve()
            found[there, frame] = None
        row = tuple(dict.fromkeys(path for path, _ in found))
        at = {path: k for k, path in enumerate(row)}
        frames[key] = tuple((at[path], frame) for path, frame in found)
        keys_at.setdefault(row, []).append(key)

    def do_matter(rows: Iterable[_Row]) -> bool:
        return matters([key for row in rows for key in keys_at[row]])

    by_length: dict[int, list[_Row]] = {}
    for row in keys_at:
        by_length.setdefault(len(row), []).append(row)
    sets: list[Sequence[_Row]] = [rows for rows in by_length.values() if do_matter(rows)]
    # Ever dearer looks, each only at files that have their like until then.
    looks: tuple[Callable[[Path], object], ...] = (
        _size,
        *(partial(_glance, n_bytes=n) for n in _GLANCES),
        _digest,
    )
    try:
        for look in looks:
            sets = [alike for rows in sets for alike in _told_apart(rows, look, do_matter)]
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be read ({error.strerror or error}). Look at its permissions."
        ) from error
    equal: list[list[_Key]] = []
    for rows in sets:
        by_frames: dict[tuple[tuple[int, int], ...], list[_Key]] = {}
        for row in rows:
            for key in keys_at[row]:
                by_frames.setdefault(frames[key], []).append(key)
        equal += filter(matters, by_frames.values())
    return equal


def _told_apart(
    rows: Sequence[_Row],
    look: Callable[[Path], object],
    do_matter: Callable[[Sequence[_Row]], bool],
) -> list[Sequence[_Row]]:
    """Return the sets of rows of one length that look alike.

    File after file: of long videos that differ at once, one frame each is looked at.
    """
    sets = [rows]
    for k in range(len(rows[0])):
        found: list[Sequence[_Row]] = []
        for alike in sets:
            by_look: dict[object, list[_Row]] = {}
            for row in alike:
                # A file by itself is its own like: nobody has to read it.
                seen = look(row[k]) if len(alike) > 1 else None
                by_look.setdefault(seen, []).append(row)
            found += filter(do_matter, by_look.values())
        sets = found
    return sets


def _size(path: Path) -> int:
    return path.stat().st_size


def _glance(path: Path, n_bytes: int) -> bytes:
    """Return the middle of a file: what stands before is often the same for all."""
    with path.open("rb") as file:
        file.seek(max(0, _size(path) - n_bytes) // 2)
        return blake2b(file.read(n_bytes)).digest()


def _digest(path: Path) -> bytes:
    found = blake2b()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            found.update(block)
    return found.digest()
