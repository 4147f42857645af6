"""Parameters of a prediction: declared once, read by the form, the command line and the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_eomt.models.card import MOST_LOOKS
from napari_eomt.structures.segments import Task

if TYPE_CHECKING:
    from napari_eomt.models.card import ModelCard


class PredictParams(BaseModel):
    """What to look for, and how.

    `DECIDE_FIELDS` are those that need no new run of the model: they decide which of its
    proposals are kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Task | None = Field(
        None,
        title="Task",
        description="Objects one by one (instance), regions by category (semantic), or both "
        "(panoptic). By default the first task that the model serves.",
    )
    score_threshold: float = Field(
        0.5,
        ge=0,
        le=1,
        title="Score",
        description="Proposals that score less are dropped. Lower finds more objects and more "
        "mistakes.",
    )
    mask_threshold: float = Field(
        0.5,
        gt=0,
        lt=1,
        title="Mask",
        description="Pixels less probable than this are left out of an object. Lower makes "
        "objects larger.",
    )
    overlap_threshold: float = Field(
        0.8,
        ge=0,
        le=1,
        title="Visible part",
        description="A segment is dropped when better ones leave this part of its mask, or less: "
        "it is mostly the same thing found twice. 0 keeps all.",
    )
    min_area: int = Field(
        0,
        ge=0,
        title="Smallest",
        description="Objects of fewer pixels are dropped.",
        json_schema_extra={"unit": "px²"},
    )
    categories: tuple[int, ...] | None = Field(
        None,
        title="Categories",
        description="Only segments of these categories are kept, by their ids. By default all.",
    )
    overlap: Literal["best_score", "query_order"] = Field(
        "best_score",
        title="Overlaps",
        description="Where objects overlap, the better score wins (best_score), or the later "
        "query, as transformers paints (query_order).",
    )
    object_size: float | Literal["auto", "as_is"] = Field(
        "auto",
        title="Object size",
        description="Side of a typical object, √area, in pixels of the image. Sets zoom and "
        "tiles for models that were trained at one size. auto: as in the images that the model "
        "was taught, where these are alike, else measured with a first pass; as_is leaves the "
        "image at its size.",
        json_schema_extra={"unit": "px"},
    )
    tiling: Literal["auto", "whole", "tiles"] = Field(
        "auto",
        title="Tiles",
        description="Look at the whole image at once (whole), or tile by tile at full "
        "resolution (tiles). auto tiles for models that know their object size, and for images "
        "over four times the model's input.",
    )
    tile_overlap: int | None = Field(
        None,
        ge=0,
        title="Overlap of tiles",
        description="Pixels of the model's input that neighbouring tiles share. Should exceed "
        "the largest object. By default what the model's maker says, else a quarter.",
        json_schema_extra={"unit": "px"},
    )
    looks: int | None = Field(
        None,
        ge=1,
        le=MOST_LOOKS,
        title="Looks",
        description="How often the model looks at each view: turned, mirrored and from further "
        "away (test-time augmentation). What most looks agree on is kept: better outlines, fewer "
        "mistakes, so many times the work. By default what the model's maker says, else once.",
    )
    channels: tuple[int, ...] | None = Field(
        None,
        min_length=1,
        max_length=3,
        title="Channels",
        description="Which channels feed red, green and blue, counted from 0; a single one is "
        "taken as grey. By default the first three, or the only one.",
    )
    contrast: Literal["auto", "none", "percentile", "limits"] = Field(
        "auto",
        title="Contrast",
        description="auto: as the model was trained; else 8-bit images as they are, others "
        "stretched between percentiles. limits: between two given values.",
    )
    percentiles: tuple[float, float] | None = Field(
        None,
        title="Percentiles",
        description="Darkest and brightest percentile of the stretch. By default the model's, "
        "else 0.1 and 99.9.",
        json_schema_extra={"unit": "%"},
    )
    contrast_limits: tuple[float, float] | None = Field(
        None,
        title="Limits",
        description="Values shown as black and as white, for contrast 'limits'.",
    )

    @model_validator(mode="after")
    def _check(self) -> PredictParams:
        if isinstance(self.object_size, float | int) and not self.object_size > 0:
            raise ValueError("object_size must be above 0 px")
        for low_high, most in ((self.percentiles, 100.0), (self.contrast_limits, float("inf"))):
            if low_high is not None and not low_high[0] < low_high[1] <= most:
                raise ValueError(f"{low_high} must rise, and end at {most} at most")
        if self.percentiles is not None and self.percentiles[0] < 0:
            raise ValueError("percentiles start at 0")
        if self.channels is not None and (len(self.channels) == 2 or min(self.channels) < 0):
            raise ValueError("channels are one or three numbers from 0")
        if self.contrast == "limits" and self.contrast_limits is None:
            raise ValueError("contrast 'limits' needs contrast_limits")
        return self


DECIDE_FIELDS = frozenset(
    {
        "task",
        "score_threshold",
        "mask_threshold",
        "overlap_threshold",
        "min_area",
        "categories",
        "overlap",
    }
)
"""Fields that decide about proposals already made: changing them needs no run of the model."""


def n_looks(params: PredictParams, card: ModelCard) -> int:
    """Return how often each view is looked at: as asked for, else as the model's maker says.

    A model of videos looks once: it remembers what it saw in the very same view.
    """
    if card.is_video:
        return 1
    return card.looks if params.looks is None else params.looks


def same_proposals(one: PredictParams, other: PredictParams) -> bool:
    """Whether both parameters lead to the same proposals, so that no new run is needed.

    The task may change how the image is cut up; the caller compares geometry for that.
    """
    return one.model_dump(exclude=set(DECIDE_FIELDS)) == other.model_dump(
        exclude=set(DECIDE_FIELDS)
    )
