"""What people give to be added to a dataset, checked and brought into one form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.annotation.document import Document, FrameState
from napari_eomt.annotation.edits import Edit, SegmentChange
from napari_eomt.errors import DataError
from napari_eomt.structures.id_maps import areas, boxes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_eomt.structures.categories import Category
    from napari_eomt.structures.segments import Segmentation

_SUFFIXES = frozenset(
    {"bmp", "czi", "gif", "jpeg", "jpg", "lif", "lsm", "nd2", "npy", "ome", "png", "svs", "tif"}
    | {"tiff", "webp", "zarr"}
)


def document_of(result: Segmentation, categories: Iterable[Category]) -> Document:
    """Return a segmentation as a document."""
    document = Document((), result.shape, categories)
    document.hold(max([int(result.id_map.max(initial=0)), *(s.id for s in result.segments)]))
    document.id_maps[...] = result.id_map
    where = boxes(document.id_maps)
    found = areas(document.id_maps, document.next_id)
    changes = tuple(
        SegmentChange(0, None, replace(s, area=int(found[s.id]), bbox=where.get(s.id, s.bbox)))
        for s in result.segments
    )
    document.apply(Edit("Add", segments=changes), pixels=False)
    return document


def frames_of(document: Document, frames: Iterable[int] | None) -> tuple[int, ...]:
    """Return which frames are added: those that are named, or that something is known about.

    Raises
    ------
    DataError
        If there is no such frame, or none.
    """
    if frames is not None:
        wanted = tuple(dict.fromkeys(int(frame) for frame in frames))
        wrong = [frame for frame in wanted if not 0 <= frame < document.n_frames]
        if wrong:
            raise DataError(
                f"There is no frame {wrong[0]}; the document has {document.n_frames}, from 0."
            )
        return wanted
    if not document.frame_shape:
        return (0,)
    # A frame that nobody has looked at would teach that there is nothing in it.
    wanted = tuple(
        frame
        for frame in range(document.n_frames)
        if document.segments(frame) or document.state(frame) is not FrameState.NEW
    )
    if not wanted:
        raise DataError(
            "Nothing is known about any frame yet. Segment some, or name those without objects."
        )
    return wanted


def label_of(frame: int, shape: tuple[int, ...], axes: str) -> str:
    """Return what tells a frame's file from the others': "_t0007_z0003"."""
    if not shape:
        return ""
    index = np.unravel_index(frame, shape)
    return "".join(f"_{axis}{int(i):04d}" for axis, i in zip(axes, index, strict=True))


def without_suffix(name: str) -> str:
    """Return what people call an image without the suffix of its file, and its folder."""
    name = PurePosixPath(name.replace("\\", "/")).name or name
    for _ in range(2):  # "stack.ome.tif"
        stem, _, suffix = name.rpartition(".")
        if stem and suffix.lower() in _SUFFIXES:
            name = stem
    return name
