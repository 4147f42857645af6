"""`napari-eomt demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_eomt.cli.options import Debug, clear_errors


def demo(
    screenshot: Annotated[
        Path | None,
        typer.Option(help="Segment, save a picture of the window to this file, and exit."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Open napari with a sample image, segmented."""
    with clear_errors(debug):
        from napari_eomt.widgets.demo import run_demo

        run_demo(screenshot)
