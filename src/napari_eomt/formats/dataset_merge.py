"""Joining what is added to a dataset with what is there: categories, and ids of annotations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_eomt.formats.coco_attributes import segment_id_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_eomt.formats.coco_checks import Record


@dataclass(frozen=True)
class CategoryMerge:
    """How categories fit into a dataset.

    Parameters
    ----------
    ids : dict of int to int
        The dataset's id of each that is added.
    new : tuple of dict
        Records that the dataset does not have yet.
    notes : tuple of str
        What is not as one might think; for people.
    """

    ids: dict[int, int]
    new: tuple[Record, ...]
    notes: tuple[str, ...]


def merge_categories(wanted: Iterable[Record], there: Sequence[Record]) -> CategoryMerge:
    """Find the categories that are added among those of a dataset.

    The one with the same id and name, else the first with the same name; else it is new, with its
    own id if that is free. What is there keeps its id, its name and all its fields.

    Parameters
    ----------
    wanted, there : sequence of dict
        COCO's records.
    """
    records = {record["id"]: record for record in there}
    by_name: dict[str, list[Record]] = {}
    for record in there:
        by_name.setdefault(record["name"], []).append(record)
    ids: dict[int, int] = {}
    new: list[Record] = []
    notes: list[str] = []
    for record in wanted:
        same = by_name.get(record["name"], [])
        found = next((r for r in same if r["id"] == record["id"]), same[0] if same else None)
        if found is None:
            found = dict(record)
            if record["id"] in records:
                found["id"] = max([0, *records]) + 1
                notes.append(
                    f"The category '{record['name']}' has the id {found['id']} in the dataset: "
                    f"{record['id']} is '{records[record['id']]['name']}' there."
                )
            records[found["id"]] = found
            by_name[found["name"]] = [found]
            new.append(found)
        else:
            if len(same) > 1:
                notes.append(
                    f"The dataset has the category '{record['name']}' {len(same)} times; "
                    f"{found['id']} was taken."
                )
            elif found["id"] != record["id"]:
                notes.append(
                    f"The category '{record['name']}' has the id {found['id']} in the dataset, not "
                    f"{record['id']}."
                )
            if bool(record.get("isthing", 1)) != bool(found.get("isthing", 1)):
                what = "things" if found.get("isthing", 1) else "stuff"
                notes.append(f"'{record['name']}' stays a category of {what}, as in the dataset.")
        ids[record["id"]] = found["id"]
    return CategoryMerge(ids, tuple(new), tuple(notes))


def renumber(
    records: Sequence[Record],
    known: Iterable[int],
    previous: Sequence[Record],
    owners: Mapping[int, int],
    image_id: int,
    next_id: int,
) -> int:
    """Give an image's annotations ids that no other image has, in place.

    An annotation that was read keeps its id; one of a segment that was written before takes the
    id of then; the others are numbered on.

    Parameters
    ----------
    records : sequence of dict
        What the image's annotations become.
    known : iterable of int
        Ids, of those that were read.
    previous : sequence of dict
        The image's annotations in the dataset.
    owners : dict of int to int
        The image of each annotation in the dataset.
    image_id : int
    next_id : int
        First id that nobody has, nor ever had.

    Returns
    -------
    int
        The next such id.
    """
    read = set(known)
    before = {segment_id_of(record): record["id"] for record in previous}
    before.pop(None, None)
    used: set[int] = set()
    rest = []
    for record in records:
        i = record.get("id")
        if i in read and i not in used and owners.get(i, image_id) == image_id:
            used.add(i)
        else:
            rest.append(record)
    for record in rest:
        i = before.get(segment_id_of(record))
        if i is None or i in used:
            i, next_id = next_id, next_id + 1
        record["id"] = i
        used.add(i)
    return max(next_id, 1 + max(used, default=0))
