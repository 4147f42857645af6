"""What can go wrong between the hub and the disk, as one clear error each."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias

from huggingface_hub import constants

from napari_eomt.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from huggingface_hub.errors import HfHubHTTPError

Kind: TypeAlias = Literal[
    "gated",  # its makers give access on request
    "token",  # the token is refused
    "repository",  # there is none of this name
    "revision",
    "file",
    "offline",  # not here, and the network is not to be used
    "network",  # no or no sensible answer
    "damaged",  # the file is not the one that the hub announced
    "disk",  # full, or cannot be written
    "cancelled",
]


class DownloadError(ModelError):
    """A model that could not be fetched, kept or deleted; `kind` says why, for programs."""

    def __init__(self, message: str, kind: Kind = "network") -> None:
        super().__init__(message)
        self.kind: Kind = kind


def page_of(repo_id: str) -> str:
    """Return the address of a repository's page."""
    return f"{constants.ENDPOINT}/{repo_id}"


def is_passing(error: Exception) -> bool:
    """Say whether a fault may be gone on the next try: no answer, too busy, a server's own."""
    # Here, and wherever they are asked for: they import the network, which a window need not.
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in (408, 429) or error.response.status_code >= 500
    return is_http(error)


def is_http(error: BaseException) -> bool:
    """Say whether a fault comes from the network, or is an answer of the hub."""
    # The class of whichever httpx this huggingface_hub is built on: 1.x on httpx, 2.x on httpx2.
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    return isinstance(error, HTTPError)


def explain(error: Exception, repo_id: str, revision: str, file: str = "") -> DownloadError:
    """Turn what huggingface_hub raised into the error that the user reads."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    what = f"{repo_id}: {file}" if file else repo_id
    if isinstance(error, HFValidationError):
        return DownloadError(
            f"{repo_id!r} is no name of a repository on the hub. Give one as owner/name.",
            "repository",
        )
    if isinstance(error, OfflineModeIsEnabled):
        return offline(what)
    if isinstance(error, HfHubHTTPError):
        return _explain_answer(error, what, repo_id, revision, file)
    name = type(error).__name__
    host = constants.ENDPOINT.rpartition("://")[2] or constants.ENDPOINT
    if "Timeout" in name:
        seconds = constants.HF_HUB_DOWNLOAD_TIMEOUT
        fault = f"{host} did not answer within {seconds:g} s"
    elif name == "ProxyError":
        fault = f"the proxy to {host} refused ({_first_line(error)}); see HTTPS_PROXY"
    else:
        fault = f"{host} cannot be reached ({_first_line(error)})"
    return DownloadError(
        f"{what}: {fault}. Check the connection and try again: what was fetched is kept. "
        "Behind a proxy set HTTPS_PROXY; for a mirror of the hub set HF_ENDPOINT.",
        "network",
    )


def unusable_token() -> DownloadError:
    """Return the error of a token that cannot even be sent; it is not shown."""
    return DownloadError(
        "The token has characters that no token has. Copy it again from "
        f"{constants.ENDPOINT}/settings/tokens, or log in with `hf auth login`.",
        "token",
    )


def offline(what: str) -> DownloadError:
    """Return the error of something that is not here while the network is not to be used."""
    return DownloadError(
        f"{what} is not on this computer, and HF_HUB_OFFLINE forbids the network. Unset it to "
        f"download, or copy the model into {constants.HF_HUB_CACHE} from another computer's.",
        "offline",
    )


def _explain_answer(
    error: HfHubHTTPError, what: str, repo_id: str, revision: str, file: str
) -> DownloadError:
    from huggingface_hub.errors import (
        GatedRepoError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    status = error.response.status_code
    had_token = "authorization" in error.response.request.headers
    if isinstance(error, GatedRepoError):
        account = "The account of your token has" if had_token else "You have"
        return DownloadError(
            f"{repo_id}: its makers ask to accept a licence first. {account} no access yet. "
            f"Accept it at {page_of(repo_id)}, signed in; then run `hf auth login`, or set "
            "HF_TOKEN, with a token of that account that may read gated repositories.",
            "gated",
        )
    if isinstance(error, RevisionNotFoundError):
        return DownloadError(
            f"{repo_id} has no revision {revision!r}. Choose a branch, tag or commit of "
            f"{page_of(repo_id)}.",
            "revision",
        )
    if isinstance(error, RemoteEntryNotFoundError):
        return DownloadError(
            f"{repo_id} has no file {file!r} at revision {revision!r}. See what it has at "
            f"{page_of(repo_id)}.",
            "file",
        )
    # The hub answers 401 both for a bad token and for what a stranger may not know to exist.
    if had_token and status == 401:
        return DownloadError(
            f"{what}: the hub refuses the token. Log in again with `hf auth login`, or correct "
            "HF_TOKEN.",
            "token",
        )
    if isinstance(error, RepositoryNotFoundError) or status in (401, 404):
        return DownloadError(
            f"There is no repository {repo_id} at {constants.ENDPOINT}, or it is private. Check "
            "the name; for a private one run `hf auth login` or set HF_TOKEN.",
            "repository",
        )
    if status == 403:
        return DownloadError(
            f"{what}: the hub forbids access ({_first_line(error)}). Check the token's permissions "
            f"and {page_of(repo_id)}.",
            "token",
        )
    fault = "has too many requests from here" if status == 429 else f"answers {status}"
    return DownloadError(
        f"{what}: the hub {fault}. Try again later: what was fetched is kept.", "network"
    )


@contextmanager
def clear_disk_errors(folder: Path) -> Iterator[None]:
    """Turn an error of the file system in `folder` into one that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DownloadError(
                f"The disk of {folder} is full. What was fetched is kept, and the next download "
                "goes on from there: free some space first, or let HF_HOME name a folder on "
                "another disk.",
                "disk",
            ) from error
        where = error.filename or folder
        raise DownloadError(
            f"{where} cannot be written or read ({error.strerror or error}). Correct its "
            "permissions, or let HF_HOME name a folder that you may write to.",
            "disk",
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
