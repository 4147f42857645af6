"""A viewer and a worker for the window's tests, and models: a hub on this computer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from tests.models.hub_fixtures import running_hub
from tests.models.hub_server import Repo
from tests.models.original_layout import delta_state, original_state, tiny_base, trained
from tests.models.test_delta import fine_tuned
from tests.tiny_models import save_tiny
from tests.widgets.learn_page import (  # noqa: F401 - fixtures
    drawn_set,
    make_bundled_dock,
    make_dock,
    runs_folder,
    tiny_model,
)

from napari_eomt.models.catalog import catalog
from napari_eomt.worker.client import WorkerClient

if TYPE_CHECKING:
    from pathlib import Path

SMALL = "eomt-small-coco-panoptic-640"
"""A published model; on the hub of the tests it is a tiny one with the same categories."""


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture(scope="module")
def client():
    """Yield one worker for all tests of a file: a new one takes seconds to load torch."""
    client = WorkerClient(n_threads=1)
    client.start()
    yield client
    client.close()


@pytest.fixture(scope="session")
def tiny_coco(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("coco") / "model", n_labels=133)


@pytest.fixture(scope="session")
def tiny_original(tmp_path_factory) -> Path:
    """Return a model as the original repository's training saves it."""
    path = tmp_path_factory.mktemp("original") / "cells.bin"
    torch.save(original_state(trained("dinov2", num_labels=133), "dinov2"), path)
    return path


@pytest.fixture(scope="session")
def tiny_delta(tmp_path_factory) -> tuple[Path, Path]:
    """Return what training changed in a DINOv3 backbone, and the folder of the backbone."""
    folder = tmp_path_factory.mktemp("delta")
    base = tiny_base()
    whole = fine_tuned(base)
    path = folder / "coco_eomt_64_dinov3.bin"
    torch.save(delta_state(original_state(whole, "dinov3"), base.state_dict()), path)
    base.save_pretrained(folder / "base")
    return path, folder / "base"


@pytest.fixture
def hub(tmp_path, monkeypatch, tiny_coco):
    """Yield a hub that publishes the small model, with a cache that a child process shares."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with running_hub(tmp_path, monkeypatch) as server:
        files = {path.name: path.read_bytes() for path in tiny_coco.iterdir()}
        server.repos[catalog()[SMALL].hub_id] = Repo(files)
        yield server
