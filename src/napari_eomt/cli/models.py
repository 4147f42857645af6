"""`napari-eomt models`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from napari_eomt.cli.options import Debug, clear_errors, say_error
from napari_eomt.errors import ModelError

if TYPE_CHECKING:
    from napari_eomt.models.card import ModelCard


def models(
    name: Annotated[
        str | None, typer.Argument(help="A model's name or folder; by default all are listed.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,
) -> None:
    """List the models, or describe one."""
    with clear_errors(debug):
        from napari_eomt.models.catalog import bundled_models, find_model
        from napari_eomt.settings import load_settings

        if name is not None:
            card = find_model(name)
            typer.echo(card.model_dump_json(indent=2) if as_json else _describe(card))
            return
        cards = list(bundled_models().values())
        for folder in load_settings().folders:
            try:
                cards.append(find_model(folder))
            except ModelError as error:  # one that was moved must not hide the others
                say_error(error)
        if as_json:
            typer.echo(json.dumps([card.model_dump(mode="json") for card in cards], indent=2))
            return
        width = max((len(card.name) for card in cards), default=0)
        for card in cards:
            typer.echo(f"{card.name:{width}}  {', '.join(card.tasks)}  {card.description}".rstrip())


def _describe(card: ModelCard) -> str:
    names = ", ".join(f"{category.id} {category.name}" for category in card.categories)
    rows = {
        "title": card.title,
        "about": card.description,
        "tasks": ", ".join(card.tasks),
        "categories": names,
        "input": f"{card.input_size} × {card.input_size} px",
        "queries": f"{card.n_queries}: the most objects that it finds in a tile",
        "object size": f"best near {card.object_size:g} px of the input"
        if card.object_size
        else "",
        "parameters": f"{card.n_parameters / 1e6:.1f} M, {card.n_bytes / 1e6:.1f} MB",
        "licence": card.licence,
        "folder": str(card.folder),
    }
    lines = [f"  {key:12}{value}" for key, value in rows.items() if value]
    return "\n".join([card.name, *lines])
