"""Deltas: published EoMT-DINOv3 weights that hold what training changed in the backbone.

Meta's licence lets nobody else give DINOv3 away, so that these files hold, for every tensor of
the encoder, its difference to ``facebook/dinov3-vit…16-pretrain-lvd1689m``; the heads are whole.
A delta alone loads without an error and gives garbage.
"""

from __future__ import annotations

import re
from statistics import median
from typing import TYPE_CHECKING

import torch

from napari_eomt.errors import ModelError
from napari_eomt.models.original import some

if TYPE_CHECKING:
    from napari_eomt.models.original import Tensors, Translation

BASES = {
    384: "facebook/dinov3-vits16-pretrain-lvd1689m",
    768: "facebook/dinov3-vitb16-pretrain-lvd1689m",
    1024: "facebook/dinov3-vitl16-pretrain-lvd1689m",
}
"""Hub id of the backbone that published deltas of a width are added to."""

# Training starts at DINOv3's weights with rates of 1e-4 and, in early blocks, far less: it moves
# a norm's scale by hundredths at most, while the scales themselves are of order 1.
_MAX_DELTA_SCALE = 0.05
_ENCODER = re.compile(r"^(embeddings|layers|layernorm)\.")
_SCALE = re.compile(r"^(layers\.\d+\.norm[12]|layernorm)\.weight$")


def is_delta(translation: Translation) -> bool:
    """Return whether weights are a delta and not a whole model.

    Only DINOv3's are published as deltas. One is a delta if its normalisation divides by 0 (the
    difference of what never changes), if its masked attention is below 0 (the difference to the
    initial 1), or if the scales of its layer norms are near 0: their median over the network, of
    each norm's median absolute value, is below 0.05.
    """
    if translation.architecture != "eomt_dinov3":
        return False
    std, masked = translation.pixel_std, translation.tensors.get("attn_mask_probs")
    if std is not None and not bool(std.any()):
        return True
    if masked is not None and bool((masked < 0).any()):
        return True
    return _has_small_scales(translation.tensors)


def merge(delta: Tensors, base: Tensors, name: str, base_name: str) -> dict[str, torch.Tensor]:
    """Add a delta to its backbone.

    Parameters
    ----------
    delta : mapping of str to torch.Tensor
        Under the names of transformers' EoMT-DINOv3.
    base : mapping of str to torch.Tensor
        Weights of transformers' DINOv3 as Meta publishes them, also as nested by version 5.
    name, base_name : str
        Of the two, for messages.

    Returns
    -------
    dict of str to torch.Tensor
        The whole model's, with masked attention off.

    Raises
    ------
    ModelError
        If `base` is no DINOv3 backbone, or not the one that the delta was taken from.
    """
    backbone = _backbone(base, base_name)
    encoder = {key: tensor for key, tensor in delta.items() if _ENCODER.match(key)}
    _check_fit(encoder, backbone, name, base_name)
    if _is_near(encoder, backbone):
        raise ModelError(
            f"{name}: is whole already, near {base_name} itself: nothing is to be added. Convert "
            "it without a base."
        )
    if _has_small_scales(backbone):
        raise ModelError(
            f"{base_name}: is itself a delta or was never trained: the scales of its layer norms "
            f"are near 0. Give the backbone as Meta publishes it{_published(backbone)}."
        )
    whole = dict(delta)
    for key, change in encoder.items():
        whole[key] = backbone[key] + change
    # Published schedules end with masked attention off; of a delta it is the difference to 1.
    if "attn_mask_probs" in delta:
        whole["attn_mask_probs"] = torch.zeros_like(delta["attn_mask_probs"])
    if _has_small_scales(whole) or not all(_is_finite(whole[key]) for key in encoder):
        raise ModelError(
            f"{name}: its sum with {base_name} is no trained backbone. Give the backbone that it "
            f"was made from{_published(backbone)}."
        )
    return whole


def needs_base(translation: Translation, name: str) -> ModelError:
    """Return the error of a delta that came without its base."""
    return ModelError(
        f"{name}: holds only what training changed in its DINOv3 backbone (a delta), and would "
        "give garbage alone. Give its base, a folder or file, too"
        f"{_published(translation.tensors)}; Meta asks to accept its licence first."
    )


def _backbone(base: Tensors, base_name: str) -> dict[str, torch.Tensor]:
    """Give Meta's weights the names of EoMT-DINOv3's encoder."""
    backbone: dict[str, torch.Tensor] = {}
    for key, tensor in base.items():
        name = key.removeprefix("model.")
        name = re.sub(r"^layer\.(\d+)\.", r"layers.\1.", name)
        name = re.sub(r"^norm\.", "layernorm.", name)
        if name != "embeddings.mask_token" and _ENCODER.match(name):
            backbone[name] = tensor
    if "embeddings.register_tokens" not in backbone or not any(
        key.startswith("layers.0.") for key in backbone
    ):
        hint = "Meta's own layout, not transformers'" if "storage_tokens" in base else some(base)
        raise ModelError(
            f"{base_name}: is no DINOv3 backbone in transformers' layout (found {hint}). Give the "
            f"folder or model.safetensors of one of {', '.join(BASES.values())}."
        )
    return backbone


def _check_fit(encoder: Tensors, backbone: Tensors, name: str, base_name: str) -> None:
    ours, theirs = _size(encoder), _size(backbone)
    if ours != theirs:
        raise ModelError(
            f"{base_name}: is not the base of {name}: its width and depth are "
            f"{theirs[0]} and {theirs[1]}, expected {ours[0]} and {ours[1]}"
            f"{_published(encoder)}."
        )
    differing = sorted(set(encoder) ^ set(backbone)) or [
        key for key, tensor in encoder.items() if tensor.shape != backbone[key].shape
    ]
    if differing:
        raise ModelError(
            f"{base_name}: is not the base of {name}: {len(differing)} tensors are not in both, or "
            f"differ in shape: {some(differing)}. Give the backbone that the delta was taken from"
            f"{_published(encoder)}."
        )


def _size(encoder: Tensors) -> tuple[int, int]:
    """Return width and depth."""
    token = encoder.get("embeddings.cls_token")
    width = 0 if token is None or not token.ndim else token.shape[-1]
    numbers = [int(m[1]) for key in encoder if (m := re.match(r"layers\.(\d+)\.", key))]
    return width, 1 + max(numbers, default=-1)


def _published(encoder: Tensors) -> str:
    base = BASES.get(_size(encoder)[0])
    return f" ({base})" if base else ""


def _is_near(encoder: Tensors, backbone: Tensors) -> bool:
    """Return whether weights lie nearer to the backbone than to 0, as no delta does."""
    to_base = to_zero = 0.0
    for key, tensor in encoder.items():
        if key.endswith(".q_proj.weight"):
            to_base += float((tensor.float() - backbone[key].float()).square().sum())
            to_zero += float(tensor.float().square().sum())
    return to_base < to_zero


def _has_small_scales(tensors: Tensors) -> bool:
    scales = [
        float(tensor.float().abs().median())
        for key, tensor in tensors.items()
        if _SCALE.match(key) and tensor.numel()
    ]
    return bool(scales) and median(scales) < _MAX_DELTA_SCALE


def _is_finite(tensor: torch.Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
