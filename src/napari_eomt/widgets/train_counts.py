"""How much there is to learn from and to check on, in words. No Qt, no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.viewer.train_dataset import LearnRow, Parts


def counted_text(rows: Sequence[LearnRow], parts: Parts, what: str) -> str:
    """Say what there is to learn from, and what is to be known about it.

    Parameters
    ----------
    rows : sequence of LearnRow
    parts : Parts
    what : str
        What was done with it: "annotated", "reviewed".
    """
    n_objects, n_regions = sum(r.n_objects for r in rows), sum(r.n_regions for r in rows)
    if any(row.is_video for row in rows):
        text = _videos_text(rows, parts, counted(n_objects, "track"))
    else:
        objects = counted(n_objects, "object")
        if n_regions:
            objects += f", {counted(n_regions, 'region')}"
        n = counted(sum(row.n_images for row in rows), "image")
        learn, check = parts.count(rows, "train"), parts.count(rows, "val")
        text = f"{n} {what}, {objects} · {learn:,} learn · {check:,} check"
    return "\n".join((text, *parts.notes))


def counted(n: int, what: str) -> str:
    """Return a count in words: "1 object", "2,000 objects"."""
    return f"1 {what}" if n == 1 else f"{n:,} {what}s"


def _videos_text(rows: Sequence[LearnRow], parts: Parts, tracks: str) -> str:
    """Return "3 videos, 48 frames, 9 tracks · 2 learn · 1 checks"."""
    found = [counted(len(rows), "video")]
    # Of stacks that are not open nobody knows how long they are, and what they say are objects.
    if all(row.n_images for row in rows):
        found += [counted(sum(row.n_images for row in rows), "frame"), tracks]
    text = ", ".join(found)
    if parts.in_time:
        return text
    learn, check = len(parts.rows(rows, "train")), len(parts.rows(rows, "val"))
    return (
        f"{text} · {learn:,} {'learns' if learn == 1 else 'learn'} · "
        f"{check:,} {'checks' if check == 1 else 'check'}"
    )
