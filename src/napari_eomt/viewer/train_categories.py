"""Which categories a training would learn, in words; without a window, no torch."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from napari_eomt.errors import DataError, ModelError
from napari_eomt.training.labels import match_categories
from napari_eomt.training.resolve import training_task
from napari_eomt.training.video_card import BECOMES_VIDEO, as_video_card

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_eomt.models.card import ModelCard
    from napari_eomt.structures.categories import Category
    from napari_eomt.training.params import TrainParams
    from napari_eomt.viewer.train_dataset import LearnRow

_N_NAMED = 4
"""Categories that are named; of more the rest is counted."""


def learnt_text(rows: Iterable[LearnRow], card: ModelCard, params: TrainParams) -> str:
    """Say which categories a model would learn of some images, the most frequent first.

    Parameters
    ----------
    rows : iterable of LearnRow
        The images that learn.
    card : ModelCard
        Of the model to start from.
    params : TrainParams

    Returns
    -------
    str
        Lines; empty if nobody knows yet what there is in the images.
    """
    found: Counter[Category] = Counter()
    for row in rows:
        if row.found is None:
            return ""
        found.update(row.found)
    if not found:
        return ""
    try:
        task = training_task(params, card)
    except DataError as error:
        return f"⚠ {error}"
    things = {c: n for c, n in found.most_common() if c.is_thing}
    stuff = {c: n for c, n in found.most_common() if not c.is_thing}
    if task == "instance" and not things:
        return (
            f"⚠ Nothing that {card.name} can learn: it tells objects apart one by one, and these "
            "categories are stuff. Start from a model that serves the task panoptic or semantic."
        )
    learnt = {**things, **({} if task == "instance" else stuff)}
    kind = {"instance": "objects", "semantic": "regions", "panoptic": "objects and regions"}[task]
    lines = [f"Learns {_counted(learnt)}, as {kind}."]
    new = _new_names(card, list(learnt))
    if new:
        all_new = len(new) == len(learnt)
        what = "All" if all_new and len(new) > 1 else listed(new)
        lines[0] += f" {what} {'is' if len(new) == 1 else 'are'} new to {card.name}."
    if task == "instance" and stuff:
        verb = "is" if len(stuff) == 1 else "are"
        lines.append(f"Stuff, {listed(c.name for c in stuff)}, {verb} background to {card.name}.")
    return "\n".join(lines)


def kind_text(card: ModelCard, *, is_video: bool) -> str:
    """Say what becomes of a model that learns from videos, or of one of videos without them.

    Parameters
    ----------
    card : ModelCard
        Of the model to start from.
    is_video : bool
        Whether it learns from videos.

    Returns
    -------
    str
        Empty if it stays what it is.
    """
    if card.is_video == is_video:
        return ""
    if not is_video:
        return (
            f"{card.name} is of videos: single images teach it what things look like, as they "
            "drift and turn, but not how they move."
        )
    try:
        as_video_card(card)
    except ModelError as error:
        return f"⚠ {error}"
    return BECOMES_VIDEO.format(name=card.name)


def listed(names: Iterable[str]) -> str:
    """Return names for a sentence: "cell, glass and 12 others"."""
    every = list(names)
    n_more = len(every) - _N_NAMED
    if n_more < 2:
        return ", ".join(every)
    return f"{', '.join(every[:_N_NAMED])} and {n_more} others"


def _counted(found: Mapping[Category, int]) -> str:
    return listed(f"{category.name} ({n:,})" for category, n in found.items())


def _new_names(card: ModelCard, categories: Sequence[Category]) -> list[str]:
    """Return which of them a model does not have, by name as a training compares them."""
    new = {c.name for c in match_categories(card.categories, categories).new}
    return [c.name for c in categories if c.name in new]
