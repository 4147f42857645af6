"""Where the Cell Tracking Challenge has the images that its tracks are of."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"t?(\d+)\.(tiff?|png)", re.ASCII | re.IGNORECASE)
_SEQUENCE = re.compile(r"(.+)_(GT|ST|RES|ERR_SEG)", re.ASCII)


def challenge_images(table: Path) -> Path | None:
    """Return the folder of the images of a table of tracks; None if there is none.

    Parameters
    ----------
    table : Path
        Such as ``01_GT/TRA/man_track.txt`` or ``01_RES/res_track.txt``: their images are in ``01``.
    """
    folder = table.resolve().parent
    place = folder.parent if folder.name in ("TRA", "SEG") else folder
    named = _SEQUENCE.fullmatch(place.name)
    if named is None:
        return None
    images = place.parent / named[1]
    return images if images.is_dir() and find_frames(images) else None


def find_frames(folder: Path) -> list[Path]:
    """Return the images of a sequence, ``t000.tif`` and so on, in the order of their numbers."""
    found = [(_NAME.fullmatch(path.name), path) for path in folder.iterdir()]
    numbered = [(int(name[1]), path) for name, path in found if name is not None]
    return [path for _, path in sorted(numbered)]
