"""Training on kept tokens against training with the same blocks frozen and nothing kept."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.training.tiny import ARCHITECTURES, pixels, tiny_model

from napari_eomt.inference.trunk_cache import TrunkCache
from napari_eomt.training.network import TrainingNetwork
from napari_eomt.training.trunk import Shared, trunk_fingerprint, trunk_tokens, view_key


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_trunk_and_head_are_the_whole(architecture):
    network = TrainingNetwork(tiny_model(architecture), is_trunk_frozen=True)
    network.set_mask_probabilities((0, 1))
    whole = network(pixels())
    parts = network(tokens=network.trunk(pixels()))
    for one, other in zip(whole, parts, strict=True):
        assert torch.equal(one.mask_logits, other.mask_logits)
        assert torch.equal(one.class_logits, other.class_logits)


def test_a_frozen_trunk_is_in_evaluation_mode_and_stays_there():
    network = TrainingNetwork(
        tiny_model("eomt_dinov3", drop_path_rate=0.5, hidden_dropout_prob=0.5),
        is_trunk_frozen=True,
    )
    network.train()
    assert not any(p.requires_grad for part in network.trunk_modules() for p in part.parameters())
    first, again = network.trunk(pixels()), network.trunk(pixels())
    assert torch.equal(first, again)
    assert not first.requires_grad
    one, other = (network.positions()["position_embeddings"] for _ in range(2))
    assert torch.equal(one[0], other[0])
    network.model.layers[-1].train()  # what learns still drops paths
    assert network.model.layers[-1].drop_path.training


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_learning_from_kept_tokens_is_learning_with_a_frozen_trunk(architecture, tmp_path):
    model = tiny_model(architecture)
    networks = [TrainingNetwork(copy.deepcopy(model), is_trunk_frozen=True) for _ in range(2)]
    cache = TrunkCache(3000, tmp_path, 10**6)  # one of four views in memory, the others in files
    fingerprint = trunk_fingerprint(networks[1])
    images = pixels(4)
    keys = [view_key(fingerprint, f"image {i}", {"crop": [0, 0, 64, 64]}) for i in range(4)]
    optimizers = [torch.optim.SGD(n.parameters(), lr=0.01) for n in networks]
    made = []

    def make_pixels(which):
        made.extend(which)
        return images[list(which)]

    for step in range(4):
        chosen = [step % 4, (step + 1) % 4]
        torch.manual_seed(step)
        plain = networks[0](images[chosen])
        tokens = trunk_tokens(
            networks[1],
            [keys[i] for i in chosen],
            lambda w, c=chosen: make_pixels([c[i] for i in w]),
            cache,
        )
        torch.manual_seed(step)
        kept = networks[1](tokens=tokens)
        for predictions, optimizer in zip((plain, kept), optimizers, strict=True):
            optimizer.zero_grad()
            sum(
                p.mask_logits.square().mean() + p.class_logits.square().mean() for p in predictions
            ).backward()
            optimizer.step()
    assert made == [0, 1, 2, 3]
    assert cache.disk_used > 0
    changed = 0
    for (name, one), (_, other) in zip(
        networks[0].named_parameters(), networks[1].named_parameters(), strict=True
    ):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)
        changed += not torch.equal(other, model.get_parameter(name.removeprefix("model.")))
    assert changed > 20


def test_nothing_is_read_when_all_is_kept():
    network = TrainingNetwork(tiny_model("eomt"), is_trunk_frozen=True)
    cache = TrunkCache(10**6)
    first = trunk_tokens(network, ["a", "b"], lambda _: pixels(), cache)

    def fail(_):
        raise AssertionError

    assert torch.equal(trunk_tokens(network, ["b", "a"], fail, cache), first.flip(0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_first_step_sees_what_later_ones_see(dtype, tmp_path):
    network = TrainingNetwork(tiny_model("eomt"), is_trunk_frozen=True)
    for memory in (10**6, 0):
        cache = TrunkCache(memory, tmp_path, 10**6, dtype=dtype)
        keys = [f"{memory} a", f"{memory} b"]
        first, again = (trunk_tokens(network, keys, lambda _: pixels(), cache) for _ in range(2))
        assert torch.equal(first, again)
        torch.testing.assert_close(first, network.trunk(pixels()), rtol=1e-2, atol=1e-2)


def test_a_trunk_that_learns_is_not_kept():
    network = TrainingNetwork(tiny_model("eomt"))
    with pytest.raises(ValueError, match="Freeze it"):
        trunk_tokens(network, ["a"], lambda _: pixels(1), TrunkCache(10**6))


def test_fingerprints_tell_trunks_apart():
    model = tiny_model("eomt")
    first = trunk_fingerprint(TrainingNetwork(copy.deepcopy(model)))
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.class_predictor.weight.add_(1)
        other.layers[-1].norm1.weight.add_(1)
    assert trunk_fingerprint(TrainingNetwork(other)) == first
    with torch.no_grad():
        other.layers[0].norm1.weight[0] += 1e-6
    assert trunk_fingerprint(TrainingNetwork(other)) != first
    assert trunk_fingerprint(TrainingNetwork(model), torch.bfloat16) != first


def test_keys_tell_views_apart():
    keys = {
        view_key(fingerprint, image, view)
        for fingerprint in ("f", "g")
        for image in ("a", "b")
        for view in ({"flip": True}, {"flip": False}, {"flip": False, "crop": [0, 1]})
    }
    assert len(keys) == 12
    assert view_key("f", "a", {"x": 1, "y": 2}) == view_key("f", "a", {"y": 2, "x": 1})


@pytest.mark.parametrize("is_same", [True, False])
def test_what_prediction_keeps_is_not_made_again(is_same):
    network = TrainingNetwork(tiny_model("eomt"), is_trunk_frozen=True)
    predicted = TrunkCache(10**6, dtype=None)
    predicted.put("theirs 1", network.trunk(pixels())[1])
    shared = Shared(predicted, lambda i: f"theirs {i}", lambda _: is_same)
    made = []

    def make_pixels(which):
        made.extend(which)
        return pixels()[list(which)]

    own = TrunkCache(10**6)
    tokens = trunk_tokens(network, ["a", "b"], make_pixels, own, shared=shared)
    torch.testing.assert_close(tokens, network.trunk(pixels()))
    assert made == [0]
    assert ("theirs 0" in predicted) is is_same
    # From now on it has its own.
    assert torch.equal(trunk_tokens(network, ["a", "b"], make_pixels, own), tokens)
    assert made == [0]
