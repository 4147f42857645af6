"""`napari-eomt download`, against a hub on this computer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import constants
from tests.models.hub_fixtures import half_written, running_hub
from tests.models.hub_server import TOKEN, Fault, Repo
from typer.testing import CliRunner

from napari_eomt.cli.main import app
from napari_eomt.models.catalog import catalog

NAME = "eomt-small-coco-panoptic-640"
ENTRY = catalog()[NAME]
WEIGHTS = os.urandom(300_000)
FILES = {"config.json": b'{"model_type": "eomt"}', "model.safetensors": WEIGHTS}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with running_hub(tmp_path, monkeypatch) as server:
        server.repos[ENTRY.hub_id] = Repo(dict(FILES))
        yield server


def run(*args, **options):
    return CliRunner().invoke(app, ["download", *args], terminal_width=200, **options)


def test_name_of_the_catalog_is_downloaded_then_already_here(hub):
    first = run(NAME)
    assert first.exit_code == 0, first.stderr
    folder = Path(first.stdout.split()[-1])
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert first.stdout.startswith(f"{NAME} is ready  ")
    hub.requests.clear()
    again = run(NAME)
    assert again.stdout == f"{NAME} is here already  {folder}\n"
    assert hub.requests == []


def test_repositories_and_several_at_once_as_json(hub):
    hub.repos["someone/other"] = Repo(dict(FILES))
    result = run(NAME, "someone/other", "--json")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["name"] for row in rows] == [NAME, "someone--other"]
    assert all(Path(row["folder"]).is_dir() for row in rows)
    assert rows[0]["n_bytes"] == sum(map(len, FILES.values()))


def test_hub_id_of_a_catalogued_model_is_that_model(hub):
    assert run(ENTRY.hub_id).stdout.startswith(NAME)


def test_bundled_models_need_no_download(hub):
    result = run("nuclei-nano")
    assert (result.exit_code, result.stdout) == (0, "nuclei-nano needs no download\n")
    assert hub.requests == []


def test_unknown_names_are_one_clear_line(hub):
    result = run("eomt-smal-coco-panoptic-640")
    assert result.exit_code == 2
    assert NAME in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_fault_is_one_line_and_the_others_come_all_the_same(hub):
    hub.repos["someone/gated"] = Repo(dict(FILES), is_gated=True)
    result = run("someone/gated", NAME)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "hf auth login" in result.stderr
    assert result.stdout.startswith(f"{NAME} is ready")


def test_token_is_passed_on(hub):
    assert run(NAME, "--token", TOKEN).exit_code == 0
    assert hub.requests[0].token == TOKEN


def test_delete_says_what_it_frees(hub):
    run(NAME)
    refused = run(NAME, "--delete")
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    done = run(NAME, "--delete", "--yes")
    assert done.stdout == f"{NAME} is deleted: 300.1 kB freed\n"
    assert not list(Path(constants.HF_HUB_CACHE).glob("models--*"))
    assert run(NAME, "--delete", "--yes").stdout == f"{NAME} is not on this computer\n"


def test_delete_asks_a_person(hub, monkeypatch):
    run(NAME)
    # The runner's stdin is no terminal.
    monkeypatch.setattr("napari_eomt.cli.download._is_person", lambda: True)
    kept = run(NAME, "--delete", input="n\n")
    assert kept.stdout.endswith(f"{NAME} is kept\n")
    assert "300.0 kB" in kept.stderr
    assert "is deleted" in run(NAME, "--delete", input="y\n").stdout


def test_interrupted_says_that_nothing_is_lost_and_resumes(hub, tmp_path):
    """In a child process, as Ctrl-C reaches one; its answer is to come within a second."""
    hub.faults["model.safetensors"] = Fault(rate=100_000)
    env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    env |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    # A background job of a shell ignores Ctrl-C, and its children would too.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from napari_eomt.cli.main import main; main()"
    )
    command = [sys.executable, "-c", code, "download", NAME]
    child = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    cache = tmp_path / "home" / "hub"
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 50_000 for path in cache.glob("*/blobs/*.incomplete")):
        assert time.monotonic() < deadline
        assert child.poll() is None, child.stderr.read()
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    start = time.monotonic()
    _, stderr = child.communicate(timeout=30)
    assert child.returncode == 130
    assert time.monotonic() - start < 2
    assert stderr == "stopped; what was fetched is kept: run it again to go on from there\n"
    growing, wrong = half_written(cache)
    assert len(growing) == 1
    assert wrong == []
    hub.faults.clear()
    served = hub.served("model.safetensors")
    assert subprocess.run(command, env=env, capture_output=True, check=False).returncode == 0
    assert hub.served("model.safetensors") - served < len(WEIGHTS) - 50_000


def test_progress_shows_bytes_speed_and_file(hub, monkeypatch):
    import io

    from napari_eomt.cli.progress import download_bar
    from napari_eomt.models.store import Progress

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with download_bar("a-model", wanted=True) as show:
        show(Progress(1_500_000, 3_000_000, "model.safetensors", "downloading", 2_000_000.0))
        time.sleep(0.3)
    shown = terminal.getvalue()
    for part in ("a-model", "1.5/3.0 MB", "2.0 MB/s", "downloading model.safetensors"):
        assert part in shown
