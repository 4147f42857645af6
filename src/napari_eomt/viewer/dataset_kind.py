"""What a path holds that a person wants to open: told from a glance, without reading it all."""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from napari_eomt.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("annotations.json", "instances.json")
"""What a folder's COCO file is called, the first that is there; else it is the only one."""

TRACK_TABLES = ("man_track.txt", "res_track.txt")
"""Tables of the Cell Tracking Challenge; label images lie beside them."""

_TABLE, _LABELS = "document.json", "labels.tif"
_GLANCE = 1 << 16  # bytes, at the beginning and at the end
_SECTION = re.compile(rb'"(images|videos|annotations|categories)"\s*:\s*\[')
_PANOPTIC = b'"segments_info"'


class Kind(str, Enum):
    """Which of the forms it is."""

    DOCUMENT = "document"
    COCO = "coco"
    """Instances of images, or of videos."""
    PANOPTIC = "panoptic"
    TRACKS = "tracks"
    """Of the Cell Tracking Challenge."""


@dataclass(frozen=True)
class Found:
    """Something to open.

    Parameters
    ----------
    kind : Kind
    path : Path
        A JSON file, the folder of a document, or a table of tracks.
    """

    kind: Kind
    path: Path


def find_annotations(path: Path) -> Found | None:
    """Return what there is to open at a path; None if it is none of ours.

    Parameters
    ----------
    path : Path
        A JSON file, the folder of a dataset, or the folder of a document, NAME.eomt; a table of
        tracks, its folder, or the folder above it.

    Raises
    ------
    DataError
        If a folder has several that it could be.
    """
    if path.is_dir():
        if _is_document(path):
            return Found(Kind.DOCUMENT, path)
        return _in_folder(path) or _tracks_in(path)
    if path.name in TRACK_TABLES and path.is_file():
        return Found(Kind.TRACKS, path)
    if path.name == _TABLE and _is_document(path.parent):
        return Found(Kind.DOCUMENT, path.parent)
    if path.suffix.lower() != ".json" or not path.is_file() or not _looks_like_coco(path):
        return None
    return Found(Kind.PANOPTIC if _is_panoptic(path) else Kind.COCO, path)


def _is_document(folder: Path) -> bool:
    return (folder / _TABLE).is_file() and (folder / _LABELS).is_file()


def _tracks_in(folder: Path) -> Found | None:
    places = (place / name for place in (folder, folder / "TRA") for name in TRACK_TABLES)
    table = next((path for path in places if path.is_file()), None)
    return None if table is None else Found(Kind.TRACKS, table)


def _in_folder(folder: Path) -> Found | None:
    for name in NAMES:
        found = find_annotations(folder / name)
        if found is not None:
            return found
    for place in (folder, folder / "annotations"):
        if not place.is_dir():
            continue
        paths = sorted(p for p in place.glob("*.json") if p.name != _TABLE and _looks_like_coco(p))
        if len(paths) == 1:
            return find_annotations(paths[0])
        if paths:
            raise DataError(
                f"{place} has {len(paths)} files of annotations and no {NAMES[0]}: open one of "
                f"them, such as {paths[0].name}."
            )
    return None


def _looks_like_coco(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            glance = file.read(_GLANCE)
            if not glance.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
                return False
            if size > _GLANCE:
                file.seek(max(_GLANCE, size - _GLANCE))
                glance += file.read(_GLANCE)
    except OSError:
        return False
    sections = {match[1] for match in _SECTION.finditer(glance)}
    # Of a large file a glance may show one alone; other programs' files have images, too.
    return len(sections) >= (2 if size <= 2 * _GLANCE else 1)


def _is_panoptic(path: Path) -> bool:
    try:
        # A gigabyte takes 0.2 s; the sections may come in any order.
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return content.find(_PANOPTIC) >= 0
    except (OSError, ValueError):
        return False
