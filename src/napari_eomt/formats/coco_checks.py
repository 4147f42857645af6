"""What has to be true of a COCO file before anything relies on it.

Each check raises a ValueError that names the field; the caller adds which record it is. Fields
that are not COCO's are not looked at.
"""

from __future__ import annotations

import math
import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from napari_eomt.structures.polygons import MAX_POINTS
from napari_eomt.structures.rle import Rle, areas, from_coco

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

Record: TypeAlias = dict[str, Any]
"""An object of the file, as it was."""

Size: TypeAlias = tuple[int, int]
"""(H, W) in pixels."""

MAX_PIXELS = 2**30
"""Of an image: a small file must not make us take any amount of memory."""

_LARGEST = 1e300  # of a number: what is computed from it stays finite
_N_CHECKED = 1 << 20  # characters of run lengths that are checked at once


@dataclass(frozen=True)
class Problem:
    """A record that was left out, and why.

    Parameters
    ----------
    section : str
        Key of the list that it was in: "annotations".
    index : int
        Its place there, from 0.
    message : str
        Which record, which field, what was expected.
    record : Any
        What was there.
    """

    section: str
    index: int
    message: str
    record: Any

    def __str__(self) -> str:
        return self.message


def check_category(record: Record) -> None:
    """Check a category: an id, and a name."""
    _id(record, "id")
    if not isinstance(record.get("name"), str):
        raise _wrong("name", record.get("name"), "a text")


def check_image(record: Record) -> None:
    """Check an image, or a video: an id, and a size that fits into memory."""
    _id(record, "id")
    height, width = (_count(record.get(name), name, "pixels") for name in ("height", "width"))
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"height and width are {reprlib.repr(height)} × {reprlib.repr(width)}; images of up to "
            f"{MAX_PIXELS} pixels are read. Cut it into tiles"
        )
    names = record.get("file_name", "")
    if names is not None and not isinstance(names, str):
        raise _wrong("file_name", names, "a text")


def check_video(record: Record) -> None:
    """Check a video: an image that has a length, or the names of its frames."""
    check_image(record)
    length, names = record.get("length"), record.get("file_names")
    if names is not None and not (
        isinstance(names, list) and all(isinstance(name, str) for name in names)
    ):
        raise _wrong("file_names", names, "a list of texts")
    length = _count(len(names) if length is None and names else length, "length", "frames")
    if names is not None and len(names) != length:
        raise ValueError(f"length is {length}, but file_names has {len(names)}")


def n_frames(video: Record) -> int:
    """Return how many frames a checked video has."""
    length = video.get("length")
    return len(video["file_names"]) if length is None else int(length)


def check_annotation(
    record: Record,
    categories: Mapping[int, Record],
    images: Mapping[int, Record],
    videos: Mapping[int, Record],
) -> list[Rle]:
    """Check an annotation but for its compressed run lengths, which are returned.

    Raises
    ------
    ValueError
        If a field is not what it has to be.
    """
    _id(record, "id")
    owners, name = (videos, "video_id") if _is_of_video(record) else (images, "image_id")
    owner = owners.get(_id(record, name))
    if owner is None:
        raise ValueError(
            f"{name} is {record[name]}, which '{name[:-3]}s' does not have. Add it, or remove the "
            "annotation"
        )
    if _id(record, "category_id") not in categories:
        raise ValueError(
            f"category_id is {record['category_id']}, not one of "
            f"{reprlib.repr(sorted(categories))} in 'categories'. Add the category"
        )
    crowd = record.get("iscrowd", 0)
    if not isinstance(crowd, int) or crowd not in (0, 1):
        raise _wrong("iscrowd", crowd, "0 or 1")
    if record.get("attributes") is not None and not isinstance(record["attributes"], dict):
        raise _wrong("attributes", record["attributes"], "an object")
    if record.get("score") is not None and not _is_number(record["score"]):
        raise _wrong("score", record["score"], "a number")
    size = (owner["height"], owner["width"])
    if not _is_of_video(record):
        _check_area(record.get("area"), "area")
        _check_box(record.get("bbox"), "bbox")
        return _masks(record.get("segmentation"), size, "segmentation")
    length = n_frames(owner)
    found = []
    checks: dict[str, Callable[[Any, str], None]] = {"areas": _check_area, "bboxes": _check_box}
    for key in ("areas", "bboxes", "segmentations"):
        values = record.get(key)
        if values is None and key != "segmentations":
            continue
        if not isinstance(values, list) or len(values) != length:
            n = f" of {len(values)}" if isinstance(values, list) else ""
            raise ValueError(
                f"{key} is a {type(values).__name__}{n}; a list with one element for each of the "
                f"{length} frames was expected"
            )
        for k, value in enumerate(values):
            if key in checks:
                checks[key](value, f"{key}[{k}]")
            else:
                found += _masks(value, size, f"{key}[{k}]")
    return found


def wrong_runs(masks: Sequence[tuple[int, Rle]]) -> Iterator[tuple[int, str]]:
    """Yield which of compressed run lengths do not fit their image, and why.

    Parameters
    ----------
    masks : sequence of (key, Rle)
        As `check_annotation` returns them.
    """
    start = 0
    while start < len(masks):
        stop, n = start, 0
        while stop < len(masks) and (stop == start or n < _N_CHECKED):
            n += len(masks[stop][1].counts)
            stop += 1
        chunk, start = masks[start:stop], stop
        try:
            areas([rle for _, rle in chunk])
        except ValueError:
            for key, rle in chunk:
                try:
                    areas([rle])
                except ValueError as error:
                    yield key, f"segmentation: {str(error).rstrip('.')}"


def _is_of_video(record: Record) -> bool:
    return "segmentations" in record or ("image_id" not in record and "video_id" in record)


def _masks(value: Any, size: Size, name: str) -> list[Rle]:
    """Check a segmentation; return it if it is one in compressed run lengths."""
    if value is None or value == []:
        return []
    try:
        if isinstance(value, list):
            _check_polygons(value)
            return []
        counts = value.get("counts") if isinstance(value, dict) else None
        said = value.get("size") if isinstance(value, dict) else None
        if not isinstance(counts, (str, bytes)) or not _is_size(said, size):
            from_coco(value, size)
            return []
        # Not one by one: all at once they are read fifty times as quickly.
        if isinstance(counts, str) and not counts.isascii():
            raise ValueError("the run lengths hold characters beyond ASCII; they are damaged")
        return [Rle(size, counts.encode("ascii") if isinstance(counts, str) else counts)]
    except ValueError as error:
        raise ValueError(f"{name}: {str(error).rstrip('.')}") from error


def _is_size(said: Any, size: Size) -> bool:
    return isinstance(said, list) and said == list(size) and set(map(type, said)) == {int}


def _check_polygons(polygons: list[Any]) -> None:
    n_points = 0
    for k, polygon in enumerate(polygons):
        if not isinstance(polygon, list):
            raise ValueError(
                f"polygon {k} is {reprlib.repr(polygon)}; a list of numbers x0, y0, x1, y1, … was "
                "expected"
            )
        if len(polygon) % 2:
            raise ValueError(
                f"polygon {k} has {len(polygon)} numbers; x and y of every point make an even one"
            )
        if len(polygon) < 6:
            raise ValueError(
                f"polygon {k} has {len(polygon) // 2} points; an outline takes three or more"
            )
        n_points += len(polygon) // 2
        # True and False are no numbers: types are compared, not asked.
        if (
            not set(map(type, polygon)) <= {int, float}
            or not max(polygon) < _LARGEST
            or not min(polygon) > -_LARGEST
        ):
            bad = next(v for v in polygon if not _is_number(v))
            raise ValueError(
                f"polygon {k} holds {reprlib.repr(bad)}; coordinates are finite numbers, in pixels"
            )
    if n_points > MAX_POINTS:
        raise ValueError(f"the polygons have more than {MAX_POINTS} points. Simplify them")


def _check_area(value: Any, name: str) -> None:
    if value is not None and not (_is_number(value) and value >= 0):
        raise _wrong(name, value, "a number of pixels from 0")


def _check_box(value: Any, name: str) -> None:
    if value is None:
        return
    if not isinstance(value, list) or len(value) != 4 or not all(map(_is_number, value)):
        raise _wrong(name, value, "[x, y, width, height] in pixels")
    if value[2] < 0 or value[3] < 0:
        raise _wrong(name, value, "a width and a height from 0")


def _id(record: Record, name: str) -> int:
    if name not in record:
        raise ValueError(f"{name} is missing; an integer was expected")
    value = record[name]
    if not _is_int(value):
        raise _wrong(name, value, "an integer")
    return int(value)


def _count(value: Any, name: str, what: str) -> int:
    if not _is_int(value) or value < 1:
        raise _wrong(name, value, f"{what}, an integer from 1,")
    return int(value)


def _is_int(value: Any) -> bool:
    """Whether it counts something; True and False do not."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -_LARGEST < value < _LARGEST and math.isfinite(value)


def _wrong(name: str, value: Any, expected: str) -> ValueError:
    return ValueError(f"{name} is {reprlib.repr(value)}; {expected} was expected")
