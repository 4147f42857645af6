"""What we know about a segment beyond COCO, under `attributes` of its annotation.

Only what is set is there, and only what has changed is written: of an annotation that nobody
touched, nothing changes. Values that we would not have written are somebody else's, and stay.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_eomt.formats.coco_masks import MARK
from napari_eomt.structures.segments import Segment, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_eomt.annotation.document import Origin
    from napari_eomt.formats.coco_checks import Record

_LARGEST = 1e300
_MAX_ID = 65_535
"""Of segments: a larger one in a file is not taken up, so that id maps stay small."""


def read_attributes(segment: Segment, record: Record) -> Segment:
    """Return a segment with what its annotation says about it.

    A score, or the id of a track, is looked for beside `attributes` as well. An annotation without
    a status of ours is accepted: those of a data set are decisions. With a score of its own it is
    a prediction, and proposed.
    """
    found = _known(record)
    status = Status.PROPOSED if _number(record.get("score")) is not None else Status.ACCEPTED
    return replace(segment, **{"status": status} | found)


def segment_id_of(record: Record) -> int | None:
    """Return the id that the segment had when we wrote its annotation."""
    value = (record.get("attributes") or {}).get(MARK)
    return value if type(value) is int and 1 <= value <= _MAX_ID else None


def is_later(record: Record, origin: Origin | None) -> bool:
    """Whether somebody else has added an annotation since a document was read from there."""
    first = None if origin is None else origin.next_annotation_id
    # What we have exported meanwhile says which segment it is of.
    return first is not None and record["id"] >= first and segment_id_of(record) is None


def write_attributes(record: Record, segment: Segment, *, mark: bool) -> None:
    """Write into an annotation what is different from what it says about the segment.

    Parameters
    ----------
    record : dict
        Changed in place; its `attributes` are replaced if they change, not changed.
    segment : Segment
    mark : bool
        Whether the annotation's mask is ours: what the person sees, and no more.
    """
    before = read_attributes(Segment(segment.id, segment.category_id), record)
    attributes = dict(record.get("attributes") or {})
    is_new = "id" not in record
    for name, (read, default) in _FIELDS.items():
        value = getattr(segment, name)
        if isinstance(value, float) and not math.isfinite(value):
            value = None
        value = value.value if isinstance(value, Status) else value
        was = getattr(before, name)
        if not is_new and value == was:
            continue
        where = record if name in _BESIDE and _is_beside(record, name) else attributes
        if where.get(name) is not None and read(where[name]) is None:
            continue  # not ours
        if value != default:
            where[name] = value
        else:
            where.pop(name, None)
    if mark:
        attributes[MARK] = segment.id
    if attributes != (record.get("attributes") or {}):
        record["attributes"] = attributes


def _known(record: Record) -> dict[str, Any]:
    attributes = record.get("attributes") or {}
    found = {}
    for name, (read, _) in _FIELDS.items():
        value = read(attributes.get(name))
        if value is None and name in _BESIDE:
            value = read(record.get(name))
        if value is not None:
            found[name] = value
    return found


def _is_beside(record: Record, name: str) -> bool:
    return name in record and name not in (record.get("attributes") or {})


def _number(value: Any) -> float | None:
    # Compared, not converted: an integer may be too large for a float.
    return float(value) if type(value) in (int, float) and abs(value) < _LARGEST else None


def _int(value: Any) -> int | None:
    return value if type(value) is int else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _status(value: Any) -> Status | None:
    try:
        status = Status(value)
    except ValueError:
        return None
    # What is rejected has no mask: we never write it.
    return None if status is Status.REJECTED else status


_FIELDS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "score": (_number, None),
    "status": (_status, None),
    "source": (_text, ""),
    "track_id": (_int, None),
    "parent_track_id": (_int, None),
    "locked": (_flag, False),
    "note": (_text, ""),
}
"""Each with what reads it, None for what is not ours, and its value where it is not set."""

_BESIDE = ("score", "track_id")
