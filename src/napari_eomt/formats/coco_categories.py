"""COCO's categories as ours, and ours as COCO's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from napari_eomt.structures.categories import Category

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from napari_eomt.formats.coco_checks import Record

_HEX = re.compile(r"#[0-9A-Fa-f]{6}")


def read_category(record: Record) -> Category:
    """Return a category: a thing unless `isthing` is 0, in its colour if it has one."""
    is_thing = record.get("isthing", 1) not in (0, False)
    return Category(record["id"], record["name"], is_thing, _color(record.get("color")))


def write_categories(
    categories: Iterable[Category], records: Iterable[Record], used: Container[int] = ()
) -> list[Record]:
    """Return the categories as COCO has them.

    Parameters
    ----------
    categories : iterable of Category
    records : iterable of dict
        Those of the file that they were read from: their order and every other field stay.
    used : container of int
        Ids that stay although they are not among the categories: annotations refer to them.
    """
    ours = {category.id: category for category in categories}
    written = []
    for record in records:
        category = ours.pop(record["id"], None)
        if category is not None:
            written.append(_changed(record, category))
        elif record["id"] in used:
            written.append(record)
    return written + [_new(category) for category in ours.values()]


def _changed(record: Record, category: Category) -> Record:
    before = read_category(record)
    if category == before:
        return record
    changed = dict(record)
    if category.name != before.name:
        changed["name"] = category.name
    if category.is_thing != before.is_thing:
        changed["isthing"] = int(category.is_thing)
    if category.color != before.color:
        changed["color"] = _rgb(category.color)
    return changed


def _new(category: Category) -> Record:
    # Tools look for a supercategory without asking whether there is one.
    record: Record = {"id": int(category.id), "name": category.name, "supercategory": ""}
    if not category.is_thing:
        record["isthing"] = 0
    if _HEX.fullmatch(category.color):
        record["color"] = _rgb(category.color)
    return record


def _color(value: Any) -> str:
    if isinstance(value, str) and _HEX.fullmatch(value):
        return value.upper()
    is_rgb = isinstance(value, list) and len(value) == 3
    if is_rgb and all(type(k) is int and 0 <= k <= 255 for k in value):
        return "#{:02X}{:02X}{:02X}".format(*value)
    return ""


def _rgb(color: str) -> Any:
    return [int(color[k : k + 2], 16) for k in (1, 3, 5)] if _HEX.fullmatch(color) else None
