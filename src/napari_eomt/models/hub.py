"""Fetch models from the Hugging Face hub: watched, resumed, checked, or from the cache alone.

On huggingface_hub, into its own cache, which transformers and others share. Its download proper
is not used: it neither resumes after a stop, nor can be cancelled, nor checks the sha256 of what
came over plain HTTP (2.4 throws the partial file away). No torch; nothing is printed; any thread.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from napari_eomt.models.hub_cache import (
    cached_folder,
    check_space,
    link,
    needed_files,
    repo_dir,
    write_ref,
)
from napari_eomt.models.hub_errors import (
    DownloadError,
    clear_disk_errors,
    explain,
    offline,
    page_of,
    unusable_token,
)
from napari_eomt.models.hub_transfer import RemoteFile, fetch_blob
from napari_eomt.models.hub_watch import Progress, Watch, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from huggingface_hub.file_download import HfFileMetadata

_log = logging.getLogger(__name__)

# They become names of files and folders here, and come from the network or a user's row.
_SAFE_PART = re.compile(r"[A-Za-z0-9_][\w.+-]*")
_TOKEN = re.compile(r"[!-~]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class RepoFile:
    """A file as its repository lists it: its size in bytes, and a check sum."""

    name: str
    size: int | None
    sha256: str | None
    git_sha1: str | None


@dataclass(frozen=True)
class Listing:
    """What a repository holds at a revision."""

    repo_id: str
    revision: str
    commit: str
    is_gated: bool
    files: Mapping[str, RepoFile]


@dataclass(frozen=True)
class Snapshot:
    """The files of a revision, on this computer; the note says why they may not be the newest."""

    folder: Path
    commit: str
    note: str = ""


def list_files(
    repo_id: str,
    revision: str = "main",
    token: str | None = None,
    *,
    watch: Watch | None = None,
    attempts: int = 3,
) -> Listing:
    """Ask the hub what a repository holds.

    Parameters
    ----------
    repo_id : str
        As owner/name.
    revision : str
        Branch, tag or commit.
    token : str, optional
        By default HF_TOKEN, or the one that `hf auth login` stored.
    watch : Watch, optional
        To cancel with.
    attempts : int
        Times to try while nothing answers.

    Raises
    ------
    DownloadError
        If there is no such thing, or no way to it.
    """
    if constants.is_offline_mode():
        raise offline(repo_id)
    if token is not None and not _TOKEN.fullmatch(token):
        raise unusable_token()
    api = HfApi(endpoint=constants.ENDPOINT, token=token)
    question = partial(
        api.model_info,
        repo_id,
        revision=revision,
        files_metadata=True,
        timeout=constants.HF_HUB_ETAG_TIMEOUT,
    )
    try:
        info = ask(question, watch or Watch(), attempts)
    except (HTTPError, HFValidationError, OfflineModeIsEnabled) as error:
        raise explain(error, repo_id, revision) from error
    except UnicodeError as error:
        raise unusable_token() from error
    except (ValueError, TypeError, KeyError) as error:
        raise DownloadError(
            f"{repo_id}: what {constants.ENDPOINT} answers is not the hub's ({error}). Check "
            "HF_ENDPOINT and HTTPS_PROXY."
        ) from error
    commit = info.sha or ""
    if not _COMMIT.fullmatch(commit):
        raise DownloadError(
            f"{repo_id}: {constants.ENDPOINT} names no commit for revision {revision!r}. Check "
            "HF_ENDPOINT."
        )
    files = {
        item.rfilename: RepoFile(
            item.rfilename,
            item.size,
            item.lfs.sha256 if item.lfs else None,
            None if item.lfs else item.blob_id,
        )
        for item in info.siblings or []
    }
    return Listing(repo_id, revision, commit, bool(info.gated), files)


def fetch_snapshot(
    repo_id: str,
    revision: str = "main",
    files: Iterable[str] = (),
    *,
    token: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> Snapshot:
    """Fetch files of a repository, less those that the cache has.

    Without the network, offline or because nothing answers, the cached revision is taken if all
    its files are there, with a note.

    Parameters
    ----------
    repo_id : str
        As owner/name.
    revision : str
        Branch, tag or commit.
    files : iterable of str
        By default those that a model is loaded from; see `needed_files`.
    token : str, optional
        By default HF_TOKEN, or the one that `hf auth login` stored.
    on_progress : callable, optional
        Called some ten times a second, in this thread.
    is_cancelled : callable, optional
        Asked ten times a second, also while the network hangs.

    Raises
    ------
    DownloadError
        If they cannot be fetched. What was fetched is kept, and gone on from the next time.
    """
    names = tuple(files)
    _check_names([*names, *revision.split("/")], repo_id)
    watch = Watch(on_progress, is_cancelled)
    cached = cached_folder(repo_id, revision, names)
    try:
        listing = list_files(
            repo_id, revision, token, watch=watch, attempts=1 if cached is not None else 3
        )
    except DownloadError as error:
        if cached is None or error.kind not in ("offline", "network"):
            raise
        note = f"{repo_id}: taken as it was last fetched ({_why(error)})."
        _log.info(note)
        return Snapshot(cached, cached.name, note)
    names = names or needed_files(listing.files)
    _check_listed(names, listing)
    with clear_disk_errors(repo_dir(repo_id)):
        return Snapshot(_fetch(listing, names, token, watch), listing.commit)


def _fetch(listing: Listing, names: Iterable[str], token: str | None, watch: Watch) -> Path:
    """Fetch the files that are not here, the small ones first, and give them their names."""
    repo = repo_dir(listing.repo_id)
    folder = repo / "snapshots" / listing.commit
    sizes = {name: listing.files[name].size or 0 for name in names}
    missing = [
        name for name in sorted(sizes, key=sizes.__getitem__) if not (folder / name).exists()
    ]
    watch.total = sum(sizes.values())
    watch.done = sum(size for name, size in sizes.items() if name not in missing)
    # All are asked for before one is fetched: what is forbidden shows at once.
    remotes = [_locate(listing, name, token, watch) for name in missing]
    if remotes:
        check_space(repo, sum(_left_of(repo, remote) for remote in remotes), listing.repo_id)
        # With the snapshots' folder there, what is cut short is no damage to other programs.
        for path in (repo / "blobs", folder):
            path.mkdir(parents=True, exist_ok=True)
        if not (repo / "refs" / listing.revision).exists():
            write_ref(repo, listing.revision, listing.commit)
    for remote in remotes:
        blob = repo / "blobs" / remote.etag
        fetch_blob(remote, blob, watch)
        link(blob, folder / remote.name)
    try:
        write_ref(repo, listing.revision, listing.commit)
    except OSError:
        if remotes:  # a cache that is complete may well be one that only others can write
            raise
    return folder


def _locate(listing: Listing, name: str, token: str | None, watch: Watch) -> RemoteFile:
    """Ask where a file is, and under which name the cache keeps it."""
    url = hf_hub_url(listing.repo_id, name, revision=listing.commit, endpoint=constants.ENDPOINT)

    def question() -> tuple[HfFileMetadata, dict[str, str]]:
        # Making the headers may ask the network too: a login that has run out is renewed.
        headers = build_hf_headers(token=token)
        timeout = constants.HF_HUB_ETAG_TIMEOUT
        return get_hf_file_metadata(url, timeout=timeout, headers=headers, token=token), headers

    try:
        found, headers = ask(question, watch)
    except (HTTPError, OfflineModeIsEnabled) as error:
        raise explain(error, listing.repo_id, listing.revision, name) from error
    listed = listing.files[name]
    size = found.size if found.size is not None else listed.size
    etag = found.etag or listed.sha256 or listed.git_sha1 or ""
    if size is None or not _SAFE_PART.fullmatch(etag):
        raise DownloadError(
            f"{listing.repo_id}: {constants.ENDPOINT} does not say how large {name} is, or what "
            "identifies it. Check HF_ENDPOINT."
        )
    return RemoteFile(
        listing.repo_id,
        listing.revision,
        name,
        url,
        headers,
        etag,
        size,
        listed.sha256,
        listed.git_sha1,
    )


def _check_names(parts: Iterable[str], repo_id: str) -> None:
    """Refuse names that would lead out of the repository's folder."""
    for name in parts:
        if not all(_SAFE_PART.fullmatch(part) for part in name.split("/")):
            raise DownloadError(
                f"{repo_id}: {name!r} cannot be the name of a file or revision. Correct it.", "file"
            )


def _check_listed(names: tuple[str, ...], listing: Listing) -> None:
    if not names:
        raise DownloadError(
            f"{listing.repo_id} has no model.safetensors and no pytorch_model.bin, so it is no "
            f"model that can be loaded. It has {_some(listing.files)}; see "
            f"{page_of(listing.repo_id)}.",
            "file",
        )
    missing = [name for name in names if name not in listing.files]
    if missing:
        raise DownloadError(
            f"{listing.repo_id} has no file {missing[0]!r} at revision {listing.revision!r}. It "
            f"has {_some(listing.files)}; see {page_of(listing.repo_id)}.",
            "file",
        )


def _left_of(repo: Path, remote: RemoteFile) -> int:
    """Return how many bytes of a file are not here yet."""
    growing = repo / "blobs" / f"{remote.etag}.incomplete"
    return remote.size - (growing.stat().st_size if growing.exists() else 0)


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:8]) + (" …" if len(names) > 8 else "") if names else "no files"


def _why(error: DownloadError) -> str:
    return "HF_HUB_OFFLINE is set" if error.kind == "offline" else "the hub does not answer"
