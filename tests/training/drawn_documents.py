"""Documents of drawn stacks with tracks, such as annotating them saves."""

from __future__ import annotations

import tifffile

from napari_eomt.annotation.document import Document
from napari_eomt.annotation.edits import Edit, SegmentChange
from napari_eomt.annotation.files import save_document
from napari_eomt.annotation.image_ref import ImageRef
from napari_eomt.annotation.label_pages import measured
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Status
from napari_eomt.synthetic_video import drawn_tracks


def document_of(ids, n_decided=None, category="cell"):
    """Return a document of tracks, of which the first frames were decided about."""
    document = Document((len(ids),), ids.shape[1:], [Category(1, category)])
    for frame, id_map in enumerate(ids):
        document.id_map(frame)[...] = id_map
        status = Status.ACCEPTED if n_decided is None or frame < n_decided else Status.PROPOSED
        changes = tuple(
            SegmentChange(frame, None, Segment(i, 1, track_id=i, status=status, area=n, bbox=box))
            for i, (n, box) in measured(id_map).items()
        )
        document.apply(Edit("Open", segments=changes), pixels=False)
    return document


def save_stack(folder, name, seed, n_frames=8, n_decided=None, beside=True, category="cell"):
    """Save a document, and its pixels beside it or one folder higher; return the video."""
    folder.mkdir(exist_ok=True)
    video = drawn_tracks(n_frames, (64, 64), 2, absent=0, seed=seed)
    place = (folder if beside else folder.parent) / f"{name}.tif"
    tifffile.imwrite(place, video.frames, photometric="rgb", metadata={"axes": "TYXS"})
    ref = ImageRef.of(video.frames, name, place)
    document = document_of(video.ids, n_decided, category)
    save_document(document, folder / f"{name}.eomt", ref)
    return video
