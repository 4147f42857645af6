"""Writing a model's folder whole or not at all."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from napari_eomt.errors import OutputError
from napari_eomt.folder_swap import swapping

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

    See `swapping`. After an error, or Ctrl-C, what was there before still is.

    Raises
    ------
    OutputError
        If it cannot be written: disk full, no permission; or something is there, see `check_out`.
    """
    try:
        with swapping(out) as temporary:
            yield temporary
            check_out(out, overwrite)  # somebody may have been faster
    except (OSError, SafetensorError) as error:
        raise _cannot_write(out, error) from error


def _cannot_write(out: Path, error: Exception) -> OutputError:
    reason = getattr(error, "strerror", None) or (str(error).splitlines() or ["unknown"])[0]
    return OutputError(
        f"{out}: the folder cannot be written ({reason}). Free the disk, or choose another folder."
    )
