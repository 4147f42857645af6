"""A training as a process of its own, which goes on when napari is closed. No torch."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from napari_eomt.errors import OutputError
from napari_eomt.widgets.run_words import on_the_page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LOG = ".training.log"
"""What the process of a run says, in the run's folder; a hidden file does not make it used."""

_NICE = 10
_LAST_BYTES = 20_000
_KILLED = -9


class TrainingProcess:
    """Runs ``napari-eomt train`` in the background, of lower priority than the window.

    Parameters
    ----------
    folder : Path
        Of the run; made if it is not there.
    arguments : sequence of str
        Of the command.

    Raises
    ------
    OutputError
        If the folder cannot be written, or the process cannot be started.
    """

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "napari_eomt.cli.main", "train", *arguments]
        flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
        flags |= getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        flags |= getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / LOG).open("wb") as log:
                self._child = subprocess.Popen(  # noqa: S603 - our own module; no shell reads it
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "PYTHONIOENCODING": "utf-8"},
                    creationflags=flags,
                    # Neither Ctrl-C in napari's terminal nor its end reaches it.
                    start_new_session=True,
                )
        except OSError as error:
            raise OutputError(
                f"{folder}: the training cannot be started ({error.strerror or error}). Free the "
                "disk, or name another folder of runs with NAPARI_EOMT_RUNS_DIR."
            ) from error
        if hasattr(os, "setpriority"):
            with suppress(OSError):  # it may have ended already
                os.setpriority(os.PRIO_PROCESS, self._child.pid, _NICE)

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._child.pid

    @property
    def code(self) -> int | None:
        """With what it has ended; None while it runs."""
        return self._child.poll()

    def terminate(self) -> None:
        """End it; before the first step there is nothing to save."""
        self._child.terminate()

    def kill(self) -> None:
        """End it by force."""
        self._child.kill()


def failure_of(folder: Path, code: int | None = None) -> tuple[str, str]:
    """Say why the process of a run has ended, in the words of the page, and give the details.

    Parameters
    ----------
    folder : Path
    code : int, optional
        With what it ended; a negative one is a signal's.
    """
    details = _log(folder)
    lines = [line.strip() for line in details.splitlines() if line.strip()]
    error = next((line for line in reversed(lines) if line.startswith("error: ")), "")
    if error:
        return on_the_page(error.removeprefix("error: ")), details
    if code == _KILLED:
        return (
            "The training was killed, most likely because memory ran out. Close other programs, or "
            "take a smaller batch under Advanced."
        ), details
    if code is not None and lines:
        return f"The training ended with code {code}: {lines[-1]}", details
    return "The training has ended without a word: it was killed, or the power went.", details


def _log(folder: Path) -> str:
    try:
        with (folder / LOG).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _LAST_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
