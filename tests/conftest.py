"""Shared by all tests: one torch thread, no user settings, no network."""

from __future__ import annotations

import os
from pathlib import Path

# Before napari is imported: make_napari_viewer resets whatever settings file this names.
os.environ["NAPARI_CONFIG"] = ""
os.environ.setdefault("QT_API", "pyqt6")
os.environ["HF_HUB_OFFLINE"] = "1"
# Two torch threads ran ten times slower than one on a busy two-core machine.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest


@pytest.fixture(autouse=True)
def _own_settings(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep tests away from the user's settings."""
    monkeypatch.setenv("NAPARI_EOMT_CONFIG_DIR", str(tmp_path_factory.mktemp("config")))
    monkeypatch.setenv("NAPARI_EOMT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("NAPARI_EOMT_SESSIONS_DIR", str(tmp_path_factory.mktemp("sessions")))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of real images beside the checkout, or skip."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"The real images are not here ({folder.name} beside the checkout).")
    return folder
