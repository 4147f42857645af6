"""Whatever names a model leads to a folder that can be loaded."""

from __future__ import annotations

import pytest
import torch
from tests.models.hub_fixtures import running_hub
from tests.models.hub_server import Repo
from tests.tiny_models import SIZE, save_tiny
from transformers import EomtConfig, EomtForUniversalSegmentation

from napari_eomt.errors import ModelError
from napari_eomt.models import catalog, convert
from napari_eomt.models.load import load_segmenter
from napari_eomt.models.locate import locate
from napari_eomt.models.store import models_dir


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with running_hub(tmp_path, monkeypatch) as server:
        yield server


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    config = EomtConfig(
        image_size=SIZE,
        hidden_size=64,
        num_attention_heads=1,
        num_hidden_layers=3,
        num_blocks=2,
        num_queries=12,
        num_labels=2,
    )
    folder = tmp_path_factory.mktemp("tiny") / "model"
    EomtForUniversalSegmentation(config).save_pretrained(folder)
    path = tmp_path_factory.mktemp("original") / "my_run.bin"
    convert.to_original(folder, path)
    return path, folder


def test_checkpoint_file_loads_and_is_converted_once(checkpoint, tmp_path, monkeypatch):
    path, folder = checkpoint
    monkeypatch.setenv("NAPARI_EOMT_MODELS_DIR", str(tmp_path / "models"))
    pixels = torch.randn(1, 3, SIZE, SIZE)
    expected = load_segmenter(folder, "cpu").forward(pixels)
    segmenter = load_segmenter(str(path), "cpu")
    torch.testing.assert_close(segmenter.forward(pixels).mask_logits, expected.mask_logits)
    assert segmenter.card.name == "my_run"
    (converted,) = (models_dir() / "files").iterdir()
    written = (converted / "config.json").stat().st_mtime_ns
    load_segmenter(path, "cpu")
    assert (converted / "config.json").stat().st_mtime_ns == written


def test_changed_checkpoint_is_converted_again(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_EOMT_MODELS_DIR", str(tmp_path / "models"))
    path = tmp_path / "run.bin"
    path.write_bytes(checkpoint[0].read_bytes())
    first = locate(path)
    other = torch.load(path, weights_only=True)
    other["network.class_head.bias"] = other["network.class_head.bias"] + 1
    torch.save(other, path)
    assert locate(path).folder != first.folder


def test_published_model_is_downloaded_when_it_is_asked_for(hub, tmp_path, monkeypatch):
    entry = catalog.catalog()["eomt-large-coco-instance-640"]
    model = save_tiny(tmp_path / "m", n_labels=80)
    hub.repos[entry.hub_id] = Repo({path.name: path.read_bytes() for path in model.iterdir()})
    assert catalog.find_model(entry.name).folder is None
    seen = []
    segmenter = load_segmenter(entry.name, "cpu", on_progress=seen.append)
    assert seen[-1].done == seen[-1].total
    assert segmenter.card.categories[0].name == "person"
    assert segmenter.card.folder == locate(entry.hub_id).folder


def test_unlisted_repository_loads_by_its_id(hub, tmp_path):
    model = save_tiny(tmp_path / "m")
    hub.repos["some.one/my-eomt"] = Repo({p.name: p.read_bytes() for p in model.iterdir()})
    card = load_segmenter("some.one/my-eomt", "cpu").card
    assert (card.name, card.input_size) == ("my-eomt", SIZE)


def test_download_can_be_cancelled(hub, tmp_path):
    model = save_tiny(tmp_path / "m")
    hub.repos["some.one/my-eomt"] = Repo({p.name: p.read_bytes() for p in model.iterdir()})
    with pytest.raises(ModelError, match="cancelled"):
        locate("some.one/my-eomt", is_cancelled=lambda: True)


@pytest.mark.parametrize("name", ["eomt-larg-coco-panoptic-640", "no/such/folder", "no-such"])
def test_unknown_names_are_refused_without_the_network(hub, name):
    with pytest.raises(ModelError, match="There is no model"):
        locate(name)
    assert hub.requests == []
