"""Weights from the original repositories' layout to transformers' and back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch

from napari_eomt.errors import ModelError
from napari_eomt.models.key_maps import (
    EMPTY_WEIGHT,
    MASK_TOKEN,
    POSITIONS,
    PREFIXES,
    find_rule,
    rules_of,
)

if TYPE_CHECKING:
    from napari_eomt.models.card import Architecture

Tensors: TypeAlias = Mapping[str, torch.Tensor]

_PIXELS = ("encoder.pixel_mean", "encoder.pixel_std")
# Not the network's own: a moving average beside it, metrics, loss; positions recomputed anyway.
_NOT_NEEDED = re.compile(
    r"^(ema|ema_model|model_ema|ema_network|metrics|val_metrics|criterion)\."
    r"|^encoder\.backbone\.(patch_embed\.)?mask_token$"
    r"|^encoder\.backbone\.rope_embeddings\.\w+$"
)


@dataclass(frozen=True)
class Translation:
    """The weights of a checkpoint under transformers' names.

    Parameters
    ----------
    architecture : Architecture
    tensors : dict of str to torch.Tensor
        Views of the checkpoint's.
    mapped : dict of str to int
        How many of the checkpoint's tensors were mapped, by kind.
    dropped : tuple of str
        Names of those that transformers' module has no place for.
    pixel_mean, pixel_std : (1, 3, 1, 1) float or None
        Normalisation of the input, for the image processor, if the checkpoint says it.
    """

    architecture: Architecture
    tensors: dict[str, torch.Tensor]
    mapped: dict[str, int]
    dropped: tuple[str, ...]
    pixel_mean: torch.Tensor | None = None
    pixel_std: torch.Tensor | None = None


def from_original(state: Tensors, name: str) -> Translation:
    """Give the weights of an original checkpoint the names of transformers' module.

    Parameters
    ----------
    state : mapping of str to torch.Tensor
        With the prefix of the training code ("network." or "backbone.") or without one.
    name : str
        Of the checkpoint, for messages.

    Raises
    ------
    ModelError
        If it is no checkpoint of EoMT or VidEoMT, one that transformers has no module for, or has
        tensors that no such model has.
    """
    state = {_plain(key): tensor for key, tensor in state.items()}
    prefix = _prefix(state, name)
    state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    architecture = _architecture(state, name)
    rules = rules_of(architecture, is_swiglu=_is_swiglu(state))
    tensors: dict[str, torch.Tensor] = {}
    mapped: Counter[str] = Counter()
    dropped, unknown = [], []
    for key, tensor in state.items():
        found = find_rule(key, rules, of_original=True)
        if key == EMPTY_WEIGHT:
            tensors[key] = tensor
            mapped["loss"] += 1
        elif found is not None:
            rule, number, suffix = found
            names = [part.format(i=number) + suffix for part in rule.transformers]
            parts = [tensor]
            if len(names) > 1 and tensor.ndim and tensor.shape[0] % len(names) == 0:
                parts = list(tensor.chunk(len(names)))
            elif names == [POSITIONS] and tensor.ndim == 3:
                parts = [tensor.flatten(0, 1)]
            elif len(names) > 1 or names == [POSITIONS]:
                raise ModelError(
                    f"{name}: {prefix + key} has the shape {tuple(tensor.shape)}, which no EoMT "
                    "has. Copy or download the checkpoint again."
                )
            tensors.update(zip(names, parts, strict=True))
            mapped[rule.kind] += 1
        elif key in _PIXELS or _NOT_NEEDED.match(key):
            dropped.append(prefix + key if key.startswith("encoder.") else key)
        else:
            unknown.append(prefix + key)
    if unknown:
        raise ModelError(
            f"{name}: has {len(unknown)} tensors that no {architecture} model has: "
            f"{some(unknown)}. Is it the checkpoint of a changed or another network?"
        )
    mean, std = (state.get(key) for key in _PIXELS)
    return Translation(architecture, tensors, dict(mapped), tuple(dropped), mean, std)


def to_original(tensors: Tensors, architecture: Architecture, name: str) -> dict[str, torch.Tensor]:
    """Give the weights of transformers' module the names of the original layout.

    The exact inverse of `from_original`, less what that drops.

    Raises
    ------
    ModelError
        If there are tensors that no such model has, or a part of one is missing.
    """
    rules = rules_of(architecture, is_swiglu=any(".gate_proj." in key for key in tensors))
    prefix = PREFIXES[architecture]
    state: dict[str, torch.Tensor] = {}
    left = dict(tensors)
    left.pop(MASK_TOKEN, None)
    if EMPTY_WEIGHT in left:
        state[EMPTY_WEIGHT] = left.pop(EMPTY_WEIGHT)
    for key in tensors:
        found = find_rule(key, rules, of_original=False)
        if key not in left or found is None:
            continue
        rule, number, suffix = found
        names = [part.format(i=number) + suffix for part in rule.transformers]
        missing = [part for part in names if part not in left]
        if missing:
            raise missing_error(name, missing)
        parts = [left.pop(part) for part in names]
        tensor = parts[0] if len(parts) == 1 else torch.cat(parts)
        state[prefix + rule.original.format(i=number) + suffix] = (
            tensor[None] if key == POSITIONS else tensor
        )
    if left:
        raise ModelError(
            f"{name}: has {len(left)} tensors that no {architecture} model has: {some(left)}. "
            "Is it the checkpoint of a changed or another network?"
        )
    return state


def upgrade_keys(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Return weights of transformers' module with the MLP's names as they are since version 5.

    Giant (SwiGLU) models saved before have ``mlp.weights_in`` and ``mlp.weights_out``, which
    transformers renames for DINOv2 but not for EoMT: it would fill these MLPs at random.
    """
    upgraded: dict[str, torch.Tensor] = {}
    for key, tensor in tensors.items():
        if ".mlp.weights_in." in key and tensor.ndim and tensor.shape[0] % 2 == 0:
            names = [key.replace("weights_in", part) for part in ("gate_proj", "up_proj")]
            upgraded.update(zip(names, tensor.chunk(2), strict=True))
        else:
            upgraded[key.replace(".mlp.weights_out.", ".mlp.down_proj.")] = tensor
    return upgraded


def missing_error(name: str, keys: Iterable[str]) -> ModelError:
    """Return the error of a checkpoint without these tensors."""
    keys = list(keys)
    return ModelError(
        f"{name}: lacks {len(keys)} tensors of the network: {some(keys)}. Copy or download the "
        "whole checkpoint again."
    )


def some(names: Iterable[str], n: int = 3) -> str:
    """Return the first few names, for a message."""
    names = list(names)
    return ", ".join(names[:n]) + (" …" if len(names) > n else "")


def _plain(key: str) -> str:
    # torch.compile and DistributedDataParallel leave their traces in names.
    return key.replace("_orig_mod.", "").removeprefix("module.")


def _prefix(state: Tensors, name: str) -> str:
    for stem in ("q.weight", "encoder.backbone."):
        for prefix in ("network.", "backbone.", ""):
            if any(key.startswith(prefix + stem) for key in state):
                return prefix
    raise ModelError(
        f"{name}: is no checkpoint of EoMT or VidEoMT: it has {_likely(state)}. Expected an "
        "encoder.backbone with queries q.weight. Choose the checkpoint of a whole segmenter."
    )


def _likely(state: Tensors) -> str:
    """Say what network these weights are of, as far as their names tell."""
    if "layer1.0.conv1.weight" in state:
        return "the weights of a ResNet"
    if "blocks.0.attn.qkv.weight" in state or "storage_tokens" in state:
        return "the weights of a bare vision transformer, without queries and heads"
    if any(re.match(r"(model\.)?layer\.0\.attention\.", key) for key in state):
        return "the weights of a bare DINOv3, without queries and heads (a base for a delta)"
    return f"tensors such as {some(state)}"


def _is_swiglu(state: Tensors) -> bool:
    first, second = (state.get(f"encoder.backbone.blocks.0.mlp.fc{k}.weight") for k in (1, 2))
    if first is None or second is None or first.ndim != 2 or second.ndim != 2:
        return False
    return first.shape[0] == 2 * second.shape[1]


def _architecture(state: Tensors, name: str) -> Architecture:
    is_video = any(key.startswith("query_updater.") for key in state)
    if any(".attention.attention.query." in key or ".mlp.weights_in." in key for key in state):
        raise ModelError(
            f"{name}: its backbone is WebSSL-DINO (EoMT-7B), which transformers has no EoMT for. "
            "Choose a model with a DINOv2 or a DINOv3 backbone of size S, B, L or g."
        )
    if any(".mlp.gate_proj." in key for key in state):
        raise ModelError(
            f"{name}: its DINOv3 backbone has gated MLPs (ViT-H+ or 7B), which transformers' "
            "EoMT-DINOv3 cannot combine with EoMT's heads. Choose a model of size S, B or L."
        )
    is_dinov3 = any(
        key.startswith("encoder.backbone.patch_embed.") and ".proj." not in key for key in state
    ) or any(".attention.q" in key for key in state)
    if is_video and is_dinov3:
        raise ModelError(
            f"{name}: is a VidEoMT with a DINOv3 backbone, which transformers has no module for "
            "(its VidEoMT is DINOv2's; the original normalises the queries between frames too). "
            "Choose a VidEoMT with a DINOv2 backbone, or the original code."
        )
    if is_video:
        return "videomt"
    return "eomt_dinov3" if is_dinov3 else "eomt"
