"""Sessions for annotated images that napari has opened, whenever the dock comes to see them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.annotation.document import Document
from napari_eomt.annotation.edits import Edit, SegmentChange
from napari_eomt.annotation.label_pages import measured
from napari_eomt.errors import EomtError
from napari_eomt.structures.segments import Segment, Status
from napari_eomt.viewer.dataset_metadata import (
    DOCUMENT,
    FILE,
    OPENED,
    origin_metadata,
    ours,
    with_ours,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from napari_eomt.viewer.image_work import Keeper
    from napari_eomt.viewer.results import Result


@dataclass(frozen=True, eq=False)
class Waiting:
    """An annotated image that napari has opened, and no session has taken over.

    Parameters
    ----------
    image, labels : napari layers
    document : Document
        Its id maps are the labels' data.
    path : Path
        The file that it is in.
    """

    image: Image
    labels: Labels
    document: Document
    path: Path


def waiting(viewer: ViewerModel) -> list[Waiting]:
    """Return what the reader has opened in a viewer that has no session yet."""
    layers = [getattr(layer, "__wrapped__", layer) for layer in viewer.layers]
    images = {ours(layer).get(OPENED): layer for layer in layers if hasattr(layer, "rgb")}
    found = []
    for layer in layers:
        about = ours(layer)
        document, image = about.get(DOCUMENT), images.get(about.get(OPENED))
        if isinstance(document, Document) and about.get(OPENED) and image is not None:
            found.append(Waiting(image, layer, document, Path(about[FILE])))
    return found


def take_over(viewer: ViewerModel, keeper: Keeper, opened: Waiting) -> Result:
    """Go on with an annotated image in a session; what was painted until then is in it.

    Parameters
    ----------
    viewer : ViewerModel
    keeper : Keeper
    opened : Waiting
        Its layer of objects is replaced by the session's own.

    Raises
    ------
    DataError
        If the objects do not fit the image any more.
    """
    labels, document = opened.labels, opened.document
    # Whatever comes of it, it is tried once.
    about = {k: v for k, v in ours(labels).items() if k != DOCUMENT}
    labels.metadata = with_ours(labels, about)
    was_painted = _take_pixels(document, labels)
    looks = {name: getattr(labels, name) for name in ("opacity", "visible", "contour", "blending")}
    viewer.layers.selection.active = opened.image
    viewer.layers.remove(labels)
    try:
        result = keeper.adopt(document, opened.image)
    except EomtError:
        viewer.add_layer(labels)
        raise
    layer = result.view.layer
    layer.name = labels.name
    for name, value in looks.items():
        setattr(layer, name, value)
    about = {FILE: str(opened.path)} | origin_metadata(document)
    layer.metadata = with_ours(layer, ours(layer) | about)
    if not was_painted:
        keeper.mark_saved(result, opened.path)
    return result


def reconcile(document: Document) -> bool:
    """Bring the segments in line with id maps that somebody has painted in.

    Segments of other pixels become edited, unknown ids drawn segments of the first category, and
    segments without a pixel are gone.

    Returns
    -------
    bool
        Whether anything was different.
    """
    category = next(iter(document.categories.values()))
    changes: list[SegmentChange] = []
    for frame in range(document.n_frames):
        found = measured(document.id_map(frame))
        known = document.segments(frame)
        for i, (area, bbox) in found.items():
            old = known.get(i)
            if old is not None and (old.area, old.bbox) == (area, bbox):
                continue
            status = Status.DRAWN if old is None or old.status is Status.DRAWN else Status.EDITED
            new = old or Segment(i, category.id, is_thing=category.is_thing)
            new = replace(new, area=area, bbox=bbox, status=status, mask=None)
            changes.append(SegmentChange(frame, old, new))
        changes += [
            SegmentChange(frame, segment, None)
            for i, segment in known.items()
            if i not in found and segment.status is not Status.REJECTED
        ]
    document.apply(Edit("Paint", segments=tuple(changes)), pixels=False)
    return bool(changes)


def _take_pixels(document: Document, labels: Labels) -> bool:
    data = labels.data
    if data is not document.id_maps and np.shape(data) == document.id_maps.shape:
        data = np.asarray(data)
        document.hold(int(data.max(initial=0)))
        document.id_maps[...] = data
    return reconcile(document)
