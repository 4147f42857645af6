"""Tracks as a table for spreadsheets and scripts: a row for each track in each frame."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_eomt.atomic import replacing
from napari_eomt.errors import DataError, OutputError
from napari_eomt.structures.segments import Status
from napari_eomt.structures.tracks import TrackRow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_eomt.structures.categories import Category
    from napari_eomt.structures.tracks import TrackTable

COLUMNS = (
    "track_id",
    "frame",
    "y",
    "x",
    "area",
    "category_id",
    "category",
    "score",
    "status",
    "parent",
)
"""Of every table; y, x and area are in pixels, frames count from 0."""

_NEEDED = tuple(name for name in COLUMNS if name != "category")


@dataclass(frozen=True)
class TrackScale:
    """How large a pixel is, and how long a frame takes.

    Parameters
    ----------
    pixel_size : (y, x)
        In `unit`.
    unit : str
        Such as "um".
    frame_interval : float or None
        In `time_unit`; None if it is not known.
    time_unit : str
        Such as "s".
    """

    pixel_size: tuple[float, float]
    unit: str = "um"
    frame_interval: float | None = None
    time_unit: str = "s"

    def __post_init__(self) -> None:
        sizes = [*self.pixel_size, 1.0 if self.frame_interval is None else self.frame_interval]
        if not all(math.isfinite(size) and size > 0 for size in sizes):
            raise ValueError(f"Sizes of pixels and frames are above 0; these are {sizes}.")

    @property
    def columns(self) -> tuple[str, ...]:
        """What is added to the table, with the units in the names."""
        added = (f"y_{self.unit}", f"x_{self.unit}", f"area_{self.unit}2")
        return added if self.frame_interval is None else (*added, f"time_{self.time_unit}")

    def values(self, row: TrackRow) -> tuple[float, ...]:
        """Return a row in units."""
        height, width = self.pixel_size
        added = (row.y * height, row.x * width, row.area * height * width)
        if self.frame_interval is None:
            return added
        return (*added, row.frame * self.frame_interval)


def save_tracks_csv(
    table: TrackTable,
    path: Path,
    *,
    categories: Mapping[int, Category] | None = None,
    scale: TrackScale | None = None,
    overwrite: bool = False,
) -> int:
    """Write tracks, whole or not at all, sorted by track, then by frame.

    Parameters
    ----------
    table : TrackTable
    path : Path
        NAME.csv, UTF-8.
    categories : mapping of int to Category, optional
        For their names.
    scale : TrackScale, optional
        Adds columns in its units.
    overwrite : bool
        Whether a file that is there is replaced.

    Returns
    -------
    int
        How many rows.

    Raises
    ------
    OutputError
        If it cannot be written, or is there.
    """
    if path.exists() and not overwrite:
        raise OutputError(f"{path} is there already. Choose another name, or overwrite it.")
    known = categories or {}
    n_rows = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow((*COLUMNS, *(() if scale is None else scale.columns)))
            for row in table.iter_rows():
                category = known.get(row.category_id)
                writer.writerow(
                    (
                        row.track_id,
                        row.frame,
                        row.y,
                        row.x,
                        row.area,
                        row.category_id,
                        "" if category is None else category.name,
                        "" if row.score is None else row.score,
                        row.status.value,
                        "" if row.parent is None else row.parent,
                        *(() if scale is None else scale.values(row)),
                    )
                )
                n_rows += 1
    except OSError as error:
        raise OutputError(
            f"{path}: the tracks cannot be written ({error.strerror or error}). Free the disk, or "
            "choose another folder."
        ) from error
    return n_rows


def load_tracks_csv(path: Path) -> tuple[TrackRow, ...]:
    """Read tracks, in the order of the rows; columns of others are passed over.

    Raises
    ------
    DataError
        If the file cannot be read, lacks a column, or a row makes no sense.
    """
    found: list[TrackRow] = []
    lines: dict[tuple[int, int], int] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{path.name} lacks the columns {', '.join(missing)}; a table of tracks has "
                    f"{', '.join(_NEEDED)}. Choose another file."
                )
            for given in reader:
                where = f"{path.name}, line {reader.line_num}"
                row = _row(where, given)
                key = row.track_id, row.frame
                if key in lines:
                    raise DataError(
                        f"{where}: track {key[0]} in frame {key[1]} is in line {lines[key]} "
                        "already. Remove one of them."
                    )
                lines[key] = reader.line_num
                found.append(row)
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path.name} is no CSV of UTF-8 ({error}). Save it as one.") from error
    return tuple(found)


def _row(where: str, given: dict[str, str | None]) -> TrackRow:
    def number(name: str) -> float:
        text = given[name] or ""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise DataError(f"{where}: {name} is {text!r}; it is a number. Correct it.")
        return value

    def whole(name: str, least: int | None = None) -> int:
        text = given[name] or ""
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or (least is not None and value < least):
            expected = "a whole number" if least is None else f"a whole number from {least} on"
            raise DataError(f"{where}: {name} is {text!r}; it is {expected}. Correct it.")
        return value

    try:
        status = Status(given["status"])
    except ValueError as error:
        known = ", ".join(status.value for status in Status)
        raise DataError(
            f"{where}: status is {given['status']!r}; it is one of {known}. Correct it."
        ) from error
    return TrackRow(
        whole("track_id"),
        whole("frame", 0),
        number("y"),
        number("x"),
        whole("area", 1),
        whole("category_id"),
        number("score") if given["score"] else None,
        status,
        whole("parent") if given["parent"] else None,
    )
