"""Segments, categories and frames as rows of JSON, as they lie on disk, and back."""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_eomt.annotation.document import FrameState, Origin
from napari_eomt.structures.categories import Category
from napari_eomt.structures.runs import Runs
from napari_eomt.structures.segments import Segment, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

Count = Annotated[int, Field(ge=0)]
SegmentId = Annotated[int, Field(ge=1, le=2**32 - 1)]
BoxRow = tuple[Count, Count, Count, Count]


class Row(BaseModel):
    """What lies on disk: of these fields and of these types, and nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class RunsRow(Row):
    """A mask: `Runs`, its bytes in base64."""

    box: BoxRow
    n_runs: Count
    data: str

    def value(self) -> Runs:
        """Return the mask.

        Raises
        ------
        ValueError
            If its bytes are damaged.
        """
        try:
            runs = Runs(self.box, base64.b64decode(self.data, validate=True), self.n_runs)
        except binascii.Error as error:
            raise ValueError(f"the mask is not base64: {error}") from error
        runs.array()
        return runs


class CategoryRow(Row):
    """A category: the fields of `Category`."""

    id: int
    name: str
    is_thing: bool = True
    color: str = ""

    def value(self) -> Category:
        """Return the category."""
        return Category(self.id, self.name, self.is_thing, self.color)


class SegmentRow(Row):
    """A segment of a frame: the fields of `Segment`, with its defaults."""

    id: SegmentId
    category_id: int
    score: float | None = None
    is_thing: bool = True
    is_crowd: bool = False
    status: Status = Status.PROPOSED
    source: str = ""
    track_id: int | None = None
    area: Count = 0
    bbox: BoxRow = (0, 0, 0, 0)
    locked: bool = False
    note: str = ""
    mask: RunsRow | None = None
    annotation_id: int | None = None
    parent_track_id: int | None = None

    def value(self) -> Segment:
        """Return the segment.

        Raises
        ------
        ValueError
            If its mask is damaged.
        """
        values = {name: getattr(self, name) for name in SegmentRow.model_fields}
        return Segment(**values | {"mask": None if self.mask is None else self.mask.value()})


class OriginRow(Row):
    """Where a document was read from: the fields of `Origin`."""

    path: str
    image_ids: tuple[int, ...] = ()
    video_id: int | None = None
    next_annotation_id: int | None = None

    def value(self) -> Origin:
        """Return the origin."""
        return Origin(self.path, self.image_ids, self.video_id, self.next_annotation_id)


class FrameRow(Row):
    """A frame that is not as new: how far it has come, and its segments in their order."""

    frame: Count
    state: FrameState = FrameState.NEW
    segments: tuple[SegmentRow, ...] = ()


def category_row(category: Category) -> dict[str, Any]:
    """Return a category as a row."""
    return {
        "id": int(category.id),
        "name": plain_text(category.name),
        "is_thing": bool(category.is_thing),
        "color": plain_text(category.color),
    }


def origin_row(origin: Origin) -> dict[str, Any]:
    """Return an origin as a row."""
    return {
        "path": plain_text(origin.path),
        "image_ids": [int(i) for i in origin.image_ids],
        "video_id": None if origin.video_id is None else int(origin.video_id),
        "next_annotation_id": origin.next_annotation_id,
    }


def segment_row(segment: Segment) -> dict[str, Any]:
    """Return a segment as a row, without the fields that are as by default."""
    row: dict[str, Any] = {}
    for name, default in _DEFAULTS.items():
        value = getattr(segment, name)
        if value != default:
            row[name] = _plain(value)
    if row.get("score") is None:  # was not a number
        row.pop("score", None)
    return row


def plain_text(text: str) -> str:
    """Return a text that can be written as UTF-8: half of a surrogate pair becomes "?"."""
    return text.encode("utf-8", "replace").decode("utf-8")


def first_error(error: ValidationError) -> str:
    """Return where and what, of the first of pydantic's errors, in one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ""
    for part in first["loc"]:
        where += f"[{part}]" if isinstance(part, int) else f".{part}" if where else str(part)
    what = str(first["msg"]).splitlines()[0]
    what = {"extra_forbidden": "is not a field that this version knows"}.get(first["type"], what)
    return f"{where}: {what}" if where else what


def _plain(value: Any) -> Any:
    """Return a field as JSON has it; numpy's numbers are none of its own."""
    if isinstance(value, Runs):
        data = base64.b64encode(value.data).decode()
        return {"box": [int(k) for k in value.box], "n_runs": int(value.n_runs), "data": data}
    if isinstance(value, Status):
        return value.value
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, tuple):
        return [int(k) for k in value]
    if isinstance(value, np.generic):
        value = value.item()
    # JSON has no NaN and no infinity.
    return None if isinstance(value, float) and not math.isfinite(value) else value


_NOTHING = object()
_DEFAULTS: Mapping[str, Any] = {
    field.name: _NOTHING if field.name in ("id", "category_id") else field.default
    for field in fields(Segment)
}
