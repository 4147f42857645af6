"""What of the hub is on the disk, in huggingface_hub's own cache, which other programs share."""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from huggingface_hub import constants

from napari_eomt.models.hub_errors import DownloadError, clear_disk_errors, explain
from napari_eomt.models.hub_watch import size_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

MARGIN = 2**26
"""Bytes that are left free on the disk."""

_REPO_ID = re.compile(r"(?:[\w-][\w.-]*/)?[\w-][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLE = "pytorch_model.bin"
# The last is ours: what a model's maker says beyond transformers' files.
_EXTRAS = ("preprocessor_config.json", "video_preprocessor_config.json", "napari_eomt.json")


def needed_files(names: Collection[str]) -> tuple[str, ...]:
    """Choose, of a repository's files, those that a model is loaded from.

    The configuration, the preprocessor's, and the weights: as safetensors if they are there,
    else ``pytorch_model.bin``, which is a pickle and needs converting. Never code.

    Returns
    -------
    tuple of str
        Empty if there are no weights.
    """
    shards = tuple(sorted(name for name in names if _SHARD.fullmatch(name)))
    if _WEIGHTS in names:
        weights: tuple[str, ...] = (_WEIGHTS,)
    elif _INDEX in names and shards:
        weights = (_INDEX, *shards)
    elif _PICKLE in names:
        weights = (_PICKLE,)
    else:
        return ()
    return tuple(name for name in ("config.json", *_EXTRAS) if name in names) + weights


def cache_dir() -> Path:
    """Return huggingface_hub's cache; HF_HUB_CACHE or HF_HOME name another."""
    return Path(constants.HF_HUB_CACHE).expanduser()


def repo_dir(repo_id: str) -> Path:
    """Return the folder that the cache has, or would have, for a repository.

    Raises
    ------
    DownloadError
        If it is no repository's name.
    """
    # huggingface_hub's own function for it costs the window 0.15 s: it imports the network.
    if not _REPO_ID.fullmatch(repo_id) or "--" in repo_id or ".." in repo_id:
        from huggingface_hub.errors import HFValidationError

        error = HFValidationError(f"{repo_id!r} is no repository's name")
        raise explain(error, repo_id, "") from error
    return cache_dir() / "--".join(("models", *repo_id.split("/")))


def cached_folder(repo_id: str, revision: str = "main", files: Iterable[str] = ()) -> Path | None:
    """Return the folder of a revision, if all its files are there; asks no network.

    Parameters
    ----------
    repo_id : str
        As owner/name.
    revision : str
        Branch, tag or commit; of a branch, what it was when it was last fetched.
    files : iterable of str
        By default those that a model is loaded from.
    """
    folder = _snapshot(repo_id, revision)
    if folder is None:
        return None
    names = tuple(files)
    try:
        is_complete = (
            all((folder / name).is_file() for name in names) if names else _is_model(folder)
        )
    except OSError:  # a folder that may not be read is one that we have not
        return None
    return folder if is_complete else None


def cached_bytes(repo_id: str, revision: str = "main", files: Iterable[str] = ()) -> int:
    """Count the bytes on the disk of some files of a revision, by default of all of them.

    Of all, what was fetched in part and waits to be resumed counts too.
    """
    folder, names = _snapshot(repo_id, revision), tuple(files)
    if not names:
        growing = (repo_dir(repo_id) / "blobs").glob("*.incomplete")
        waiting = sum(path.stat().st_size for path in growing)
        return waiting + (tree_bytes(folder) if folder else 0)
    if folder is None:
        return 0
    return sum((folder / name).stat().st_size for name in names if (folder / name).is_file())


def delete_cached(repo_id: str, revision: str = "main", files: Iterable[str] = ()) -> int:
    """Delete some files of a revision, by default all; return the bytes that this freed.

    What other revisions use stays. With the last revision, what was fetched in part goes too.

    Raises
    ------
    DownloadError
        If something cannot be deleted.
    """
    repo, names = repo_dir(repo_id), set(files)
    if not repo.is_dir():
        return 0
    before = _disk_bytes(repo)
    folder = _snapshot(repo_id, revision)
    with clear_disk_errors(repo):
        if folder is not None:
            here = {path.relative_to(folder).as_posix() for path in _files(folder)}
            if names and here - names:
                _delete_files(repo, [folder / name for name in names & here])
            else:
                _delete_revisions(repo, folder.name, *_left_incomplete(repo))
        if repo.is_dir() and not any(_files(repo / "snapshots")):
            shutil.rmtree(repo)
    left = cached_folder(repo_id, revision, names)
    if left is not None:
        raise DownloadError(
            f"{left} cannot be deleted: its files are protected, or in use by another program. "
            "Close that, or correct the permissions.",
            "disk",
        )
    return before - (_disk_bytes(repo) if repo.is_dir() else 0)


def check_space(folder: Path, n_bytes: int, what: str) -> None:
    """Refuse to write what the disk has no room for, before a byte of it.

    Raises
    ------
    DownloadError
        If fewer bytes are free than it takes, and `MARGIN` for everybody else.
    """
    disk = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(disk).free
    if free < n_bytes + MARGIN:
        raise DownloadError(
            f"{what} needs {size_text(n_bytes + MARGIN)} on the disk of {disk}, and "
            f"{size_text(free)} are free. Free some, or let HF_HOME (of converted models "
            "NAPARI_EOMT_MODELS_DIR) name a folder on another disk.",
            "disk",
        )


def link(blob: Path, pointer: Path) -> None:
    """Give a file of the cache its name in a revision's folder.

    As a link, relative so that the cache can be moved; where there are no links (Windows
    without developer mode) the file itself moves there, as huggingface_hub does it.
    """
    pointer.parent.mkdir(parents=True, exist_ok=True)
    if not constants.HF_HUB_DISABLE_SYMLINKS:
        temporary = pointer.with_name(f".{uuid4().hex}")
        try:
            temporary.symlink_to(os.path.relpath(blob, pointer.parent))
            temporary.replace(pointer)
            return
        except OSError:
            with suppress(OSError):
                temporary.unlink()
    blob.replace(pointer)


def write_ref(repo: Path, revision: str, commit: str) -> None:
    """Remember which commit a branch or tag was.

    Of an update, last of all: until then it names the commit that is there.
    """
    if revision == commit:
        return
    ref = repo / "refs" / revision
    if ref.is_file() and ref.read_text(encoding="utf-8") == commit:
        return
    ref.parent.mkdir(parents=True, exist_ok=True)
    temporary = ref.with_name(f".{uuid4().hex}")
    temporary.write_text(commit, encoding="utf-8")
    temporary.replace(ref)


def _snapshot(repo_id: str, revision: str) -> Path | None:
    repo = repo_dir(repo_id)
    commit = revision
    if not _COMMIT.fullmatch(revision):
        try:
            commit = (repo / "refs" / revision).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None
        if not _COMMIT.fullmatch(commit):
            return None
    folder = repo / "snapshots" / commit
    return folder if folder.is_dir() else None


def _is_model(folder: Path) -> bool:
    """Say whether everything is here that the model in a folder is loaded from."""
    names = needed_files([path.name for path in _files(folder)])
    if not names or ("config.json" not in names and _PICKLE not in names):
        return False
    if _INDEX in names:
        try:
            index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
            return set(index["weight_map"].values()) <= set(names)
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
    return True


def _files(folder: Path) -> list[Path]:
    """Return the files below a folder, links that lead nowhere not among them."""
    return [path for path in folder.rglob("*") if path.is_file()]


def tree_bytes(folder: Path) -> int:
    """Count the bytes of the files below a folder; 0 if there is none."""
    return sum(path.stat().st_size for path in _files(folder))


def _disk_bytes(repo: Path) -> int:
    """Count what a repository's folder takes: each file once, links not."""
    return sum(path.stat().st_size for path in _files(repo) if not path.is_symlink())


def _left_incomplete(repo: Path) -> list[str]:
    """Return the commits that an update which was never finished has left."""
    named = {path.read_text(encoding="utf-8").strip() for path in _files(repo / "refs")}
    return [
        folder.name
        for folder in (repo / "snapshots").iterdir()
        if folder.is_dir() and folder.name not in named and not _is_model(folder)
    ]


def _delete_revisions(repo: Path, *commits: str) -> None:
    from huggingface_hub import scan_cache_dir

    everything = scan_cache_dir(cache_dir())
    # Of this repository alone: a copy of it has the same commits, and may be the one that is found.
    this = frozenset(found for found in everything.repos if found.repo_path.name == repo.name)
    replace(everything, repos=this).delete_revisions(*commits).execute()


def _delete_files(repo: Path, pointers: list[Path]) -> None:
    """Delete files of a revision that stays, and their blobs unless something else uses them."""
    blobs = {Path(os.path.abspath(p.parent / p.readlink())) for p in pointers if p.is_symlink()}
    for pointer in pointers:
        pointer.unlink()
    used = {
        Path(os.path.abspath(path.parent / path.readlink()))
        for path in _files(repo / "snapshots")
        if path.is_symlink()
    }
    for blob in blobs - used:
        blob.unlink(missing_ok=True)
