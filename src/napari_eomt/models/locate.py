"""From whatever names a model to a folder that it can be loaded from."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from napari_eomt.models.card import ModelCard, read_card
from napari_eomt.models.catalog import find_entry, find_model
from napari_eomt.models.store import HubModel, fetch, models_dir

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_eomt.models.hub_watch import Progress

CHECKPOINTS = (".bin", ".pth", ".pt", ".ckpt", ".safetensors")
"""Suffixes of checkpoint files."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def locate(
    model: str | Path,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> ModelCard:
    """Return the card of a model that is on this computer, and bring it here if it is not.

    Parameters
    ----------
    model : str or Path
        As `load_segmenter` takes it.
    on_progress, is_cancelled : callable, optional
        See `store.fetch`.

    Raises
    ------
    ModelError
        If there is no such model, or it cannot be downloaded or converted.
    """
    path = Path(model).expanduser()
    if path.is_file() and path.suffix in CHECKPOINTS:
        return read_card(_converted(path.resolve()), path.stem)
    if isinstance(model, str) and not path.exists() and _is_unlisted(model):
        hub_model = HubModel(model)
        folder = fetch(hub_model, on_progress=on_progress, is_cancelled=is_cancelled)
        return read_card(folder, hub_model.hub_id.rpartition("/")[2])
    card = find_model(model)
    if card.folder is None:
        entry = find_entry(str(model))
        if entry is not None:
            fetch(entry, on_progress=on_progress, is_cancelled=is_cancelled)
            card = find_model(model)
    return card


def _is_unlisted(model: str) -> bool:
    """Whether the name can be a repository of the hub that the catalog does not know."""
    return _HUB_ID.fullmatch(model) is not None and find_entry(model) is None


def _converted(checkpoint: Path) -> Path:
    """Return the folder of a checkpoint file in transformers' layout, converted at most once."""
    status = checkpoint.stat()
    identity = f"{checkpoint}\n{status.st_size}\n{status.st_mtime_ns}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
    folder = models_dir() / "files" / f"{checkpoint.stem}-{digest}"
    if not (folder / "config.json").is_file():
        from napari_eomt.models.convert import to_transformers

        folder.parent.mkdir(parents=True, exist_ok=True)
        to_transformers(checkpoint, folder)
    return folder
