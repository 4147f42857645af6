from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny_models import save_tiny
from transformers import EomtConfig, EomtForUniversalSegmentation

import napari_eomt as ne
from napari_eomt.errors import ModelError
from napari_eomt.models.card import read_card
from napari_eomt.models.catalog import find_model
from napari_eomt.models.load import available_devices, load_segmenter, resolve_dtype


def test_bundled_model_loads_by_name():
    segmenter = load_segmenter("nuclei-nano", device="cpu")
    card = segmenter.card
    assert card.name in ne.bundled_models()
    assert [category.name for category in card.categories] == ["nucleus"]
    assert sum(p.numel() for p in segmenter.model.parameters()) == pytest.approx(
        card.n_parameters, abs=100
    )


def test_card_says_what_the_folder_holds(tmp_path):
    folder = save_tiny(
        tmp_path / "m", stuff=[2, 3], category_ids=[7, 1, 90, 4], title="T", object_size=12
    )
    card = read_card(folder)
    assert card.tasks == ("panoptic", "instance", "semantic")
    assert [(c.id, c.is_thing) for c in card.categories] == [
        (7, True),
        (1, True),
        (90, False),
        (4, False),
    ]
    assert (card.input_size, card.n_queries, card.object_size) == (64, 12, 12)


def test_semantic_processor_makes_a_semantic_model(tmp_path):
    folder = save_tiny(tmp_path / "m")
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_split_image": True}))
    assert read_card(folder).tasks == ("semantic",)


def _drop_a_tensor(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["layers.1.norm1.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _add_a_tensor(folder):
    weights = load_file(folder / "model.safetensors")
    weights["surplus.weight"] = torch.zeros(3)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def _set_config(**values):
    def fault(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **values}))

    return fault


FAULTS = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json is missing"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
    "config is no JSON": (lambda f: (f / "config.json").write_text("{"), "cannot be read as JSON"),
    "another architecture": (_set_config(model_type="vit"), "model_type 'vit', expected one of"),
    "weights cut short": (_truncate, "damaged"),
    "weights are text": (lambda f: (f / "model.safetensors").write_text("no" * 99), "damaged"),
    "a tensor missing": (_drop_a_tensor, "lacks 1 of the network's tensors"),
    "a tensor too many": (_add_a_tensor, "1 that it does not know"),
    "another width": (_set_config(hidden_size=48), "do not fit"),
    "labels with a gap": (_set_config(id2label={"0": "a", "2": "b"}), "expected 0 to 1"),
    "unknown word in the sidecar": (
        lambda f: (f / "napari_eomt.json").write_text('{"colour": 1}'),
        "does not describe a model",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_one_clear_error(tmp_path, fault):
    spoil, message = FAULTS[fault]
    folder = save_tiny(tmp_path / "m")
    spoil(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load_segmenter(folder, device="cpu")
    assert "\n" not in str(caught.value)


def test_unknown_names_say_what_there_is(tmp_path):
    with pytest.raises(ModelError, match="nuclei-nano"):
        find_model("nuclei-nanoo")
    with pytest.raises(ModelError, match="There is no device"):
        load_segmenter("nuclei-nano", device="cuda:77")
    with pytest.raises(ModelError, match="precision"):
        resolve_dtype("fp8", torch.device("cpu"))


def test_precisions_on_the_cpu():
    assert available_devices()[-1] == "cpu"
    assert load_segmenter("nuclei-nano", "cpu", "auto").dtype is torch.float32
    segmenter = load_segmenter("nuclei-nano", "cpu", "bf16")
    output = segmenter.forward(torch.zeros(1, 3, 128, 128))
    assert output.mask_logits.dtype is torch.float32


def test_a_model_does_not_depend_on_where_it_lies(tmp_path):
    bundled = ne.bundled_models()["nuclei-nano"]
    shutil.copytree(bundled.folder, tmp_path / "elsewhere")
    card = read_card(tmp_path / "elsewhere", name="nuclei-nano")
    assert card.model_copy(update={"folder": bundled.folder}) == bundled


def test_giant_saved_by_an_older_transformers_loads_exactly(tmp_path):
    """Its MLPs were called weights_in and weights_out; transformers would fill them at random."""
    config = EomtConfig(
        image_size=64,
        hidden_size=64,
        num_attention_heads=1,
        num_hidden_layers=2,
        num_blocks=1,
        num_queries=5,
        use_swiglu_ffn=True,
        num_labels=3,
    )
    torch.manual_seed(0)
    model = EomtForUniversalSegmentation(config).eval()
    model.attn_mask_probs.zero_()
    folder = tmp_path / "giant"
    model.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    for block in range(2):
        for part in ("weight", "bias"):
            name = f"layers.{block}.mlp"
            both = [weights.pop(f"{name}.{side}_proj.{part}") for side in ("gate", "up")]
            weights[f"{name}.weights_in.{part}"] = torch.cat(both)
            weights[f"{name}.weights_out.{part}"] = weights.pop(f"{name}.down_proj.{part}")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    pixels = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = model(pixels).masks_queries_logits
    ours = load_segmenter(folder, "cpu").forward(pixels).mask_logits
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


def test_shards_are_read_together(tmp_path):
    folder = save_tiny(tmp_path / "m")
    whole = read_card(folder)
    model = EomtForUniversalSegmentation.from_pretrained(folder)
    shards = tmp_path / "shards"
    model.save_pretrained(shards, max_shard_size="100KB")
    assert len(list(shards.glob("*.safetensors"))) > 2
    card = read_card(shards)
    assert card.n_parameters == whole.n_parameters
    pixels = torch.randn(1, 3, 64, 64)
    one, other = (load_segmenter(f, "cpu").forward(pixels) for f in (folder, shards))
    torch.testing.assert_close(one.mask_logits, other.mask_logits)
    next(shards.glob("*.safetensors")).unlink()
    with pytest.raises(ModelError, match="which is not in the folder"):
        read_card(shards)
    index = shards / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../m/model.safetensors"}}))
    with pytest.raises(ModelError, match="which is not in the folder"):
        read_card(shards)
