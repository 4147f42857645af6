"""Which images learn and which check."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from napari_eomt.errors import DataError
from napari_eomt.formats.splits import Part, joined_sizes, rank_of, split_groups

if TYPE_CHECKING:
    from collections.abc import Mapping

Choice: TypeAlias = Literal["train", "val", "none"]
"""What a person wants of an image: to learn, to check, or neither."""


@dataclass(frozen=True)
class Split:
    """The images of each part.

    Parameters
    ----------
    train, val : tuple of str
        Keys of the images that learn and that check, in their order.
    notes : tuple of str
        What the user should know.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    notes: tuple[str, ...] = ()


def split_images(
    groups: Mapping[str, str],
    val_fraction: float,
    choices: Mapping[str, Choice] | None = None,
    sizes: Mapping[str, int] | None = None,
    copies: Mapping[str, str] | None = None,
) -> Split:
    """Decide which images learn and which check.

    As a dataset on disk is split, see `split_groups`, by the names of the groups: an image that
    comes or goes moves none of 20 or more, and at most one of fewer. What a person chooses for one
    image moves no other, but that if one part had none, the group that would be next there moves
    to it; a single group learns, and nothing checks.

    Parameters
    ----------
    groups : dict of str to str
        The group of each image, by its key: the frames of one stack, or the image itself; see
        `group_of`. A group is never divided.
    val_fraction : float
        Of the images, 0 to below 1; 0: nothing checks but what is chosen to.
    choices : dict of str to str, optional
        What a person wants, by image. A choice for one frame is for its whole stack, but that
        "none" leaves out the one frame.
    sizes : dict of str to int, optional
        How many images each key stands for; by default one.
    copies : dict of str to str, optional
        For groups that are copies of others, the first of these; see `join_copies`. They are in
        one part, and count once.

    Raises
    ------
    DataError
        If there is no image, none is left to learn from, or frames of one stack are chosen for
        different parts.
    """
    if not groups:
        raise DataError("The dataset has no images. Add some with their annotations.")
    choices = {key: choice for key, choice in (choices or {}).items() if key in groups}
    left = {key: group for key, group in groups.items() if choices.get(key) != "none"}
    n_images: Counter[str] = Counter()
    for key, group in left.items():
        n_images[group] += 1 if sizes is None else sizes[key]
    copies = copies or {}
    n_joined = joined_sizes(n_images, copies)
    groups = {key: copies.get(group, group) for key, group in groups.items()}
    left = {key: groups[key] for key in left}
    chosen = _chosen_groups(groups, choices)
    parts = split_groups(n_joined, val_fraction, n_groups=len(set(groups.values())))
    parts = {group: chosen.get(group, parts[group]) for group in left.values()}
    free = sorted((g for g in parts if g not in chosen), key=rank_of)
    notes: list[str] = []
    in_part = {part: [g for g in parts if parts[g] == part] for part in ("train", "val")}
    if not in_part["train"] and free:
        parts[free[-1]] = "train"  # also if it is the only group
    elif val_fraction > 0 and not in_part["val"] and free and len(parts) > 1:
        parts[free[0]] = "val"
    train = tuple(key for key, group in left.items() if parts[group] == "train")
    val = tuple(key for key, group in left.items() if parts[group] == "val")
    if not train:
        raise DataError(
            "No image is left to learn from: all are left out, or chosen to check. Choose some to "
            "learn from."
        )
    if val_fraction > 0 and not val:
        is_one = len(parts) == len(n_images)
        notes.append(
            _why_none_checks(len(train), len(parts), "of one stack" if is_one else "equal")
        )
    return Split(train, val, tuple(notes))


def _why_none_checks(n_images: int, n_groups: int, alike: str) -> str:
    if n_groups > 1:
        return "All images are chosen to learn: none is left to check whether learning helped."
    if n_images > 1:
        return (
            f"All {n_images} images are {alike}: none is left to check whether learning helped. "
            "Annotate an image that is not."
        )
    return "One image learns: none is left to check whether learning helped. Annotate another."


def _chosen_groups(groups: Mapping[str, str], choices: Mapping[str, Choice]) -> dict[str, Part]:
    chosen: dict[str, Part] = {}
    for key, choice in choices.items():
        if choice == "none":
            continue
        group = groups[key]
        if chosen.setdefault(group, choice) != choice:
            raise DataError(
                f"Frames of {group!r} are chosen to learn, and others to check: they look nearly "
                "the same, and would make the model seem better than it is. Choose one of both "
                "for all of them."
            )
    return chosen
