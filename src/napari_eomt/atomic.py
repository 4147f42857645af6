"""Writing a file whole or not at all."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from secrets import token_hex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write, which becomes `path` when the block ends well.

    The temporary file lies in the same folder, so that renaming is one step of the file system,
    and has the same suffix. After an error, or Ctrl-C, it is removed, and what was at `path`
    before is still there.
    """
    # Not of tempfile: its files may be read by their owner alone, and results are shared.
    temporary = path.with_name(f".writing-{token_hex(6)}{path.suffix}")
    try:
        temporary.open("xb").close()
        yield temporary
        # Unflushed, a power cut may leave an empty file under the final name.
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
