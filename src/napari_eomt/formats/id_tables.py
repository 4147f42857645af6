"""Tables of what the ids of a label image are: our JSON, and the CSV of predictions."""

from __future__ import annotations

import csv
import math
import reprlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_eomt.errors import DataError
from napari_eomt.formats.coco_categories import read_category
from napari_eomt.formats.coco_checks import check_category
from napari_eomt.formats.json_file import read_json
from napari_eomt.structures.categories import Category

if TYPE_CHECKING:
    from pathlib import Path

    from napari_eomt.formats.coco_checks import Record

FORMAT = "napari-eomt labels"

_MAX_CSV = 2**30


@dataclass(frozen=True, eq=False)
class IdTable:
    """What the ids of a label image are.

    Parameters
    ----------
    categories : tuple of Category
    rows : dict of int to dict of int to dict
        By frame and id: ``category_id``, ``iscrowd``, ``attributes`` and others.
    frame_shape : tuple of int, optional
        Of the stack, if the table says so.
    is_per_frame : bool
        Whether ids count from 1 in each frame.
    records : tuple of dict
        The categories as they are in the file.
    images : tuple of dict
        What a dataset said of the image of each frame.
    """

    categories: tuple[Category, ...]
    rows: dict[int, dict[int, Record]] = field(default_factory=dict)
    frame_shape: tuple[int, ...] | None = None
    is_per_frame: bool = False
    records: tuple[Record, ...] = ()
    images: tuple[Record, ...] = ()


def find_table(path: Path) -> Path | None:
    """Return the table beside a label image: NAME.json, else NAME.csv, if it is one; else None."""
    json, table = path.with_suffix(".json"), path.with_suffix(".csv")
    if json.is_file():
        with json.open("rb") as file:
            if FORMAT.encode() in file.read(200):
                return json
    if table.is_file():
        with table.open("rb") as file:
            columns = file.readline(1000).decode("utf-8-sig", "replace").strip().split(",")
        if "id" in columns and "category_id" in columns:
            return table
    return None


def read_table(path: Path) -> IdTable:
    """Read a table.

    Raises
    ------
    DataError
        If it cannot be read, or is another one than expected.
    """
    return _read_csv(path) if path.suffix.lower() == ".csv" else _read_json(path)


def _read_json(path: Path) -> IdTable:
    raw = read_json(path)
    if not isinstance(raw, dict) or raw.get("format") != FORMAT or raw.get("version") != 1:
        raise DataError(
            f"{path.name} is no table of a label image: 'format' {FORMAT!r}, 'version' 1 were "
            "expected. Update napari-eomt, or take away the table to read the ids alone."
        )
    lists = {name: raw.get(name, []) for name in ("categories", "segments", "images")}
    for name, given in lists.items():
        if not isinstance(given, list) or not all(isinstance(row, dict) for row in given):
            raise DataError(f"{path.name}: {name!r} is no list of objects. Correct it.")
    shape = raw.get("frame_shape", [])
    if not isinstance(shape, list) or any(type(n) is not int or n < 1 for n in shape):
        raise DataError(
            f"{path.name}: frame_shape is {reprlib.repr(shape)}; a list of lengths was expected."
        )
    for k, record in enumerate(lists["categories"]):
        try:
            check_category(record)
        except ValueError as error:
            raise DataError(f"{path.name}: category number {k + 1}: {error}.") from error
    records = tuple(lists["categories"])
    known = {record["id"] for record in records}
    rows: dict[int, dict[int, Record]] = {}
    for k, row in enumerate(lists["segments"]):
        wrong = [n for n in ("frame", "id", "category_id") if type(row.get(n)) is not int]
        if wrong:
            _fail(path, f"segment number {k + 1}", wrong[0], row.get(wrong[0]), "an integer")
        if row["category_id"] not in known:
            _fail(
                path,
                f"segment {row['id']}",
                "category_id",
                row["category_id"],
                "one of 'categories'",
            )
        if row.get("attributes") is not None and not isinstance(row["attributes"], dict):
            _fail(path, f"segment {row['id']}", "attributes", row["attributes"], "an object")
        _add(path, rows, row)
    categories = tuple(read_category(record) for record in records)
    return IdTable(categories, rows, tuple(shape), False, records, tuple(lists["images"]))


def _read_csv(path: Path) -> IdTable:
    categories: dict[int, Category] = {}
    rows: dict[int, dict[int, Record]] = {}
    try:
        if path.stat().st_size > _MAX_CSV:
            raise DataError(f"{path.name} has more than {_MAX_CSV} bytes. Is it a table of ids?")
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            missing = {"id", "category_id"} - set(reader.fieldnames or ())
            if missing:
                raise DataError(
                    f"{path.name} has no column {sorted(missing)[0]!r}; the table of a label image "
                    "was expected, with id and category_id. Take it away to read the ids alone."
                )
            for line, given in enumerate(reader, 2):
                row = _csv_row(path, line, given)
                name = given.get("category") or f"category {row['category_id']}"
                categories.setdefault(row["category_id"], Category(row["category_id"], name))
                _add(path, rows, row)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path.name} is no CSV in UTF-8 ({error}). Export it again.") from error
    return IdTable(tuple(categories.values()), rows, None, True)


def _csv_row(path: Path, line: int, given: dict[str, Any]) -> Record:
    row: Record = {"frame": 0}
    for name in ("frame", "id", "category_id"):
        if given.get(name) not in (None, ""):
            try:
                row[name] = int(given[name])
            except ValueError:
                _fail(path, f"line {line}", name, given[name], "an integer")
        elif name != "frame":
            _fail(path, f"line {line}", name, given.get(name), "an integer")
    if given.get("score"):
        try:
            row["score"] = float(given["score"])
        except ValueError:
            _fail(path, f"line {line}", "score", given["score"], "a number")
        if not math.isfinite(row["score"]):
            _fail(path, f"line {line}", "score", given["score"], "a finite number")
    return row


def _add(path: Path, rows: dict[int, dict[int, Record]], row: Record) -> None:
    here = rows.setdefault(row["frame"], {})
    if row["id"] in here:
        raise DataError(
            f"{path.name}: the id {row['id']} is listed twice for frame {row['frame']}. Remove one."
        )
    here[row["id"]] = row


def _fail(path: Path, which: str, name: str, value: Any, expected: str) -> None:
    raise DataError(
        f"{path.name}: {which}: {name} is {reprlib.repr(value)}; {expected} was expected. Correct "
        "it."
    )
