"""A row of the catalog: what is known of a published model without having it."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from napari_eomt.models.card import Architecture, Thresholds
from napari_eomt.structures.segments import Task

Format: TypeAlias = Literal["transformers", "original", "delta"]
"""How a checkpoint is stored: a folder that transformers reads; a file of the makers' code; or
such a file with only what training changed in the backbone."""

Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
HubId: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")]
FileName: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[\w-][\w.-]*$")]
# A branch or tag, or the 40 digits of a commit.
Revision: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[\w][\w.-]*$")]

BACKBONES: dict[str, tuple[int, int]] = {
    "DINOv2 ViT-S": (384, 12),
    "DINOv2 ViT-B": (768, 12),
    "DINOv2 ViT-L": (1024, 24),
    "DINOv2 ViT-g": (1536, 40),
    "DINOv3 ViT-S": (384, 12),
    "DINOv3 ViT-B": (768, 12),
    "DINOv3 ViT-L": (1024, 24),
}
"""Features a token, and blocks, of each backbone."""


class Score(BaseModel):
    """How good a model is: what its makers measured, in percent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    value: float = Field(ge=0, le=100)
    dataset: str


class Speed(BaseModel):
    """How fast a model is: what its makers measured, and on what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images_per_second: float = Field(gt=0)
    hardware: str


class CatalogEntry(BaseModel):
    """A published model.

    Sizes are in pixels of the input. For a panoptic or instance model the input is the whole
    image, padded to a square; for a semantic one a window of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    title: str = Field(min_length=1)
    hub_id: HubId
    revision: Revision = Field("main", description="Branch, tag or commit to fetch.")
    format: Format
    files: tuple[FileName, ...] = Field(
        (), description="What to fetch; for 'transformers' configuration, processor and weights."
    )
    base: HubId | None = Field(None, description="Backbone that a delta is added to.")
    architecture: Architecture
    tasks: tuple[Task, ...] = Field(
        min_length=1, description="Tasks that the model serves, first the one it was trained for."
    )
    is_video: bool = False
    backbone: str
    n_parameters: int = Field(gt=0)
    n_bytes: int = Field(gt=0, description="To download, about; with the base of a delta.")
    input_size: int = Field(gt=0)
    patch_size: int = Field(16, gt=0)
    n_queries: int = Field(gt=0)
    score: Score | None = None
    other_scores: tuple[Score, ...] = ()
    speed: Speed | None = None
    licence: str = Field(min_length=1)
    gated: bool = Field(False, description="Needs an account and consent to a licence.")
    categories: str = Field(description="Name of a category list of the package.")
    thresholds: Thresholds = Thresholds()
    note: str = ""
    alternative_to: str | None = Field(
        None, description="Row of the same model from another place or in another format."
    )

    @property
    def width(self) -> int:
        """Features a token."""
        return BACKBONES[self.backbone][0]

    @property
    def depth(self) -> int:
        """Blocks of the transformer."""
        return BACKBONES[self.backbone][1]

    @property
    def dataset(self) -> str:
        """What the model was trained on, as its makers call it; empty if unknown."""
        return self.score.dataset if self.score else ""

    @model_validator(mode="after")
    def _check(self) -> CatalogEntry:
        if self.input_size % self.patch_size:
            raise ValueError(
                f"input_size {self.input_size} is no multiple of patch_size {self.patch_size}"
            )
        if self.backbone not in BACKBONES:
            raise ValueError(f"backbone {self.backbone!r} is none of {sorted(BACKBONES)}")
        if ("DINOv3" in self.backbone) != (self.architecture == "eomt_dinov3"):
            raise ValueError(f"{self.architecture} does not go with {self.backbone}")
        if self.is_video != (self.architecture == "videomt"):
            raise ValueError(f"is_video {self.is_video} does not go with {self.architecture}")
        if (self.base is not None) != (self.format == "delta"):
            raise ValueError("a delta has a base, and nothing else has")
        if bool(self.files) == (self.format == "transformers"):
            raise ValueError("files are named for 'original' and 'delta' only")
        if len(set(self.tasks)) != len(self.tasks):
            raise ValueError(f"tasks {self.tasks} name one twice")
        return self
