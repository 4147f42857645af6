"""Published models from a hub on this computer to a segmenter that runs."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from huggingface_hub import constants
from tests.models.hub_fixtures import half_written, running_hub
from tests.models.hub_server import Fault, Repo
from tests.test_package import imported_by
from transformers import EomtConfig, EomtForUniversalSegmentation

from napari_eomt.errors import ModelError
from napari_eomt.models import convert, store
from napari_eomt.models.catalog import category_list
from napari_eomt.models.catalog_entry import CatalogEntry
from napari_eomt.models.hub_errors import DownloadError
from napari_eomt.models.load import load_segmenter
from napari_eomt.models.store import (
    HubModel,
    delete,
    disk_size,
    download,
    fetch,
    is_downloaded,
    local_folder,
    models_dir,
    prepare,
)

SIZE, N_QUERIES = 64, 12
CATEGORIES = "ovis"
N_LABELS = len(category_list(CATEGORIES))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with running_hub(tmp_path, monkeypatch) as server:
        yield server


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """Return a model of published proportions, which the original layout can express."""
    torch.manual_seed(0)
    config = EomtConfig(
        image_size=SIZE,
        hidden_size=64,  # one attention head
        num_attention_heads=1,
        num_hidden_layers=3,
        num_blocks=2,
        num_queries=N_QUERIES,
        id2label={k: f"class {k}" for k in range(N_LABELS)},
        label2id={f"class {k}": k for k in range(N_LABELS)},
    )
    folder = tmp_path_factory.mktemp("tiny") / "model"
    EomtForUniversalSegmentation(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def original(tiny, tmp_path_factory) -> Path:
    """Return the same model as the original repository's training would save it."""
    path = tmp_path_factory.mktemp("original") / "pytorch_model.bin"
    convert.to_original(tiny, path)
    return path


def entry_of(name="tiny", **fields) -> CatalogEntry:
    values = {
        "name": name,
        "title": "Tiny",
        "hub_id": "someone/tiny",
        "format": "transformers",
        "architecture": "eomt",
        "tasks": ("instance",),
        "backbone": "DINOv2 ViT-S",
        "n_parameters": 1,
        "n_bytes": 1,
        "input_size": SIZE,
        "n_queries": N_QUERIES,
        "licence": "MIT",
        "categories": CATEGORIES,
    }
    return CatalogEntry(**values | fields)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_catalog_entry_becomes_a_segmenter_that_runs(hub, tiny):
    hub.repos["someone/tiny"] = Repo(
        {**contents(tiny), "README.md": b"#", "train.py": b"import os"}
    )
    entry = entry_of()
    assert local_folder(entry) is None
    assert not is_downloaded(entry)
    assert disk_size(entry) == 0
    folder = fetch(entry)
    assert folder == local_folder(entry)
    assert folder.is_relative_to(constants.HF_HUB_CACHE)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    ours, truth = load_segmenter(folder, "cpu"), load_segmenter(tiny, "cpu")
    pixels = torch.randn(1, 3, SIZE, SIZE)
    torch.testing.assert_close(ours.forward(pixels).mask_logits, truth.forward(pixels).mask_logits)
    hub.requests.clear()
    assert fetch(entry) == folder
    assert hub.requests == [], "what is here needs no network"


def test_original_checkpoint_is_converted_once(hub, original, tiny):
    hub.repos["someone/tiny"] = Repo({"pytorch_model.bin": original.read_bytes()})
    entry = entry_of(format="original", files=("pytorch_model.bin",))
    download(entry)
    assert is_downloaded(entry)
    assert local_folder(entry) is None, "it is here, but not as it can be loaded"
    seen = []
    folder = prepare(entry, on_progress=seen.append)
    assert [p.what for p in seen] == ["converting", "converting"]
    assert (seen[0].done, seen[1].done) == (0, seen[1].total)
    assert folder == local_folder(entry) == models_dir() / "tiny"
    assert not list(models_dir().glob(".converting*"))
    ours, truth = load_segmenter(folder, "cpu"), load_segmenter(tiny, "cpu")
    pixels = torch.randn(1, 3, SIZE, SIZE)
    torch.testing.assert_close(ours.forward(pixels).mask_logits, truth.forward(pixels).mask_logits)
    assert ours.card.categories == category_list(CATEGORIES)
    assert (ours.card.title, ours.card.licence, ours.card.tasks) == ("Tiny", "MIT", ("instance",))
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert fetch(entry) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written


def test_pickle_alone_in_a_transformers_repository_is_converted_too(hub, original):
    hub.repos["someone/tiny"] = Repo({"pytorch_model.bin": original.read_bytes()})
    folder = fetch(entry_of())
    assert folder == models_dir() / "tiny"
    assert load_segmenter(folder, "cpu").card.input_size == SIZE


def test_model_that_no_catalog_lists(hub, tiny, original):
    hub.repos["someone/tiny"] = Repo(contents(tiny))
    assert load_segmenter(fetch(HubModel("someone/tiny")), "cpu").card.input_size == SIZE
    hub.repos["some.one/a_semantic"] = Repo({"pytorch_model.bin": original.read_bytes()})
    folder = fetch(HubModel("some.one/a_semantic"))
    assert folder == models_dir() / "some.one--a_semantic"
    assert load_segmenter(folder, "cpu").card.tasks == ("semantic",)


def test_another_revision_is_another_model(hub, original):
    hub.repos["someone/tiny"] = Repo(
        {"pytorch_model.bin": original.read_bytes()}, revisions=("main", "v2")
    )
    old = entry_of(format="original", files=("pytorch_model.bin",))
    new = old.model_copy(update={"revision": "v2"})
    fetch(old)
    assert local_folder(new) is None
    fetch(new)
    assert local_folder(new) == models_dir() / "tiny"
    assert local_folder(old) is None


def test_delta_brings_its_base_first(hub, monkeypatch, tmp_path):
    seen = []

    def merge(checkpoint, out, *, base, **known):
        seen.append((checkpoint.read_bytes(), sorted(p.name for p in base.iterdir()), known))
        out.mkdir()
        (out / "config.json").write_text("{}")

    monkeypatch.setattr(convert, "to_transformers", merge)
    hub.repos["meta/base"] = Repo({"config.json": b"{}", "model.safetensors": b"b" * 2000})
    hub.repos["someone/delta"] = Repo({"pytorch_model.bin": b"d" * 2000})
    entry = entry_of(
        hub_id="someone/delta",
        format="delta",
        files=("pytorch_model.bin",),
        base="meta/base",
        architecture="eomt_dinov3",
        backbone="DINOv3 ViT-S",
    )
    hub.repos["meta/base"].is_gated = True
    with pytest.raises(DownloadError, match="meta/base: its makers ask") as caught:
        fetch(entry)
    assert caught.value.kind == "gated"
    assert hub.served("pytorch_model.bin") == 0, "what cannot be used is not fetched"
    hub.repos["meta/base"].is_gated = False
    folder = fetch(entry)
    ((checkpoint, base_files, known),) = seen
    assert checkpoint == b"d" * 2000
    assert base_files == ["config.json", "model.safetensors"]
    assert known["input_size"] == SIZE
    assert len(known["category_names"]) == N_LABELS
    delete(entry)
    assert not folder.exists()
    assert is_downloaded(HubModel("meta/base")), "other models are merged with it too"


def test_deleting_frees_both_forms(hub, original):
    hub.repos["someone/tiny"] = Repo({"pytorch_model.bin": original.read_bytes()})
    entry = entry_of(format="original", files=("pytorch_model.bin",))
    folder = fetch(entry)
    size = disk_size(entry)
    parts = original.stat().st_size + (folder / "model.safetensors").stat().st_size
    assert parts < size < parts + 20_000
    assert size <= delete(entry) < size + 1000
    assert local_folder(entry) is None
    assert not folder.exists()
    assert disk_size(entry) == delete(entry) == 0
    assert half_written(Path(constants.HF_HUB_CACHE)) == ([], [])


def test_several_models_of_one_repository_are_deleted_singly(hub, original):
    content = original.read_bytes()
    hub.repos["someone/zoo"] = Repo({"a.pth": content, "b.pth": content + b"\0"})
    entries = [
        entry_of(name, hub_id="someone/zoo", format="original", files=(f"{name}.pth",))
        for name in ("a", "b")
    ]
    for entry in entries:
        download(entry)
    delete(entries[0])
    assert not is_downloaded(entries[0])
    assert is_downloaded(entries[1])


def test_nothing_is_left_of_a_conversion_that_fails(hub, original, monkeypatch):
    hub.repos["someone/tiny"] = Repo({"pytorch_model.bin": original.read_bytes()})
    entry = entry_of(format="original", files=("pytorch_model.bin",))

    def fill(checkpoint, out, **known):
        out.mkdir()
        (out / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(convert, "to_transformers", fill)
        with pytest.raises(DownloadError, match="is full"):
            fetch(entry)
    assert [path.name for path in models_dir().iterdir()] == [".tiny.lock"]
    assert local_folder(entry) is None
    # A process that was killed leaves its folder: the next one does not mind.
    killed = models_dir() / ".converting-tiny"
    killed.mkdir()
    (killed / "model").write_text("half")
    assert fetch(entry) == models_dir() / "tiny"
    assert not killed.exists()


def test_file_that_is_no_checkpoint_is_one_clear_error(hub):
    hub.repos["someone/tiny"] = Repo({"pytorch_model.bin": b"no checkpoint" * 100})
    entry = entry_of(format="original", files=("pytorch_model.bin",))
    with pytest.raises(ModelError, match=r"pytorch_model\.bin") as caught:
        fetch(entry)
    assert "\n" not in str(caught.value)
    assert local_folder(entry) is None


def test_preparing_what_was_not_downloaded_says_so(hub):
    with pytest.raises(ModelError, match="napari-eomt download tiny"):
        prepare(entry_of())


def test_a_name_cannot_lead_out_of_the_folder(hub):
    with pytest.raises(ModelError, match="cannot name a model"):
        local_folder(HubModel("..x/../y"))


def test_two_at_once_convert_once(hub, original, monkeypatch):
    hub.repos["someone/tiny"] = Repo({"pytorch_model.bin": original.read_bytes()})
    entry = entry_of(format="original", files=("pytorch_model.bin",))
    download(entry)
    calls, whats, folders = [], set(), []

    def slow(checkpoint, out, **known):
        calls.append(out)
        time.sleep(0.5)
        out.mkdir()
        (out / "config.json").write_text("{}")

    monkeypatch.setattr(convert, "to_transformers", slow)

    def run():
        folders.append(prepare(entry, on_progress=lambda p: whats.add(p.what)))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert folders == [models_dir() / "tiny"] * 2
    assert len(calls) == 1
    assert "waiting" in whats


def test_waiting_for_another_conversion_can_be_cancelled(hub, original):
    hub.repos["someone/tiny"] = Repo({"pytorch_model.bin": original.read_bytes()})
    entry = entry_of(format="original", files=("pytorch_model.bin",))
    download(entry)
    models_dir().mkdir()
    start = time.monotonic()
    with FileLock(models_dir() / ".tiny.lock"), pytest.raises(DownloadError) as caught:
        prepare(entry, is_cancelled=lambda: time.monotonic() > start + 0.3)
    assert caught.value.kind == "cancelled"


def test_no_room_to_convert_is_said_before(hub, original, monkeypatch):
    hub.repos["someone/tiny"] = Repo({"pytorch_model.bin": original.read_bytes()})
    entry = entry_of(format="original", files=("pytorch_model.bin",))
    download(entry)
    usage = shutil._ntuple_diskusage(10**9, 10**9, 3_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DownloadError, match=r"Converting tiny needs.*3\.0 MB are free"):
        prepare(entry)


def test_cut_download_is_resumed_by_the_next_fetch(hub, tiny):
    hub.repos["someone/tiny"] = Repo(contents(tiny))
    size = (tiny / "model.safetensors").stat().st_size
    hub.faults["model.safetensors"] = Fault(cut_at=[size // 2] * 10)
    with pytest.raises(DownloadError):
        fetch(entry_of())
    assert disk_size(entry_of()) > size // 2
    hub.faults.clear()
    load_segmenter(fetch(entry_of()), "cpu")
    assert hub.served("model.safetensors") == size


def test_downloading_imports_no_torch():
    assert not {"torch", "transformers"} & imported_by("import napari_eomt.models.store")


def test_models_dir_is_the_users_by_default(monkeypatch):
    monkeypatch.delenv("NAPARI_EOMT_MODELS_DIR", raising=False)
    assert models_dir().parts[-2:] == ("napari-eomt", "models")
    monkeypatch.setenv("NAPARI_EOMT_MODELS_DIR", "~/elsewhere")
    assert models_dir() == Path.home() / "elsewhere"


def test_module_names_progress_as_agreed():
    assert store.Progress(1, 2, "a", "downloading").bytes_per_second == 0
