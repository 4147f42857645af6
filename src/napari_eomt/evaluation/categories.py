"""Which category of a prediction is which of the truth: told by their names."""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING

from napari_eomt.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.structures.categories import Category


def category_map(
    pred: Sequence[Category],
    truth: Sequence[Category],
    *,
    any_category: bool = False,
    notes: list[str] | None = None,
) -> dict[int, int]:
    """Return for each category id of a prediction that of the truth.

    Names count, not ids: those of a model are other ones than a dataset's. A single category is
    the other's single one, whatever they are called.

    Parameters
    ----------
    pred, truth : sequence of Category
    any_category : bool
        Whether all things are taken for the first thing of the truth.
    notes : list of str, optional
        Filled with what a person should know of it.

    Returns
    -------
    dict of int to int
        Without those that the truth does not have.

    Raises
    ------
    DataError
        If no name is known to both.
    """
    said = [] if notes is None else notes
    if any_category:
        first = next((c.id for c in truth if c.is_thing), None)
        return {} if first is None else {c.id: first for c in pred if c.is_thing}
    names: dict[str, int] = {}
    for category in truth:
        names.setdefault(_key(category), category.id)
    found = {c.id: names[_key(c)] for c in pred if _key(c) in names}
    # Of two of one name, the ids tell.
    exact = {(c.id, _key(c)) for c in truth}
    found |= {c.id: c.id for c in pred if (c.id, _key(c)) in exact}
    if found or not pred or not truth:
        if len(found) < len(pred):
            said.append(
                f"{len(pred) - len(found)} of the prediction's {len(pred)} categories are not in "
                "the dataset: what it finds of them is not counted"
            )
        unknown = [c.name for c in truth if c.id not in set(found.values())]
        if unknown:
            said.append(
                f"{len(unknown)} of the dataset's {len(truth)} categories are never predicted: "
                f"{reprlib.repr(unknown)}"
            )
        return found
    if len(pred) == len(truth) == 1:
        said.append(f"{pred[0].name!r} of the prediction counts as {truth[0].name!r}")
        return {pred[0].id: truth[0].id}
    raise DataError(
        f"No category of the prediction is in the dataset: {reprlib.repr([c.name for c in pred])} "
        f"and {reprlib.repr([c.name for c in truth])}. Name them alike, or ignore categories."
    )


def _key(category: Category) -> str:
    return " ".join(category.name.casefold().replace("_", " ").replace("-", " ").split())
