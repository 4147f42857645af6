"""The training forward pass against transformers' own, with the same weights and random numbers."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.training.tiny import ARCHITECTURES, SIZE, pixels, tiny_model

from napari_eomt.errors import ModelError
from napari_eomt.training import masked_attention
from napari_eomt.training.network import TrainingNetwork
from napari_eomt.training.upscale import upscale


def all_predictions(model, images):
    """Run transformers' forward pass and return every prediction that it makes."""
    made = []
    predict = model.predict

    def remember(tokens):
        made.append(predict(tokens))
        return made[-1]

    model.predict = remember
    model(images)
    return made


def difference(predictions, expected):
    """Return the largest difference of any logit, in units of the largest logit."""
    pairs = []
    for p, (masks, classes) in zip(predictions, expected, strict=True):
        pairs += [(p.mask_logits, masks), (p.class_logits, classes)]
    return max(((one - other).abs().max() / other.abs().max()).item() for one, other in pairs)


@pytest.mark.parametrize("probabilities", [(1, 1), (0, 0), (0, 1), (0.4, 0.7)])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_equals_transformers(architecture, probabilities):
    model = tiny_model(architecture)
    network = TrainingNetwork(copy.deepcopy(model))
    network.set_mask_probabilities(probabilities)
    model.attn_mask_probs.copy_(torch.tensor(probabilities))
    torch.manual_seed(3)
    expected = all_predictions(model, pixels())
    torch.manual_seed(3)
    found = network(pixels())
    assert len(found) == 3
    assert difference(found, expected) < 1e-5


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_equal_transformers(architecture):
    model = tiny_model(architecture)
    network = TrainingNetwork(copy.deepcopy(model))
    model.attn_mask_probs.fill_(1)
    network.set_mask_probabilities((1, 1))
    torch.manual_seed(3)
    made = all_predictions(model, pixels())
    torch.manual_seed(3)
    found = network(pixels())
    generator = torch.Generator().manual_seed(4)
    for p, (masks, classes) in zip(found, made, strict=True):
        weights = torch.randn(masks.shape, generator=generator)
        ((p.mask_logits * weights).mean() + p.class_logits.square().mean()).backward(
            retain_graph=True
        )
        ((masks * weights).mean() + classes.square().mean()).backward(retain_graph=True)
    ours = dict(network.model.named_parameters())
    n_compared = 0
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            assert ours[name].grad is None
            continue
        torch.testing.assert_close(ours[name].grad, parameter.grad, rtol=1e-4, atol=1e-5)
        n_compared += 1
    assert n_compared > 40


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_masks_are_not_made_where_nothing_needs_them(architecture, monkeypatch):
    network = TrainingNetwork(tiny_model(architecture), has_auxiliary_losses=False)
    made = []
    predict = TrainingNetwork._predict

    def remember(self, *args):
        made.append(args)
        return predict(self, *args)

    monkeypatch.setattr(TrainingNetwork, "_predict", remember)
    for probabilities, n_made in (((0, 0), 1), ((0, 1), 2), ((1, 1), 3)):
        made.clear()
        network.set_mask_probabilities(probabilities)
        assert len(network(pixels())) == 1
        assert len(made) == n_made


def test_a_later_block_without_masks_does_not_take_an_earlier_ones():
    """In evaluation transformers lets block 1 keep the mask of block 0; the original does not."""
    network = TrainingNetwork(tiny_model("eomt"), has_auxiliary_losses=False)
    seen = []
    for block in network.model.layers:
        block.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append(kwargs.get("attention_mask")), with_kwargs=True
        )
    network.set_mask_probabilities((1, 0))
    network(pixels())
    assert [mask is not None for mask in seen] == [False, True, False]


def test_each_query_of_each_image_is_freed_by_itself():
    values = torch.full((200, 16, 30), -1.0)  # no mask has a pixel
    mask = masked_attention.query_mask(values, (4, 4), (2, 2), 1, 0.3, torch.Generator())
    assert mask.shape == (200, 1, 30, 30 + 1 + 4)
    assert mask[..., :31].all()
    patches = mask[:, 0, :, 31:]
    is_free = patches.all(-1)
    assert (is_free | ~patches.any(-1)).all()
    assert abs(is_free.float().mean() - 0.7) < 0.02
    assert is_free.float().mean(0).std() > 0
    assert is_free.float().mean(1).std() > 0


def test_masked_rows_equal_a_full_mask():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, 9, 4, generator=generator) for _ in range(3))
    mask = torch.rand(2, 1, 5, 9, generator=generator) > 0.5
    mask[..., 0] = True
    full = torch.cat((mask, torch.ones(2, 1, 4, 9, dtype=torch.bool)), 2)
    weights = query @ key.transpose(-1, -2) * 0.3
    expected = weights.masked_fill(~full, -torch.inf).softmax(-1) @ value
    found, _ = masked_attention.attend(None, query, key, value, mask, scaling=0.3)
    torch.testing.assert_close(found, expected.transpose(1, 2))


@pytest.mark.parametrize("most", [0, 9])
@pytest.mark.parametrize("is_masked", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_attention_of_half_precision_on_a_cpu(monkeypatch, most, is_masked, dtype):
    """What comes of float32, but for rounding, forward and back; whichever way it is computed."""
    monkeypatch.setattr(masked_attention, "_MOST_WRITTEN_OUT", most)
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(2, 3, 9, 4, generator=generator).to(dtype) for _ in range(3)]
    halves = [one.clone().requires_grad_() for one in inputs]
    wholes = [one.float().requires_grad_() for one in inputs]
    mask = None
    if is_masked:
        mask = torch.rand(2, 1, 5, 9, generator=generator) > 0.5
        mask[..., 0] = True
    with torch.autocast("cpu", dtype):
        found, _ = masked_attention.attend(None, *halves, mask)
    expected, _ = masked_attention.attend(None, *wholes, mask)
    assert found.dtype is dtype
    torch.testing.assert_close(found.float(), expected, rtol=0.01, atol=0.02)
    for result in (found, expected):
        result.float().square().sum().backward()
    for half, whole in zip(halves, wholes, strict=True):
        assert half.grad.dtype is dtype
        torch.testing.assert_close(half.grad.float(), whole.grad, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_upscaling_equals_transformers(architecture):
    block = tiny_model(architecture).upscale_block
    features = torch.randn(2, 32, 4, 5)
    expected = block(features)
    found = upscale(block.block, features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_wrapped_upscaling_layer_is_run_as_it_is():
    class Doubled(torch.nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, features):
            return 2 * self.layer(features)

    block = tiny_model("eomt").upscale_block
    block.block[0].conv1 = Doubled(block.block[0].conv1)
    features = torch.randn(1, 32, 4, 4)
    found = upscale(block.block, features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, block(features), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_checkpointing_changes_nothing_but_memory(architecture):
    found = []
    for is_checkpointed in (False, True):
        network = TrainingNetwork(tiny_model(architecture), is_checkpointed=is_checkpointed)
        network.set_mask_probabilities((0.5, 0.5))
        torch.manual_seed(2)
        sum(p.mask_logits.square().mean() for p in network(pixels())).backward()
        found.append({n: p.grad for n, p in network.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_under_autocast_both_run_and_agree_with_float32(architecture):
    network = TrainingNetwork(
        tiny_model(architecture, pos_embed_rescale=None)
        if architecture != "eomt"
        else tiny_model(architecture)
    )
    network.set_mask_probabilities((0, 0))
    exact = network(pixels())[-1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network(pixels())[-1]
    assert half.mask_logits.dtype == torch.bfloat16
    scale = exact.mask_logits.abs().max()
    assert (half.mask_logits.float() - exact.mask_logits).abs().max() < 0.05 * scale


def test_the_saved_model_knows_nothing_of_the_attention_function(tmp_path):
    network = TrainingNetwork(tiny_model("eomt"))
    network.set_mask_probabilities((0.5, 0))
    network.model.save_pretrained(tmp_path)
    assert masked_attention.NAME not in (tmp_path / "config.json").read_text()
    again = type(network.model).from_pretrained(tmp_path)
    assert again.attn_mask_probs.tolist() == [0.5, 0]
    again(pixels())


def test_pixels_of_another_shape_are_refused():
    network = TrainingNetwork(tiny_model("eomt"))
    with pytest.raises(ValueError, match=rf"\(B, 3, {SIZE}, {SIZE}\).*\(1, 3, 32, 128\)"):
        network(torch.zeros(1, 3, 32, 128))


@pytest.mark.parametrize("probabilities", [(1,), (0.5, 1.5), (1, 1, 1)])
def test_probabilities_are_checked(probabilities):
    with pytest.raises(ValueError, match="expected 2"):
        TrainingNetwork(tiny_model("eomt")).set_mask_probabilities(probabilities)


def test_other_architectures_are_refused():
    with pytest.raises(ModelError, match="Linear cannot be trained"):
        TrainingNetwork(torch.nn.Linear(2, 2))
