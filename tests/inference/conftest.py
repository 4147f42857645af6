"""Models and an image that many tests of a forward pass share."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tiny_models import save_tiny

from napari_eomt.models.load import load_segmenter


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tasks = ["panoptic", "instance", "semantic"]
    return load_segmenter(save_tiny(folder, tasks=tasks, stuff=[2, 3]), "cpu")


@pytest.fixture(scope="module")
def nano():
    return load_segmenter("nuclei-nano", "cpu")


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(3).integers(0, 256, (90, 210, 3)).astype(np.uint8)
