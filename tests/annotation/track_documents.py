"""Documents of tracks, small enough to be read off."""

from __future__ import annotations

from dataclasses import replace

from napari_eomt.annotation.document import Document
from napari_eomt.annotation.edits import Edit, SegmentChange
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Status

SIZE = (6, 40)
CATEGORIES = (Category(1, "cell"), Category(2, "sky", False))


def document_of(rows, n_frames=6, origin=None):
    """Return a document of segments, as (frame, Segment); segment i lies at column 2 i."""
    document = Document((n_frames,), SIZE, CATEGORIES, origin)
    for frame, segment in rows:
        x = 2 * segment.id
        there = replace(segment, area=4, bbox=(1, x, 3, x + 2))
        if there.status is not Status.REJECTED:
            document.id_map(frame)[1:3, x : x + 2] = segment.id
        edit = Edit("", segments=(SegmentChange(frame, None, there),))
        document.apply(edit, pixels=False)
    return document
