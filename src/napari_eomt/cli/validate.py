"""`napari-eomt validate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from napari_eomt.cli.convert_annotations import shown
from napari_eomt.cli.options import BAD_INPUT, Debug, clear_errors
from napari_eomt.cli.progress import progress_bar


def validate(
    path: Annotated[
        Path,
        typer.Argument(
            help="File or folder: the JSON of COCO instances, COCO panoptic or YouTube-VIS, label "
            "images, tracks of the Cell Tracking Challenge, documents (.eomt)."
        ),
    ],
    form: Annotated[
        Literal["coco", "panoptic", "ytvis", "labels", "ctc", "eomt"] | None,
        typer.Option("--format", help="Its format. By default found out from what is in it."),
    ] = None,
    pngs: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="The PNGs of a panoptic dataset. By default in a folder named as the JSON, else "
            "beside it.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: counts, and a list of what was found.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print errors only, and no progress.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Look for all that is wrong with annotations, and list it.

    An error is what cannot be read; with a warning it is read, but other programs may see
    something else in it. The exit code is 2 if there are errors. Nothing is changed.
    """
    with clear_errors(debug):
        # Only now: --help answers at once.
        from napari_eomt.formats.detect import NAMES, detect
        from napari_eomt.formats.validate import validate as validate_annotations

        found = form or detect(path)
        with progress_bar(path.name, not quiet) as show:
            findings = validate_annotations(path, found, folder=pngs, on_item=shown(show))
        n_errors = sum(finding.severity == "error" for finding in findings)
        n_warnings = len(findings) - n_errors
        if as_json:
            rows = [{"severity": f.severity, "message": f.message} for f in findings]
            counts = {"n_errors": n_errors, "n_warnings": n_warnings}
            row = {"path": str(path), "format": found, **counts, "findings": rows}
            typer.echo(json.dumps(row, ensure_ascii=False))
        else:
            for finding in findings:
                if finding.severity == "error" or not quiet:
                    typer.echo(f"{finding.severity}: {' '.join(finding.message.split())}")
            if not quiet:
                typer.echo(f"{path}: {NAMES[found]}, {n_errors} errors, {n_warnings} warnings")
        if n_errors:
            raise typer.Exit(BAD_INPUT)
