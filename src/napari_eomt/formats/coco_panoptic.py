"""COCO panoptic: one PNG of segment ids for each image, and a JSON that says what they are.

The id of a pixel is R + 256 G + 65536 B, 0 is void, as in panopticapi. In a document ids run from
1, in the order of ``segments_info``; a segment's `annotation_id` is its id in the PNG.
"""

from __future__ import annotations

import reprlib
from contextlib import ExitStack
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.annotation.document import Document, Origin
from napari_eomt.annotation.edits import Edit, SegmentChange
from napari_eomt.annotation.label_pages import measured
from napari_eomt.atomic import replacing
from napari_eomt.errors import DataError, OutputError
from napari_eomt.formats.changes import merged_categories, numbering, opened, renumbered, touched
from napari_eomt.formats.coco_attributes import read_attributes, write_attributes
from napari_eomt.formats.coco_categories import read_category
from napari_eomt.formats.coco_file import CocoFile, save_coco
from napari_eomt.formats.id_png import MAX_ID, read_id_png, write_id_png
from napari_eomt.formats.panoptic_file import PanopticFile, load_panoptic
from napari_eomt.formats.safe_paths import folded, free_stem, inside, safe_stem
from napari_eomt.structures.id_maps import id_dtype
from napari_eomt.structures.segments import Segment, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_eomt.formats.coco_checks import Record
    from napari_eomt.structures.segments import IdMap

__all__ = ["PanopticFile", "load_panoptic", "read_panoptic", "save_panoptic"]


def read_panoptic(
    panoptic: PanopticFile, image_ids: Sequence[int], problems: list[str] | None = None
) -> Document:
    """Return the document of an image, or of several of one size as a stack.

    Parameters
    ----------
    panoptic : PanopticFile
    image_ids : sequence of int
        One for each frame; of one alone the document has no axis of frames.
    problems : list of str, optional
        Filled with what was left out, if that was asked for.

    Raises
    ------
    DataError
        If a PNG is missing, is of another kind or size, holds an id that is listed nowhere, or
        lacks one that is listed.
    """
    images = panoptic.file.image_by_id
    for image_id in image_ids:
        if image_id not in images:
            raise DataError(f"{panoptic.path.name}: there is no image {image_id}.")
    sizes = {(images[i]["height"], images[i]["width"]) for i in image_ids}
    if len(sizes) != 1:
        raise DataError(
            f"{panoptic.path.name}: the images are of {len(sizes)} sizes; those of a stack have "
            "one. Open them one by one."
        )
    document = Document(
        () if len(image_ids) == 1 else (len(image_ids),),
        sizes.pop(),
        [read_category(record) for record in panoptic.file.categories],
        Origin(str(panoptic.path), tuple(image_ids)),
    )
    for frame, image_id in enumerate(image_ids):
        id_map, segments = _read_frame(panoptic, image_id, document.next_id, problems)
        changes = tuple(SegmentChange(frame, None, segment) for segment in segments)
        document.apply(Edit("Open", segments=changes, states=opened(frame, segments)), pixels=False)
        document.id_map(frame)[...] = id_map
    return document


def save_panoptic(
    panoptic: PanopticFile,
    path: Path,
    frames: Iterable[tuple[int, Document, int]] = (),
    *,
    folder: Path | None = None,
    fields: Mapping[int, Record] | None = None,
    overwrite: bool = False,
    on_image: Callable[[int], None] = lambda _: None,
) -> None:
    """Write a panoptic dataset, its JSON last.

    What was not changed is written as it was: PNGs byte by byte, segments with all their fields.

    Parameters
    ----------
    panoptic : PanopticFile
        As it was read; of images that are in it without an annotation, everything is new.
    path : Path
        Of the JSON to write; its own is replaced.
    frames : iterable of (image_id, Document, frame)
        What replaces the annotations of these images.
    folder : Path, optional
        Of the PNGs to write; by default its own for its own JSON, else named as the JSON.
    fields : dict of int to dict, optional
        Other fields of new segments, by their `annotation_id`; looked at anew for each frame.
    overwrite : bool
        Whether PNGs that are there, and are not the dataset's own, are replaced: they may be a
        person's images.
    on_image : callable
        Called before each image with its id; what it raises ends the writing, and nothing is
        changed.

    Raises
    ------
    DataError
        If a PNG that is still needed cannot be read.
    OutputError
        If it cannot be written, or a PNG is there.
    """
    if folder is None:
        folder = panoptic.folder if path == panoptic.path else path.with_suffix("")
    changed: dict[int, Record] = {}
    names = {folded(record["file_name"]) for record in panoptic.file.annotations}
    try:
        with ExitStack() as stack:
            # Entered first, it takes its name last: a JSON never tells of PNGs that are not there.
            json_path = stack.enter_context(replacing(path))
            folder.mkdir(parents=True, exist_ok=True)

            own = set(names) if _is_same(folder, panoptic.folder) else set()

            def place(name: str) -> Path:
                target = inside(folder, name)
                if not overwrite and folded(name) not in own and target.exists():
                    raise OutputError(
                        f"{target} is there already, and would be replaced by a PNG of ids. Choose "
                        "another name for the dataset, or overwrite it."
                    )
                target.parent.mkdir(parents=True, exist_ok=True)
                return stack.enter_context(replacing(target))

            def keep(name: str) -> None:
                if folded(name) not in own:
                    place(name).write_bytes(_png(panoptic.folder / name))

            categories = panoptic.file.categories
            for image_id, document, frame in frames:
                on_image(image_id)
                categories = merged_categories(categories, document)
                record, id_map = _updated(panoptic, image_id, document, frame, fields or {}, names)
                changed[image_id] = record
                if id_map is None:
                    keep(record["file_name"])
                else:
                    write_id_png(place(record["file_name"]), id_map)
            for record in panoptic.file.annotations:
                if record["image_id"] not in changed:
                    on_image(record["image_id"])
                    keep(record["file_name"])
            # panopticapi asks each category.
            known = panoptic.file.category_by_id
            categories = [c if c["id"] in known else {"isthing": 1} | c for c in categories]
            file = replace(panoptic.file, categories=categories)
            save_coco(file, json_path, _records(panoptic.file, changed))
    except OSError as error:
        raise OutputError(
            f"{path}: the dataset cannot be written ({error.strerror or error}). Free the disk, or "
            "choose another folder."
        ) from error


def _records(file: CocoFile, changed: dict[int, Record]) -> Iterator[Record]:
    left = dict(changed)
    for record in file.annotations:
        yield left.pop(record["image_id"], record)
    yield from left.values()


def _is_same(a: Path, b: Path) -> bool:
    return a.exists() and b.exists() and a.samefile(b)


def _png(path: Path) -> bytes:
    """Return a PNG that did not change, to be copied."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}. Add it, or leave its annotation "
            "out."
        ) from error


def _read_frame(
    panoptic: PanopticFile, image_id: int, first_id: int, problems: list[str] | None = None
) -> tuple[IdMap, list[Segment]]:
    """Return an image's id map, its ids running from `first_id`, and its segments."""
    image, record = panoptic.file.image_by_id[image_id], panoptic.annotation_of(image_id)
    size = (image["height"], image["width"])
    if record is None:
        return np.zeros(size, np.uint16), []
    name = record["file_name"]
    ids = read_id_png(panoptic.folder / name, size)
    infos = record["segments_info"]
    # As long as all ids that a PNG can hold; pages that are not touched take no memory.
    table = np.zeros(MAX_ID + 1, id_dtype(first_id + len(infos)))
    for k, info in enumerate(infos):
        table[info["id"]] = first_id + k
    id_map: IdMap = table[ids]
    unlisted = sorted(set(np.unique(ids[id_map == 0]).tolist()) - {0})
    found = measured(id_map)
    absent = [info["id"] for k, info in enumerate(infos) if first_id + k not in found]
    for what, which, then in (
        ("holds ids that 'segments_info' does not list", unlisted, "List them there"),
        ("lacks ids that 'segments_info' lists", absent, "Remove them there"),
    ):
        if which:
            message = f"{name}, of image {image_id}: the PNG {what}: {reprlib.repr(which)}."
            if not panoptic.skip_invalid:
                raise DataError(f"{panoptic.path.name}: {message} {then}, or correct the PNG.")
            if problems is not None:
                problems.append(message)
    categories = panoptic.file.category_by_id
    segments = []
    for k, info in enumerate(infos):
        i = first_id + k
        if i in found:
            area, bbox = found[i]
            segment = Segment(
                i,
                info["category_id"],
                is_thing=bool(categories[info["category_id"]].get("isthing", 1)),
                is_crowd=bool(info.get("iscrowd", 0)),
                area=area,
                bbox=bbox,
                annotation_id=info["id"],
            )
            segment = read_attributes(segment, info)
            if segment.status is Status.REJECTED:  # but there it is
                segment = replace(segment, status=Status.PROPOSED)
            segments.append(segment)
    return id_map, segments


def _updated(
    panoptic: PanopticFile,
    image_id: int,
    document: Document,
    frame: int,
    fields: Mapping[int, Record],
    names: set[str],
) -> tuple[Record, IdMap | None]:
    """Return an image's annotation as it is now, and its PNG's ids unless they are as they were."""
    if image_id not in panoptic.file.image_by_id:
        raise DataError(f"{panoptic.path.name}: there is no image {image_id} in 'images'. Add it.")
    before_map, before = _read_frame(panoptic, image_id, 1)
    if before_map.shape != document.image_shape:
        raise DataError(
            f"{panoptic.path.name}: image {image_id} is {before_map.shape}, what was drawn on it "
            f"{document.image_shape} pixels. Choose the dataset that it was read from."
        )
    record = panoptic.annotation_of(image_id)
    if record is None:
        name = _png_name(panoptic.file.image_by_id[image_id], names)
        record = {"image_id": image_id, "file_name": name, "segments_info": []}
    by_id = {s.id: s for s in before}
    raw = {info["id"]: info for info in record["segments_info"]}
    current = [s for s in document.segments(frame).values() if s.status is not Status.REJECTED]
    numbers = numbering(current, before)
    now_map = renumbered(document.id_map(frame), numbers)
    differ = touched(before_map, now_map)
    where = measured(now_map)
    used = set(raw)
    infos: dict[int, Record] = {}
    png_ids: dict[int, int] = {}
    info: Record
    for segment in sorted(current, key=lambda s: numbers[s.id]):
        number = numbers[segment.id]
        if number not in where:
            continue
        was = by_id.get(number)
        if was is None:
            png_id = _new_id(used, document, segment, number)
            info = {"category_id": segment.category_id, "iscrowd": 0}
            info |= fields.get(segment.annotation_id or 0, {})
            write_attributes(info, segment, mark=False)
            info = {"id": png_id, **info}
        else:
            png_id = was.annotation_id or 0
            info = dict(raw[png_id])
            if replace(segment, id=was.id) != was:
                write_attributes(info, segment, mark=False)
        png_ids[number] = png_id
        info["category_id"] = segment.category_id
        if was is None or was.is_crowd != segment.is_crowd:
            info["iscrowd"] = int(segment.is_crowd)
        if was is None or number in differ:
            area, (y0, x0, y1, x1) = where[number]
            info["area"], info["bbox"] = area, [x0, y0, x1 - x0, y1 - y0]
        infos[png_id] = info
    # In the order of the file; new ones last.
    order = [i for i in raw if i in infos] + [i for i in infos if i not in raw]
    record = record | {"segments_info": [infos[i] for i in order]}
    is_same = not differ and panoptic.annotation_of(image_id) is not None
    return record, None if is_same else renumbered(now_map, png_ids)


def _png_name(image: Record, names: set[str]) -> str:
    """Return a name for the PNG of an image, inside the folder, that no other has."""
    parts = str(image.get("file_name") or image["id"]).replace("\\", "/").split("/")
    parts[-1] = str(PurePosixPath(parts[-1]).with_suffix("")) if parts[-1] else ""
    safe = [safe_stem(part) for part in parts if part.strip(" .")] or [str(image["id"])]
    stem = free_stem("/".join(safe), lambda name: f"{name}.png" in names)
    names.add(folded(f"{stem}.png"))
    return f"{stem}.png"


def _new_id(used: set[int], document: Document, segment: Segment, number: int) -> int:
    """Return an id that no segment of the PNG has: stuff takes its colour, things scatter."""
    category = document.categories.get(segment.category_id)
    png_id = 0
    if category is not None and category.color and not segment.is_thing:
        png_id = int.from_bytes(bytes.fromhex(category.color[1:]), "little")
    while not png_id or png_id in used:
        # An odd factor takes each number below 2²⁴ once; neighbours differ to the eye.
        number += 1
        png_id = number * 0x9E3779 & MAX_ID
    used.add(png_id)
    return png_id
