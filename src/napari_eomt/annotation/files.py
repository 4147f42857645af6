"""A document on disk: a folder of `document.json` and `labels.tif`, written whole or not at all."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from napari_eomt.annotation.content import Content
from napari_eomt.annotation.document import Document
from napari_eomt.annotation.edits import Edit, SegmentChange, StateChange
from napari_eomt.annotation.image_ref import ImageRef  # noqa: TC001 - pydantic reads it
from napari_eomt.annotation.label_pages import iter_pages, measured, write_pages
from napari_eomt.annotation.rows import (
    CategoryRow,
    FrameRow,
    OriginRow,
    Row,
    category_row,
    first_error,
    origin_row,
    segment_row,
)
from napari_eomt.errors import DataError, OutputError
from napari_eomt.folder_swap import swapping, whole
from napari_eomt.structures.segments import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_eomt.structures.segments import IdMap, Segment

SUFFIX = ".eomt"
"""Of a document's folder."""

TABLE, LABELS = "document.json", "labels.tif"

VERSION = 2
"""2: the dataset that a document was read from, and the annotations of its segments."""

_FORMAT = "napari-eomt document"
# What file managers leave behind.
_IGNORED = {".DS_Store", "Thumbs.db", "desktop.ini"}

_Positive = Annotated[int, Field(ge=1)]


class _Kind(BaseModel):
    """What is asked before anything else: whether it is one of ours, and how old."""

    format: Literal["napari-eomt document"]
    version: _Positive


class _Table(Row):
    format: str
    version: int
    image: ImageRef | None
    frame_shape: tuple[_Positive, ...]
    image_shape: tuple[_Positive, _Positive]
    origin: OriginRow | None = None
    next_id: Annotated[int, Field(ge=1, le=2**32)]
    categories: tuple[CategoryRow, ...]
    frames: tuple[FrameRow, ...]


def save_document(
    document: Document, folder: Path, image: ImageRef | None = None, *, overwrite: bool = False
) -> None:
    """Write a document, whole or not at all.

    Parameters
    ----------
    document : Document
    folder : Path
        By custom ``NAME.eomt``.
    image : ImageRef, optional
        Which image it belongs to.
    overwrite : bool
        Whether a document that is there is replaced.

    Raises
    ------
    OutputError
        If it cannot be written, or something else is there.
    """
    _check_out(folder, overwrite)
    try:
        with swapping(folder) as temporary:
            write_content(Content.of(document, copy=False), temporary, image)
    except OSError as error:
        raise OutputError(
            f"{folder}: the document cannot be written ({error.strerror or error}). Free the disk, "
            "or choose another folder."
        ) from error


def load_document(folder: Path) -> tuple[Document, ImageRef | None]:
    """Read a document.

    Returns
    -------
    Document
    ImageRef or None
        Which image it belongs to, if that was known.

    Raises
    ------
    DataError
        If it is damaged, or of a newer version.
    """
    found = whole(folder)
    if not found.is_dir():
        raise DataError(f"There is no folder {folder}. Choose the folder of a document.")
    table = _read_table(found / TABLE, folder.name)
    _check_numbers(table, f"{folder.name}/{TABLE}")
    # The first page before anything else: it is not read unless all of them are there, so that a
    # wrong number in the table takes no memory.
    pages = iter_pages(found / LABELS, table.image_shape, math.prod(table.frame_shape))
    first = next(pages)
    document = Document(
        table.frame_shape,
        table.image_shape,
        [row.value() for row in table.categories],
        None if table.origin is None else table.origin.value(),
    )
    document.hold(table.next_id - 1)
    frames = {row.frame: row for row in table.frames}
    segments: list[SegmentChange] = []
    for number, page in enumerate(chain([first], pages)):
        row = frames.get(number, FrameRow(frame=number))
        here = _segments(row, page, folder.name)
        segments += (SegmentChange(number, None, segment) for segment in here)
        # The memory of void frames is never touched, however long the stack.
        if page is not None and any(s.status is not Status.REJECTED for s in here):
            document.id_map(number)[...] = page
    states = (StateChange(f, document.state(f), row.state) for f, row in frames.items())
    document.apply(Edit("Open", segments=tuple(segments), states=tuple(states)), pixels=False)
    return document, table.image


def write_content(
    content: Content,
    folder: Path,
    image: ImageRef | None,
    on_page: Callable[[int], None] = lambda _: None,
) -> None:
    """Write the two files into a folder that is there.

    Parameters
    ----------
    content : Content
    folder : Path
    image : ImageRef or None
    on_page : callable
        Called before each page with its number; what it raises ends the writing.

    Raises
    ------
    OSError
        If they cannot be written.
    """
    frames: list[str] = []

    def pages() -> Iterator[IdMap | None]:
        settled = content.settled()
        number, frame = next(settled, (content.n_frames, None))
        for page in range(content.n_frames):
            on_page(page)
            if page < number or frame is None:
                yield None
                continue
            # One segment a line: what has changed shows when two versions are compared.
            rows = ",\n".join(_json(segment_row(segment)) for segment in frame.segments)
            state = _json(frame.state.value)
            frames.append(f'{{"frame":{page},"state":{state},"segments":[\n{rows}\n]}}')
            yield frame.id_map
            number, frame = next(settled, (content.n_frames, None))

    write_pages(folder / LABELS, pages(), content.image_shape, content.dtype, content.n_frames)
    head = _json(
        {
            "format": _FORMAT,
            "version": VERSION,
            "image": None if image is None else image.model_dump(mode="json"),
            "frame_shape": content.frame_shape,
            "image_shape": content.image_shape,
            "origin": None if content.origin is None else origin_row(content.origin),
            "next_id": content.next_id,
        }
    )
    categories = ",\n".join(_json(category_row(category)) for category in content.categories)
    body = ",\n".join(frames)
    text = f'{head[:-1]},\n"categories":[\n{categories}\n],\n"frames":[\n{body}\n]}}\n'
    (folder / TABLE).write_text(text, encoding="utf-8", newline="\n")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _check_out(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} is a file. Choose a name for a new folder.")
    names = {path.name for path in folder.iterdir()} - _IGNORED
    # A folder is replaced as a whole: never one that could hold a person's other files.
    if names - {TABLE, LABELS}:
        raise OutputError(f"{folder} holds other files than a document. Choose another folder.")
    if names and not overwrite:
        raise OutputError(f"{folder} is there already. Choose another name, or overwrite it.")


def _read_table(path: Path, name: str) -> _Table:
    where = f"{name}/{TABLE}"
    try:
        text = path.read_bytes()
        kind = _Kind.model_validate_json(text)
        if kind.version > VERSION:
            raise DataError(
                f"{where} is of version {kind.version}; this napari-eomt reads "
                f"versions up to {VERSION}. Update napari-eomt."
            )
        return _Table.model_validate_json(text)
    except FileNotFoundError as error:
        raise DataError(f"{where} is missing: this is not the folder of a document.") from error
    except OSError as error:
        raise DataError(f"{where} cannot be read: {error.strerror or error}.") from error
    except ValidationError as error:
        raise _wrong(where, first_error(error)) from error


def _check_numbers(table: _Table, where: str) -> None:
    """Check what pydantic cannot: what numbers mean in other places of the file."""
    categories = [row.id for row in table.categories]
    if len(set(categories)) < len(categories):
        twice = next(i for i in categories if categories.count(i) > 1)
        raise _wrong(where, f"categories: the id {twice} is there twice")
    n_frames = math.prod(table.frame_shape)
    if table.origin is not None and table.origin.video_id is None:
        n_images = len(table.origin.image_ids)
        if n_images != n_frames:
            raise _wrong(where, f"origin.image_ids are {n_images}; there are {n_frames} frames")
    seen: set[int] = set()
    for k, row in enumerate(table.frames):
        if row.frame >= n_frames:
            raise _wrong(where, f"frames[{k}].frame is {row.frame}; there are {n_frames} frames")
        if row.frame in seen:
            raise _wrong(where, f"frames[{k}].frame: {row.frame} is there twice")
        seen.add(row.frame)
        ids: set[int] = set()
        for j, segment in enumerate(row.segments):
            field = f"frames[{k}].segments[{j}]"
            if segment.id in ids:
                raise _wrong(where, f"{field}.id: {segment.id} is there twice")
            ids.add(segment.id)
            if segment.id >= table.next_id:
                raise _wrong(where, f"{field}.id is {segment.id}; next_id is {table.next_id}")
            if segment.category_id not in categories:
                raise _wrong(
                    where, f"{field}.category_id is {segment.category_id}, not one of {categories}"
                )
            if segment.mask is not None and not _is_inside(segment.mask.box, table.image_shape):
                raise _wrong(where, f"{field}.mask.box is {segment.mask.box}, not in the image")


def _segments(row: FrameRow, page: IdMap | None, name: str) -> list[Segment]:
    """Return the segments of a frame, measured in its page."""
    found = {} if page is None else measured(page)
    segments = []
    for j, segment_row_ in enumerate(row.segments):
        field = f"frame {row.frame}, segment {segment_row_.id}"
        try:
            segment = segment_row_.value()
        except ValueError as error:
            raise _wrong(f"{name}/{TABLE}", f"segments[{j}].mask of {field}: {error}") from error
        is_shown = segment.status is not Status.REJECTED
        if is_shown != (segment.id in found):
            missing = "has no pixels in" if is_shown else "is rejected, but has pixels in"
            raise _wrong(f"{name}/{TABLE}", f"{field} {missing} {LABELS}")
        if is_shown:
            area, box = found.pop(segment.id)
            segment = replace(segment, area=area, bbox=box)
        segments.append(segment)
    if found:
        raise _wrong(
            f"{name}/{LABELS}",
            f"page {row.frame} has pixels of the id {min(found)}, which {TABLE} does not list",
        )
    return segments


def _is_inside(box: tuple[int, int, int, int], image_shape: tuple[int, int]) -> bool:
    y0, x0, y1, x1 = box
    return y0 <= y1 <= image_shape[0] and x0 <= x1 <= image_shape[1]


def _wrong(where: str, what: str) -> DataError:
    return DataError(f"{where}: {what.rstrip('.')}. Correct it, or take the folder from a copy.")
