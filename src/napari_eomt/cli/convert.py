"""`napari-eomt convert`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from napari_eomt.cli.convert_annotations import convert_annotations, holds_annotations
from napari_eomt.cli.options import Debug, clear_errors
from napari_eomt.errors import DataError
from napari_eomt.structures.categories import Category, stuff_labels
from napari_eomt.structures.segments import Task

if TYPE_CHECKING:
    from napari_eomt.formats.detect import Target as AnnotationTarget
    from napari_eomt.models.card import Sidecar
    from napari_eomt.models.convert import Conversion

# What a model that was trained for a task serves, that task first; as cards without a sidecar say.
_SERVES: dict[Task, tuple[Task, ...]] = {
    "instance": ("instance", "panoptic"),
    "panoptic": ("panoptic", "instance", "semantic"),
    "semantic": ("semantic",),
}


Target = Literal[
    "transformers", "original", "coco", "panoptic", "ytvis", "labels", "ctc", "eomt", "csv"
]


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="File or folder. Annotations: the JSON of COCO instances, COCO panoptic or "
            "YouTube-VIS, label images (TIFF, PNG), documents (.eomt). Or a checkpoint of the "
            "original EoMT or VidEoMT code (.bin, .pth, .ckpt, .safetensors), or a model's folder "
            "in transformers' layout.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="What to write. Annotations: a .json, a .tif, a .csv of tracks, or a folder for "
            "label images, tracks (ctc, csv) and documents. Checkpoints: a folder to make; with "
            "--to original, the file (.bin, .pth, .safetensors)."
        ),
    ],
    to: Annotated[
        Target | None,
        typer.Option(
            help="What to convert to. Checkpoints: transformers (the default) or original. "
            "Annotations: by default what the name in --out says, .json being ytvis for videos, "
            "else coco."
        ),
    ] = None,
    skip_invalid: Annotated[
        bool,
        typer.Option(
            "--skip-invalid", help="Annotations: leave out what makes no sense, and say what."
        ),
    ] = False,
    pngs: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Annotations: the PNGs of a panoptic dataset that is read. By default in a folder "
            "named as the JSON, else beside it.",
        ),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(
            help="Checkpoints: DINOv3 backbone, a file or folder, that a delta is added to: "
            "published DINOv3 checkpoints hold only what training changed in it."
        ),
    ] = None,
    input_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Checkpoints: side of the input in pixels; for DINOv3, if the checkpoint's name "
            "does not tell it.",
        ),
    ] = None,
    task: Annotated[
        Task | None,
        typer.Option(
            help="Checkpoints: what it was trained for. Semantic models take windows of an image."
        ),
    ] = None,
    categories: Annotated[
        str | None,
        typer.Option(
            metavar="LIST|FILE",
            help="Checkpoints: names of the categories in the order of training: a list of the "
            "package, such as coco_panoptic; a text file with a name a line; or a JSON list of "
            "names, or of COCO's categories.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print JSON: counts and notes, or counts by kind and configuration."
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no progress and no notes.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Convert annotations from one format into another, or a checkpoint.

    Annotations keep every field that the other format can hold; what it cannot is listed on
    stderr. Into their own format they are written as they are. After Ctrl-C, exit code 130, a
    JSON is not written at all, of label images and documents those that were finished are kept.

    Checkpoints of the original code become a model's folder, or back. No code that a checkpoint
    may hold is run. Every tensor is accounted for; a checkpoint with one too few or too many is an
    error.
    """
    for_models = {
        "--base": base,
        "--input-size": input_size,
        "--task": task,
        "--categories": categories,
    }
    for_annotations = {"--skip-invalid": skip_invalid or None, "--pngs": pngs}
    with clear_errors(debug):
        if to not in ("transformers", "original") and (to or holds_annotations(source)):
            _none_of(for_models, "of checkpoints", source)
            convert_annotations(
                source,
                out,
                cast("AnnotationTarget | None", to),
                pngs=pngs,
                skip_invalid=skip_invalid,
                overwrite=overwrite,
                as_json=as_json,
                quiet=quiet,
            )
            return
        _none_of(for_annotations, "of annotations", source)
        if to == "original":
            if any(value is not None for value in for_models.values()):
                raise DataError(
                    "--base, --input-size, --task and --categories say what a checkpoint does not; "
                    "leave them out with --to original."
                )
            # Only now: --help and wrong options answer without torch.
            from napari_eomt.models.convert import to_original

            done = to_original(source, out, overwrite=overwrite)
        else:
            known = None if categories is None else _read_categories(categories)
            sidecar = _sidecar(task, known)
            from napari_eomt.models.convert import to_transformers

            done = to_transformers(
                source,
                out,
                base=base,
                input_size=input_size,
                category_names=None if known is None else [category.name for category in known],
                image_mode=None if task is None else "split" if task == "semantic" else "pad",
                sidecar=sidecar,
                overwrite=overwrite,
            )
        typer.echo(done.as_json() if as_json else _in_a_line(done))


def _none_of(options: dict[str, Any], what: str, source: Path) -> None:
    """Refuse options that mean nothing here, rather than not heed them."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        other = "annotations" if what == "of checkpoints" else "taken for a checkpoint"
        raise DataError(
            f"{given[0]} is an option {what}; {source} is {other}. Leave it out, or say with --to "
            "what it is."
        )


def _in_a_line(done: Conversion) -> str:
    dropped = f", {len(done.dropped)} dropped" if done.dropped else ""
    return (
        f"{done.path}: {done.architecture}, {done.config['image_size']} px, "
        f"{done.config['num_labels']} categories; {done.n_mapped} tensors mapped{dropped}, "
        f"{done.n_written} written, {done.n_parameters / 1e6:.1f} M values, "
        f"{done.n_bytes / 1e6:.1f} MB"
    )


def _sidecar(task: Task | None, categories: list[Category] | None) -> Sidecar | None:
    from napari_eomt.models.card import Sidecar

    if task is None and categories is None:
        return None
    ids = tuple(category.id for category in categories or ())
    return Sidecar(
        tasks=() if task is None else _SERVES[task],
        # Those that a card would count itself need not be said.
        category_ids=() if ids == tuple(range(1, 1 + len(ids))) else ids,
        stuff=tuple(sorted(stuff_labels(categories or ()))),
    )


def _read_categories(given: str) -> list[Category]:
    """Return a list of the package by its name, else what a file says."""
    from napari_eomt.models.catalog import category_list, category_lists

    if given in category_lists():
        return list(category_list(given))
    path = Path(given).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise DataError(
            f"--categories {given}: is no list of the package and cannot be read as a file "
            f"({reason}). Give a file, or one of {', '.join(category_lists())}."
        ) from error
    if text.lstrip().startswith(("[", "{")):
        found = _from_json(path, text)
    else:
        names = [line.strip() for line in text.splitlines() if line.strip()]
        found = [Category(k, name) for k, name in enumerate(names, 1)]
    if not found or len({category.id for category in found}) != len(found):
        what = "two categories of the same id" if found else "no category"
        raise DataError(f"{path.name}: has {what}. Give a name and another id to each.")
    return found


def _from_json(path: Path, text: str) -> list[Category]:
    try:
        rows = json.loads(text)
        rows = rows["categories"] if isinstance(rows, dict) else rows
        return [_category(k, row) for k, row in enumerate(rows, 1)]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path.name}: is no list of categories ({error!r}). Expected JSON such as "
            '["cat", "dog"] or [{"id": 1, "name": "cat", "isthing": 1}].'
        ) from error


def _category(label: int, row: Any) -> Category:
    if isinstance(row, str):
        return Category(label, row)
    return Category(int(row["id"]), str(row["name"]), is_thing=bool(row.get("isthing", 1)))
