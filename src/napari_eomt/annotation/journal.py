"""The journal: every edit of a session, one record after the other, in a file that only grows.

A record is its length and a checksum (CRC-32 of the length and of what follows), then a letter for
its kind, a head of compressed JSON, and the bytes of the runs. What a crash has cut off, or a disk
has damaged, shows; all that lies before it holds.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from napari_eomt.annotation.document import FrameState  # noqa: TC001 - pydantic reads it
from napari_eomt.annotation.edits import (
    CategoryChange,
    Edit,
    PixelChange,
    SegmentChange,
    StateChange,
)
from napari_eomt.annotation.rows import (
    BoxRow,
    CategoryRow,
    Count,
    Row,
    SegmentRow,
    category_row,
    first_error,
    plain_text,
    segment_row,
)
from napari_eomt.structures.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSION = 2
"""2: segments know the annotation that they were read from."""

_FRONT = struct.Struct("<II")  # length of the payload, checksum
_LENGTH = struct.Struct("<I")
_HEAD, _EDIT, _SAVED = b"H", b"E", b"S"


class Head(Row):
    """The first record of a journal.

    Parameters
    ----------
    version : int
    generation : int
        Its number, rising; the snapshot of the same number is the state that it begins with.
    follows : int or None
        How many bytes of the journal before it count, if it goes on from there; None if it begins
        with its snapshot alone.
    """

    version: int
    generation: Count
    follows: Count | None


class Saved(Row):
    """A record: all before it is in the document's own file as well."""

    path: str | None = None


class _PixelRow(Row):
    frame: Count
    box: BoxRow
    n_runs: Count
    size: Count


class _SegmentChangeRow(Row):
    frame: Count
    before: SegmentRow | None
    after: SegmentRow | None


class _CategoryChangeRow(Row):
    before: CategoryRow | None
    after: CategoryRow | None
    position: int | None


class _StateChangeRow(Row):
    frame: Count
    before: FrameState
    after: FrameState


class _EditRow(Row):
    name: str
    pixels: tuple[_PixelRow, ...] = ()
    segments: tuple[_SegmentChangeRow, ...] = ()
    categories: tuple[_CategoryChangeRow, ...] = ()
    states: tuple[_StateChangeRow, ...] = ()


def encode(record: Head | Edit | Saved) -> bytes:
    """Return a record as it lies in the file."""
    if isinstance(record, Edit):
        blobs = b"".join(change.difference.data for change in record.pixels)
        payload = _with_head(_EDIT, _edit_row(record)) + blobs
    else:
        kind = _HEAD if isinstance(record, Head) else _SAVED
        payload = _with_head(kind, record.model_dump(mode="json"))
    length = _LENGTH.pack(len(payload))
    return length + _LENGTH.pack(zlib.crc32(payload, zlib.crc32(length))) + payload


def decode(payload: bytes) -> Head | Edit | Saved:
    """Return the record of a payload.

    Raises
    ------
    ValueError
        If it makes no sense: not written by this version.
    """
    kind, start = payload[:1], 1 + _LENGTH.size
    try:
        (size,) = _LENGTH.unpack_from(payload, 1)
        head = zlib.decompress(payload[start : start + size])
        if kind == _HEAD:
            return Head.model_validate_json(head)
        if kind == _SAVED:
            return Saved.model_validate_json(head)
        if kind == _EDIT:
            return _edit(_EditRow.model_validate_json(head), payload[start + size :])
    except ValidationError as error:
        raise ValueError(first_error(error)) from error
    except (zlib.error, struct.error) as error:
        raise ValueError(str(error)) from error
    raise ValueError(f"records of the kind {kind!r} are not known")


@dataclass(frozen=True)
class Record:
    """A whole record of a file: its payload, and where it ends, in bytes."""

    payload: bytes
    end: int

    @property
    def is_edit(self) -> bool:
        """Whether it is an edit, told without decoding it."""
        return self.payload[:1] == _EDIT

    @property
    def is_saved(self) -> bool:
        """Whether it says that all before is saved."""
        return self.payload[:1] == _SAVED


def iter_records(path: Path) -> Iterator[Record]:
    """Yield the whole records of a file, in order, up to the first that is damaged or cut off.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        end = 0
        while len(front := file.read(_FRONT.size)) == _FRONT.size:
            length, checksum = _FRONT.unpack(front)
            end += _FRONT.size + length
            if length == 0 or end > size:
                return
            payload = file.read(length)
            if zlib.crc32(payload, zlib.crc32(front[: _LENGTH.size])) != checksum:
                return
            yield Record(payload, end)


def read_head(path: Path) -> Head | None:
    """Return the first record of a journal; None if it is damaged.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is of a newer version.
    """
    record = next(iter_records(path), None)
    if record is None:
        return None
    head = decode(record.payload)
    if not isinstance(head, Head):
        return None
    if head.version > VERSION:
        raise ValueError(f"it is of version {head.version}, newer than {VERSION}")
    return head


def _with_head(kind: bytes, row: dict[str, Any]) -> bytes:
    head = json.dumps(row, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    packed = zlib.compress(head, 1)
    return kind + _LENGTH.pack(len(packed)) + packed


def _edit_row(edit: Edit) -> dict[str, Any]:
    row: dict[str, Any] = {"name": plain_text(edit.name)}
    row["pixels"] = [
        {
            "frame": int(change.frame),
            "box": [int(k) for k in change.difference.box],
            "n_runs": int(change.difference.n_runs),
            "size": len(change.difference.data),
        }
        for change in edit.pixels
    ]
    row["segments"] = [
        {
            "frame": int(change.frame),
            "before": None if change.before is None else segment_row(change.before),
            "after": None if change.after is None else segment_row(change.after),
        }
        for change in edit.segments
    ]
    row["categories"] = [
        {
            "before": None if change.before is None else category_row(change.before),
            "after": None if change.after is None else category_row(change.after),
            "position": None if change.position is None else int(change.position),
        }
        for change in edit.categories
    ]
    row["states"] = [
        {"frame": int(c.frame), "before": c.before.value, "after": c.after.value}
        for c in edit.states
    ]
    return {name: value for name, value in row.items() if value or name == "name"}


def _edit(row: _EditRow, blobs: bytes) -> Edit:
    pixels = []
    start = 0
    for change in row.pixels:
        runs = Runs(change.box, blobs[start : start + change.size], change.n_runs)
        pixels.append(PixelChange(change.frame, runs))
        start += change.size
    if start != len(blobs):
        raise ValueError(f"the runs have {len(blobs)} bytes, not {start}")
    return Edit(
        row.name,
        tuple(pixels),
        tuple(
            SegmentChange(
                c.frame,
                None if c.before is None else c.before.value(),
                None if c.after is None else c.after.value(),
            )
            for c in row.segments
        ),
        tuple(
            CategoryChange(
                None if c.before is None else c.before.value(),
                None if c.after is None else c.after.value(),
                c.position,
            )
            for c in row.categories
        ),
        tuple(StateChange(c.frame, c.before, c.after) for c in row.states),
    )
