"""The command line as a child process, for what needs torch: the window does not load it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from napari_eomt.errors import ModelError
from napari_eomt.models.hub_watch import POLL

if TYPE_CHECKING:
    from collections.abc import Callable

_GRACE_S = 1.0  # to clear up after Ctrl-C before it is killed


class CancelledError(ModelError):
    """The work was cancelled."""


def run_program(arguments: list[str], is_cancelled: Callable[[], bool]) -> None:
    """Run ``napari-eomt`` with arguments as a child process, for what needs torch.

    Raises
    ------
    ModelError
        With the child's own line, if it failed.
    CancelledError
        If it was cancelled: the child gets Ctrl-C, and soon after is killed.
    """
    # Without a console window on Windows; in a group of its own, which Ctrl-C there asks for.
    flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    flags |= getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    command = [sys.executable, "-m", "napari_eomt.cli.main", *arguments]
    with subprocess.Popen(  # noqa: S603  # our own module; paths are arguments, not a shell's
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        creationflags=flags,
    ) as child:
        while True:
            try:
                _, errors = child.communicate(timeout=POLL)
                break
            except subprocess.TimeoutExpired:
                if is_cancelled():
                    _stop(child)
                    raise CancelledError("It was cancelled.") from None
    if child.returncode:
        raise ModelError(_last_error(errors, child.returncode)) from RuntimeError(errors)


def _stop(child: subprocess.Popen[str]) -> None:
    """End a child: with Ctrl-C, so that it leaves nothing half done, else by force."""
    child.send_signal(getattr(signal, "CTRL_BREAK_EVENT", signal.SIGINT))
    try:
        child.communicate(timeout=_GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()


def _last_error(errors: str, code: int) -> str:
    lines = [line for line in errors.splitlines() if line.strip()]
    for line in reversed(lines):
        if line.startswith("error: "):
            return line.removeprefix("error: ")
    last = f": {lines[-1]}" if lines else ""
    return f"The conversion ended with code {code}{last}. Copy the details for a report."
