"""A warm worker for all tests of a session, and models that misbehave on demand."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from worker_talk import PROPOSALS_BYTES, Talk

from napari_eomt.models.catalog import DEFAULT_MODEL, find_model
from napari_eomt.worker.client import ModelRef, WorkerClient, WorkerState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def hooked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have workers load `worker_hooks`, which looks at the model's name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        patch.setenv("NAPARI_EOMT_WORKER_HOOK", "worker_hooks:misbehave")
        patch.setenv("NAPARI_EOMT_CONFIG_DIR", str(tmp_path_factory.mktemp("worker-config")))
        yield


@pytest.fixture(scope="session")
def model(hooked: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ModelRef]:
    """Return a function that makes a copy of the bundled model under another name."""
    root = tmp_path_factory.mktemp("models")

    def copy(name: str) -> ModelRef:
        if not (root / name).exists():
            shutil.copytree(find_model(DEFAULT_MODEL).folder, root / name)
        return ModelRef(str(root / name), "cpu")

    return copy


@pytest.fixture(scope="session")
def _client(hooked: None) -> Iterator[WorkerClient]:
    client = WorkerClient(proposals_bytes=PROPOSALS_BYTES, n_threads=1)
    client.start()
    yield client
    client.close()


@pytest.fixture
def talk(_client: WorkerClient) -> Talk:
    """Return a talk with a worker that is warm and idle."""
    talk = Talk(_client)
    while _client.state is not WorkerState.WARM:
        time.sleep(0.01)
    talk.client.poll()
    return talk


@pytest.fixture
def plain() -> ModelRef:
    """Return the bundled model as it is."""
    return ModelRef(DEFAULT_MODEL, "cpu")
