"""What a training starts from: a model with the classes to learn, and what of it learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from napari_eomt.errors import ModelError
from napari_eomt.models.card import ModelCard, Sidecar, read_card
from napari_eomt.models.inferred import NETWORKS
from napari_eomt.models.load import load_network
from napari_eomt.models.transformers_folder import image_processor, read_config, read_processor
from napari_eomt.models.weights import load_weights
from napari_eomt.training.network import TrainingNetwork
from napari_eomt.training.resolve import n_frozen_blocks
from napari_eomt.training.video_network import VideoTrainingNetwork
from napari_eomt.training.video_start import load_video_network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_eomt.structures.categories import Category
    from napari_eomt.training.labels import LabelMap
    from napari_eomt.training.params import TrainParams

MASK_TOKEN = "mask_token"  # noqa: S105 - of masked image modelling: no gradient reaches it
_BESIDE = 0.1  # of the reach of PyTorch's linear layers


@dataclass(frozen=True, eq=False)
class Learner:
    """A network that learns, and what belongs to it in files.

    Parameters
    ----------
    network : TrainingNetwork
        On the CPU at first.
    card : ModelCard
        Of the model that was started from: how images are brought to it.
    categories : tuple of Category
        In the order of the class logits.
    processor : dict
        What `preprocessor_config.json` says.
    has_lora : bool
        Whether small additions learn, instead of the weights of blocks.
    """

    network: TrainingNetwork
    card: ModelCard
    categories: tuple[Category, ...]
    processor: dict[str, Any]
    has_lora: bool

    @property
    def config(self) -> Any:
        """Configuration of the network, as transformers has it."""
        return self.network.model.config

    def sidecar(self) -> Sidecar:
        """Return what the model that was started from says, for the categories of now."""
        card = self.card
        return Sidecar(
            title=card.title,
            description=card.description,
            licence=card.licence,
            tasks=card.tasks,
            category_ids=tuple(category.id for category in self.categories),
            stuff=tuple(k for k, c in enumerate(self.categories) if not c.is_thing),
            object_size=card.object_size,
            percentiles=card.percentiles,
            tile_overlap=card.tile_overlap,
            looks=card.looks,
            thresholds=card.thresholds,
        )


def start_learner(card: ModelCard, labels: LabelMap, params: TrainParams) -> Learner:
    """Load a model, give it a class for each category, and freeze what does not learn.

    Parameters
    ----------
    card : ModelCard
        Of a model that is on this computer.
    labels : LabelMap
    params : TrainParams

    Raises
    ------
    ModelError
        If it cannot be loaded, or is of an architecture that cannot be trained.
    """
    model = load_video_network(card, params.seed) if card.is_video else load_network(card)
    fit_class_head(model, labels.categories, labels.n_known, params.seed)
    processor = read_processor(card.folder) if card.folder is not None else {}
    if card.is_video and "video_processor_type" not in processor:
        processor = {}  # of the model of images that it was
    if not processor:
        mode: Any = "split" if card.tasks == ("semantic",) else "pad"
        processor = image_processor(card.architecture, card.input_size, mode)
        processor |= {"image_mean": list(card.image_mean), "image_std": list(card.image_std)}
    return _learner(model, card, labels.categories, processor, params)


def restore_learner(folder: Path, params: TrainParams, name: str = "") -> Learner:
    """Make a learner again of what `checkpoint.save_state` has written.

    Parameters
    ----------
    folder : Path
        Of the state.
    params : TrainParams
        The same as before.
    name : str
        Of the model that was started from.

    Raises
    ------
    ModelError
        If the state is damaged.
    """
    card = read_card(folder, name or None)
    known = read_config(folder)
    if known is None:
        raise ModelError(f"{folder}: config.json is missing. Delete this state and resume again.")
    model = NETWORKS[known[0]][1](known[1])
    learner = _learner(model, card, card.categories, read_processor(folder), params)
    tensors = load_weights(folder / "model.safetensors")
    try:
        learner.network.model.load_state_dict(dict(tensors))
    except RuntimeError as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"{folder}: the weights do not fit the run's parameters ({first}).") from (
            error
        )
    probabilities = learner.network.model.attn_mask_probs.clamp(0, 1).tolist()
    learner.network.set_mask_probabilities(probabilities)
    return learner


def fit_class_head(model: Any, categories: Sequence[Category], n_known: int, seed: int = 0) -> None:
    """Give a model's class head a row for each category, in place.

    The rows of the first `n_known`, which the model had, and of "no object" stay. A new one begins
    as the mean of the others, and a little beside it: what the model takes for an object is an
    object of an unknown kind.

    Parameters
    ----------
    model : EomtForUniversalSegmentation or EomtDinov3ForUniversalSegmentation
    categories : sequence of Category
        In the order of the class logits.
    n_known : int
    seed : int
        Of the new rows.
    """
    old: nn.Linear = model.class_predictor
    n_new = len(categories) - n_known
    names = [category.name for category in categories]
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: k for k, name in enumerate(names)}
    if n_new == 0:
        return
    generator = torch.Generator().manual_seed(seed)
    bound = _BESIDE * old.in_features**-0.5
    head = nn.Linear(old.in_features, len(categories) + 1)
    with torch.no_grad():
        weight = torch.empty(n_new, old.in_features).uniform_(-bound, bound, generator=generator)
        weight += old.weight[:n_known].mean(0)
        bias = old.bias[:n_known].mean().expand(n_new)
        head.weight.copy_(torch.cat((old.weight[:n_known], weight, old.weight[n_known:])))
        head.bias.copy_(torch.cat((old.bias[:n_known], bias, old.bias[n_known:])))
    model.class_predictor = head
    if hasattr(model, "num_labels"):
        model.num_labels = len(categories)
    empty_weight = torch.ones(len(categories) + 1)
    empty_weight[-1] = model.config.no_object_weight
    model.criterion.empty_weight = empty_weight
    model.criterion.num_labels = len(categories)


def lora_blocks(params: TrainParams, n_blocks: int, n_frozen: int) -> range:
    """Return the blocks that are added to: of the last ones, those that are frozen."""
    if params.lora_rank == 0:
        return range(0)
    n_last = n_blocks if params.lora_blocks == "all" else min(params.lora_blocks, n_blocks)
    return range(min(n_blocks - n_last, n_frozen), n_frozen)


def _learner(
    model: Any,
    card: ModelCard,
    categories: tuple[Category, ...],
    processor: dict[str, Any],
    params: TrainParams,
) -> Learner:
    n_blocks, n_query_blocks = model.config.num_hidden_layers, model.config.num_blocks
    n_frozen = n_frozen_blocks(params, n_blocks, n_query_blocks)
    added = lora_blocks(params, n_blocks, n_frozen)
    first_query_block = n_blocks - n_query_blocks
    make = VideoTrainingNetwork if card.is_video else TrainingNetwork
    network = make(
        model,
        is_trunk_frozen=n_frozen >= first_query_block
        and (not added or added.start >= first_query_block),
        has_auxiliary_losses=params.auxiliary_losses,
        is_checkpointed=params.gradient_checkpointing,
    )
    if added:
        # peft takes a second to import, which only who wants it pays.
        from napari_eomt.training.lora import add_lora

        add_lora(model, added, rank=params.lora_rank, alpha=params.lora_alpha, seed=params.seed)
    _freeze(model, n_frozen)
    # What peft has put in follows the network's mode: a frozen trunk does not train.
    network.train()
    return Learner(network, card, categories, processor, bool(added))


def _freeze(model: nn.Module, n_frozen: int) -> None:
    frozen = tuple(f"layers.{k}." for k in range(n_frozen))
    if n_frozen:
        frozen += ("embeddings.",)
    for name, parameter in model.named_parameters():
        is_frozen = name.startswith(frozen) or name.endswith(MASK_TOKEN)
        parameter.requires_grad_(".lora_" in name or not is_frozen)
