"""The models that are there: bundled ones by name, others by folder. No torch."""

from __future__ import annotations

from pathlib import Path

from napari_eomt.errors import ModelError
from napari_eomt.models.card import ModelCard, read_card

DEFAULT_MODEL = "nuclei-nano"

_BUNDLED = Path(__file__).parent / "bundled"


def bundled_models() -> dict[str, ModelCard]:
    """Return the models that come with the package, by name."""
    folders = sorted(path for path in _BUNDLED.iterdir() if (path / "config.json").is_file())
    return {folder.name: read_card(folder) for folder in folders}


def find_model(model: str | Path) -> ModelCard:
    """Return the card of a bundled model, by its name, or of a model's folder.

    Raises
    ------
    ModelError
        If there is no such model, or its folder cannot be used.
    """
    known = bundled_models()
    if isinstance(model, str) and model in known:
        return known[model]
    folder = Path(model).expanduser()
    if not folder.exists():
        raise ModelError(
            f"There is no model {str(model)!r}: neither a folder nor one of the bundled models, "
            f"{sorted(known)}. `napari-eomt models` lists them."
        )
    return read_card(folder.resolve())
