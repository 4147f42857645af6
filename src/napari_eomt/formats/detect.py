"""Which format of annotations a path holds: by what is in it, not by its name alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from napari_eomt.annotation.files import SUFFIX, TABLE
from napari_eomt.errors import DataError
from napari_eomt.formats.ctc_table import find_ctc
from napari_eomt.formats.id_pixels import SUFFIXES

if TYPE_CHECKING:
    from pathlib import Path

Format = Literal["coco", "panoptic", "ytvis", "labels", "ctc", "eomt"]
FORMATS: tuple[Format, ...] = ("coco", "panoptic", "ytvis", "labels", "ctc", "eomt")

Target = Literal["coco", "panoptic", "ytvis", "labels", "ctc", "eomt", "csv"]
"""What annotations are written as; a table of tracks has no masks to read again."""

TARGETS: dict[Target, str] = {
    "coco": "COCO instances",
    "panoptic": "COCO panoptic",
    "ytvis": "YouTube-VIS",
    "labels": "label images",
    "ctc": "tracks of the Cell Tracking Challenge",
    "eomt": "documents of napari-eomt",
    "csv": "tables of tracks",
}
NAMES: dict[Format, str] = {form: TARGETS[form] for form in FORMATS}

_BLOCK, _OVERLAP = 1 << 22, 64
_KEY = re.compile(rb'"(segments_info|segmentations|videos|images|annotations|categories)"\s*:')


def detect(path: Path) -> Format:
    """Return the format of a file or folder.

    Raises
    ------
    DataError
        If it is none that is known, or cannot be read.
    """
    found = guess(path)
    if found is None:
        what = "folder" if path.is_dir() else "file"
        if not path.exists():
            raise DataError(f"There is no file or folder {path}.")
        raise DataError(
            f"{path} is a {what} of no format that is known: {', '.join(NAMES.values())}. Choose "
            "another, or name its format."
        )
    return found


def guess(path: Path) -> Format | None:
    """Return the format of a file or folder; None if it is none of annotations, or not there.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    if path.is_dir():
        if (path / TABLE).is_file() or any(path.rglob(f"*{SUFFIX}/{TABLE}")):
            return "eomt"
        json = json_in(path)
        if json is not None:
            return guess(json)
        # Its images are label images as well.
        if find_ctc(path):
            return "ctc"
        is_label = any(p.suffix.lower() in SUFFIXES for p in path.rglob("*"))
        return "labels" if is_label else None
    suffix = path.suffix.lower()
    if not path.is_file():
        return None
    if suffix in SUFFIXES:
        return "labels"
    if find_ctc(path):
        return "ctc"
    return _of_json(path) if suffix == ".json" else None


def json_in(folder: Path) -> Path | None:
    """Return the JSON of a dataset in a folder: annotations.json, or the only one."""
    named = folder / "annotations.json"
    if named.is_file():
        return named
    for place in (folder, folder / "annotations"):
        found = sorted(place.glob("*.json"))
        # Tables beside label images are no datasets.
        found = [p for p in found if _of_json(p) is not None]
        if len(found) == 1:
            return found[0]
        if found:
            raise DataError(
                f"{place} has {len(found)} JSON files of annotations. Name one of them, such as "
                f"{found[0].name}."
            )
    return None


def _of_json(path: Path) -> Format | None:
    """Look for the keys that tell formats apart, without parsing, which takes far longer."""
    seen: set[bytes] = set()
    try:
        with path.open("rb") as file:
            tail = b""
            while block := file.read(_BLOCK):
                seen.update(_KEY.findall(tail + block))
                if b"segments_info" in seen:
                    return "panoptic"
                tail = block[-_OVERLAP:]
                if b"napari-eomt labels" in block[:200]:
                    return None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    if b"videos" in seen and (b"images" not in seen or b"segmentations" in seen):
        return "ytvis"
    return "coco" if b"images" in seen and b"categories" in seen else None
