"""Tiny random models of both architectures, as transformers' modules."""

from __future__ import annotations

import torch
from tests.tiny_models import SHAPE, SIZE
from transformers import (
    EomtConfig,
    EomtDinov3Config,
    EomtDinov3ForUniversalSegmentation,
    EomtForUniversalSegmentation,
)

ARCHITECTURES = ("eomt", "eomt_dinov3")
SIZES = SHAPE | {"num_labels": 4, "train_num_points": 100}


def tiny_model(architecture, seed=0, **changes):
    """Make a model with three blocks, two of which see queries, in training mode."""
    torch.manual_seed(seed)
    common = SIZES | changes
    if architecture == "eomt":
        model = EomtForUniversalSegmentation(EomtConfig(**common))
    else:
        config = EomtDinov3Config(**{"intermediate_size": 64, "num_register_tokens": 4} | common)
        model = EomtDinov3ForUniversalSegmentation(config)
    return spread(model).train()


def spread(model):
    """Spread the answers of fresh heads, which say nearly nothing: masks and classes differ."""
    with torch.no_grad():
        model.class_predictor.weight.mul_(10)
        model.query.weight.normal_(0, 1)
        for name, parameter in model.named_parameters():
            if "mask_head" in name:
                parameter.mul_(3)
    return model


def pixels(n=2, seed=1):
    return torch.randn(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
