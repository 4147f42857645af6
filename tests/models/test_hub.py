"""Fetching from the hub, against a real server on this computer, with the faults of real ones."""

from __future__ import annotations

import errno
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import close_session, constants, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import WeakFileLock
from tests.models.hub_fixtures import half_written, running_hub
from tests.models.hub_server import COMMIT, TOKEN, Fault, Repo, sha256

from napari_eomt.errors import EomtError
from napari_eomt.models import hub_cache, hub_transfer
from napari_eomt.models.hub import fetch_snapshot, list_files
from napari_eomt.models.hub_cache import (
    cached_bytes,
    cached_folder,
    delete_cached,
    needed_files,
)
from napari_eomt.models.hub_errors import DownloadError
from napari_eomt.models.hub_watch import pause_after, size_text

WEIGHTS = os.urandom(300_000)
CONFIG = b'{"model_type": "eomt"}'
MODEL = "someone/model"
BLOB = sha256(WEIGHTS)
GROWING = f"{BLOB}.incomplete"
SLOW = 200_000.0  # bytes/s


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with running_hub(tmp_path, monkeypatch) as server:
        yield server


@pytest.fixture
def cache(hub) -> Path:
    hub.repos[MODEL] = Repo({"config.json": CONFIG, "model.safetensors": WEIGHTS})
    return Path(constants.HF_HUB_CACHE)


def test_model_is_fetched_into_the_cache_that_others_share(hub, cache):
    snapshot = fetch_snapshot(MODEL)
    assert (
        snapshot.folder
        == cached_folder(MODEL)
        == cache / "models--someone--model/snapshots" / COMMIT
    )
    assert (snapshot.folder / "model.safetensors").read_bytes() == WEIGHTS
    assert (snapshot.folder / "config.json").read_bytes() == CONFIG
    assert half_written(cache) == ([], [])
    # huggingface_hub finds every file in its place: it downloads nothing.
    before = [r for r in hub.requests if r.method == "GET"]
    theirs = hf_hub_download(MODEL, "model.safetensors", cache_dir=cache, endpoint=hub.url)
    assert Path(theirs) == snapshot.folder / "model.safetensors"
    assert [r for r in hub.requests if r.method == "GET"] == before


def test_what_others_downloaded_is_not_fetched_again(hub, cache):
    for name in ("config.json", "model.safetensors"):
        hf_hub_download(MODEL, name, cache_dir=cache, endpoint=hub.url)
    served = hub.served("model.safetensors")
    assert served == len(WEIGHTS)
    fetch_snapshot(MODEL)
    assert hub.served("model.safetensors") == served


def test_progress_ends_at_the_total(hub, cache):
    hub.faults["model.safetensors"] = Fault(rate=SLOW * 3)
    seen = []
    fetch_snapshot(MODEL, on_progress=seen.append)
    total = len(WEIGHTS) + len(CONFIG)
    assert {p.total for p in seen} == {total}
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert seen[-1].done == total
    assert {p.file for p in seen} == {"config.json", "model.safetensors"}
    assert {"downloading", "checking"} <= {p.what for p in seen}
    speeds = [p.bytes_per_second for p in seen if p.what == "downloading"]
    assert max(speeds) == pytest.approx(SLOW * 3, rel=0.5)
    again = []
    fetch_snapshot(MODEL, on_progress=again.append)
    assert again == []


def test_nothing_is_printed(hub, cache, capfd):
    fetch_snapshot(MODEL)
    assert capfd.readouterr() == ("", "")


# One line a fault: what is set up, the error's kind, what its message must say.


def _gate(hub, monkeypatch):
    hub.repos[MODEL].is_gated = True


def _gate_with_token(hub, monkeypatch):
    hub.repos[MODEL].is_gated = True
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def _bad_token(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")


def _no_repo(hub, monkeypatch):
    del hub.repos[MODEL]


def _no_repo_with_token(hub, monkeypatch):
    _no_repo(hub, monkeypatch)
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def _no_revision(hub, monkeypatch):
    hub.repos[MODEL].revisions = ("other",)


def _no_weights(hub, monkeypatch):
    del hub.repos[MODEL].files["model.safetensors"]


def _always_cut(hub, monkeypatch):
    hub.faults["model.safetensors"] = Fault(cut_at=[100_000] * 20)


def _wrong_content(hub, monkeypatch):
    hub.faults["model.safetensors"] = Fault(body=bytes(len(WEIGHTS)))


def _wrong_config(hub, monkeypatch):
    hub.faults["config.json"] = Fault(body=CONFIG[::-1])


def _too_long(hub, monkeypatch):
    hub.faults["model.safetensors"] = Fault(body=WEIGHTS + b"more")


def _little_space(hub, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(hub_cache.shutil, "disk_usage", lambda path: usage(10**9, 10**9, 5_000_000))


def _full_while_writing(hub, monkeypatch):
    write, written = hub_transfer._write, []

    def full(file, chunk):
        if sum(written) + len(chunk) > 150_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(len(chunk))
        write(file, chunk)

    monkeypatch.setattr(hub_transfer, "_write", full)


def _read_only(hub, monkeypatch):
    # Permissions would not stop root, who runs many a test.
    def refuse(path, *args, **kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)


def _cache_is_a_file(hub, monkeypatch):
    Path(constants.HF_HUB_CACHE).write_text("a file where the folder should be")


def _offline(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def _nobody_there(hub, monkeypatch):
    hub.close()
    close_session()  # connections that are open stay served


def _hanging(hub, monkeypatch):
    hub.faults["model.safetensors"] = Fault(hang_at=100_000)


def _always_busy(hub, monkeypatch):
    hub.faults["model.safetensors"] = Fault(status=[503] * 20)


def _not_a_hub(hub, monkeypatch):
    hub.listing_fault = Fault(status=[200])


FAULTS = {
    "gated, no token": (_gate, "gated", "You have no access yet", []),
    "gated, another's token": (_gate_with_token, "gated", "/someone/model, signed in", []),
    "token refused": (_bad_token, "token", "hf auth login", []),
    "no such repository": (_no_repo, "repository", "no repository someone/model", []),
    "no such, with a token": (_no_repo_with_token, "repository", "no repository", []),
    "no such revision": (_no_revision, "revision", "no revision 'main'", []),
    "no weights": (_no_weights, "file", "no model.safetensors", []),
    "always cut": (_always_cut, "network", "ended early|cannot be reached", [GROWING]),
    "wrong content": (_wrong_content, "damaged", "model.safetensors is damaged", []),
    "wrong small file": (_wrong_config, "damaged", "config.json is damaged", []),
    "too long": (_too_long, "damaged", "is damaged", []),
    "little space": (_little_space, "disk", r"needs 67\.4 MB on the disk.*5\.0 MB are free", []),
    "full while writing": (_full_while_writing, "disk", "is full", [GROWING]),
    "read-only cache": (_read_only, "disk", "cannot be written.*Permission denied", []),
    "cache is a file": (_cache_is_a_file, "disk", "cannot be written.*HF_HOME", None),
    "offline, not cached": (_offline, "offline", "HF_HUB_OFFLINE forbids", []),
    "nobody there": (_nobody_there, "network", "cannot be reached", []),
    "hanging": (_hanging, "network", r"did not answer within 0\.5 s", [GROWING]),
    "always busy": (_always_busy, "network", "answers 503", None),
    "not a hub": (_not_a_hub, "network", "HF_ENDPOINT", []),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_one_clear_error_and_leave_nothing_half_written(hub, cache, monkeypatch, fault):
    spoil, kind, message, growing = FAULTS[fault]
    spoil(hub, monkeypatch)
    with pytest.raises(EomtError, match=message) as caught:
        fetch_snapshot(MODEL)
    assert isinstance(caught.value, DownloadError)
    assert caught.value.kind == kind
    assert "\n" not in str(caught.value)
    assert str(caught.value)[-1] in ".!"
    monkeypatch.undo()
    if cache.is_dir():
        found, wrong = half_written(cache)
        assert wrong == []
        assert set(found) == set(growing if growing is not None else found)
        assert set(found) <= {GROWING}
        assert cached_folder(MODEL) is None


def test_a_file_that_the_repository_lacks_is_named(hub, cache):
    with pytest.raises(DownloadError, match=r"no file 'other\.bin'.*It has config\.json") as caught:
        fetch_snapshot(MODEL, files=["other.bin"])
    assert caught.value.kind == "file"


@pytest.mark.parametrize("name", ["../../evil", "a/../../b", "/etc/passwd", "a\\b", ".locks/x", ""])
def test_names_that_lead_elsewhere_are_refused(hub, cache, name):
    with pytest.raises(DownloadError, match="cannot be the name"):
        fetch_snapshot(MODEL, files=[name])
    with pytest.raises(DownloadError, match="cannot be the name"):
        fetch_snapshot(MODEL, revision=name)
    assert hub.requests == []


@pytest.mark.parametrize("name", ["a b", "../x", "a/b/c", "a--b/c"])
def test_names_that_are_no_repository_are_refused(hub, cache, name):
    with pytest.raises(DownloadError, match="no name of a repository"):
        fetch_snapshot(name)


def test_etag_that_leads_elsewhere_is_refused(hub, cache, monkeypatch):
    monkeypatch.setattr("tests.models.hub_server.sha256", lambda content: "../../../evil")
    with pytest.raises(DownloadError, match="what identifies it"):
        fetch_snapshot(MODEL)


def test_cut_connections_are_resumed_by_themselves(hub, cache):
    hub.faults["model.safetensors"] = Fault(cut_at=[100_000, 200_000])
    fetch_snapshot(MODEL)
    assert (cached_folder(MODEL) / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.served("model.safetensors") == len(WEIGHTS), "no byte comes twice"
    ranges = [r.range for r in hub.requests if r.path.startswith("/cdn/") and r.method == "GET"]
    assert ranges == ["", "bytes=100000-", "bytes=200000-"]


def test_busy_server_is_asked_again_as_late_as_it_says():
    response = SimpleNamespace(headers={"Retry-After": "7"}, status_code=429, request=None)
    assert pause_after(HfHubHTTPError("busy", response=response), 1) == 7
    assert [pause_after(OSError(), n) for n in range(1, 7)] == [1, 2, 4, 8, 8, 8]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_faults_of_a_moment_are_survived(hub, cache, status):
    hub.faults["model.safetensors"] = Fault(status=[status, status])
    hub.listing_fault = Fault(status=[status])
    assert fetch_snapshot(MODEL).note == ""


@pytest.mark.parametrize("ignores_ranges", [False, True])
def test_cancelled_at_once_and_resumed(hub, cache, ignores_ranges):
    hub.faults["model.safetensors"] = Fault(rate=SLOW)
    cancelled_at = []

    def is_cancelled():
        growing = cache / "models--someone--model/blobs" / GROWING
        if growing.exists() and growing.stat().st_size > 50_000:
            cancelled_at.append(time.monotonic())
            return True
        return False

    with pytest.raises(DownloadError, match="What was fetched is kept") as caught:
        fetch_snapshot(MODEL, is_cancelled=is_cancelled)
    latency = time.monotonic() - cancelled_at[0]
    assert caught.value.kind == "cancelled"
    assert latency < 1
    assert half_written(cache) == ([GROWING], [])
    (growing,) = cache.glob("*/blobs/*.incomplete")
    there = growing.stat().st_size
    assert cached_folder(MODEL) is None
    time.sleep(0.3)  # the left thread's last bytes
    before = hub.served("model.safetensors")
    hub.faults["model.safetensors"] = Fault(ignores_ranges=ignores_ranges)
    seen = []
    folder = fetch_snapshot(MODEL, on_progress=seen.append).folder
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    served = hub.served("model.safetensors") - before
    assert served == (len(WEIGHTS) if ignores_ranges else len(WEIGHTS) - there)
    assert seen[-1].done == seen[-1].total
    assert half_written(cache) == ([], [])


@pytest.mark.parametrize("where", ["listing", "body"])
def test_cancelled_while_the_server_hangs(hub, cache, monkeypatch, where):
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 30)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 30)
    if where == "body":
        hub.faults["model.safetensors"] = Fault(hang_at=100_000)
    else:
        monkeypatch.setattr(hub, "_list", None, raising=False)
        monkeypatch.setattr(
            "tests.models.hub_server._Handler._list", lambda self, path: self.hub.released.wait(30)
        )
    start = time.monotonic()
    with pytest.raises(DownloadError) as caught:
        fetch_snapshot(MODEL, is_cancelled=lambda: time.monotonic() > start + 0.5)
    assert caught.value.kind == "cancelled"
    assert time.monotonic() - start < 1.5


def test_partial_file_that_is_wrong_is_removed(hub, cache):
    blobs = cache / "models--someone--model/blobs"
    blobs.mkdir(parents=True)
    (blobs / GROWING).write_bytes(bytes(100_000))
    with pytest.raises(DownloadError, match="damaged"):
        fetch_snapshot(MODEL)
    assert half_written(cache) == ([], [])
    assert (fetch_snapshot(MODEL).folder / "model.safetensors").read_bytes() == WEIGHTS


def test_full_disk_goes_on_from_where_it_was(hub, cache):
    with pytest.MonkeyPatch.context() as patch:
        _full_while_writing(hub, patch)
        with pytest.raises(DownloadError, match="is full"):
            fetch_snapshot(MODEL)
    (growing,) = cache.glob("*/blobs/*.incomplete")
    there = growing.stat().st_size
    assert 0 < there <= 150_000
    time.sleep(0.2)
    before = hub.served("model.safetensors")
    fetch_snapshot(MODEL)
    assert hub.served("model.safetensors") - before == len(WEIGHTS) - there


# Offline


def test_cached_model_needs_no_network(hub, cache, monkeypatch):
    folder = fetch_snapshot(MODEL).folder
    hub.requests.clear()
    _offline(hub, monkeypatch)
    snapshot = fetch_snapshot(MODEL)
    assert snapshot.folder == folder
    assert "HF_HUB_OFFLINE is set" in snapshot.note
    assert hub.requests == []


@pytest.mark.parametrize("fault", [_nobody_there, _not_a_hub])
def test_cached_model_is_taken_when_nothing_sensible_answers(hub, cache, monkeypatch, fault):
    folder = fetch_snapshot(MODEL).folder
    fault(hub, monkeypatch)
    snapshot = fetch_snapshot(MODEL)
    assert snapshot.folder == folder
    assert "the hub does not answer" in snapshot.note


def test_incomplete_shards_are_no_model(hub, cache):
    shards = [f"model-0000{k}-of-00002.safetensors" for k in (1, 2)]
    index = {"weight_map": {"a": shards[0], "b": shards[1]}}
    files = dict.fromkeys(shards, WEIGHTS)
    files |= {"model.safetensors.index.json": json.dumps(index).encode(), "config.json": CONFIG}
    hub.repos[MODEL] = Repo(files)
    folder = fetch_snapshot(MODEL).folder
    assert {path.name for path in folder.iterdir()} == set(files)
    (folder / shards[1]).unlink()
    assert cached_folder(MODEL) is None


# Tokens


def test_tokens_argument_then_environment_then_login(hub, cache, monkeypatch):
    def used():
        hub.requests.clear()
        list_files(MODEL)
        return hub.requests[-1].token

    assert used() == ""
    Path(constants.HF_TOKEN_PATH).write_text(TOKEN)
    assert used() == TOKEN
    Path(constants.HF_TOKEN_PATH).write_text("hf_stored")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert used() == TOKEN
    monkeypatch.setenv("HF_TOKEN", "hf_environment")
    hub.requests.clear()
    list_files(MODEL, token=TOKEN)
    assert hub.requests[-1].token == TOKEN


@pytest.mark.parametrize("token", ["", "hf_a b", "hf_a\nX-Evil: 1", "hf_sécret"])
def test_token_that_cannot_be_one_is_not_sent_nor_shown(hub, cache, monkeypatch, token):
    with pytest.raises(DownloadError, match="Copy it again") as caught:
        list_files(MODEL, token=token)
    assert caught.value.kind == "token"
    assert "hf_" not in str(caught.value)
    assert hub.requests == []


def test_token_never_goes_to_the_cdn(hub, cache):
    fetch_snapshot(MODEL, token=TOKEN)
    assert {r.token for r in hub.requests if not r.path.startswith("/cdn/")} == {TOKEN}
    assert {r.token for r in hub.requests if r.path.startswith("/cdn/")} == {""}


# The environment


def test_environment_is_honoured(hub, cache, tmp_path):
    """In a child process, as huggingface_hub reads its variables when it is imported."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    env |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}
    code = (
        "import sys; from napari_eomt.models.hub import fetch_snapshot\n"
        f"print(fetch_snapshot({MODEL!r}).folder)\n"
        "assert not {'torch', 'transformers', 'napari', 'qtpy'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert Path(done.stdout.strip()).is_relative_to(tmp_path / "home" / "hub")
    assert {r.token for r in hub.requests if r.path.startswith("/api/models/")} == {TOKEN}


def test_proxy_is_used(hub, cache, monkeypatch):
    """The hub's host does not exist: only the proxy, which our server plays too, can answer."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid")
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(hub.url, "http://hub.invalid")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("HTTP_PROXY", hub.url)
    monkeypatch.setenv("NO_PROXY", "localhost")
    close_session()  # the client reads the environment when it is made
    fetch_snapshot(MODEL)
    asked = [r for r in hub.requests if not r.path.startswith("/cdn/")]
    assert {r.host for r in asked} == {"hub.invalid"}


# Several at once


def test_two_at_once_fetch_it_once(hub, cache):
    hub.faults["model.safetensors"] = Fault(rate=SLOW * 3)
    results, whats = [], set()

    def run():
        results.append(fetch_snapshot(MODEL, on_progress=lambda p: whats.add(p.what)).folder)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == 2
    assert hub.served("model.safetensors") == len(WEIGHTS)
    assert "waiting" in whats
    assert half_written(cache) == ([], [])


def test_waiting_for_another_program_can_be_cancelled(hub, cache):
    lock = cache / ".locks/models--someone--model" / f"{BLOB}.lock"
    lock.parent.mkdir(parents=True)
    start = time.monotonic()
    with WeakFileLock(lock), pytest.raises(DownloadError) as caught:
        fetch_snapshot(MODEL, is_cancelled=lambda: time.monotonic() > start + 0.5)
    assert caught.value.kind == "cancelled"
    assert time.monotonic() - start < 1.5


# Choosing, counting, deleting


@pytest.mark.parametrize(
    ("names", "needed"),
    [
        (
            ["README.md", "config.json", "model.safetensors", "modeling.py", "pytorch_model.bin"],
            ("config.json", "model.safetensors"),
        ),
        (["pytorch_model.bin", "train.py"], ("pytorch_model.bin",)),
        (
            ["config.json", "preprocessor_config.json", "pytorch_model.bin", "optimizer.pt"],
            ("config.json", "preprocessor_config.json", "pytorch_model.bin"),
        ),
        (["config.json", "tf_model.h5"], ()),
    ],
)
def test_no_code_and_no_pickle_beside_safetensors(names, needed):
    assert needed_files(names) == needed


def test_deleting_frees_what_was_counted(hub, cache):
    fetch_snapshot(MODEL)
    counted = cached_bytes(MODEL)
    assert counted == len(WEIGHTS) + len(CONFIG)
    freed = delete_cached(MODEL)
    assert counted <= freed < counted + 1000
    assert cached_folder(MODEL) is None
    assert not (cache / "models--someone--model").exists()
    assert delete_cached(MODEL) == 0


def test_deleting_one_file_leaves_the_others(hub, cache):
    hub.repos[MODEL].files |= {
        "a/one.pth": WEIGHTS[::2],
        "two.pth": WEIGHTS[::3],
        "same.pth": WEIGHTS[::2],
    }
    fetch_snapshot(MODEL, files=["a/one.pth", "two.pth", "same.pth"])
    assert delete_cached(MODEL, files=["two.pth"]) == len(WEIGHTS[::3])
    assert delete_cached(MODEL, files=["a/one.pth"]) == 0, "another file has the same content"
    folder = cached_folder(MODEL, files=["same.pth"])
    assert (folder / "same.pth").read_bytes() == WEIGHTS[::2]
    assert half_written(cache) == ([], [])
    assert delete_cached(MODEL, files=["same.pth"]) >= len(WEIGHTS[::2])
    assert not (cache / "models--someone--model").exists()


def test_a_copy_of_the_repository_is_not_deleted_in_its_place(hub, cache):
    hub.repos["another/model"] = hub.repos[MODEL]  # with the same commits
    for repo_id in (MODEL, "another/model"):
        fetch_snapshot(repo_id)
        delete_cached(repo_id)
        assert not list(cache.glob("models--*"))
        fetch_snapshot(MODEL)
        fetch_snapshot("another/model")
        delete_cached(repo_id)
        assert cached_folder(repo_id) is None
        assert len(list(cache.glob("models--*"))) == 1
        delete_cached(MODEL)
        delete_cached("another/model")


def test_partial_download_is_counted_and_deleted(hub, cache, monkeypatch):
    _always_cut(hub, monkeypatch)
    with pytest.raises(DownloadError):
        fetch_snapshot(MODEL)
    assert cached_bytes(MODEL) >= 100_000
    assert delete_cached(MODEL) >= 100_000
    assert not (cache / "models--someone--model").exists()


def test_interrupted_update_leaves_the_old_revision(hub, cache, monkeypatch):
    old = fetch_snapshot(MODEL).folder
    hub.repos[MODEL] = Repo(
        {"config.json": b"{}", "model.safetensors": WEIGHTS[::-1]}, commit="f" * 40
    )
    hub.faults["model.safetensors"] = Fault(cut_at=[100_000] * 20)
    with pytest.raises(DownloadError):
        fetch_snapshot(MODEL)
    assert cached_folder(MODEL) == old
    assert half_written(cache) == ([f"{sha256(WEIGHTS[::-1])}.incomplete"], [])
    hub.faults.clear()
    assert fetch_snapshot(MODEL).commit == "f" * 40
    assert cached_folder(MODEL).name == "f" * 40
    assert cached_folder(MODEL, COMMIT) == old
    delete_cached(MODEL)
    assert cached_folder(MODEL, COMMIT) == old, "another revision is another's to delete"


def test_interrupted_update_is_deleted_with_its_model(hub, cache):
    fetch_snapshot(MODEL)
    hub.repos[MODEL] = Repo(
        {"config.json": b"{}", "model.safetensors": WEIGHTS[::-1]}, commit="f" * 40
    )
    hub.faults["model.safetensors"] = Fault(cut_at=[100_000] * 20)
    with pytest.raises(DownloadError):
        fetch_snapshot(MODEL)
    assert delete_cached(MODEL) > len(WEIGHTS) + 100_000
    assert not (cache / "models--someone--model").exists()


def test_without_links_files_move_into_place(hub, cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)
    folder = fetch_snapshot(MODEL).folder
    assert not (folder / "model.safetensors").is_symlink()
    assert half_written(cache) == ([], [])
    hub.requests.clear()
    fetch_snapshot(MODEL)
    assert hub.served("model.safetensors") == 0
    assert cached_bytes(MODEL) == len(WEIGHTS) + len(CONFIG)
    assert delete_cached(MODEL) >= len(WEIGHTS)


def test_error_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(DownloadError("No.", "gated")))
    assert (str(error), error.kind) == ("No.", "gated")


def test_sizes_are_read_easily():
    assert [size_text(n) for n in (7, 1500, 317_400_000, 4.2e9, 28e12)] == [
        "7 B",
        "1.5 kB",
        "317.4 MB",
        "4.2 GB",
        "28000.0 GB",
    ]
