"""`napari-eomt models`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_eomt.cli.options import Debug, clear_errors, say_error
from napari_eomt.errors import DataError, OutputError
from napari_eomt.structures.segments import TASKS

if TYPE_CHECKING:
    from napari_eomt.models.rows import ModelRow


def models(
    name: Annotated[
        str | None,
        typer.Argument(help="A model's name, hub id or folder; by default models are listed."),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help=f"Only models that serve this task: {', '.join(TASKS)}.")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Only models trained on this data set, such as coco."),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Only models with all these words in what is known."),
    ] = None,
    downloaded: Annotated[
        bool, typer.Option("--downloaded", help="Only models that are on this computer.")
    ] = False,
    video: Annotated[
        bool | None, typer.Option("--video/--no-video", help="Only models of videos, or none.")
    ] = None,
    every: Annotated[
        bool,
        typer.Option("--all", help="Also the same published models in their original formats."),
    ] = False,
    add: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Remember the model in this folder.")
    ] = None,
    called: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="With --add: call it so, not as its folder."),
    ] = None,
    note: Annotated[
        str, typer.Option(metavar="TEXT", help="With --add: what there is to say about it.")
    ] = "",
    remove: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Forget a model that was added; its folder stays."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,
) -> None:
    """List the models, or describe one: bundled, published, and your own."""
    with clear_errors(debug):
        from napari_eomt.cli.model_rows import describe_row, table
        from napari_eomt.models.rows import Filters, find_row
        from napari_eomt.models.user_models import add_user_model, remove_user_model

        _check(name, task, called, note, add, remove)
        if add is not None:
            row = add_user_model(add, called, note)
            typer.echo(f"{row.name}  {row.folder}")
            return
        if remove is not None:
            row = remove_user_model(remove)
            typer.echo(f"{row.name} is forgotten; {row.folder} stays as it is.")
            return
        if name is not None:
            found = find_row(name)
            typer.echo(_dump(found.as_dict()) if as_json else describe_row(found))
            return
        wanted = Filters(task, dataset, search, downloaded, video)
        rows = [row for row in _all_rows() if wanted.match(row)]
        chosen = rows if every else [row for row in rows if not row.is_hidden]
        if as_json:
            typer.echo(_dump([row.as_dict() for row in chosen]))
            return
        if chosen:
            typer.echo(table(chosen))
        else:
            typer.echo("No model is like this. `napari-eomt models` lists all.", err=True)
        if len(rows) > len(chosen):
            more = len(rows) - len(chosen)
            typer.echo(f"{more} more: the same in their original formats (--all).", err=True)


def _check(
    name: str | None,
    task: str | None,
    called: str | None,
    note: str,
    add: Path | None,
    remove: str | None,
) -> None:
    if task is not None and task not in TASKS:
        raise DataError(f"--task {task}: expected one of {', '.join(TASKS)}.")
    if sum(option is not None for option in (name, add, remove)) > 1:
        raise DataError("A model to describe, --add and --remove: give one of them at a time.")
    if add is None and (called is not None or note):
        raise DataError("--name and --note belong to --add FOLDER.")


def _all_rows() -> list[ModelRow]:
    from napari_eomt.models.rows import bundled_rows, published_rows, user_rows
    from napari_eomt.models.user_models import adopt_old_folders

    try:
        adopt_old_folders()
    except OutputError as error:  # what cannot be written can be listed all the same
        say_error(error)
    return [*bundled_rows(), *user_rows(), *published_rows()]


def _dump(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False)
