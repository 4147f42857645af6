"""`napari-eomt download`."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_eomt.cli.options import BAD_INPUT, INTERRUPTED, Debug, clear_errors, say_error
from napari_eomt.cli.progress import download_bar
from napari_eomt.errors import DataError, EomtError

if TYPE_CHECKING:
    from napari_eomt.models.store import Published

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def download(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="Models, as `napari-eomt models` lists them, or repositories of the Hugging Face "
            "hub as owner/name.",
        ),
    ],
    token: Annotated[
        str | None,
        typer.Option(
            help="Of a Hugging Face account; by default HF_TOKEN, or that of `hf auth login`, "
            "which other users of this computer cannot see."
        ),
    ] = None,
    remove: Annotated[
        bool, typer.Option("--delete", help="Delete the models from this computer instead.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a line for each.")] = False,
    debug: Debug = False,
) -> None:
    """Download published models, and convert them if their format asks for it.

    A download that was stopped goes on where it ended when it is run again.
    """
    has_failed = False
    with clear_errors(debug):
        for name in names:
            try:
                entry = _entry(name)
                if entry is None:
                    done = {"name": name, "message": "needs no download"}
                elif remove:
                    done = _delete(entry, yes, as_json)
                else:
                    done = _fetch(entry, token, as_json)
                typer.echo(json.dumps(done) if as_json else _line(done))
            except EomtError as error:
                if debug:
                    raise
                say_error(error)
                has_failed = True  # one that is gated must not keep the others from coming
            except KeyboardInterrupt as error:
                kept = (
                    "" if remove else "; what was fetched is kept: run it again to go on from there"
                )
                typer.echo(f"stopped{kept}", err=True)
                raise typer.Exit(INTERRUPTED) from error
    if has_failed:
        raise typer.Exit(BAD_INPUT)


def _entry(name: str) -> Published | None:
    """Return what to download; None if it is a model that came another way."""
    from napari_eomt.models.catalog import find_entry, find_model
    from napari_eomt.models.store import HubModel

    entry = find_entry(name)
    if entry is not None:
        return entry
    if _HUB_ID.fullmatch(name):
        return HubModel(name)
    find_model(name)
    return None


def _fetch(entry: Published, token: str | None, as_json: bool) -> dict[str, Any]:
    from napari_eomt.models.store import disk_size, fetch, local_folder

    folder = local_folder(entry)
    message = "is here already"
    if folder is None:
        with download_bar(entry.name, wanted=not as_json) as show:
            folder = fetch(entry, token=token, on_progress=show)
        message = "is ready"
    return {
        "name": entry.name,
        "message": message,
        "folder": str(folder),
        "n_bytes": disk_size(entry),
    }


def _delete(entry: Published, yes: bool, as_json: bool) -> dict[str, Any]:
    from napari_eomt.models.hub_watch import size_text
    from napari_eomt.models.store import delete, disk_size

    n_bytes = disk_size(entry)
    if not n_bytes:
        return {"name": entry.name, "message": "is not on this computer", "freed": 0}
    if not yes:
        if as_json or not _is_person():
            raise DataError(
                f"{entry.name}: nobody can be asked whether to delete it. Add --yes to delete "
                "without asking."
            )
        if not typer.confirm(f"Delete {entry.name} ({size_text(n_bytes)})?", err=True):
            return {"name": entry.name, "message": "is kept", "freed": 0}
    freed = delete(entry)
    return {"name": entry.name, "message": f"is deleted: {size_text(freed)} freed", "freed": freed}


def _is_person() -> bool:
    return sys.stdin.isatty()


def _line(done: dict[str, Any]) -> str:
    return "  ".join([f"{done['name']} {done['message']}", done.get("folder", "")]).rstrip()
