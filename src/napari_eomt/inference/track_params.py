"""Parameters of linking: which segments of two frames are the same thing."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LINKED_GAP = 2
"""Frames for which a track may be missing where nothing but overlap tells who it is."""


class TrackParams(BaseModel):
    """How segments of single frames become tracks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    iou_threshold: float = Field(
        0.1,
        gt=0,
        le=1,
        title="Overlap",
        description="A segment continues a track when their masks share at least this part of "
        "their union (IoU). Lower follows faster objects and confuses more neighbours.",
    )
    max_gap: int | None = Field(
        None,
        ge=0,
        title="Longest gap",
        description="For so many frames a track may be missing and still come back. 0 ends a "
        "track with the first frame that misses it. By default 2 where frames are linked; what the "
        "queries of a VidEoMT follow may come back at any time.",
        json_schema_extra={"unit": "frames"},
    )
    max_distance: float | None = Field(
        None,
        gt=0,
        title="Reach",
        description="Objects too fast for their masks to overlap are followed when their centre "
        "lies no farther than this from where it is expected. By default only overlap counts.",
        json_schema_extra={"unit": "px"},
    )
    motion: Literal["steady", "still", "either"] = Field(
        "either",
        title="Motion",
        description="Where a track is expected in the next frame: where its motion so far leads "
        "(steady), where it was last (still), or whichever of both fits a segment better (either).",
    )
    category_rule: Literal["vote", "same"] = Field(
        "vote",
        title="Categories",
        description="vote: a track takes the category that most of its frames' scores are for, "
        "and keeps through a frame that says otherwise. same: only segments of the track's "
        "category continue it.",
    )
    birth_score: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Score of a new track",
        description="Segments that score less continue tracks, but begin none. 0 lets all begin.",
    )
    splits: bool = Field(
        False,
        title="Divisions",
        description="Whether a track may end in two children of similar size, as a dividing cell "
        "does. Where masks break in pieces by mistake, so do tracks then.",
    )
    split_overlap: float = Field(
        0.4,
        gt=0,
        le=1,
        title="Part of a child",
        description="For a division, at least this part of each child lies where the parent was.",
    )

    @property
    def linked_gap(self) -> int:
        """The longest gap, in frames, of tracks that are linked by overlap."""
        return LINKED_GAP if self.max_gap is None else self.max_gap
