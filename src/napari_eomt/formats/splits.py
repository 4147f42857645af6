"""Which images learn and which check: decided by their names alone, so that it stays."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_eomt.formats.coco_checks import Record

Part = Literal["train", "val"]
PARTS: tuple[Part, ...] = ("train", "val")


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


def part_of(group: str, val_fraction: float) -> Part:
    """Return the part that a group is in.

    It depends on nothing but the group's name: images that are added or removed move no other,
    and with a larger fraction those that check go on to do so.

    Parameters
    ----------
    group : str
    val_fraction : float
        Of the groups, 0 to 1, in the long run; of few groups it may be another.
    """
    digest = hashlib.sha256(group.encode(errors="surrogatepass")).digest()
    return "val" if int.from_bytes(digest[:8], "big") < val_fraction * 2**64 else "train"


def split(images: Iterable[Record], val_fraction: float) -> dict[Part, list[Record]]:
    """Return the images of each part, in their order.

    Raises
    ------
    ValueError
        If the fraction is not between 0 and 1.
    """
    if not 0 < val_fraction < 1:
        raise ValueError(
            f"The fraction of images that check is {val_fraction}; a number between 0 and 1 was "
            "expected."
        )
    parts: dict[Part, list[Record]] = {part: [] for part in PARTS}
    for image in images:
        parts[part_of(group_of(image), val_fraction)].append(image)
    return parts
