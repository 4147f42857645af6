"""Writing a folder whole or not at all."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress
from secrets import token_hex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEMPORARY = ".writing-"


@contextmanager
def swapping(out: Path) -> Iterator[Path]:
    """Yield a new folder to write files in, which becomes `out` when the block ends well.

    It lies beside `out`, so that renaming is one step of the file system. After an error it is
    removed, and what was there before still is. Two folders cannot change places in one step
    everywhere: between the two steps, what was there is found by `whole`.
    """
    temporary = out.with_name(f"{TEMPORARY}{token_hex(6)}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        # Unflushed, a power cut may leave empty files under the final names; and it is then that
        # a full disk shows.
        for path in temporary.iterdir():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        sync_folder(temporary)
        _swap(temporary, out)
        sync_folder(out.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def whole(out: Path) -> Path:
    """Return where the folder is: `out`, or beside it if a swap was cut short."""
    aside = _aside(out)
    return aside if aside.is_dir() and not out.exists() else out


def sync_folder(folder: Path) -> None:
    """Make what was created, renamed or removed in a folder last through a power cut."""
    if os.name == "nt":  # which cannot open folders, and needs no such thing
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _swap(temporary: Path, out: Path) -> None:
    aside = _aside(out)
    if out.exists():
        # Of an earlier swap: older than what is there now.
        shutil.rmtree(aside, ignore_errors=True)
        out.rename(aside)
    try:
        temporary.rename(out)
    except BaseException:
        if aside.exists():
            aside.rename(out)
        raise
    with suppress(OSError):
        if aside.exists():
            shutil.rmtree(aside)


def _aside(out: Path) -> Path:
    return out.with_name(f".{out.name}.before")
