"""Starting the worker process.

A fresh interpreter, not `multiprocessing`'s: that one's "spawn" imports the parent's main module
again, which opens a second napari from every script without an ``if __name__ == "__main__"``
guard, and its "fork" copies a process full of Qt's and OpenGL's threads. The child inherits one
end of a pipe and the slots for arrays, nothing else; only what comes out of that pipe is ever
unpickled. It is in a session of its own, so that Ctrl-C in a terminal reaches the parent alone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from napari_eomt.errors import WorkerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.worker.arrays import Slots

# The path comes first: with -c, Python looks for modules in the current folder, where a user
# may keep a file called random.py.
_BOOTSTRAP = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from napari_eomt.worker.process import main; main(sys.argv[1])"
)
_LAST_WORDS_BYTES = 16_384


@dataclass(frozen=True)
class Options:
    """What the process is told on its command line.

    Parameters
    ----------
    channel : int
        Descriptor (a handle on Windows) of its end of the pipe.
    slots : tuple of int
        Those of the slots.
    parent : int
        Process id of the client.
    n_threads, proposals_bytes, trunk_bytes : int
    """

    channel: int
    slots: tuple[int, ...]
    parent: int
    n_threads: int
    proposals_bytes: int
    trunk_bytes: int

    @classmethod
    def from_json(cls, text: str) -> Options:
        """Read what `as_json` has written."""
        return cls(**json.loads(text))

    def as_json(self) -> str:
        """Write for a command line."""
        return json.dumps(asdict(self))


class WorkerProcess:
    """A running process, its pipe, and the end of what it prints.

    Parameters
    ----------
    process : Popen
    connection : Connection
        The client's end.
    """

    def __init__(self, process: subprocess.Popen[bytes], connection: Connection) -> None:
        self.connection = connection
        self._process = process
        self._printed = bytearray()
        # Somebody must read, or a process that prints much would stand still.
        self._reader = threading.Thread(
            target=self._read, name="napari-eomt worker output", daemon=True
        )
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it lives."""
        return self._process.poll() is None

    def end(self, timeout: float) -> int:
        """Hang up, wait, and if need be kill. Return the exit code; negative is a signal."""
        self.connection.close()
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def kill(self) -> None:
        """End it by force."""
        self._process.kill()

    def last_words(self) -> str:
        """Return the end of what it printed."""
        self._reader.join(0.2)
        return bytes(self._printed).decode("utf-8", errors="replace").strip()

    def _read(self) -> None:
        stream: IO[bytes] | None = self._process.stdout
        if stream is None:
            return
        with stream:
            while data := os.read(stream.fileno(), 4096):
                self._printed += data
                del self._printed[:-_LAST_WORDS_BYTES]


def launch(slots: Slots, n_threads: int, proposals_bytes: int, trunk_bytes: int) -> WorkerProcess:
    """Start the process; it is not ready yet.

    Raises
    ------
    WorkerError
        If the system does not start it.
    """
    if not sys.executable:
        raise WorkerError(
            "The model process cannot be started: this program does not say where its Python "
            "interpreter is (sys.executable is empty). Start napari from a Python environment."
        )
    ours, theirs = Pipe(duplex=True)
    options = Options(
        theirs.fileno(), slots.handles, os.getpid(), n_threads, proposals_bytes, trunk_bytes
    )
    command = ["-c", _BOOTSTRAP, options.as_json(), *_search_path()]
    try:
        process = _popen(command, options, _environment(n_threads))
    except (OSError, ValueError) as error:
        ours.close()
        raise WorkerError(
            f"The model process cannot be started with {sys.executable}: {error}."
        ) from error
    finally:
        theirs.close()
    return WorkerProcess(process, ours)


def connection_from_handle(handle: int) -> Connection:
    """Return the child's end of the pipe from the descriptor it has inherited."""
    if sys.platform == "win32":
        from multiprocessing.connection import PipeConnection

        return PipeConnection(handle)
    os.set_inheritable(handle, False)
    return Connection(handle)


def _popen(
    command: Sequence[str], options: Options, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    common: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "env": environment,
    }
    if sys.platform == "win32":
        # A venv's python.exe only starts the real one, which would not inherit the handle.
        executable = getattr(sys, "_base_executable", sys.executable)
        environment["__PYVENV_LAUNCHER__"] = sys.executable
        os.set_handle_inheritable(options.channel, True)
        info = subprocess.STARTUPINFO(lpAttributeList={"handle_list": [options.channel]})
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
        return subprocess.Popen(  # noqa: S603 - our own interpreter
            [executable, *command], startupinfo=info, creationflags=flags, **common
        )
    return subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, *command],
        pass_fds=(options.channel, *options.slots),
        start_new_session=True,
        **common,
    )


def _search_path() -> list[str]:
    """Return where the parent finds modules, so that the child finds the same ones."""
    package_parent = str(Path(__file__).parents[2])
    path = [entry for entry in sys.path if entry]
    return path if package_parent in path else [*path, package_parent]


def _environment(n_threads: int) -> dict[str, str]:
    return {
        **os.environ,
        # torch.set_num_threads comes too late for the pools that libraries make on import.
        "OMP_NUM_THREADS": str(n_threads),
        "PYTHONIOENCODING": "utf-8:replace",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }


def exit_reason(code: int) -> str:
    """Say in words how a process with this exit code ended."""
    if code >= 0:
        return f"The model process ended unexpectedly (exit code {code})."
    number = -code
    if number == getattr(signal, "SIGKILL", 9):
        return f"The model process was stopped (signal {number}), perhaps because memory ran out."
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = "unknown"
    return f"The model process crashed ({name}, signal {number})."
