"""What `napari-eomt convert` does with annotations, and says about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from napari_eomt.cli.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_eomt.formats.detect import Target
    from napari_eomt.inference.progress import Progress


def holds_annotations(path: Path) -> bool:
    """Whether a file or folder holds annotations, rather than a model."""
    if path.suffix.lower() in (".json", ".tif", ".tiff", ".png"):
        # The list of a checkpoint's parts is a JSON as well.
        return not path.name.endswith(".safetensors.index.json")
    if not path.is_dir() or (path / "config.json").is_file():
        return False
    # Only now: --help, and checkpoints, do without.
    from napari_eomt.formats.detect import guess

    return guess(path) is not None


def convert_annotations(
    path: Path,
    out: Path,
    to: Target | None,
    *,
    pngs: Path | None,
    skip_invalid: bool,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Convert, and print a line: notes go to stderr.

    Raises
    ------
    EomtError
        If it cannot be done.
    """
    from napari_eomt.formats.convert import convert
    from napari_eomt.formats.detect import TARGETS

    with progress_bar(path.name, not quiet) as show:
        done = convert(
            path,
            out,
            to,
            folder=pngs,
            skip_invalid=skip_invalid,
            overwrite=overwrite,
            on_item=shown(show),
        )
    if as_json:
        row = {
            "path": str(done.path),
            "source": done.source,
            "target": done.target,
            "n_images": done.n_items,
            "n_segments": done.n_segments,
            "notes": done.notes,
        }
        typer.echo(json.dumps(row, ensure_ascii=False))
        return
    if not quiet:
        for note in done.notes:
            typer.echo(f"note: {note}", err=True)
    what = "videos" if done.target == "ytvis" else "images or stacks"
    typer.echo(
        f"{done.path}: {TARGETS[done.source]} to {TARGETS[done.target]}, {done.n_items} {what}, "
        f"{done.n_segments} segments"
    )


def shown(show: Callable[[Progress], None]) -> Callable[[int, int, str], None]:
    """Return what shows how many images are done."""
    from napari_eomt.inference.progress import Progress

    return lambda done, total, _: show(Progress(done, total, "image"))
