"""JSON files: read without trusting anything in them, written record by record.

Numbers are kept as they are: integers of any size, floats to the last bit.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_eomt.atomic import replacing
from napari_eomt.errors import DataError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import BinaryIO

MAX_BYTES = 2**30
"""Of a file that is read unless more is allowed: parsed, it takes several times the memory."""

_BLOCK = 1 << 24
# All digits become 0, so that one search finds what may be too large for a float.
_DIGITS = bytes.maketrans(b"123456789E", b"000000000e")
_LONG = b"0" * 309  # 1e308 has as many digits
_EXPONENT = b"e000"


def read_json(path: Path, *, max_bytes: int = MAX_BYTES) -> Any:
    """Read a JSON file in UTF-8, with or without a byte order mark.

    Parameters
    ----------
    path : Path
    max_bytes : int
        A larger file is not read.

    Raises
    ------
    DataError
        If it cannot be read, is too large, or is not JSON: NaN and infinity, a key that is twice
        in an object, and what is cut off or nested without end are not.
    """
    data = _read(path, max_bytes)
    may_overflow = _may_overflow(data)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path.name}: byte {error.start} is not UTF-8. Save the file as JSON in UTF-8."
        ) from error
    del data
    try:
        return json.loads(
            text,
            parse_constant=_refuse,
            parse_float=_finite if may_overflow else None,
            object_pairs_hook=_object,
        )
    except json.JSONDecodeError as error:
        cut = " The file seems to be cut off." if error.pos >= len(text.rstrip()) else ""
        raise DataError(
            f"{path.name}: line {error.lineno}, column {error.colno}: {error.msg}; JSON was "
            f"expected.{cut} Export it again, or take it from a copy."
        ) from error
    except ValueError as error:  # ours, and Python's about integers of thousands of digits
        raise DataError(f"{path.name}: {error}") from error
    except RecursionError as error:
        raise DataError(
            f"{path.name}: lists or objects are nested too deeply; no annotations are. Export the "
            "file again."
        ) from error
    except MemoryError as error:
        raise DataError(
            f"{path.name}: there is not enough memory to read it. Split it by images."
        ) from error


def write_json(path: Path, items: Iterable[tuple[str, Any]]) -> None:
    """Write an object, whole or not at all.

    Parameters
    ----------
    path : Path
    items : iterable of (key, value)
        In their order. A value that is a list or an iterator is written an element a line, as it
        comes, so that memory goes with the largest one.

    Raises
    ------
    OutputError
        If it cannot be written, or a value is none that JSON has.
    """
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            start = b"{"
            for key, value in items:
                file.write(start + _encoded(key, path, "a key") + b": ")
                if isinstance(value, (list, Iterator)):
                    _write_list(file, value, path, key)
                else:
                    file.write(_encoded(value, path, f"'{key}'"))
                start = b",\n"
            file.write(b"{}\n" if start == b"{" else b"}\n")
    except OSError as error:
        raise OutputError(
            f"{path}: the file cannot be written ({error.strerror or error}). Free the disk, or "
            "choose another folder."
        ) from error


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size > max_bytes:
                raise DataError(
                    f"{path.name} has {size / 2**20:,.1f} MiB; files of up to "
                    f"{max_bytes / 2**20:,.1f} MiB are read. Split it by images, or read it in a "
                    f"script with max_bytes={size}, with several times that memory free."
                )
            # It may be growing, or be no file at all.
            data = file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(data) > max_bytes:
        raise DataError(f"{path.name} has more than {max_bytes} bytes. Split it by images.")
    return data


def _may_overflow(data: bytes) -> bool:
    """Whether a number may be too large for a float, as 1e999 is.

    Looking takes a tenth of the time of parsing; asking of each number takes a third.
    """
    for start in range(0, len(data), _BLOCK):
        block = data[max(0, start - 400) : start + _BLOCK].translate(_DIGITS, b"+")
        if _LONG in block:
            return True
        at = block.find(_EXPONENT)
        while at >= 0:
            # Run lengths are full of these, but they are no numbers: letters come before.
            before = block[max(0, at - 400) : at].rstrip(b"0.-")
            if not before or before[-1] in b" \t\r\n,[" or before[-2:] == b'":':
                return True
            at = block.find(_EXPONENT, at + 1)
    return False


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {reprlib.repr(text)} is too large. Correct it.")
    return value


def _refuse(text: str) -> Any:
    raise ValueError(f"it holds {text}, which JSON does not know. Correct or remove the value.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(
            f"the key {reprlib.repr(twice)} is twice in one object, and one of its values would be "
            "lost. Correct it."
        )
    return found


def _write_list(file: BinaryIO, values: Iterable[Any], path: Path, key: str) -> None:
    start = b"[\n"
    for k, value in enumerate(values):
        file.write(start + _encoded(value, path, f"{key}[{k}]"))
        start = b",\n"
    file.write(b"[]" if start == b"[\n" else b"\n]")


def _encoded(value: Any, path: Path, where: str) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
        try:
            return text.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can say all the same
            return json.dumps(value, allow_nan=False, default=_plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise OutputError(
            f"{path}: {where} cannot be written as JSON ({error}). Numbers have to be finite."
        ) from error


def _plain(value: Any) -> Any:
    """Return what JSON knows instead of a value of numpy, or of pycocotools."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytes):  # compressed run lengths
        return value.decode("ascii")
    raise TypeError(f"{type(value).__name__} is not a type that JSON knows")
