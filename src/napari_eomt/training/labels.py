"""Which label of the model a category of the dataset is: by its name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_eomt.structures.categories import Category

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

BACKGROUND = "background"


_N_LISTED = 6


@dataclass(frozen=True)
class LabelMap:
    """The categories that a model has after learning, and where those of the dataset are in it.

    Parameters
    ----------
    categories : tuple of Category
        In the order of the class logits: the model's own, then new ones.
    label_of : dict of int to int
        Label of each category id of the dataset.
    n_known : int
        How many of them the model had before. If there are more now, its class head has to get
        rows for the new ones.
    notes : tuple of str
        What the user should know.
    background : int or None
        Label of what nobody has annotated, where regions are learnt; None: it has none.
    """

    categories: tuple[Category, ...]
    label_of: Mapping[int, int]
    n_known: int
    notes: tuple[str, ...] = ()
    background: int | None = None

    @property
    def new(self) -> tuple[Category, ...]:
        """The categories that the model did not have."""
        return self.categories[self.n_known :]


def match_categories(
    model_categories: Sequence[Category], dataset_categories: Iterable[Category]
) -> LabelMap:
    """Find the dataset's categories among the model's, and append those that are not there.

    Names are compared as they are, then without case and outer spaces. Whether a category is
    thing or stuff is the dataset's to say. A new one keeps its id if it is free.

    Parameters
    ----------
    model_categories : sequence of Category
        In the order of the class logits.
    dataset_categories : iterable of Category
    """
    categories = list(model_categories)
    n_known = len(categories)
    notes: list[str] = []
    # Of labels with the same name the first is meant.
    exact = {c.name: k for k, c in reversed(list(enumerate(categories)))}
    loose = {_folded(c.name): k for k, c in reversed(list(enumerate(categories)))}
    label_of: dict[int, int] = {}
    changed: set[int] = set()
    for category in dataset_categories:
        label = exact.get(category.name, loose.get(_folded(category.name)))
        if label is None:
            taken = {c.id for c in categories}
            new_id = category.id if category.id not in taken else max(taken) + 1
            label = len(categories)
            categories.append(replace(category, id=new_id))
            exact[category.name] = loose[_folded(category.name)] = label
        elif label < n_known and categories[label].is_thing != category.is_thing:
            if label in changed:
                notes.append(
                    f"The dataset has {category.name!r} as a thing and as stuff: the first holds."
                )
            else:
                kind = "things" if category.is_thing else "stuff"
                categories[label] = replace(categories[label], is_thing=category.is_thing)
                notes.append(f"{category.name!r} is {kind} in the dataset, other than the model's.")
        if label in label_of.values():
            notes.append(f"Several categories are called {category.name!r}: they are one label.")
        changed.add(label)
        label_of[category.id] = label
    if len(categories) > n_known:
        names = listed(c.name for c in categories[n_known:])
        notes.append(f"New to the model: {names}.")
    return LabelMap(tuple(categories), label_of, n_known, tuple(notes))


def with_background(labels: LabelMap) -> LabelMap:
    """Return labels of which one is for what nobody has annotated: "background".

    Regions are told apart pixel by pixel, and each pixel gets the likeliest category. A model that
    knows nuclei alone finds nothing else, wherever it looks. A category of the dataset that is
    called so says itself where there is nothing, and is left alone.
    """
    named = {_folded(c.name): k for k, c in reversed(list(enumerate(labels.categories)))}
    label = named.get(BACKGROUND)
    if label is not None and label in labels.label_of.values():
        return labels
    categories = labels.categories
    if label is None:
        label, taken = len(categories), {c.id for c in categories}
        categories = (*categories, Category(max(taken) + 1, BACKGROUND, is_thing=False))
    note = (
        f"What is not annotated is learnt as {BACKGROUND!r}, for each pixel gets a category. "
        "To learn objects alone, choose the task instance or panoptic."
    )
    return replace(labels, categories=categories, background=label, notes=(*labels.notes, note))


def listed(names: Iterable[str]) -> str:
    """Return names for a sentence: the first few of many."""
    quoted = [repr(name) for name in names]
    n_more = len(quoted) - _N_LISTED
    if n_more < 2:
        return ", ".join(quoted)
    return f"{', '.join(quoted[:_N_LISTED])} and {n_more} others"


def _folded(name: str) -> str:
    return name.strip().casefold()
