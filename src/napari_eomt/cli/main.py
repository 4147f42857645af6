"""The command line: `napari-eomt`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from napari_eomt import __version__
from napari_eomt.cli.convert import convert
from napari_eomt.cli.demo import demo
from napari_eomt.cli.download import download
from napari_eomt.cli.evaluate import evaluate
from napari_eomt.cli.models import models
from napari_eomt.cli.predict import predict
from napari_eomt.cli.track import track
from napari_eomt.cli.train import train
from napari_eomt.cli.validate import validate

app = typer.Typer(
    name="napari-eomt",
    help="Segment images and stacks with EoMT models, and correct the results in napari.",
    no_args_is_help=True,
    add_completion=False,
    # Tracebacks are for --debug; an unexpected one is better plain than in boxes.
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"napari-eomt {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


app.command()(predict)
app.command()(track)
app.command()(train)
app.command()(evaluate)
app.command()(models)
app.command()(download)
app.command()(convert)
app.command()(validate)
app.command()(demo)


def main() -> None:
    """Run the command line; the entry point of the package."""
    # Names of images may hold what an old terminal cannot show; that is no reason to stop.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    app()


if __name__ == "__main__":
    main()
