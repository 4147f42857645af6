"""File names that come from a file: found inside a folder, or refused.

A dataset that somebody sends must not make us read or write anything else than its own files, on
no system: what is refused on one is refused on all, so that a dataset can be taken along.
"""

from __future__ import annotations

import re
import reprlib
import unicodedata
from typing import TYPE_CHECKING

from napari_eomt.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Windows takes these for devices in every folder, with any suffix.
_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])\s*(\..*)?",
    re.IGNORECASE | re.DOTALL,
)
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff]+')
_LONGEST_PART, _LONGEST_PATH = 255, 4000
_LONGEST = 100  # characters of a stem: there has to be room for the frame and the folder


def inside(folder: Path, file_name: str, image_id: int | None = None) -> Path:
    r"""Return the file of a name in a folder, which need not be there.

    Parameters
    ----------
    folder : Path
    file_name : str
        Relative; "/" and "\" both separate folders.
    image_id : int, optional
        Whose name it is, for the message.

    Raises
    ------
    DataError
        If the file is not inside the folder, links followed; or if the name is one that some
        system does not take as a file's: with a drive or a control character, of a device, or
        with a dot or a space at the end.
    """
    parts = file_name.replace("\\", "/").split("/")
    why = _why_not(file_name, parts)
    if not why:
        path = folder.joinpath(*parts)
        try:
            if not path.resolve().is_relative_to(folder.resolve()):
                why = "a link leads out of the dataset's folder"
        # Too long, a loop of links, or half of a surrogate pair.
        except (OSError, RuntimeError, ValueError) as error:
            why = f"it is no name of a file ({getattr(error, 'strerror', None) or error})"
    if why:
        who = "The" if image_id is None else f"Image {image_id}: the"
        raise DataError(
            f"{who} file_name {reprlib.repr(file_name)} cannot be used: {why}. Give the path of a "
            "file inside the dataset's folder, relative to it."
        )
    return path


def safe_stem(name: str) -> str:
    """Return a file's stem, usable on every system, for what people call an image.

    Parameters
    ----------
    name : str
        A name or a path, without a suffix.
    """
    stem = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", name)).strip(" .")
    stem = stem[:_LONGEST].strip(" .") or "image"
    while len(stem.encode()) > 2 * _LONGEST:  # file systems count bytes
        stem = stem[:-1]
    return f"_{stem}" if _DEVICE.fullmatch(stem) else stem


def free_stem(stem: str, is_taken: Callable[[str], bool]) -> str:
    """Return the stem, or the first of stem_2, stem_3, … that is not taken.

    Parameters
    ----------
    stem : str
    is_taken : callable
        Is asked with what `folded` returns.
    """
    k, free = 1, stem
    while is_taken(folded(free)):
        k += 1
        free = f"{stem}_{k}"
    return free


def folded(name: str) -> str:
    """Return what two names have in common that some system takes for one."""
    return unicodedata.normalize("NFC", name).casefold()


def _why_not(file_name: str, parts: list[str]) -> str:
    if not file_name:
        return "it is empty"
    if _CONTROL.search(file_name):
        return "it holds a control character"
    if parts[0] == "" or _DRIVE.match(file_name):
        return "it is an absolute path"
    if len(file_name) > _LONGEST_PATH:
        return f"it has more than {_LONGEST_PATH} characters"
    for part in parts:
        if len(part.encode(errors="surrogatepass")) > _LONGEST_PART:
            return f"file systems take names of up to {_LONGEST_PART} bytes"
        if part == "..":
            return "'..' leads out of a folder"
        if part == "":
            return "a folder's name is empty"
        if part != "." and part != part.rstrip(" ."):
            return "Windows takes no name that ends with a dot or a space"
        if _DEVICE.fullmatch(part):
            return f"{part!r} is a device on Windows"
    if parts[-1] == ".":
        return "it is a folder"
    return ""
