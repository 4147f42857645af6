"""Lists of categories in files: COCO's JSON, plain JSON, or a text with a name a line."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_eomt.errors import DataError
from napari_eomt.structures.categories import Category

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

MAX_CATEGORIES = 10_000
MAX_BYTES = 2**28
"""COCO's largest files of annotations hold half a gigabyte; their categories a few kilobytes."""

_COLOR = re.compile(r"#[0-9A-Fa-f]{6}")


@dataclass(frozen=True)
class CategoryList:
    """What a file says.

    Parameters
    ----------
    categories : tuple of Category
        In the file's order.
    has_ids : bool
        Whether the file gives ids; else they run from 1.
    notes : tuple of str
        What was left out, and why; for people.
    """

    categories: tuple[Category, ...]
    has_ids: bool
    notes: tuple[str, ...] = ()


def load_categories(path: Path) -> CategoryList:
    """Read a list of categories.

    Parameters
    ----------
    path : Path
        COCO's JSON (the list under "categories"; "isthing" and "color" are heeded), a JSON list of
        names or of COCO's objects, a JSON object of names by id or of ids by name, or a text with
        a name a line, where empty lines and those that begin with # do not count.

    Raises
    ------
    DataError
        If the file cannot be read or is none of these.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(
                f"{path.name} has {size / 2**20:,.0f} MiB; a list of categories has at most "
                f"{MAX_BYTES // 2**20}. Put the categories into a file of their own."
            )
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(
            f"{path.name} cannot be read ({error.strerror or error}). Choose another file."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path.name} is no text in UTF-8 (byte {error.start}). Save it as UTF-8, or choose a "
            "JSON or text file with the categories."
        ) from error
    if path.suffix.lower() == ".json" or text.lstrip()[:1] in ("{", "["):
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path.name}: line {error.lineno}, column {error.colno}: {error.msg}. It is no "
                "valid JSON; correct it there."
            ) from error
        return _of_json(content, path.name)
    lines = (line.strip() for line in text.splitlines())
    names = [line for line in lines if line and not line.startswith("#")]
    return _checked([(None, name, True, "") for name in names], path.name)


def new_categories(
    found: CategoryList, known: Mapping[int, Category]
) -> tuple[list[Category], list[str]]:
    """Return those of a list that can be added to what is known, and why not the others.

    Ids that a file gives are kept: a category whose id or name is taken is left out. Categories
    without ids take the next free ones.

    Returns
    -------
    categories : list of Category
    notes : list of str
        For people.
    """
    names = {category.name.casefold(): category for category in known.values()}
    next_id = max([0, *known]) + 1
    added: list[Category] = []
    notes = list(found.notes)
    same = 0
    for category in found.categories:
        if not found.has_ids:
            category = Category(next_id, category.name, category.is_thing, category.color)
        of_id, of_name = known.get(category.id), names.get(category.name.casefold())
        if of_id is not None and of_id.name.casefold() == category.name.casefold():
            same += 1
        elif of_id is not None:
            notes.append(f"{category.name}: its id {category.id} is {of_id.name} here")
        elif of_name is not None:
            if found.has_ids:
                notes.append(f"{category.name}: there is one already, with id {of_name.id}")
            else:
                same += 1
        else:
            added.append(category)
            next_id = max(next_id, category.id + 1)
    if same:
        notes.append("1 was there already" if same == 1 else f"{same:,} were there already")
    return added, notes


def _of_json(content: Any, name: str) -> CategoryList:
    if isinstance(content, dict) and isinstance(content.get("categories"), list | dict):
        content = content["categories"]
    if isinstance(content, dict):
        return _checked(_of_mapping(content, name), name)
    if not isinstance(content, list):
        raise DataError(
            f"{name} holds a {type(content).__name__}, expected COCO's 'categories', a list of "
            "names, or names by id. Choose another file."
        )
    rows: list[_Row] = []
    for k, item in enumerate(content):
        if isinstance(item, str):
            rows.append((None, item, True, ""))
        elif isinstance(item, dict) and isinstance(item.get("name"), str):
            rows.append(_of_object(item, k, name))
        else:
            raise DataError(
                f"{name}: entry {k} is {json.dumps(item)[:80]}, expected a name or an object with "
                '"id" and "name". Correct that entry.'
            )
    if len({row[0] is None for row in rows}) > 1:
        raise DataError(
            f"{name}: some entries have an id and some have none. Give all of them one, or none."
        )
    return _checked(rows, name)


_Row = tuple["int | None", str, bool, str]
"""id, name, is_thing, color."""


def _of_object(item: Mapping[str, Any], k: int, name: str) -> _Row:
    number = item.get("id")
    if "id" in item and (isinstance(number, bool) or not isinstance(number, int)):
        raise DataError(
            f"{name}: entry {k} ({item['name']}) has the id {json.dumps(number)}, expected a whole "
            "number. Correct that entry."
        )
    return number, item["name"], bool(item.get("isthing", 1)), _color(item.get("color"))


def _of_mapping(content: Mapping[str, Any], name: str) -> list[_Row]:
    """Read names by id, as in transformers' id2label, or ids by name, as in label2id."""
    rows: list[_Row] = []
    for key, value in content.items():
        if isinstance(value, str) and re.fullmatch(r"-?\d+", key):
            rows.append((int(key), value, True, ""))
        elif isinstance(value, int) and not isinstance(value, bool):
            rows.append((value, key, True, ""))
        else:
            raise DataError(
                f"{name}: {json.dumps(key)[:40]} is {json.dumps(value)[:40]}, expected COCO's "
                "'categories', names by id, or ids by name. Choose another file, or correct it."
            )
    return rows


def _color(value: Any) -> str:
    """Return COCO's [r, g, b], or "#RRGGBB", as the latter; empty if it is neither."""
    if isinstance(value, str) and _COLOR.fullmatch(value):
        return value.upper()
    if (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(part, int) and 0 <= part <= 255 for part in value)
    ):
        return "#" + "".join(f"{part:02X}" for part in value)
    return ""


def _checked(rows: Iterable[_Row], name: str) -> CategoryList:
    """Leave out what is there twice, and say so."""
    categories: list[Category] = []
    notes: list[str] = []
    ids: dict[int, str] = {}
    names: set[str] = set()
    rows = list(rows)
    for number, row_name, is_thing, color in rows:
        text = " ".join(row_name.split())
        i = len(categories) + 1 if number is None else number
        if not text:
            notes.append(f"id {i} has no name")
        elif i in ids:
            notes.append(f"{text}: the id {i} is {ids[i]} in the file already")
        elif text.casefold() in names:
            notes.append(f"{text} is in the file twice")
        else:
            ids[i] = text
            names.add(text.casefold())
            categories.append(Category(i, text, is_thing, color))
    if not categories:
        raise DataError(
            f"{name} has no categories. Expected COCO's 'categories', a JSON list, or a text with "
            "a name a line."
        )
    if len(categories) > MAX_CATEGORIES:
        raise DataError(
            f"{name} has {len(categories):,} categories, more than {MAX_CATEGORIES:,}: is it a "
            "list of categories? Choose another file."
        )
    return CategoryList(tuple(categories), rows[0][0] is not None, tuple(notes))
