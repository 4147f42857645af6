"""What is added: where, in files, and merged."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from tests.training.drawn import begin, params, save_model, save_nuclei
from tests.training.tiny import ARCHITECTURES, pixels, tiny_model
from transformers import EomtForUniversalSegmentation

from napari_eomt.errors import ModelError
from napari_eomt.training.loop import iter_train
from napari_eomt.training.lora import add_lora, is_added, load_adapter, merged, save_adapter
from napari_eomt.training.resolve import n_frozen_blocks
from napari_eomt.training.start import fit_class_head, lora_blocks
from napari_eomt.training.train_progress import drive


def learnt(architecture, seed=1):
    """Return a tiny model with additions that are not 0."""
    model = tiny_model(architecture)
    add_lora(model, range(3), rank=2, alpha=4.0)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if is_added(name):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_added_begins_as_nothing_and_alone_learns(architecture):
    model = tiny_model(architecture).eval()
    before = model(pixels()).masks_queries_logits
    names = set(dict(model.named_parameters()))
    add_lora(model, range(1, 3), rank=2, alpha=4.0)
    assert torch.equal(model(pixels()).masks_queries_logits, before)
    added = {name for name, p in model.named_parameters() if p.requires_grad}
    assert added
    assert all(is_added(name) and name.startswith(("layers.1.", "layers.2.")) for name in added)
    assert any(".mlp." in name for name in added)
    assert any(".q_proj." in name for name in added)
    assert not any(is_added(name) for name in names)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_merged_weights_say_the_same(architecture):
    model = learnt(architecture)
    expected = model(pixels())
    plain = tiny_model(architecture, seed=9).eval()
    assert plain.load_state_dict(merged(model, model.state_dict()), strict=True)
    got = plain(pixels())
    torch.testing.assert_close(
        got.masks_queries_logits, expected.masks_queries_logits, rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(
        got.class_queries_logits, expected.class_queries_logits, rtol=1e-4, atol=1e-4
    )
    # And differ from what they were added to.
    assert not torch.allclose(
        tiny_model(architecture).eval()(pixels()).masks_queries_logits,
        expected.masks_queries_logits,
        atol=1e-2,
    )


def test_an_adapter_makes_of_the_first_model_the_last(tmp_path):
    dataset = save_nuclei(tmp_path / "set")
    tiny = save_model(tmp_path / "tiny")
    setup, run = begin(
        tmp_path, dataset, tiny, preset="lora", head_warm_up=0, backbone_warm_up=0, val_fraction=0
    )
    drive(iter_train(setup, run))
    plain = EomtForUniversalSegmentation.from_pretrained(tiny)
    fit_class_head(plain, setup.learner.categories, 1)
    load_adapter(plain, run.folder / "adapter")
    result = load_file(run.last / "model.safetensors")
    for name, tensor in merged(plain, plain.state_dict()).items():
        if name not in ("attn_mask_probs", "criterion.empty_weight"):
            torch.testing.assert_close(result[name], tensor, rtol=1e-5, atol=1e-6)
    small = sum(file.stat().st_size for file in (run.folder / "adapter").iterdir())
    assert small < (run.last / "model.safetensors").stat().st_size


def test_an_adapter_of_another_model_is_refused(tmp_path):
    save_adapter(learnt("eomt"), tmp_path, "tiny")
    other = tiny_model("eomt", hidden_size=48)
    with pytest.raises(ModelError, match="the model that the training started from"):
        load_adapter(other, tmp_path)
    with pytest.raises(ModelError, match="cannot be added"):
        load_adapter(tiny_model("eomt"), tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "frozen", "blocks"),
    [
        ({"preset": "quick"}, 0, range(0)),
        ({"preset": "quick", "frozen_blocks": "trunk"}, 4, range(0)),
        ({"preset": "lora"}, 6, range(6)),
        ({"preset": "lora", "lora_blocks": 2}, 6, range(4, 6)),
        ({"preset": "lora", "frozen_blocks": 3, "lora_blocks": 4}, 3, range(2, 3)),
        ({"preset": "full"}, 0, range(0)),
        ({"preset": "full", "lora_rank": 4}, 0, range(0)),
        ({"preset": "full", "frozen_blocks": 100}, 6, range(0)),
    ],
)
def test_which_blocks_are_frozen_and_added_to(changes, frozen, blocks):
    wanted = params(**changes)
    assert n_frozen_blocks(wanted, 6, 2) == frozen
    assert list(lora_blocks(wanted, 6, frozen)) == list(blocks)


def test_the_trunk_of_a_model_with_a_published_backbone_is_frozen():
    quick = params(preset="quick")
    assert [n_frozen_blocks(quick, n, 3) for n in (11, 12, 24)] == [0, 9, 21]
    assert n_frozen_blocks(params(preset="full"), 24, 3) == 0
