"""Writing a model's folder whole or not at all."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress
from secrets import token_hex
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from napari_eomt.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def check_out(out: Path, overwrite: bool, keep: Iterable[Path] = ()) -> None:
    """Check that a model's folder may be written, before the work that leads to it.

    Parameters
    ----------
    out : Path
        The folder; it need not be there.
    overwrite : bool
        Whether a model's folder that is there is to be replaced.
    keep : iterable of Path
        What must not be replaced: what the model is made from.

    Raises
    ------
    OutputError
        If there is something that would be lost.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError(f"{out} is a file. Choose a name for a new folder.")
    try:
        entries = list(out.iterdir())
    except OSError as error:
        raise _cannot_write(out, error) from error
    if not entries:
        return
    if not overwrite:
        raise OutputError(
            f"{out} is there already and not empty. Choose another folder, or overwrite it."
        )
    # A folder is replaced as a whole: never one that could hold a person's other files.
    if not (out / "config.json").is_file() or not all(path.is_file() for path in entries):
        raise OutputError(f"{out} is not the folder of a model alone. Choose another folder.")
    for path in keep:
        if out.resolve() in (path.resolve(), *path.resolve().parents):
            raise OutputError(f"{out} holds {path.name}, which is read. Choose another folder.")


@contextmanager
def replacing_folder(out: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a new folder to write files in, which becomes `out` when the block ends well.

    It lies beside `out`, so that renaming is one step of the file system. After an error, or
    Ctrl-C, it is removed, and what was there before still is.

    Raises
    ------
    OutputError
        If it cannot be written: disk full, no permission; or something is there, see `check_out`.
    """
    temporary = out.with_name(f".writing-{token_hex(6)}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        # Unflushed, a power cut may leave empty files under the final names; and it is then that
        # a full disk shows.
        for path in temporary.iterdir():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        check_out(out, overwrite)
        _rename(temporary, out)
    except (OSError, SafetensorError) as error:
        raise _cannot_write(out, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rename(temporary: Path, out: Path) -> None:
    # An empty folder can be renamed onto, everywhere but on Windows; a full one nowhere.
    aside = out.with_name(f".replaced-{token_hex(6)}")
    if not out.exists():
        temporary.rename(out)
        return
    out.rename(aside)
    try:
        temporary.rename(out)
    except BaseException:
        aside.rename(out)
        raise
    with suppress(OSError):
        shutil.rmtree(aside)


def _cannot_write(out: Path, error: Exception) -> OutputError:
    reason = getattr(error, "strerror", None) or (str(error).splitlines() or ["unknown"])[0]
    return OutputError(
        f"{out}: the folder cannot be written ({reason}). Free the disk, or choose another folder."
    )
