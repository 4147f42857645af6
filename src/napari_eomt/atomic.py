"""Writing files whole or not at all."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from secrets import token_hex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write, which becomes `path` when the block ends well.

    See `replacing_all`.
    """
    with replacing_all([path]) as (temporary,):
        yield temporary


@contextmanager
def replacing_all(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield temporary files to write, which become `paths` when the block ends well.

    Each lies in its path's folder, so that renaming is one step of the file system, and has its
    suffix. After an error, or Ctrl-C, they are removed, and what was there before still is.
    """
    # Not of tempfile: its files may be read by their owner alone, and results are shared.
    temporaries = [path.with_name(f".writing-{token_hex(6)}{path.suffix}") for path in paths]
    try:
        for temporary in temporaries:
            temporary.open("xb").close()
        yield temporaries
        # Unflushed, a power cut may leave an empty file under the final name. All are flushed
        # before one is renamed: it is then that a full disk shows.
        for temporary in temporaries:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        for temporary, path in zip(temporaries, paths, strict=True):
            temporary.replace(path)
    except BaseException:
        for temporary in temporaries:
            with suppress(OSError):
                temporary.unlink()
        raise
