"""Every model that is known, as the rows of a list, and their filters. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from napari_eomt.errors import ModelError
from napari_eomt.models.card import ModelCard, read_card
from napari_eomt.models.catalog import (
    bundled_models,
    bundled_names,
    catalog,
    entry_card,
    find_entry,
    find_model,
)
from napari_eomt.models.store import local_folder
from napari_eomt.models.user_models import UserModel, user_models

if TYPE_CHECKING:
    from pathlib import Path

    from napari_eomt.models.catalog import CatalogEntry

Kind: TypeAlias = Literal["bundled", "published", "added"]

MISSING = "the folder is missing"


@dataclass(frozen=True)
class ModelRow:
    """A model of the list.

    Parameters
    ----------
    name : str
    kind : {"bundled", "published", "added"}
    card : ModelCard or None
        None if the folder of a model that was added is missing or damaged.
    folder : Path or None
        Where the model is, or was; None for a published one that is not here.
    entry : CatalogEntry or None
        Of a published model.
    problem : str
        Why the model in the folder cannot be used.
    """

    name: str
    kind: Kind
    card: ModelCard | None
    folder: Path | None
    entry: CatalogEntry | None = None
    problem: str = ""

    @property
    def is_here(self) -> bool:
        """Whether the model can be used without a download."""
        return self.card is not None and self.folder is not None

    @property
    def is_usable(self) -> bool:
        """Whether the model can be used as it is."""
        return self.is_here and not self.problem

    @property
    def is_hidden(self) -> bool:
        """Whether the list can do without it: the same model is there in a handier format."""
        return self.entry is not None and bool(self.entry.alternative_to) and not self.is_here

    def as_dict(self) -> dict[str, Any]:
        """Return what is known of the model, as JSON knows it."""
        card = self.card.model_dump(mode="json") if self.card else {"name": self.name}
        folder = {"folder": str(self.folder) if self.folder else None}
        state = {"kind": self.kind, "is_here": self.is_here, "problem": self.problem}
        entry = {"published": self.entry.model_dump(mode="json") if self.entry else None}
        return {**card, **folder, **state, **entry}


@dataclass(frozen=True)
class Filters:
    """Which models to list. None lets all pass.

    Parameters
    ----------
    task : str or None
        That the model serves.
    dataset : str or None
        Part of the name of what a published model was trained on.
    search : str or None
        Words, all of which must be in the model's names, description or hub id.
    downloaded : bool
        Only models that are here.
    video : bool or None
        Only models of videos (True), or none (False).
    """

    task: str | None = None
    dataset: str | None = None
    search: str | None = None
    downloaded: bool = False
    video: bool | None = None

    def match(self, row: ModelRow) -> bool:
        """Whether a row passes."""
        card, entry = row.card, row.entry
        trained_on = f"{entry.dataset} {entry.categories}".lower() if entry else ""
        return (
            (self.task is None or (card is not None and self.task in card.tasks))
            and (self.dataset is None or self.dataset.lower() in trained_on)
            and (not self.downloaded or row.is_here)
            and (self.video is None or (card is not None and card.is_video == self.video))
            and all(word in _words(row) for word in (self.search or "").lower().split())
        )


def bundled_rows() -> list[ModelRow]:
    """Return the models that come with the package."""
    return [ModelRow(name, "bundled", card, card.folder) for name, card in bundled_models().items()]


def published_rows() -> list[ModelRow]:
    """Return the catalog's models, with the facts that it knows."""
    rows = []
    for entry in catalog().values():
        # Not read from the folder: damage there is for whoever describes or loads the model.
        rows.append(
            ModelRow(entry.name, "published", entry_card(entry), local_folder(entry), entry)
        )
    return rows


def user_rows() -> list[ModelRow]:
    """Return the models that the user added, also those whose folder is missing or damaged."""
    return [_user_row(row) for row in user_models().values()]


def checked_rows() -> list[ModelRow]:
    """Return all models; those that are here as their folders say, so that damage shows."""
    return [*bundled_rows(), *user_rows(), *map(_checked, published_rows())]


def find_row(name: str) -> ModelRow:
    """Return the row of a model by its name, hub id or folder.

    Raises
    ------
    ModelError
        If there is none, or its folder cannot be used.
    """
    entry = find_entry(name)
    card = find_model(name)
    if entry is not None:
        return ModelRow(entry.name, "published", card, card.folder, entry)
    kind: Kind = "bundled" if name in bundled_names() else "added"
    return ModelRow(card.name, kind, card, card.folder)


def size_text(n_bytes: int) -> str:
    """Say how large a file is, as the hub does: 1 MB is 10⁶ bytes."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def count_text(n_parameters: int) -> str:
    """Say how many parameters a model has, in millions."""
    millions = n_parameters / 1e6
    return f"{millions:.0f} M" if millions >= 10 else f"{millions:.1f} M"


def _checked(row: ModelRow) -> ModelRow:
    if row.entry is None or row.folder is None:
        return row
    try:
        return replace(row, card=entry_card(row.entry, row.folder))
    except ModelError as error:
        return replace(row, problem=str(error))


def _user_row(row: UserModel) -> ModelRow:
    if row.is_missing:
        return ModelRow(row.name, "added", None, row.folder, problem=MISSING)
    try:
        return ModelRow(row.name, "added", read_card(row.folder, row.name), row.folder)
    except ModelError as error:
        return ModelRow(row.name, "added", None, row.folder, problem=str(error))


def _words(row: ModelRow) -> str:
    parts = [row.name]
    if row.card is not None:
        parts += [row.card.title, row.card.description, row.card.architecture]
    if row.entry is not None:
        parts += [row.entry.hub_id, row.entry.categories]
    return " ".join(parts).lower()
