"""The network that a training on videos starts from: a VidEoMT, or an EoMT that becomes one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import VideomtConfig, VideomtForUniversalSegmentation

from napari_eomt.errors import ModelError
from napari_eomt.models.load import load_network
from napari_eomt.models.transformers_folder import read_config

if TYPE_CHECKING:
    from napari_eomt.models.card import ModelCard

_NEW = frozenset({"query_updater.weight", "query_updater.bias"})
_UNUSED = frozenset({"embeddings.mask_token", "criterion.empty_weight"})


def load_video_network(card: ModelCard, seed: int = 0) -> Any:
    """Load transformers' VidEoMT of a model that is on this computer, on the CPU, in fp32.

    An EoMT gives it all weights but those that make a frame's queries of those of the frame
    before, which begin as PyTorch's linear layers do, as published.

    Parameters
    ----------
    card : ModelCard
        Of `as_video_card`.
    seed : int
        Of the new weights.

    Raises
    ------
    ModelError
        If the weights are damaged, or there are others than an EoMT has.
    """
    known = None if card.folder is None else read_config(card.folder)
    if known is None or known[0] == "videomt":
        return load_network(card)
    image = load_network(card.model_copy(update={"architecture": known[0]}))
    values = known[1].to_dict()
    for name in ("model_type", "architectures"):
        values.pop(name, None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VideomtForUniversalSegmentation(VideomtConfig(**values))
    missing, unexpected = model.load_state_dict(image.state_dict(), strict=False)
    wrong = (set(missing) - _NEW - _UNUSED) | (set(unexpected) - _UNUSED)
    if wrong:
        raise ModelError(
            f"{card.name}: its weights do not make a VidEoMT; {len(wrong)} do not fit, such as "
            f"{min(wrong)}. Choose a VidEoMT."
        )
    return model
