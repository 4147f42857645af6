"""Files of ours that somebody or something has damaged: what is wrong, and out of the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

if TYPE_CHECKING:
    from pathlib import Path


def first_problem(error: Exception) -> str:
    """Return in one line what is wrong first, of pydantic's errors with the field's name."""
    if isinstance(error, ValidationError):
        found = error.errors()[0]
        message = found["msg"].removeprefix("Value error, ")
        return f"{'.'.join(map(str, found['loc']))}: {message}"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def set_aside(path: Path) -> str:
    """Give a file the name of one that is damaged, ending in .bad, and say so."""
    bad = path.with_name(path.name + ".bad")
    try:
        path.replace(bad)
    except OSError:
        return "it could not be set aside"
    return f"it was set aside as {bad.name}"
