"""The models that are known: bundled, published, the user's; found by name. No torch."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from napari_eomt.errors import ModelError
from napari_eomt.models.card import ModelCard, read_card
from napari_eomt.models.catalog_entry import CatalogEntry as CatalogEntry
from napari_eomt.structures.categories import Category

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

DEFAULT_MODEL = "nuclei-nano"

_HERE = Path(__file__).parent
_BUNDLED = _HERE / "bundled"
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


def bundled_models() -> dict[str, ModelCard]:
    """Return the models that come with the package, by name."""
    return {name: read_card(_BUNDLED / name) for name in bundled_names()}


def bundled_names() -> list[str]:
    """Return the names of the models that come with the package, without reading them."""
    return sorted(path.name for path in _BUNDLED.iterdir() if (path / "config.json").is_file())


@cache
def _catalog() -> tuple[CatalogEntry, ...]:
    entries = []
    for row in _read_toml(_HERE / "catalog.toml")["models"]:
        alternatives = row.pop("alternatives", ())
        entries.append(CatalogEntry(**row))
        for changed in alternatives:
            entries.append(CatalogEntry(**row | changed, alternative_to=row["name"]))
    return tuple(entries)


def catalog() -> dict[str, CatalogEntry]:
    """Return the published models, by name, in the order of ``catalog.toml``."""
    return {entry.name: entry for entry in _catalog()}


@cache
def category_list(name: str) -> tuple[Category, ...]:
    """Return a list of categories that comes with the package, in the order of the labels.

    Parameters
    ----------
    name : str
        One of `category_lists`, such as ``"coco_panoptic"``.

    Raises
    ------
    ModelError
        If there is no such list.
    """
    if name not in category_lists():
        raise ModelError(
            f"There is no list of categories {name!r}, expected one of {category_lists()}."
        )
    rows = _read_toml(_HERE / "category_lists" / f"{name}.toml")["categories"]
    return tuple(Category(id_, label, is_thing=kind == "thing") for id_, label, kind in rows)


def category_lists() -> list[str]:
    """Return the names of the lists of categories that come with the package."""
    return sorted(path.stem for path in (_HERE / "category_lists").glob("*.toml"))


def entry_card(entry: CatalogEntry, folder: Path | None = None) -> ModelCard:
    """Return the card of a published model.

    Parameters
    ----------
    entry : CatalogEntry
    folder : Path, optional
        Where the model is, in transformers' layout; None if it is not here. Then the card says
        what the catalog knows.

    Returns
    -------
    ModelCard
        With the catalog's names and ids of categories, tasks and thresholds: those in published
        folders are missing, or wrong (VIPSeg's names, semantic models that pad).

    Raises
    ------
    ModelError
        If what lies in `folder` is not this model.
    """
    facts: dict[str, Any] = {
        "name": entry.name,
        "folder": folder,
        "title": entry.title,
        "description": describe(entry),
        "licence": entry.licence,
        "tasks": entry.tasks,
        "categories": category_list(entry.categories),
        "thresholds": entry.thresholds,
    }
    if folder is None:
        return ModelCard(
            **facts,
            architecture=entry.architecture,
            input_size=entry.input_size,
            patch_size=entry.patch_size,
            n_queries=entry.n_queries,
            image_mean=_IMAGENET_MEAN,
            image_std=_IMAGENET_STD,
            object_size=None,
            percentiles=None,
            tile_overlap=entry.input_size // 4,
            n_parameters=entry.n_parameters,
            n_bytes=entry.n_bytes,
            width=entry.width,
            depth=entry.depth,
        )
    card = read_card(folder, entry.name)
    for what, found, expected in (
        ("architecture", card.architecture, entry.architecture),
        ("number of categories", len(card.categories), len(facts["categories"])),
    ):
        if found != expected:
            raise ModelError(
                f"{entry.name}: the files in {folder} are not this model: their {what} is "
                f"{found}, expected {expected}. Delete the folder and download the model again, "
                "or add the folder as a model of your own."
            )
    return card.model_copy(update=facts)


def describe(entry: CatalogEntry) -> str:
    """Say in one line what a published model is and how well it does."""
    scores = [score for score in (entry.score, *entry.other_scores) if score is not None]
    told = ", ".join(f"{score.metric} {score.value:.1f}" for score in scores)
    trained = f", trained on {entry.dataset}" if entry.dataset else ""
    line = f"{'Video: ' if entry.is_video else ''}{entry.tasks[0]}, {entry.backbone}{trained}"
    return ". ".join(part for part in (f"{line}: {told}" if told else line, entry.note) if part)


def find_entry(name: str) -> CatalogEntry | None:
    """Return the published model of this name or hub id; None if there is none.

    Raises
    ------
    ModelError
        If several models lie under the hub id.
    """
    entries = catalog()
    if name in entries:
        return entries[name]
    same = [entry for entry in entries.values() if entry.hub_id == name]
    if len(same) > 1:
        raise ModelError(
            f"{name} holds several models. Choose one of {', '.join(entry.name for entry in same)}."
        )
    return same[0] if same else None


def find_model(model: str | Path) -> ModelCard:
    """Return the card of a model.

    Parameters
    ----------
    model : str or Path
        Name of a bundled model; name or hub id of a published one, which need not be here; name
        of one that the user added; or a model's folder. A name goes before a folder of the same
        name, which is ``./name`` then.

    Raises
    ------
    ModelError
        If there is no such model, or its folder cannot be used.
    """
    users: list[str] = []
    if isinstance(model, str):
        if model in bundled_names():
            return read_card(_BUNDLED / model)
        entry = find_entry(model)
        if entry is not None:
            from napari_eomt.models.store import local_folder  # brings the hub's client along

            return entry_card(entry, local_folder(entry))
        from napari_eomt.models.user_models import user_models  # it knows the catalog's names

        rows = user_models()
        if model in rows:
            return read_card(rows[model].folder, model)
        users = list(rows)
    folder = Path(model).expanduser()
    if not folder.exists():
        # Of a path, only the last part can be the misspelt name of a model.
        names = [*bundled_names(), *users, *catalog()]
        typed = str(model).rpartition("/")[2].lower()
        # What is not typed to its end first, then what is misspelt.
        begun = [name for name in names if len(typed) > 3 and name.startswith(typed)]
        close = (begun or get_close_matches(typed, names, n=3, cutoff=0.6))[:3]
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        raise ModelError(
            f"There is no model {str(model)!r}: neither a folder nor a known name. {hint}"
            "`napari-eomt models` lists them."
        )
    return read_card(folder.resolve())


def _read_toml(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        content: dict[str, Any] = tomllib.load(file)
    return content
