"""What a run tells while it runs: one line of JSON each, in `metrics.jsonl`. No torch."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any, TypeAlias

from napari_eomt.errors import DataError, OutputError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import BinaryIO

NAME = "metrics.jsonl"

Row: TypeAlias = dict[str, Any]
"""Has "kind": start, step, check, note or end; "step", that are done; "time", s since 1970."""


class RunLog:
    """Appends rows; each is on its way to the disk when `write` returns. A context manager.

    Parameters
    ----------
    path : Path
        Of the file; made if it is not there. What a killed process has left half written is
        ended, so that it spoils no other line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # Unbuffered: a full disk shows where it happens, and closing has nothing left to do.
            self._file: BinaryIO = path.open("ab+", buffering=0)
            size = self._file.seek(0, 2)
            if size:
                self._file.seek(size - 1)
                if self._file.read(1) != b"\n":
                    self._file.write(b"\n")
        except OSError as error:
            raise self._error(error) from error

    def write(self, kind: str, step: int, **values: Any) -> None:
        """Append a row.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        row = {"kind": kind, "step": step, **values, "time": round(time.time(), 3)}
        line = json.dumps(_finite(row), allow_nan=False) + "\n"
        try:
            self._file.write(line.encode())
        except OSError as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> RunLog:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def _error(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self._path}: cannot be written ({error.strerror or error}). Free the disk; "
            "`--resume` goes on from the last state."
        )


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a run as if it had never been interrupted.

    Lines that are torn are left out, as are steps that were lost with a killed process and taken
    again after it.

    Parameters
    ----------
    path : Path
        Of the file; one that is not there has no rows.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    rows: list[Row] = []
    for line in data.split(b"\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            continue
        if row.get("kind") == "start":
            rows = [before for before in rows if before["step"] <= row["step"]]
        rows.append(row)
    return rows


def _finite(value: Any) -> Any:
    # JSON knows no NaN; what is not a number is nothing.
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
