"""A hub on this computer for each test, with a cache and models' folder of its own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from huggingface_hub import close_session, constants, scan_cache_dir
from tests.models.hub_server import HubServer

from napari_eomt.models import hub_transfer, hub_watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


@contextmanager
def running_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Yield a hub with nothing on it, which huggingface_hub takes for the real one."""
    server = HubServer()
    # huggingface_hub reads the environment when it is imported; a test in a child process checks
    # that these are what the environment's variables set.
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.5)
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    monkeypatch.setenv("NAPARI_EOMT_MODELS_DIR", str(tmp_path / "converted"))
    for module in (hub_transfer, hub_watch):
        monkeypatch.setattr(module, "pause_after", lambda error, failures: 0.01)
    close_session()
    try:
        yield server
    finally:
        server.close()
        close_session()


def half_written(cache: Path) -> tuple[list[str], list[str]]:
    """Say what a cache holds that is no whole file.

    Returns
    -------
    growing, wrong : list of str
        Files that the next download goes on from; everything else that should not be there.
    """
    if not cache.exists():
        return [], []
    scan = scan_cache_dir(cache)
    growing = sorted(file.file_path.name for file in scan.incomplete_files)
    wrong = [str(warning) for warning in scan.warnings]
    for path in cache.rglob("*"):
        is_temporary = path.name.startswith(".") and path.name != ".locks"
        if path.is_symlink() and not path.exists():
            wrong.append(f"link to nothing: {path}")
        elif is_temporary or path.suffix == ".tmp":
            wrong.append(f"temporary file: {path}")
    return growing, wrong
