"""What each module is called in the original repositories' layout and in transformers'.

Sources: https://github.com/tue-mps/eomt (checkpoints of EoMT, with a DINOv2 or a DINOv3 backbone)
and https://github.com/tue-mps/videomt (VidEoMT), against the modules of transformers.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_eomt.models.card import Architecture

EMPTY_WEIGHT = "criterion.empty_weight"
"""Weight of each class in the loss: of the same name in both layouts, outside of any prefix."""

POSITIONS = "embeddings.position_embeddings.weight"
MASK_TOKEN = "embeddings.mask_token"  # noqa: S105  # of pre-training; never used in a segmenter
PREFIXES: dict[Architecture, str] = {
    "eomt": "network.",
    "eomt_dinov3": "network.",
    "videomt": "backbone.",
}


@dataclass(frozen=True)
class Rule:
    """What one module is called in both layouts; ``{i}`` is a number.

    With several names in transformers' layout, the original tensor is these, one after the other
    along its first axis, in equal parts.
    """

    kind: str
    original: str
    transformers: tuple[str, ...]


def _rules(kind: str, pairs: Mapping[str, str | tuple[str, ...]]) -> tuple[Rule, ...]:
    return tuple(
        Rule(kind, original, (names,) if isinstance(names, str) else names)
        for original, names in pairs.items()
    )


_HEADS = (
    *_rules("queries", {"q": "query"}),
    *_rules("class head", {"class_head": "class_predictor"}),
    *_rules("mask head", {f"mask_head.{2 * k}": f"mask_head.fc{k + 1}" for k in range(3)}),
    *_rules(
        "upscaling",
        {
            "upscale.{i}.conv1": "upscale_block.block.{i}.conv1",
            "upscale.{i}.conv2": "upscale_block.block.{i}.conv2",
            "upscale.{i}.norm": "upscale_block.block.{i}.layernorm2d",
        },
    ),
    *_rules("masked attention", {"attn_mask_probs": "attn_mask_probs"}),
    *_rules("final norm", {"encoder.backbone.norm": "layernorm"}),
)
_BLOCK = "encoder.backbone.blocks.{i}."
_DINOV2 = (
    *_rules(
        "embeddings",
        {
            "encoder.backbone.cls_token": "embeddings.cls_token",
            "encoder.backbone.reg_token": "embeddings.register_tokens",
            "encoder.backbone.pos_embed": POSITIONS,
            "encoder.backbone.patch_embed.proj": "embeddings.patch_embeddings.projection",
        },
    ),
    *_rules(
        "blocks",
        {
            _BLOCK + "norm1": "layers.{i}.norm1",
            _BLOCK + "norm2": "layers.{i}.norm2",
            _BLOCK + "attn.qkv": tuple(f"layers.{{i}}.attention.{p}_proj" for p in "qkv"),
            _BLOCK + "attn.proj": "layers.{i}.attention.out_proj",
            _BLOCK + "ls1.gamma": "layers.{i}.layer_scale1.lambda1",
            _BLOCK + "ls2.gamma": "layers.{i}.layer_scale2.lambda1",
        },
    ),
)
_GELU = _rules(
    "blocks",
    {_BLOCK + "mlp.fc1": "layers.{i}.mlp.fc1", _BLOCK + "mlp.fc2": "layers.{i}.mlp.fc2"},
)
# The giant's: silu(first half) · second half.
_SWIGLU = _rules(
    "blocks",
    {
        _BLOCK + "mlp.fc1": ("layers.{i}.mlp.gate_proj", "layers.{i}.mlp.up_proj"),
        _BLOCK + "mlp.fc2": "layers.{i}.mlp.down_proj",
    },
)
# The original wraps transformers' own DINOv3, so that only the paths differ.
_DINOV3 = (
    *_rules(
        "embeddings",
        {
            f"encoder.backbone.patch_embed.{name}": f"embeddings.{name}"
            for name in ("cls_token", "register_tokens", "patch_embeddings")
        },
    ),
    *_rules(
        "blocks",
        {
            _BLOCK + name: f"layers.{{i}}.{name}"
            for name in (
                "norm1",
                "norm2",
                *(f"attention.{p}_proj" for p in "qkvo"),
                "layer_scale1.lambda1",
                "layer_scale2.lambda1",
                "mlp.up_proj",
                "mlp.down_proj",
            )
        },
    ),
)
_VIDEO = _rules("query updater", {"query_updater": "query_updater"})


@cache
def rules_of(architecture: Architecture, is_swiglu: bool) -> tuple[Rule, ...]:
    """Return all rules of an architecture; with the giant's MLP, or the others'."""
    if architecture == "eomt_dinov3":
        return _HEADS + _DINOV3
    rules = _HEADS + _DINOV2 + (_SWIGLU if is_swiglu else _GELU)
    return rules + _VIDEO if architecture == "videomt" else rules


def original_name(key: str, architecture: Architecture, is_swiglu: bool) -> str:
    """Return what the original layout calls a tensor of transformers' module."""
    for rule in rules_of(architecture, is_swiglu):
        for part in rule.transformers:
            match = _pattern(part).match(key)
            if match:
                number = match.groupdict().get("i")
                original = rule.original.format(i=number) + (match["suffix"] or "")
                return PREFIXES[architecture] + original
    return key


def kinds(keys: Iterable[str], architecture: Architecture) -> dict[str, int]:
    """Count tensors of transformers' module by kind; those of none are left out."""
    rules = [rule for is_swiglu in (False, True) for rule in rules_of(architecture, is_swiglu)]
    counts: Counter[str] = Counter()
    for key in keys:
        parts = (r for r in rules for part in r.transformers if _pattern(part).match(key))
        rule = next(parts, None)
        if rule is not None or key == EMPTY_WEIGHT:
            counts["loss" if rule is None else rule.kind] += 1
    return dict(counts)


def has_old_keys(keys: Iterable[str]) -> bool:
    """Return whether `original.upgrade_keys` would change one of these names."""
    return any(".mlp.weights_in." in key or ".mlp.weights_out." in key for key in keys)


def find_rule(key: str, rules: Iterable[Rule], of_original: bool) -> tuple[Rule, str, str] | None:
    """Return the rule for a tensor, its number and its suffix; None if there is none.

    Parameters
    ----------
    key : str
        Its name, without the prefix of the training code.
    rules : iterable of Rule
    of_original : bool
        Whether `key` is of the original layout or of transformers'; of several parts there, the
        first stands for all.
    """
    for rule in rules:
        match = _pattern(rule.original if of_original else rule.transformers[0]).match(key)
        if match:
            return rule, match.groupdict().get("i", ""), match["suffix"] or ""
    return None


@cache
def _pattern(stem: str) -> re.Pattern[str]:
    numbered = re.escape(stem).replace(r"\{i\}", r"(?P<i>\d+)")
    return re.compile(rf"^{numbered}(?P<suffix>\.weight|\.bias)?$")
