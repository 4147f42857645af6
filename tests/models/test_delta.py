from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from tests.models.original_layout import (
    delta_state,
    original_state,
    tiny_base,
    trained,
)

from napari_eomt.errors import ModelError
from napari_eomt.models.convert import to_transformers
from napari_eomt.models.delta import is_delta, merge
from napari_eomt.models.original import from_original


def fine_tuned(base, rate=0.01, seed=1):
    """Build an EoMT-DINOv3 whose encoder is a little away from a backbone."""
    model = trained("dinov3", seed)
    with torch.no_grad():
        state = model.state_dict()
        for key, tensor in base.state_dict().items():
            name = key.removeprefix("model.")
            name = name.replace("layer.", "layers.", 1) if name.startswith("layer.") else name
            name = "layernorm." + name[5:] if name.startswith("norm.") else name
            if "mask_token" not in name:
                state[name].copy_(tensor + rate * torch.randn_like(tensor))
        state["attn_mask_probs"].zero_()
    return model


def meta_layout(base):
    """Return a backbone's tensors with the names that Meta publishes, without a model level."""
    return {key.removeprefix("model."): tensor for key, tensor in base.state_dict().items()}


@pytest.fixture(scope="module")
def base():
    return tiny_base()


@pytest.fixture(scope="module")
def whole(base):
    return fine_tuned(base)


@pytest.fixture(scope="module")
def delta(whole, base):
    return delta_state(original_state(whole, "dinov3"), base.state_dict())


@pytest.mark.parametrize("layout", ["folder of version 5", "Meta's file", "Meta's folder"])
def test_a_delta_and_its_base_give_the_whole_model(tmp_path, whole, base, delta, layout):
    torch.save({"state_dict": delta}, tmp_path / "coco_eomt_64_dinov3.bin")
    folder = tmp_path / "base"
    base.save_pretrained(folder)
    if layout != "folder of version 5":
        save_file(meta_layout(base), folder / "model.safetensors")
    given = folder / "model.safetensors" if layout == "Meta's file" else folder
    done = to_transformers(tmp_path / "coco_eomt_64_dinov3.bin", tmp_path / "out", base=given)
    assert done.layout == "delta"
    assert done.n_mapped == 78
    assert set(done.dropped) == {
        "criterion.empty_weight",
        "network.encoder.pixel_mean",
        "network.encoder.pixel_std",
    }
    loaded, info = type(whole).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not loaded.attn_mask_probs.any()
    assert loaded.criterion.empty_weight.tolist() == pytest.approx([1, 1, 1, 1, 0.1])
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = loaded.eval()(pixels), whole(pixels)
    for name in ("masks_queries_logits", "class_queries_logits"):
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-4, rtol=0)


def test_a_delta_of_half_precision_is_added_in_the_precision_of_the_base(whole, base, delta):
    half = {key: tensor.half() for key, tensor in delta.items()}
    tensors = merge(from_original(half, "m").tensors, base.state_dict(), "m", "b")
    key = "layers.1.mlp.up_proj.weight"
    assert tensors[key].dtype is torch.float32
    torch.testing.assert_close(tensors[key], whole.state_dict()[key], atol=1e-4, rtol=0)


@pytest.mark.parametrize("rate", [1e-4, 1e-3, 1e-2, 0.03])
@pytest.mark.parametrize("told", ["as published", "buffers whole", "tensors alone"])
def test_deltas_are_recognised(base, rate, told):
    state = original_state(fine_tuned(base, rate), "dinov3")
    delta = delta_state(state, base.state_dict())
    if told == "buffers whole":
        delta |= {key: state[key] for key in state if "pixel_" in key or "mask_probs" in key}
    elif told == "tensors alone":
        delta = {key: tensor for key, tensor in delta.items() if "pixel_" not in key}
        delta["network.attn_mask_probs"] = state["network.attn_mask_probs"]
    assert is_delta(from_original(delta, "m"))


@pytest.mark.parametrize("kind", ["dinov2", "giant", "dinov3", "video"])
@pytest.mark.parametrize("seed", range(3))
def test_whole_models_are_no_deltas(kind, seed):
    assert not is_delta(from_original(original_state(trained(kind, seed), kind), "m"))


def test_few_small_scales_make_no_delta():
    # The first blocks of trained vision transformers have norms whose scales are small.
    model = trained("dinov3", num_hidden_layers=6)
    with torch.no_grad():
        for i in range(2):
            model.layers[i].norm1.weight.mul_(0.01)
            model.layers[i].norm2.weight.mul_(0.01)
    assert not is_delta(from_original(original_state(model, "dinov3"), "m"))


def test_a_delta_without_its_base_is_refused(tmp_path, delta):
    torch.save(delta, tmp_path / "m.bin")
    with pytest.raises(ModelError, match=r"a delta.*would give garbage alone. Give its base"):
        to_transformers(tmp_path / "m.bin", tmp_path / "out", input_size=64)
    assert not (tmp_path / "out").exists()


def test_the_published_base_is_named():
    model = trained("dinov3", hidden_size=384, num_attention_heads=6, num_hidden_layers=2)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.mul_(0.001)
    from napari_eomt.models.delta import needs_base

    error = needs_base(from_original(original_state(model, "dinov3"), "m"), "m")
    assert "(facebook/dinov3-vits16-pretrain-lvd1689m)" in str(error)


def _other(**sizes):
    return lambda _whole, _delta, _base: meta_layout(tiny_base(**sizes))


def _spoil(change):
    return lambda _whole, _delta, base: change(meta_layout(base))


def _doubled(state):
    state["layer.0.mlp.up_proj.weight"] = torch.zeros(256, 128)
    return state


BASES = {
    "narrower": (
        _other(hidden_size=64, num_attention_heads=1),
        "its width and depth are 64 and 3, expected 128 and 3",
    ),
    "deeper": (_other(num_hidden_layers=4), "are 128 and 4, expected 128 and 3"),
    "other MLPs": (_spoil(_doubled), r"differ in shape: layers\.0\.mlp\.up_proj\.weight"),
    "with a tensor less": (
        _spoil(lambda s: {k: t for k, t in s.items() if k != "layer.2.norm2.bias"}),
        r"not in both.*layers\.2\.norm2\.bias",
    ),
    "zero": (
        _spoil(lambda s: {k: t * 0 for k, t in s.items()}),
        "is itself a delta or was never trained",
    ),
    "not finite": (
        _spoil(lambda s: {k: t * float("inf") for k, t in s.items()}),
        "no trained backbone",
    ),
    "a segmenter": (
        lambda whole, _delta, _base: original_state(whole, "dinov3"),
        "is no DINOv3 backbone in transformers' layout",
    ),
    "in Meta's own layout": (
        lambda *_: {"storage_tokens": torch.zeros(1), "blocks.0.attn.qkv.weight": torch.zeros(1)},
        "found Meta's own layout",
    ),
    "itself": (lambda _whole, delta, _base: delta, "is no DINOv3 backbone"),
}


@pytest.mark.parametrize("fault", BASES)
def test_a_wrong_base_is_refused(tmp_path, whole, delta, base, fault):
    make, message = BASES[fault]
    torch.save(delta, tmp_path / "m.bin")
    torch.save(make(whole, delta, base), tmp_path / "base.pth")
    with pytest.raises(ModelError, match=message) as caught:
        to_transformers(
            tmp_path / "m.bin", tmp_path / "out", base=tmp_path / "base.pth", input_size=64
        )
    assert "base.pth" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.pth", "m.bin"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "network.attn_mask_probs",
            None,
            "lacks 1 tensors of the network: network.attn_mask_probs",
        ),
        ("network.encoder.backbone.norm.weight", torch.zeros(0), "differ in shape"),
        ("network.encoder.backbone.patch_embed.cls_token", None, "expected 0 and 3"),
        ("network.encoder.backbone.patch_embed.cls_token", torch.zeros(()), "expected 0 and 3"),
    ],
)
def test_a_delta_that_is_not_whole_is_refused(tmp_path, delta, base, key, value, message):
    state = {name: tensor for name, tensor in delta.items() if name != key}
    torch.save(state if value is None else state | {key: value}, tmp_path / "m.bin")
    torch.save(base.state_dict(), tmp_path / "base.pth")
    with pytest.raises(ModelError, match=message):
        to_transformers(
            tmp_path / "m.bin", tmp_path / "out", base=tmp_path / "base.pth", input_size=64
        )


def test_a_whole_model_is_not_added_to_a_base(tmp_path, whole, base):
    torch.save(original_state(whole, "dinov3"), tmp_path / "m.bin")
    torch.save(base.state_dict(), tmp_path / "base.pth")
    with pytest.raises(ModelError, match="is whole already"):
        to_transformers(
            tmp_path / "m.bin", tmp_path / "out", base=tmp_path / "base.pth", input_size=64
        )
    torch.save(original_state(trained("dinov2"), "dinov2"), tmp_path / "m.bin")
    with pytest.raises(ModelError, match="only EoMT-DINOv3 has deltas"):
        to_transformers(tmp_path / "m.bin", tmp_path / "out", base=tmp_path / "base.pth")
