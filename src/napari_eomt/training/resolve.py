"""What "auto" means for a model and some images. No torch."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, Literal

from napari_eomt.errors import DataError
from napari_eomt.inference.plan import is_tiled, task_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.models.card import ModelCard
    from napari_eomt.structures.segments import Task
    from napari_eomt.training.params import Flips, Preset, TrainParams

MIN_STEPS = 100
"""Of an automatic training: fewer change little."""

MAX_STEPS: dict[Preset, int] = {"quick": 2_000, "lora": 10_000, "full": 20_000}
"""Of an automatic training: more are for who asks for them. Full ones were published with 20,000
to 180,000 of 16 images."""

PUBLISHED_WIDTH, PUBLISHED_STEPS = 1024, 19_500
"""Features of a token in the models that the published learning rates were found for, and the
steps of the shortest training they were published with."""

PRETRAINED_DEPTH = 12
"""Blocks of the smallest published backbone. First blocks learn slowly because they were taught by
millions of images, and need not learn; those of smaller models, which were not, have to change for
images of another kind (phase contrast, 500 steps of 4 tiles in as much time: AP at IoU 0.5 0.15
instead of 0.10 with the blocks before the queries frozen)."""

_EPOCHS: dict[Preset, int] = {"quick": 12, "lora": 60, "full": 60}
_N_CHECKS: dict[Preset, int] = {"quick": 6, "lora": 10, "full": 10}

MIN_POINTS = 2_048
"""Of an automatic number: small objects want to be met."""

_TILE_JITTER = (0.6, 1.6)
"""Where a model knows one object size, others twice as large teach it little; the bundled model
finds objects from 0.55 to 1.7 times its own size."""

_WHOLE_JITTER, _SEMANTIC_JITTER = (0.1, 2.0), (0.5, 2.0)


def resolve(
    params: TrainParams, card: ModelCard, n_views: int, *, has_videos: bool = False
) -> TrainParams:
    """Return parameters in which "auto" stands only where the network or the device decides.

    The network decides the points and the masked attention, see `resolve_for_network`; the device
    the micro-batch, the precision, the loaders; each image the object size and the scale jitter.

    Parameters
    ----------
    params : TrainParams
    card : ModelCard
    n_views : int
        In an epoch; see `SampleSet`.
    has_videos : bool
        Whether they are clips of videos with tracks.

    Raises
    ------
    DataError
        If the model does not serve the task, or something was asked that it does not have.
    """
    task = training_task(params, card)
    if card.is_video and params.masked_attention == "anneal":
        raise DataError(
            f"{card.name} is a VidEoMT, which has no masked attention. Leave masked_attention out."
        )
    if params.metric == "idf1" and not has_videos:
        raise DataError("The measure idf1 is of tracks: images have none. Choose another, or auto.")
    is_dinov3 = card.architecture == "eomt_dinov3"
    steps = _n_steps(params, n_views)
    heads, backbone = (2000, 3000) if is_dinov3 else (500, 1000)
    rate = params.learning_rate
    if rate == "auto":
        # Steps of Adam change each weight by as much, and a product of as many weights as the
        # model is wide by so many times that (Yang et al., "Tensor Programs V", 2022). The rate of
        # ViT-L, with which small models were published too, takes these tens of thousands of steps.
        is_short = steps < PUBLISHED_STEPS and 0 < card.width < PUBLISHED_WIDTH
        narrower = PUBLISHED_WIDTH / card.width if is_short else 1.0
        rate = (2e-4 if is_dinov3 else 1e-4) * narrower
    decay = params.layer_decay
    if decay == "auto":
        is_small = 0 < card.depth < PRETRAINED_DEPTH and steps < PUBLISHED_STEPS
        decay = 1.0 if is_small else 0.6 if card.is_video else 0.8
    interval = params.validation_interval
    metrics = {"instance": "ap", "semantic": "miou", "panoptic": "pq"}
    if has_videos:
        metrics["instance"] = "idf1"
    changes = {
        "task": task,
        "steps": steps,
        "learning_rate": rate,
        "layer_decay": decay,
        "frozen_blocks": frozen_blocks(params, card.depth),
        # Published for tens of thousands of steps: a short training would be over before the
        # backbone had begun.
        "head_warm_up": min(heads, steps // 20)
        if params.head_warm_up == "auto"
        else params.head_warm_up,
        "backbone_warm_up": min(backbone, steps // 10)
        if params.backbone_warm_up == "auto"
        else params.backbone_warm_up,
        "validation_interval": ceil(steps / _N_CHECKS[params.preset])
        if interval == "auto"
        else interval,
        "metric": metrics[task] if params.metric == "auto" else params.metric,
        "flips": flips(params, card),
    }
    return params.model_copy(update=changes)


def resolve_for_network(
    params: TrainParams, config: Any, mask_probabilities: Sequence[float]
) -> TrainParams:
    """Return resolved parameters with what only the network tells, for the loss and its masks.

    Parameters
    ----------
    params : TrainParams
        As `resolve` has returned them.
    config : EomtConfig or EomtDinov3Config
    mask_probabilities : sequence of float
        How often queries are held to their masks, of each block that sees them, to begin with.
    """
    points, masked = params.points, params.masked_attention
    if points == "auto":
        # One for every second cell of the masks, as published for 160 × 160 of them.
        side = config.image_size // config.patch_size * 2**config.num_upscale_blocks
        points = min(int(config.train_num_points), max(MIN_POINTS, side * side // 2))
    if masked == "auto":
        # A finished model's queries have long been freed of their masks.
        masked = "anneal" if any(mask_probabilities) else "none"
    return params.model_copy(update={"points": points, "masked_attention": masked})


def _n_steps(params: TrainParams, n_views: int) -> int:
    if params.steps != "auto":
        return params.steps
    wanted = ceil(_EPOCHS[params.preset] * n_views / params.batch_size)
    return min(max(wanted, MIN_STEPS), MAX_STEPS[params.preset])


def training_task(params: TrainParams, card: ModelCard) -> Task:
    """Return the task to learn; see `task_of`."""
    return task_of(params.look(), card)


def sees_tiles(params: TrainParams, card: ModelCard, shape: tuple[int, int]) -> bool:
    """Whether an image of a shape is looked at tile by tile; see `is_tiled`."""
    return is_tiled(shape, card, params.look())


def scale_jitter(
    params: TrainParams, card: ModelCard, shape: tuple[int, int]
) -> tuple[float, float]:
    """Return the range of factors by which random views of an image of a shape are enlarged."""
    if params.scale_jitter != "auto":
        return params.scale_jitter
    if sees_tiles(params, card, shape):
        return _TILE_JITTER
    return _SEMANTIC_JITTER if training_task(params, card) == "semantic" else _WHOLE_JITTER


def frozen_blocks(params: TrainParams, depth: int) -> int | Literal["trunk", "all"]:
    """Return which of the first blocks of a model that has so many keep their weights."""
    if params.frozen_blocks != "auto":
        return params.frozen_blocks
    return 0 if 0 < depth < PRETRAINED_DEPTH else "trunk"


def n_frozen_blocks(params: TrainParams, n_blocks: int, n_query_blocks: int) -> int:
    """Return how many of the first blocks keep their weights, the embeddings with them."""
    frozen = frozen_blocks(params, n_blocks)
    if frozen == "all":
        return n_blocks
    if frozen == "trunk":
        return n_blocks - n_query_blocks
    return min(frozen, n_blocks)


def flips(params: TrainParams, card: ModelCard) -> Flips:
    """Return how views are mirrored and turned."""
    if params.flips != "auto":
        return params.flips
    is_frozen = frozen_blocks(params, card.depth) in ("trunk", "all") and not params.lora_rank
    if is_frozen and params.views == "grid" and not params.has_color_jitter:
        return "none"  # so that it need not look at a tile again
    # Of an image that is not so large that every model sees it tile by tile.
    return "rotations" if sees_tiles(params, card, (1, 1)) else "horizontal"
