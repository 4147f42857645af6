"""Which images learn and which check: decided by their names and their number."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_eomt.formats.coco_checks import Record

Part = Literal["train", "val"]
PARTS: tuple[Part, ...] = ("train", "val")

MANY = 20
"""Groups from which on a name is split by itself, whatever else there is."""


def group_of(image: Record) -> str:
    """Return what keeps images together: the frames of one stack, or of one video.

    Frames look nearly the same: one that learns and another that checks would make a model seem
    better than it is.
    """
    source = image.get("source")
    if isinstance(source, dict) and isinstance(source.get("stem"), str):
        return str(source["stem"])
    video = image.get("video_id")
    if isinstance(video, int) and not isinstance(video, bool):
        return f"video {video}"
    name = image.get("file_name")
    return name if isinstance(name, str) and name else f"image {image['id']}"


def split_groups(
    sizes: Mapping[str, int], val_fraction: float, *, n_groups: int = 0
) -> dict[str, Part]:
    """Return the part that each group is in.

    From `MANY` groups on, a group's name alone decides: those that are added or removed move no
    other, so that an image that has checked a model is never learnt from later.

    Of fewer, that would often be none or most of them. These stand in the same order, which only
    their names decide, and check one after the other as long as that brings the images that check
    nearer to the fraction: where each group is one image, an image that is added or removed moves
    at most one other. Both parts have a group if there are two; a single one learns.

    With a larger fraction those that check go on to do so.

    Parameters
    ----------
    sizes : dict of str to int
        Images of each group.
    val_fraction : float
        Of the images, 0 to 1; 0: none checks. Of few groups it is met to within half a group:
        the smallest of those that learn, or the last that checks; of many in the long run.
    n_groups : int
        With those that are left out for now, which does not make many few.
    """
    checking = {group for group in sizes if rank_of(group) < val_fraction * 2**64}
    is_many = max(n_groups, len(sizes)) >= MANY
    if is_many and (0 < len(checking) < len(sizes) or not val_fraction):
        return {group: "val" if group in checking else "train" for group in sizes}
    ranked = sorted(sizes, key=lambda group: (rank_of(group), group))
    wanted = val_fraction * sum(sizes.values())
    checks: list[str] = []
    n = 0
    for group in ranked:
        if 2 * (wanted - n) >= sizes[group]:
            checks.append(group)
            n += sizes[group]
    if wanted and not checks:
        checks = sorted(ranked, key=lambda group: sizes[group])[:1]
    if len(checks) == len(ranked) and checks:
        checks.remove(min(reversed(ranked), key=lambda group: sizes[group]))
    chosen = frozenset(checks)
    return {group: "val" if group in chosen else "train" for group in sizes}


def joined_sizes(sizes: Mapping[str, int], copies: Mapping[str, str]) -> dict[str, int]:
    """Return the sizes of groups that a split keeps together, by the first of each.

    An image counts once, however often it is there: a copy that comes moves no other.

    Parameters
    ----------
    sizes : dict of str to int
        Images of each group.
    copies : dict of str to str
        For each group the first one that it is a copy of, or itself; see `join_copies`.
    """
    found: dict[str, int] = {}
    for group, n in sizes.items():
        first = copies.get(group, group)
        found[first] = max(n, found.get(first, 0))
    return found


def rank_of(group: str) -> int:
    """Return where a group stands: lower ones check first."""
    return int.from_bytes(hashlib.sha256(group.encode(errors="surrogatepass")).digest()[:8], "big")
