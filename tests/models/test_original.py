from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.models.original_layout import KINDS, network, original_state, trained

from napari_eomt.errors import ModelError
from napari_eomt.models.inferred import check_complete, infer_config, size_in_name, task_in_name
from napari_eomt.models.key_maps import has_old_keys, original_name
from napari_eomt.models.original import from_original, to_original, upgrade_keys

ARCHITECTURES = {
    "dinov2": "eomt",
    "giant": "eomt",
    "dinov3": "eomt_dinov3",
    "video": "videomt",
}
# Width, blocks, blocks that see queries, of the published sizes.
SIZES = {"S": (384, 12, 3), "B": (768, 12, 3), "L": (1024, 24, 4), "g": (1536, 40, 5)}


def _published(kind, size, **more):
    width, depth, n_blocks = SIZES[size]
    with torch.device("meta"):
        return network(
            kind,
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=width // 64,
            num_blocks=n_blocks,
            **{"num_queries": 200, "num_labels": 133, "image_size": 640} | more,
        )


@pytest.mark.parametrize(
    ("kind", "size", "n_mapped"),
    # Embeddings 5 (DINOv3 4), a block 14 (DINOv3 17), final norm 2, queries 1, class head 2, mask
    # head 6, upscaling 10, masked attention 1, loss 1, query updater 2.
    [
        ("dinov2", "S", 196),
        ("dinov2", "B", 196),
        ("dinov2", "L", 364),
        ("giant", "g", 588),
        ("dinov3", "S", 231),
        ("dinov3", "B", 231),
        ("dinov3", "L", 435),
        ("video", "S", 198),
        ("video", "B", 198),
        ("video", "L", 366),
    ],
)
def test_every_tensor_of_the_published_sizes_is_mapped(kind, size, n_mapped):
    model = _published(kind, size, image_size=1280)
    state = original_state(model, kind)
    translation = from_original(state, "m")
    assert translation.architecture == ARCHITECTURES[kind]
    assert sum(translation.mapped.values()) == n_mapped
    pixels = {"network.encoder.pixel_mean", "network.encoder.pixel_std"}
    assert set(translation.dropped) == (set() if kind == "video" else pixels)
    config = infer_config(translation.architecture, translation.tensors, "m", 1280)
    check_complete(translation.architecture, config, translation.tensors, "m", as_original=True)
    assert _values(config) == _values(model.config)


def _values(config):
    return {key: value for key, value in config.to_dict().items() if key != "architectures"}


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back_is_the_same_bit_for_bit(kind):
    model = trained(kind)
    state = original_state(model, kind)
    translation = from_original(state, "m")
    ours = model.state_dict()
    ours.pop("embeddings.mask_token", None)
    assert translation.tensors.keys() == ours.keys()
    assert all(torch.equal(translation.tensors[key], ours[key]) for key in ours)
    back = to_original(translation.tensors, translation.architecture, "m")
    assert back.keys() == state.keys() - set(translation.dropped)
    assert all(torch.equal(back[key], state[key]) for key in back)
    is_swiglu = kind == "giant"
    for key in ours:
        assert original_name(key, translation.architecture, is_swiglu) in state


@pytest.mark.parametrize("change", ["", "module.", "_orig_mod."])
@pytest.mark.parametrize("prefix", ["network.", "backbone.", ""])
def test_traces_of_training_in_names(prefix, change):
    state = original_state(trained("dinov2"), "dinov2")
    changed = {change + key.replace("network.", prefix): tensor for key, tensor in state.items()}
    translation = from_original(changed, "m")
    assert translation.architecture == "eomt"
    assert translation.tensors.keys() == from_original(state, "m").tensors.keys()


def test_what_is_beside_the_network_is_dropped_and_named():
    state = original_state(trained("dinov2"), "dinov2")
    beside = ["ema.network.q.weight", "metrics.0.confmat", "criterion.other"]
    translation = from_original(state | {key: torch.zeros(1) for key in beside}, "m")
    assert set(translation.dropped) == {
        *beside,
        "network.encoder.pixel_mean",
        "network.encoder.pixel_std",
    }


def test_names_of_older_transformers_are_brought_up_to_date():
    tensors = trained("giant").state_dict()
    old = {}
    for key, tensor in tensors.items():
        if "gate_proj" in key:
            up = tensors[key.replace("gate_proj", "up_proj")]
            old[key.replace("gate_proj", "weights_in")] = torch.cat([tensor, up])
        elif "up_proj" not in key:
            old[key.replace("down_proj", "weights_out")] = tensor
    assert has_old_keys(old)
    assert not has_old_keys(tensors)
    upgraded = upgrade_keys(old)
    assert upgraded.keys() == tensors.keys()
    assert all(torch.equal(upgraded[key], tensors[key]) for key in tensors)


def _without(*keys):
    return lambda state: {k: t for k, t in state.items() if k not in keys}


def _with(**tensors):
    return lambda state: state | {k.replace("__", "."): t for k, t in tensors.items()}


def _reshaped(key, *shape):
    return lambda state: state | {key: torch.zeros(shape)}


E = "network.encoder.backbone."
QKV = E + "blocks.1.attn.qkv.weight"
FAULTS = {
    "a ResNet": (
        lambda _: {"conv1.weight": torch.zeros(1), "layer1.0.conv1.weight": torch.zeros(1)},
        "is no checkpoint of EoMT or VidEoMT: it has the weights of a ResNet",
    ),
    "a bare DINOv2": (
        lambda s: {k.removeprefix(E): t for k, t in s.items() if k.startswith(E)},
        "a bare vision transformer, without queries and heads",
    ),
    "a backbone without queries": (
        lambda s: {k: t for k, t in s.items() if k.startswith(E)},
        r"lacks 3 tensors of the network: network\.q\.weight",
    ),
    "something else": (lambda _: {"foo": torch.zeros(1)}, "tensors such as foo"),
    "a missing key": (
        _without(E + "blocks.1.ls2.gamma"),
        r"lacks 1 tensors of the network: network\.encoder\.backbone\.blocks\.1\.ls2\.gamma",
    ),
    "a missing fused key": (_without(QKV), r"lacks 1 tensors .*blocks\.1\.attn\.qkv\.weight"),
    "a missing block": (
        lambda s: {k: t for k, t in s.items() if ".blocks.1." not in k},
        r"lacks 1 tensors .*blocks\.1\.norm1\.weight",
    ),
    "no masked attention": (_without("network.attn_mask_probs"), "lacks 1 .*attn_mask_probs"),
    "an extra key": (
        _with(network__adapter__weight=torch.zeros(1)),
        r"has 1 tensors that no eomt model has: network\.adapter\.weight",
    ),
    "an extra key of a known kind": (
        _with(network__q__bias=torch.zeros(5)),
        r"has 1 tensors that the network has no place for: network\.q\.bias",
    ),
    "a block of a huge number": (
        _with(network__encoder__backbone__blocks__999999999__norm1__weight=torch.zeros(128)),
        "lacks 1 tensors",
    ),
    "another shape": (
        _reshaped("network.mask_head.2.weight", 64, 128),
        r"network\.mask_head\.2\.weight is \(64, 128\) for \(128, 128\)",
    ),
    "qkv of no thirds": (_reshaped(QKV, 100, 128), r"attn\.qkv\.weight has the shape \(100, 128\)"),
    "a flat position table": (_reshaped(E + "pos_embed", 16), r"pos_embed has the shape \(16,\)"),
    "positions of no square": (_reshaped(E + "pos_embed", 1, 15, 128), "15 rows.*no square"),
    "queries without width": (_reshaped("network.q.weight", 5), r"shape \(5,\), expected 2 sides"),
    "no categories": (_reshaped("network.class_head.weight", 1, 128), "0 categories"),
    "more query blocks than blocks": (_reshaped("network.attn_mask_probs", 9), "9 of 3 blocks"),
    "a width of no whole heads": (_reshaped(E + "cls_token", 1, 1, 100), "is 100 wide"),
    "MLPs of another width": (
        _reshaped(E + "blocks.0.mlp.fc1.weight", 200, 128),
        "MLPs are 200 wide for a backbone of 128",
    ),
    "an MLP that is one number": (
        _reshaped(E + "blocks.0.mlp.fc1.weight"),
        r"blocks\.0\.mlp\.fc1\.weight has the shape \(\), expected 2 sides",
    ),
    "EoMT-7B": (
        _with(**{(E + "blocks.0.attention.attention.query.weight"): torch.zeros(1)}),
        "WebSSL-DINO",
    ),
    "gated DINOv3": (
        _with(**{(E + "blocks.0.mlp.gate_proj.weight"): torch.zeros(1)}),
        "gated MLPs",
    ),
    "VidEoMT on DINOv3": (
        lambda _: (
            original_state(trained("dinov3"), "dinov3")
            | {"network.query_updater.weight": torch.zeros(128, 128)}
        ),
        "is a VidEoMT with a DINOv3 backbone, which transformers has no module for",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_one_clear_error(fault):
    spoil, message = FAULTS[fault]
    state = spoil(original_state(trained("dinov2"), "dinov2"))
    with pytest.raises(ModelError, match=message) as caught:
        _read(state)
    assert str(caught.value).startswith("m.pth: ")
    assert "\n" not in str(caught.value)


def _read(state, input_size=None):
    translation = from_original(state, "m.pth")
    architecture, tensors = translation.architecture, translation.tensors
    config = infer_config(architecture, tensors, "m.pth", input_size)
    check_complete(architecture, config, tensors, "m.pth", as_original=True)
    return config


def test_every_key_that_is_left_out_is_missed():
    state = original_state(trained("video", num_hidden_layers=2), "video")
    for key in state:
        if key == "criterion.empty_weight":
            continue
        with pytest.raises(ModelError, match=r"lacks|no checkpoint") as caught:
            _read(_without(key)(state))
        assert key.split(".", 1)[1] in str(caught.value)


def test_input_size_of_dinov3_comes_from_outside():
    state = original_state(trained("dinov3"), "dinov3")
    assert _read(state, 640).image_size == 640
    with pytest.raises(ModelError, match="Give the input size"):
        _read(state)
    for wrong in (100, -16):
        with pytest.raises(ModelError, match="no multiple of its patches of 16"):
            _read(state, wrong)


def test_input_size_of_dinov2_is_that_of_its_positions():
    state = original_state(trained("dinov2"), "dinov2")
    assert _read(state).image_size == 64
    assert _read(state, 64).image_size == 64
    with pytest.raises(ModelError, match="for an input of 64 pixels, not 640"):
        _read(state, 640)


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("coco_panoptic_eomt_large_640_dinov3/pytorch_model.bin", 640),
        ("ade20k_semantic_eomt_large_512_dinov3.bin", 512),
        ("models--tue-mps--coco_instance_eomt_large_1280_dinov3/snapshots/640f/w.bin", 1280),
        ("eomt_1280/eomt-640.pth", 640),
        ("eomt_640_to_1280.pth", None),
        ("runs/1024/last.ckpt", None),
        ("yt_2019_vit_small_52.8.pth", None),
        ("model.bin", None),
    ],
)
def test_size_in_a_name(path, size):
    assert size_in_name(Path("/data") / path) == size


@pytest.mark.parametrize(
    ("path", "task"),
    [
        ("ade20k_semantic_eomt_large_512.bin", "semantic"),
        (
            "models--tue-mps--ADE20K_Semantic_eomt_large_512/snapshots/1a/model.bin",
            "semantic",
        ),
        ("eomt_semantic/coco_panoptic.bin", "panoptic"),
        ("eomt_semantic_and_panoptic.bin", None),
        ("semantic/last.ckpt", None),
    ],
)
def test_task_in_a_name(path, task):
    assert task_in_name(Path("/data") / path) == task
