"""The dataset that documents were read from, found again to be written with their changes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_eomt.formats.coco_file import CocoFile, load_coco
from napari_eomt.formats.coco_panoptic import PanopticFile, load_panoptic
from napari_eomt.formats.detect import Format, guess

if TYPE_CHECKING:
    from napari_eomt.formats.sources import Source


@dataclass(frozen=True, eq=False)
class Found:
    """A dataset, and its format."""

    form: Format
    file: CocoFile | PanopticFile


def origin_of(source: Source) -> Found | None:
    """Return the dataset that all documents of a source were read from, if it is one.

    Notes of the source tell why it is not.
    """
    origins = set()
    for item in source.items:
        document, _ = item.read()
        origins.add(None if document.origin is None else document.origin.path)
    if None in origins or len(origins) != 1:
        if origins - {None}:
            source.notes.append(
                f"the documents were read from {len(origins)} datasets, or some from none: what "
                "only these can say is not written"
            )
        return None
    path = Path(str(origins.pop()))
    form = guess(path)
    if form not in ("coco", "panoptic", "ytvis"):
        source.notes.append(
            f"{path}, which the documents were read from, is not there any more: what only it can "
            "say is not written"
        )
        return None
    return Found(form, load_panoptic(path) if form == "panoptic" else load_coco(path))
