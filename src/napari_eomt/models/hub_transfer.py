"""One file from the hub to the disk: resumed, tried again, and checked."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from filelock import Timeout
from huggingface_hub import constants, get_session, hf_raise_for_status
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

from napari_eomt.models.hub_errors import DownloadError, explain, is_passing
from napari_eomt.models.hub_watch import ATTEMPTS, POLL, Watch, pause_after, watched

if TYPE_CHECKING:
    from collections.abc import Generator
    from io import FileIO
    from pathlib import Path


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository at one commit.

    `sha256` is known of large files, `git_sha1` (of git's blob) of the others; `etag` names the
    file in the cache, and `headers` may hold the token.
    """

    repo_id: str
    revision: str
    name: str
    url: str
    headers: dict[str, str]
    etag: str
    size: int
    sha256: str | None
    git_sha1: str | None


def fetch_blob(remote: RemoteFile, blob: Path, watch: Watch) -> None:
    """Fetch a file to `blob`, going on where an earlier attempt ended.

    It grows as ``<blob>.incomplete``, which stays when the download is cut or cancelled, and
    becomes `blob` when its bytes are those that the hub announced. While another program
    fetches the same file, this waits.

    Raises
    ------
    DownloadError
        If it cannot be fetched, or is not what the hub announced: it is removed then.
    OSError
        If it cannot be written.
    """
    growing = blob.with_name(f"{blob.name}.incomplete")
    # huggingface_hub's own lock, so that a download by transformers is waited for too.
    lock = blob.parents[2] / ".locks" / blob.parents[1].name / f"{blob.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(WeakFileLock(lock, timeout=POLL))
                break
            except Timeout:
                watch.check()
                watch.show(remote.name, "waiting")
        if blob.exists():  # another program was faster
            watch.done += remote.size
            return
        if not _grow(remote, growing, watch):
            growing.unlink(missing_ok=True)
            raise DownloadError(
                f"{remote.repo_id}: {remote.name} is damaged: its bytes are not those that the hub "
                "announced. It was removed. Try again; if it stays so, a proxy or mirror on the "
                "way changes the file.",
                "damaged",
            )
        growing.replace(blob)


def _grow(remote: RemoteFile, growing: Path, watch: Watch) -> bool:
    """Append to the file what it lacks; say whether it is then what the hub announced."""
    digest = _digest(remote)
    failures = 0
    # Unbuffered: what was written before an error is in the file, and nothing else is.
    with growing.open("ab+", buffering=0) as file:
        size = file.seek(0)
        while chunk := file.read(2**20):
            watch.check()
            digest.update(chunk)
            size += len(chunk)
            watch.done += len(chunk)
            watch.show(remote.name, "checking")
        while size < remote.size:
            before = size
            try:
                with closing(watched(partial(_stream, remote, size), watch)) as chunks:
                    for start, chunk in chunks:
                        if start != size:  # the server sends the whole file again
                            watch.done -= size
                            file.truncate(0)
                            size, digest = 0, _digest(remote)
                        _write(file, chunk)
                        digest.update(chunk)
                        size += len(chunk)
                        watch.receive(len(chunk), remote.name)
                fault: Exception = ConnectionError("the connection ended early")
            except HTTPError as error:
                fault = error
            if size >= remote.size:
                break
            failures = 1 if size > before else failures + 1
            is_final = isinstance(fault, HTTPError) and not is_passing(fault)
            if failures >= ATTEMPTS or is_final:
                raise explain(fault, remote.repo_id, remote.revision, remote.name) from fault
            watch.show(remote.name, "waiting")
            watch.wait(pause_after(fault, failures))
        watch.show(remote.name, "checking")
        os.fsync(file.fileno())
        # Of the disk: where a file system ignores locks, two programs may have appended.
        size = os.fstat(file.fileno()).st_size
    expected = remote.sha256 or remote.git_sha1
    return size == remote.size and (expected is None or digest.hexdigest() == expected)


def _stream(remote: RemoteFile, start: int) -> Generator[tuple[int, bytes], None, None]:
    """Yield the file's bytes from `start` on, each chunk with its place in the file."""
    # Compressed, neither ranges nor lengths would be those of the file.
    headers = {**remote.headers, "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    # Redirected to another host, the client takes the token out of the headers.
    with get_session().stream(
        "GET",
        remote.url,
        headers=headers,
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        follow_redirects=True,
    ) as response:
        hf_raise_for_status(response)
        place = start if response.status_code == 206 else 0
        for chunk in response.iter_raw():
            yield place, chunk
            place += len(chunk)


def _write(file: FileIO, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:  # a raw file may take less than it is given
        view = view[file.write(view) :]


def _digest(remote: RemoteFile) -> hashlib._Hash:
    if remote.sha256 is None and remote.git_sha1 is not None:
        # Git's own check sum, which is what the hub has of small files; no secret hangs on it.
        return hashlib.sha1(f"blob {remote.size}\0".encode(), usedforsecurity=False)
    return hashlib.sha256()
