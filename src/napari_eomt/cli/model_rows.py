"""The models as the command line shows them: the table, and one in full."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_eomt.models.card import ARCHITECTURES, ModelCard
from napari_eomt.models.catalog import catalog, describe
from napari_eomt.models.rows import MISSING, ModelRow, count_text, size_text
from napari_eomt.models.store import disk_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.models.catalog import CatalogEntry

SHOWN_CATEGORIES = 12


def table(rows: Sequence[ModelRow]) -> str:
    """Return the rows as aligned columns."""
    head = ("name", "task", "input", "params", "size", "score", "here")
    lines = [head, *map(_cells, rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    return "\n".join(
        "  ".join(
            # Numbers end below each other, words begin so.
            f"{cell:>{width}}" if 2 <= k <= 4 else f"{cell:{width}}"
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def describe_row(row: ModelRow) -> str:
    """Return all that there is to say about a model, a fact a line."""
    card, entry = row.card, row.entry
    facts: dict[str, str] = {}
    if card is not None:
        facts |= {
            "title": card.title,
            "about": "" if entry else card.description,
            "network": ARCHITECTURES[card.architecture],
            "tasks": ", ".join(card.tasks) + (", on videos" if card.is_video else ""),
        }
    if entry is not None:
        facts |= _published_facts(entry)
    if card is not None:
        facts |= {
            "categories": _categories(card),
            "input": f"{card.input_size} × {card.input_size} px",
            "queries": f"{card.n_queries}: the most objects that it finds in a tile",
            "object size": f"best near {card.object_size:g} px of the input"
            if card.object_size
            else "",
            "thresholds": ", ".join(
                f"{name.removesuffix('_threshold')} {value:g}"
                for name, value in card.thresholds
                if value is not None
            ),
            "parameters": f"{count_text(card.n_parameters)}, {size_text(card.n_bytes)}",
            "licence": card.licence,
        }
    if row.folder is not None:
        facts["folder"] = str(row.folder)
        if entry is not None:
            facts["on disk"] = size_text(disk_size(entry))
    elif entry is not None:
        facts["folder"] = f"not on this computer: `napari-eomt download {entry.name}`"
    lines = [f"  {key:12}{value}" for key, value in facts.items() if value]
    return "\n".join([row.name, *lines])


def _published_facts(entry: CatalogEntry) -> dict[str, str]:
    same = entry.alternative_to or ", ".join(
        other.name for other in catalog().values() if other.alternative_to == entry.name
    )
    return {
        "about": describe(entry),
        "backbone": entry.backbone,
        "speed": f"{entry.speed.images_per_second:g} images/s on {entry.speed.hardware}"
        if entry.speed
        else "",
        "source": f"https://huggingface.co/{entry.hub_id}, {entry.revision}",
        "files": ", ".join(entry.files),
        "added to": entry.base or "",
        "access": "gated: needs an account that has agreed to the licence" if entry.gated else "",
        "same model": same,
    }


def _categories(card: ModelCard) -> str:
    names = [f"{category.id} {category.name}" for category in card.categories]
    shown = ", ".join(names[:SHOWN_CATEGORIES])
    rest = len(names) - SHOWN_CATEGORIES
    return f"{len(names)}: {shown}" + (f" and {rest} more" if rest > 0 else "")


def _cells(row: ModelRow) -> tuple[str, ...]:
    if row.card is None:
        return (row.name, "", "", "", "", "", "missing" if row.problem == MISSING else "damaged")
    here: str = row.kind
    if row.entry is not None:
        here = "yes" if row.is_here else "no, gated" if row.entry.gated else "no"
    score = row.entry.score if row.entry else None
    return (
        row.name,
        row.card.tasks[0],
        str(row.card.input_size),
        count_text(row.card.n_parameters),
        size_text(row.card.n_bytes),
        f"{score.metric} {score.value:.1f}" if score else "",
        here,
    )
