"""Small EoMT models with random weights, saved in transformers' layout."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from transformers import (
    EomtConfig,
    EomtDinov3Config,
    EomtDinov3ForUniversalSegmentation,
    EomtForUniversalSegmentation,
    VideomtConfig,
    VideomtForUniversalSegmentation,
)

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 64
N_QUERIES = 12
SHAPE = {
    "image_size": SIZE,
    "patch_size": 16,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_blocks": 2,
    "num_queries": N_QUERIES,
}
"""Of a model with three blocks, two of which see queries."""


def save_tiny(
    folder: Path, architecture: str = "eomt", n_labels: int = 4, **sidecar: object
) -> Path:
    """Save a tiny model with random weights, and return its folder."""
    torch.manual_seed(0)
    common = SHAPE | {
        "id2label": {k: f"class {k}" for k in range(n_labels)},
        "label2id": {f"class {k}": k for k in range(n_labels)},
    }
    if architecture == "eomt":
        model = EomtForUniversalSegmentation(EomtConfig(**common))
    elif architecture == "videomt":
        model = VideomtForUniversalSegmentation(VideomtConfig(**common))
    else:
        model = EomtDinov3ForUniversalSegmentation(
            EomtDinov3Config(**common, intermediate_size=64, num_register_tokens=4)
        )
    with torch.no_grad():
        # Fresh heads say nearly nothing: spread their answers so that masks and classes differ.
        model.class_predictor.weight.mul_(30)
        model.query.weight.normal_(0, 1)
    model.save_pretrained(folder)
    if sidecar:
        (folder / "napari_eomt.json").write_text(json.dumps(sidecar))
    return folder
