"""Label images: a TIFF or PNG of segment ids, and beside it a table that says what they are.

The table is ours, NAME.json, or NAME.csv as predictions have it. Without one each value is an
object, and of a stack the same one in all frames.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from napari_eomt.annotation.document import Document
from napari_eomt.annotation.edits import Edit, SegmentChange
from napari_eomt.annotation.label_pages import measured, write_pages
from napari_eomt.atomic import replacing_all
from napari_eomt.errors import DataError, OutputError
from napari_eomt.formats.changes import opened, renumbered
from napari_eomt.formats.coco_attributes import read_attributes, write_attributes
from napari_eomt.formats.coco_categories import write_categories
from napari_eomt.formats.id_pixels import SUFFIXES, read_id_pixels
from napari_eomt.formats.id_tables import FORMAT, IdTable, find_table, read_table
from napari_eomt.formats.json_file import write_json
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from napari_eomt.formats.coco_checks import Record
    from napari_eomt.structures.segments import IdMap

__all__ = ["SUFFIXES", "find_id_images", "read_id_image", "save_id_image"]

_MAX_KEPT_ID = 65_535


def find_id_images(path: Path) -> list[Path]:
    """Return the label images of a folder, by name; a file is returned as it is."""
    if not path.is_dir():
        return [path]
    return sorted(
        p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")
    )


def read_id_image(
    path: Path,
    table: Path | None = None,
    *,
    skip_invalid: bool = False,
    problems: list[str] | None = None,
    notes: list[str] | None = None,
) -> Document:
    """Read a label image.

    Ids stay as they are, but for those of more than 16 bits, which are numbered anew from 1, and
    for those of a stack of predictions, where each frame counts from 1: they go on from frame to
    frame.

    Parameters
    ----------
    path : Path
        TIFF of any integers, 2-D or a stack, or a grey or paletted PNG.
    table : Path, optional
        What the ids are; by default NAME.json or NAME.csv beside it.
    skip_invalid : bool
        Whether ids that the table does not list become void, and rows without a pixel are left
        out.
    problems : list of str, optional
        Filled with what was left out.
    notes : list of str, optional
        Filled with what is not as it was.

    Raises
    ------
    DataError
        If a file cannot be read, or they do not fit each other.
    """
    pixels = read_id_pixels(path)
    found = find_table(path) if table is None else table
    known = IdTable((Category(1, "object"),)) if found is None else read_table(found)
    shape = pixels.shape[:-2]
    if known.frame_shape is not None:
        if int(np.prod(known.frame_shape)) != int(np.prod(shape)):
            raise DataError(
                f"{path.name} has {int(np.prod(shape))} frames, its table says "
                f"{known.frame_shape}. Take both from one copy."
            )
        shape = known.frame_shape
    size = (pixels.shape[-2], pixels.shape[-1])
    document = Document(shape, size, known.categories)
    frames = pixels.reshape(-1, *size)
    numbers = _compact(frames, path.name, [] if notes is None else notes)
    if found is not None and not skip_invalid and max(known.rows, default=0) >= len(frames):
        raise DataError(
            f"{found.name} lists segments of frame {max(known.rows)}; {path.name} has "
            f"{len(frames)} frames, from 0. Take both from one copy."
        )
    for frame, raw in enumerate(frames):
        id_map: IdMap = raw
        there = measured(id_map)
        first = document.next_id - 1 if known.is_per_frame and frame else 0
        rows = known.rows.get(frame, {})
        if found is not None:
            _agree(path, found, frame, set(there), set(rows), skip_invalid, problems)
        new = {
            i: (i if numbers is None else numbers[i]) + first
            for i in there
            if found is None or i in rows
        }
        segments = [_segment(rows.get(i), new[i], known, *there[i]) for i in new]
        changes = tuple(SegmentChange(frame, None, segment) for segment in segments)
        edit = Edit("Open", segments=changes, states=opened(frame, segments))
        document.apply(edit, pixels=False)
        document.id_map(frame)[...] = _renamed(id_map, new)
    return document


def save_id_image(
    document: Document,
    path: Path,
    *,
    images: Iterable[Record] = (),
    categories: Iterable[Record] = (),
    fields: Mapping[int, Record] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a document as a label image, and NAME.json with what the ids are.

    Parameters
    ----------
    document : Document
    path : Path
        NAME.tif: uint16, or uint32 past 65,535 ids, zlib, a page a frame; or NAME.png, 16 bits.
    images : iterable of dict
        What a dataset says of the image of each frame; kept in the table.
    categories : iterable of dict
        Records of the categories, whose other fields are kept.
    fields : dict of int to dict, optional
        Other fields of segments, by their `annotation_id`.
    overwrite : bool
        Whether files that are there are replaced.

    Raises
    ------
    DataError
        If a PNG cannot hold it.
    OutputError
        If it cannot be written, or is there.
    """
    table = path.with_suffix(".json")
    is_png = path.suffix.lower() == ".png"
    if is_png and (document.n_frames != 1 or document.id_maps.max(initial=0) > _MAX_KEPT_ID):
        raise DataError(
            f"{path.name}: a PNG holds one frame and ids of up to {_MAX_KEPT_ID}; this has "
            f"{document.n_frames} frames, ids of up to {document.id_maps.max(initial=0)}. Write a "
            "TIFF."
        )
    for there in (path, table):
        if there.exists() and not overwrite:
            raise OutputError(f"{there} is there already. Choose another name, or overwrite it.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_all([path, table]) as (pixels, rows):
            if is_png:
                Image.fromarray(_settled(document, 0).astype(np.uint16)).save(pixels, "PNG")
            else:
                pages = (_settled(document, k) for k in range(document.n_frames))
                dtype = document.id_maps.dtype
                write_pages(pixels, pages, document.image_shape, dtype, document.n_frames)
            write_json(rows, _items(document, images, categories, fields or {}))
    except OSError as error:
        raise OutputError(
            f"{path}: the label image cannot be written ({error.strerror or error}). Free the "
            "disk, or choose another folder."
        ) from error


def _compact(frames: np.ndarray[Any, Any], name: str, notes: list[str]) -> dict[int, int] | None:
    """Return new numbers for ids that are too large for tables by id; None if they can stay."""
    if frames.size == 0 or int(frames.max()) <= _MAX_KEPT_ID:
        return None
    ids = [int(i) for i in np.unique(frames) if i]
    if len(ids) == ids[-1]:
        return None
    notes.append(f"{name}: ids of up to {ids[-1]} were numbered anew, from 1 to {len(ids)}")
    return {i: k for k, i in enumerate(ids, 1)}


def _renamed(id_map: IdMap, new: Mapping[int, int]) -> IdMap:
    if int(id_map.max(initial=0)) <= 2**24:
        return renumbered(id_map, new)
    ids = np.array(sorted(new), id_map.dtype)
    numbers = np.array([0, *(new[int(i)] for i in ids)], np.int64)
    place = np.minimum(np.searchsorted(ids, id_map), len(ids) - 1)
    return renumbered(np.where(ids[place] == id_map, place + 1, 0), dict(enumerate(numbers)))


def _agree(
    path: Path,
    table: Path,
    frame: int,
    there: set[int],
    rows: set[int],
    skip_invalid: bool,
    problems: list[str] | None,
) -> None:
    for what, ids in (
        (f"holds ids that {table.name} does not list", there - rows),
        (f"lacks ids that {table.name} lists", rows - there),
    ):
        if ids:
            message = f"{path.name}, frame {frame}: {what}: {sorted(ids)[:10]}."
            if not skip_invalid:
                raise DataError(
                    f"{message} Take both from one copy, or write a copy without what makes no "
                    "sense: napari-eomt convert --skip-invalid."
                )
            if problems is not None:
                problems.append(message)


def _segment(
    row: Record | None, i: int, known: IdTable, area: int, bbox: tuple[int, int, int, int]
) -> Segment:
    record = row or {}
    category = record.get("category_id", 1)
    is_thing = next(c.is_thing for c in known.categories if c.id == category)
    segment = Segment(
        i, category, is_thing=is_thing, is_crowd=bool(record.get("iscrowd")), area=area, bbox=bbox
    )
    segment = read_attributes(segment, record)
    if segment.status is Status.REJECTED:  # but there it is
        segment = replace(segment, status=Status.PROPOSED)
    return segment


def _settled(document: Document, frame: int) -> IdMap:
    """Return the pixels of a frame that segments own."""
    shown = {i for i, s in document.segments(frame).items() if s.status is not Status.REJECTED}
    return renumbered(document.id_map(frame), {i: i for i in shown})


def _items(
    document: Document,
    images: Iterable[Record],
    categories: Iterable[Record],
    fields: Mapping[int, Record],
) -> Iterator[tuple[str, Any]]:
    yield "format", FORMAT
    yield "version", 1
    yield "frame_shape", list(document.frame_shape)
    yield "images", iter(images)
    known = list(categories)
    used = {record["id"] for record in known}
    yield "categories", iter(write_categories(document.categories.values(), known, used))

    def rows() -> Iterator[Record]:
        for frame in range(document.n_frames):
            there = measured(document.id_map(frame))
            for i, segment in sorted(document.segments(frame).items()):
                if segment.status is Status.REJECTED or i not in there:
                    continue
                said = dict(fields.get(segment.annotation_id or 0, {}))
                write_attributes(said, segment, mark=False)
                row: Record = {"frame": frame, "id": i, "category_id": int(segment.category_id)}
                if segment.is_crowd:
                    row["iscrowd"] = 1
                yield {**row, **said}

    yield "segments", rows()
