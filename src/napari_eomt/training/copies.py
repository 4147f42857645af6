"""Images that are there twice: what checks is not learnt from, under whatever name. No torch.

Files are compared, not names: the same file, a link to it, or a copy. Most are told apart by their
sizes and a glance into them, so that large datasets are not read whole.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeVar

from napari_eomt.errors import DataError
from napari_eomt.formats.slices import Slice
from napari_eomt.formats.splits import rank_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from napari_eomt.formats.slices import ImagePlace

_Key = TypeVar("_Key")

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
    both = {(True, key): path for key, path in learn.items()}
    both |= {(False, key): path for key, path in check.items()}
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


def check_apart(
    learn: Mapping[str, ImagePlace], check: Mapping[str, ImagePlace], where: Path
) -> None:
    """Check that no image that checks is learnt from.

    Parameters
    ----------
    learn, check : dict of str to (Path or Slice)
        As of `find_shared`.
    where : Path
        The JSON of those that check.

    Raises
    ------
    DataError
        If some are: which, and how many; or one cannot be read.
    """
    same = find_shared(learn, check).check
    if not same:
        return
    shown = _listed([f"{check[key]} is {learn[other]}" for key, other in same.items()])
    raise DataError(
        f"{len(same)} of the {len(check)} images that check are learnt from as well: "
        f"{shown}. They cannot tell whether learning helped. Leave them out of "
        f"what is learnt with --leave-out-copies, or take them out of {where}; or leave the other "
        "dataset out, and some images of the first check."
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
    return f"Of {n_all} images that were to learn {same}, left out: {_listed(names)}."


def join_copies(groups: Mapping[str, str], files: Mapping[str, ImagePlace]) -> dict[str, str]:
    """Return groups of images as a split is to divide them: those of equal files are one.

    Groups of several images, such as the frames of a stack, are not joined: frames that show
    nothing are often the same in stacks that have nothing in common.

    Parameters
    ----------
    groups : dict of str to str
        The group of each image, by its key.
    files : dict of str to (Path or Slice)
        Of the images, by their keys; those without one are as they are.

    Raises
    ------
    DataError
        If a file cannot be read.
    """
    n_images = Counter(groups.values())
    single = {key: files[key] for key in groups if key in files and n_images[groups[key]] == 1}
    joined = dict(groups)
    for same in _equal(single, lambda keys: len(keys) > 1):
        # The one that checks first: what has checked a model is not learnt from when a copy comes.
        joined |= dict.fromkeys(same, min((groups[key] for key in same), key=rank_of))
    return joined


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - _N_NAMED} more" if len(names) > _N_NAMED else ""
    return ", ".join(names[:_N_NAMED]) + more


def _equal(
    files: Mapping[_Key, ImagePlace], matters: Callable[[Sequence[_Key]], bool]
) -> list[list[_Key]]:
    """Return the keys of equal files, or equal frames of them, of such sets of them as matter."""
    keys_at: dict[Path, list[_Key]] = {}
    frames: dict[_Key, int] = {}
    for key, place in files.items():
        path, frames[key] = (place.path, place.frame) if isinstance(place, Slice) else (place, 0)
        keys_at.setdefault(path.resolve(), []).append(key)

    def keys_of(places: Iterable[Path]) -> list[_Key]:
        return [key for place in places for key in keys_at[place]]

    # Ever dearer looks, each only at files that have their like until then.
    looks: tuple[Callable[[Path], object], ...] = (
        _size,
        *(partial(_glance, n_bytes=n) for n in _GLANCES),
        _digest,
    )
    sets = [list(keys_at)]
    try:
        for look in looks:
            found: dict[tuple[int, object], list[Path]] = {}
            for k, places in enumerate(sets):
                for place in places:
                    # A file by itself is its own like: nobody has to read it.
                    seen = look(place) if len(places) > 1 else None
                    found.setdefault((k, seen), []).append(place)
            sets = [places for places in found.values() if matters(keys_of(places))]
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be read ({error.strerror or error}). Look at its permissions."
        ) from error
    found_at: list[list[_Key]] = []
    for places in sets:
        by_frame: dict[int, list[_Key]] = {}
        for key in keys_of(places):
            by_frame.setdefault(frames[key], []).append(key)
        found_at += filter(matters, by_frame.values())
    return found_at


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
