"""Parameters of a training: declared once, read by the form, the command line and the run file.

No torch.
"""

from __future__ import annotations

from copy import copy
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from napari_eomt.inference.params import PredictParams
from napari_eomt.models.card import DTypeName
from napari_eomt.structures.segments import Task

Preset: TypeAlias = Literal["quick", "lora", "full"]
Flips: TypeAlias = Literal["auto", "none", "horizontal", "both", "rotations"]

# Beside what the fields say of themselves: those of the published recipe, and of its training on
# a person's own few images.
_PRESETS: dict[Preset, dict[str, Any]] = {
    # Nothing changes what a frozen trunk sees, so that it sees each tile once.
    "quick": {
        "views": "grid",
        "brightness": 0.0,
        "contrast_jitter": 0.0,
        "saturation": 0.0,
        "hue": 0.0,
        # A third less time, and as much learnt a step: phase contrast, 500 steps of 4 tiles with
        # the bundled model, AP at IoU 0.5 0.14 in 166 s of a core instead of 0.15 in 258 s.
        "auxiliary_losses": False,
        # Small steps, and many: of as many views, 600 steps of 2 taught the bundled model more
        # of phase contrast than 150 of 8.
        "batch_size": 4,
    },
    "lora": {"frozen_blocks": "all", "lora_rank": 8, "layer_decay": 1.0, "weight_decay": 0.0},
    "full": {"frozen_blocks": 0},
}


def _as_in_prediction(name: str) -> Any:
    """Return a field of `PredictParams`: the model should learn from what it will see."""
    return copy(PredictParams.model_fields[name])


class TrainParams(BaseModel):
    """What to learn from, how, and how long.

    Fields that are not given have the preset's values: `TrainParams(preset="full")` is a full
    fine-tuning, and equal to `full()`. What is "auto" depends on the model and the images; see
    `napari_eomt.training.resolve`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Preset = Field(
        "quick",
        title="Preset",
        description="Learn the last blocks and the heads (quick), small additions to all blocks "
        "(lora), or everything (full). Sets what is not set by itself.",
    )
    task: Task | None = Field(
        None,
        title="Task",
        description="Objects one by one (instance), regions by category (semantic), or both "
        "(panoptic). By default the first task that the model serves.",
    )

    steps: int | Literal["auto"] = Field(
        "auto",
        title="Steps",
        description="How often the weights are changed. auto: from the number of images.",
    )
    batch_size: int = Field(
        16,
        ge=1,
        title="Batch",
        description="Views that a step learns from, on all devices together.",
        json_schema_extra={"unit": "views"},
    )
    micro_batch: int | Literal["auto"] = Field(
        "auto",
        title="Views at once",
        description="Views that are in memory at a time; the result is the same. auto: as many "
        "as fit.",
        json_schema_extra={"unit": "views"},
    )
    learning_rate: float | Literal["auto"] = Field(
        "auto",
        title="Learning rate",
        description="Of the heads. auto: as published, 0.0001 for DINOv2 and 0.0002 for DINOv3; "
        "in short trainings larger for models less than 1,024 features wide, in proportion.",
    )
    layer_decay: float | Literal["auto"] = Field(
        "auto",
        title="Layer decay",
        description="Each block learns this much as fast as the one after it. auto: as published "
        "0.8, but 1 in short trainings of models of less than 12 blocks.",
    )
    weight_decay: float = Field(
        0.05, ge=0, title="Weight decay", description="Pulls all weights towards 0."
    )
    head_warm_up: int | Literal["auto"] = Field(
        "auto",
        title="Warm-up of the heads",
        description="Steps over which their learning rate rises; the backbone waits. auto: as "
        "published, but at most a twentieth of the training.",
        json_schema_extra={"unit": "steps"},
    )
    backbone_warm_up: int | Literal["auto"] = Field(
        "auto",
        title="Warm-up of the backbone",
        description="Steps after these over which its learning rate rises. auto: as published, "
        "but at most a tenth of the training.",
        json_schema_extra={"unit": "steps"},
    )
    clip_norm: float = Field(
        0.01,
        ge=0,
        title="Clip",
        description="Longer gradients are shortened to this; 0 leaves them.",
    )
    precision: DTypeName = Field(
        "auto",
        title="Precision",
        description="To compute in; weights stay in fp32. auto: half precision on a GPU, and bf16 "
        "on a CPU that multiplies it.",
    )
    seed: int = Field(
        0, ge=0, title="Seed", description="The same seed learns from the same views in order."
    )
    ema_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        title="Averaging",
        description="The result is a running average of the weights with this decay, such as "
        "0.999; 0 takes the weights as they are, as published.",
    )
    gradient_checkpointing: bool = Field(
        False,
        title="Save memory",
        description="Compute activations twice: about a third more time, a fraction of the memory.",
    )
    masked_attention: Literal["auto", "anneal", "none"] = Field(
        "auto",
        title="Masked attention",
        description="Queries look at their own masks only, in block after block less and less "
        "(anneal), or at everything from the first step (none). auto: anneal while a model learns "
        "to find objects at all, none where it does already.",
    )
    points: int | Literal["auto"] = Field(
        "auto",
        title="Points",
        description="Where masks are compared in the loss. auto: as the model was made with, "
        "12,544 as published, but at most one for every second cell of its masks or 2,048.",
    )
    auxiliary_losses: bool = Field(
        True,
        title="Auxiliary losses",
        description="What the queries would answer before each block that they pass is compared "
        "too, as published; without, their answer alone.",
    )
    frozen_blocks: int | Literal["auto", "trunk", "all"] = Field(
        "auto",
        title="Frozen blocks",
        description="How many of the first blocks keep their weights, and the embeddings with "
        "them; 0 lets everything learn. trunk: those that see no queries; all: every block; auto: "
        "trunk, but 0 for models of less than 12 blocks.",
    )
    lora_rank: int = Field(
        0,
        ge=0,
        title="LoRA rank",
        description="Rank of what is added to the weights of frozen blocks; 0 adds nothing.",
    )
    lora_alpha: float = Field(
        16.0, gt=0, title="LoRA alpha", description="What is added is scaled by alpha / rank."
    )
    lora_blocks: int | Literal["all"] = Field(
        "all", title="LoRA blocks", description="How many of the last blocks are added to."
    )

    views: Literal["grid", "random"] = Field(
        "random",
        title="Views",
        description="Learn from the tiles that prediction cuts (grid), or from places and sizes "
        "drawn at random (random).",
    )
    views_per_image: int | Literal["auto"] = Field(
        "auto",
        title="Views of an image",
        description="Random views of each image in an epoch. auto: as many as cover it once.",
    )
    object_size: float | Literal["auto", "as_is"] = Field(
        "auto",
        title="Object size",
        description="Side of a typical object, √area, in pixels of the image; each image is "
        "brought to the object size that the model knows. auto measures it in each image's "
        "annotations; as_is leaves images at their size. Of no effect for other models.",
        json_schema_extra={"unit": "px"},
    )
    scale_jitter: tuple[float, float] | Literal["auto"] = Field(
        "auto",
        title="Scale jitter",
        description="Random views are enlarged by a factor from this range. auto: as published "
        "0.1 to 2 for models that see whole images, 0.5 to 2 for semantic ones; 0.6 to 1.6 for "
        "models that see tiles.",
    )
    empty_views: float = Field(
        0.1,
        ge=0,
        le=1,
        title="Empty views",
        description="How often a random view that shows none of an image's objects is kept, "
        "instead of another one being drawn. 0 as published.",
    )
    flips: Flips = Field(
        "auto",
        title="Flips",
        description="Mirrored left to right (horizontal), also top to bottom (both), also turned "
        "by quarters (rotations). auto: rotations for models that see tiles, else horizontal; "
        "none where what a frozen trunk makes of a view is kept.",
    )
    brightness: float = Field(
        32 / 255,
        ge=0,
        le=1,
        title="Brightness",
        description="Every other view is made brighter or darker by up to this part.",
    )
    contrast_jitter: float = Field(
        0.5,
        ge=0,
        le=1,
        title="Contrast jitter",
        description="Every other view gets more or less contrast by up to this part.",
    )
    saturation: float = Field(
        0.5,
        ge=0,
        le=1,
        title="Saturation",
        description="Every other view gets more or less colour by up to this part; grey stays "
        "grey.",
    )
    hue: float = Field(
        0.05,
        ge=0,
        le=0.5,
        title="Hue",
        description="In every other view colours are turned by up to this part of a full turn; "
        "grey stays grey.",
    )
    undecided: Literal["ignore", "learn"] = Field(
        "ignore",
        title="Undecided objects",
        description="Proposals that nobody has accepted are neither objects nor background "
        "(ignore), or taken for true (learn).",
    )

    clip_length: int = Field(
        5,
        ge=1,
        title="Frames of a clip",
        description="Of videos, a step learns from clips of so many frames, through which an "
        "object keeps its query; 5 as published. Memory goes with it.",
        json_schema_extra={"unit": "frames"},
    )
    clip_stride: int = Field(
        1,
        ge=1,
        title="Largest stride",
        description="Clips show each first, or up to each so many-th frame of a video: longer "
        "ways, and longer absences, in as many frames. 1 as published.",
        json_schema_extra={"unit": "frames"},
    )
    still_clips: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Clips of one frame",
        description="Part of the clips that show a single frame, which drifts and turns. Where a "
        "video model learns from images, all do.",
    )

    tiling: Literal["auto", "whole", "tiles"] = _as_in_prediction("tiling")
    tile_overlap: int | None = _as_in_prediction("tile_overlap")
    channels: tuple[int, ...] | None = _as_in_prediction("channels")
    contrast: Literal["auto", "none", "percentile", "limits"] = _as_in_prediction("contrast")
    percentiles: tuple[float, float] | None = _as_in_prediction("percentiles")
    contrast_limits: tuple[float, float] | None = _as_in_prediction("contrast_limits")

    val_fraction: float = Field(
        0.2,
        ge=0,
        lt=1,
        title="Images that check",
        description="Part of the images that is not learnt from but checked on; frames of a "
        "stack stay together, and at least one image checks. Of videos whole ones check, of a "
        "single one its end. 0: none does.",
    )
    validation_interval: int | Literal["auto"] = Field(
        "auto",
        title="Check every",
        description="Steps between checks. auto: ten checks in a training, six in Quick.",
        json_schema_extra={"unit": "steps"},
    )
    metric: Literal["auto", "ap", "ap50", "f1", "pq", "miou", "idf1"] = Field(
        "auto",
        title="Measure",
        description="By which the best state is kept. auto: ap for objects, miou for regions, pq "
        "for both; for objects in videos idf1: in how many frames they are found, each as one.",
    )
    patience: int = Field(
        0,
        ge=0,
        title="Patience",
        description="Stop after this many checks in a row without a better one; 0 goes on to the "
        "end.",
        json_schema_extra={"unit": "checks"},
    )
    loaders: int | Literal["auto"] = Field(
        "auto",
        title="Loaders",
        description="Threads that read and prepare images; the views are the same for any number.",
    )

    @field_validator("scale_jitter", mode="before")
    @classmethod
    def _take_word(cls, given: Any) -> Any:
        # The command line reads whatever may be two numbers as a tuple.
        return "auto" if given == ("auto",) else given

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {**_PRESETS.get(given.get("preset", "quick"), {}), **given}

    @model_validator(mode="after")
    def _check(self) -> TrainParams:
        least = {
            "steps": 1,
            "micro_batch": 1,
            "head_warm_up": 0,
            "backbone_warm_up": 0,
            "frozen_blocks": 0,
            "lora_blocks": 1,
            "views_per_image": 1,
            "validation_interval": 1,
            "loaders": 1,
            "points": 1,
        }
        for name, low in least.items():
            value = getattr(self, name)
            if isinstance(value, int) and value < low:
                raise ValueError(f"{name} is {value}; at least {low} was expected")
        if isinstance(self.layer_decay, float) and not 0 < self.layer_decay <= 1:
            raise ValueError(
                f"layer_decay is {self.layer_decay}; a number above 0 and up to 1 was expected"
            )
        for name in ("learning_rate", "object_size"):
            value = getattr(self, name)
            if isinstance(value, float) and not 0 < value < float("inf"):
                raise ValueError(f"{name} is {value}; a number above 0 was expected")
        if self.scale_jitter != "auto":
            low_scale, high_scale = self.scale_jitter
            if not 0.05 <= low_scale <= high_scale <= 10:
                raise ValueError(
                    f"scale_jitter is {low_scale} to {high_scale}; two rising factors from 0.05 "
                    "to 10 were expected"
                )
        self.look()
        return self

    @property
    def has_color_jitter(self) -> bool:
        """Whether colours are changed at random."""
        return any((self.brightness, self.contrast_jitter, self.saturation, self.hue))

    def look(self) -> PredictParams:
        """Return how prediction looks at images, to learn from the same."""
        return PredictParams(
            task=self.task,
            object_size=self.object_size,
            tiling=self.tiling,
            tile_overlap=self.tile_overlap,
            channels=self.channels,
            contrast=self.contrast,
            percentiles=self.percentiles,
            contrast_limits=self.contrast_limits,
            # What is learnt is one look; to check it with several would take so many times longer.
            looks=1,
        )


def quick(**changes: Any) -> TrainParams:
    """Learn the last blocks and the heads, from the tiles that prediction cuts: minutes."""
    return TrainParams(preset="quick", **changes)


def lora(**changes: Any) -> TrainParams:
    """Learn the heads and small additions to all blocks: a little memory, a small file."""
    return TrainParams(preset="lora", **changes)


def full(**changes: Any) -> TrainParams:
    """Learn everything, as published."""
    return TrainParams(preset="full", **changes)
