from __future__ import annotations

import errno
import json
import os

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tests.models.original_layout import (
    KINDS,
    MEAN,
    delta_state,
    forward,
    original_state,
    tiny_base,
    trained,
)

from napari_eomt.errors import EomtError, ModelError, OutputError
from napari_eomt.models import convert, transformers_folder
from napari_eomt.models.card import Sidecar, read_card
from napari_eomt.models.catalog import find_model
from napari_eomt.models.convert import to_original, to_transformers
from napari_eomt.models.load import load_segmenter
from napari_eomt.models.weights import load_weights

N_MAPPED = {"dinov2": 70, "giant": 70, "dinov3": 78, "video": 72}


@pytest.fixture
def checkpoint(tmp_path):
    """Return a function that writes an original checkpoint of a kind, and returns its path."""

    def write(kind, name="m_64_eomt.pth", change=dict):
        state = original_state(trained(kind), kind)
        path = tmp_path / name
        torch.save(change({"model": state} if kind == "video" else state), path)
        return path

    return write


def _logits(model, pixels):
    model.eval().attn_mask_probs.zero_()
    with torch.no_grad():
        if "pixel_values_videos" in model.main_input_name:
            output = model(pixel_values_videos=pixels[None])
        else:
            output = model(pixel_values=pixels)
    return output.masks_queries_logits, output.class_queries_logits


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(tmp_path, checkpoint, kind):
    path = checkpoint(kind)
    done = to_transformers(path, tmp_path / "out")
    assert done.n_mapped == N_MAPPED[kind]
    assert done.layout == "original"
    assert done.config["image_size"] == 64
    assert done.n_bytes == sum(file.stat().st_size for file in (tmp_path / "out").iterdir())

    made = trained(kind)
    loaded, info = type(made).from_pretrained(tmp_path / "out", output_loading_info=True)
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not info[what]
    torch.manual_seed(5)
    pixels = torch.randn(2, 3, 64, 64)
    for ours, theirs in zip(_logits(loaded, pixels), _logits(made, pixels), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)

    back = to_original(tmp_path / "out", tmp_path / "back.pth")
    assert back.n_written == done.n_mapped + len(done.dropped)
    state = load_weights(path)
    again = load_weights(tmp_path / "back.pth")
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], state[key]) for key in state)
    assert all(again[key].dtype is state[key].dtype for key in state)


@pytest.mark.parametrize("kind", ["dinov2", "giant", "video"])
def test_logits_are_those_of_the_original_network(tmp_path, checkpoint, kind):
    path = checkpoint(kind)
    to_transformers(path, tmp_path / "out")
    made = type(trained(kind)).from_pretrained(tmp_path / "out")
    torch.manual_seed(6)
    pixels = torch.randn(3, 3, 64, 64)
    prefix = "backbone." if kind == "video" else "network."
    expected = forward(load_weights(path), pixels, n_heads=2, prefix=prefix)
    for ours, theirs in zip(_logits(made, pixels), expected, strict=True):
        assert float(theirs.std()) > 0.3  # a network that says nothing would agree with any
        torch.testing.assert_close(ours.double(), theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["dinov2", "giant", "dinov3"])
def test_the_folder_loads_as_a_segmenter(tmp_path, checkpoint, kind):
    names = ["cell", "nucleus", "sky", "road"]
    sidecar = Sidecar(tasks=("panoptic",), stuff=(2, 3), category_ids=(4, 7, 9, 2), title="T")
    to_transformers(
        checkpoint(kind), tmp_path / "out", category_names=names, sidecar=sidecar, image_mode="pad"
    )
    card = read_card(tmp_path / "out")
    assert [(c.id, c.name, c.is_thing) for c in card.categories] == [
        (4, "cell", True),
        (7, "nucleus", True),
        (9, "sky", False),
        (2, "road", False),
    ]
    assert (card.title, card.tasks, card.input_size) == ("T", ("panoptic",), 64)
    assert card.image_mean == MEAN
    output = load_segmenter(tmp_path / "out", device="cpu").forward(torch.zeros(1, 3, 64, 64))
    assert output.mask_logits.shape == (1, 5, 16, 16)


@pytest.mark.parametrize(
    ("name", "mode", "size"),
    [
        ("coco_panoptic_eomt_64.bin", None, {"shortest_edge": 64, "longest_edge": 64}),
        ("ade20k_semantic_eomt_64.bin", None, {"shortest_edge": 64, "longest_edge": None}),
        ("ade20k_semantic_eomt_64.bin", "pad", {"shortest_edge": 64, "longest_edge": 64}),
        ("coco_panoptic_eomt_64.bin", "split", {"shortest_edge": 64, "longest_edge": None}),
    ],
)
def test_semantic_models_take_windows_others_the_padded_image(
    tmp_path, checkpoint, name, mode, size
):
    to_transformers(checkpoint("dinov2", name), tmp_path / "out", image_mode=mode)
    processor = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
    assert processor["size"] == size
    is_split = size["longest_edge"] is None
    assert processor["do_split_image"] is is_split
    assert processor["do_pad"] is not is_split
    assert read_card(tmp_path / "out").tasks == ("semantic",) or not is_split


def test_normalisation_comes_from_the_checkpoint_and_goes_back(tmp_path):
    state = original_state(trained("dinov2"), "dinov2")
    state["network.encoder.pixel_mean"] = torch.tensor([0.5, 0.4, 0.1]).reshape(1, 3, 1, 1)
    torch.save(state, tmp_path / "m.bin")
    to_transformers(tmp_path / "m.bin", tmp_path / "out")
    assert read_card(tmp_path / "out").image_mean == (0.5, 0.4, 0.1)
    to_original(tmp_path / "out", tmp_path / "back.safetensors")
    back = load_weights(tmp_path / "back.safetensors")
    key = "network.encoder.pixel_mean"
    assert torch.equal(back[key], state[key])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precision_stays_as_stored(tmp_path, checkpoint, dtype):
    path = checkpoint("dinov2", change=lambda s: {k: t.to(dtype) for k, t in s.items()})
    to_transformers(path, tmp_path / "out")
    assert load_weights(tmp_path / "out")["query.weight"].dtype is dtype
    loaded = type(trained("dinov2")).from_pretrained(tmp_path / "out")
    assert loaded.query.weight.dtype is dtype


@pytest.mark.parametrize("stored", [torch.ones(7), torch.zeros(5), None])
def test_the_loss_weights_are_made_anew_where_those_stored_do_not_fit(tmp_path, checkpoint, stored):
    def change(state):
        state.pop("criterion.empty_weight")
        return state if stored is None else state | {"criterion.empty_weight": stored}

    done = to_transformers(checkpoint("dinov2", change=change), tmp_path / "out")
    assert ("criterion.empty_weight" in done.dropped) is (stored is not None)
    made = load_weights(tmp_path / "out")["criterion.empty_weight"]
    assert made.tolist() == pytest.approx([1, 1, 1, 1, 0.1])


def _with_old_keys(folder):
    tensors = load_file(folder / "model.safetensors")
    for key in list(tensors):
        if "gate_proj" in key:
            up = tensors.pop(key.replace("gate_proj", "up_proj"))
            tensors[key.replace("gate_proj", "weights_in")] = torch.cat([tensors.pop(key), up])
        elif "down_proj" in key:
            tensors[key.replace("down_proj", "weights_out")] = tensors.pop(key)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("with_config", [True, False])
def test_folders_of_older_transformers_load_again(tmp_path, with_config):
    made = trained("giant")
    made.save_pretrained(tmp_path / "old")
    _with_old_keys(tmp_path / "old")
    _, info = type(made).from_pretrained(tmp_path / "old", output_loading_info=True)
    assert info["missing_keys"], "transformers alone would fill the MLPs at random"
    load_segmenter(tmp_path / "old", device="cpu")
    if not with_config:
        (tmp_path / "old" / "config.json").unlink()
    done = to_transformers(tmp_path / "old", tmp_path / "new")
    assert done.layout == "transformers"
    assert done.n_mapped == 88
    loaded = type(made).from_pretrained(tmp_path / "new")
    pixels = torch.randn(1, 3, 64, 64)
    for ours, theirs in zip(_logits(loaded, pixels), _logits(made, pixels), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_a_folder_of_transformers_keeps_what_it_says(tmp_path):
    from tests.tiny_models import save_tiny

    folder = save_tiny(tmp_path / "m")  # heads of another size than published models have
    (folder / "preprocessor_config.json").write_text('{"image_mean": [0.1, 0.2, 0.3]}')
    to_transformers(folder, tmp_path / "out")
    old, new = read_card(folder), read_card(tmp_path / "out")
    assert new.categories == old.categories
    assert new.image_mean == (0.1, 0.2, 0.3)
    with pytest.raises(ModelError, match="is 32 wide, expected a multiple of 64"):
        to_original(folder, tmp_path / "m.pth")


def _original_fault(change):
    def make(tmp_path):
        torch.save(change(original_state(trained("dinov2"), "dinov2")), tmp_path / "m.pth")
        return {}

    return make


class Payload:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (exec, (f"open({self.path!r}, 'w').close()",))


def _pickle_payload(tmp_path):
    torch.save({"model": {"a": Payload(tmp_path / "mark")}}, tmp_path / "m.pth")
    return {}


def _truncated(tmp_path):
    _original_fault(dict)(tmp_path)
    content = (tmp_path / "m.pth").read_bytes()
    (tmp_path / "m.pth").write_bytes(content[: len(content) // 2])
    return {}


def _delta(base_sizes=None):
    def make(tmp_path):
        state = original_state(trained("dinov3"), "dinov3")
        torch.save(delta_state(state, tiny_base().state_dict()), tmp_path / "m.pth")
        # Its encoder is no small change: only what says that it is a delta is as published.
        if base_sizes is None:
            return {"input_size": 64}
        torch.save(tiny_base(**base_sizes).state_dict(), tmp_path / "b.pth")
        return {"input_size": 64, "base": tmp_path / "b.pth"}

    return make


def _full_disk(tmp_path, monkeypatch):
    def save(_tensors, path, **_options):
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(transformers_folder, "save_file", save)
    return _original_fault(dict)(tmp_path)


def _full_disk_of_safetensors(tmp_path, monkeypatch):
    def save(_tensors, path, **_options):
        path.write_bytes(b"half of it")
        raise SafetensorError("Error while serializing: I/O error: No space left on device")

    monkeypatch.setattr(transformers_folder, "save_file", save)
    return _original_fault(dict)(tmp_path)


def _full_disk_when_flushed(tmp_path, monkeypatch):
    def fsync(_file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    return _original_fault(dict)(tmp_path)


def _read_only(tmp_path, monkeypatch):
    def mkdir(*_args, **_options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    made = _original_fault(dict)(tmp_path)
    # As root no mode keeps a folder from being written.
    monkeypatch.setattr(type(tmp_path), "mkdir", mkdir)
    return made


FAULTS = {
    "truncated": (_truncated, ModelError, "damaged or cut short"),
    "wrong architecture": (
        _original_fault(lambda _: {"layer1.0.conv1.weight": torch.zeros(1)}),
        ModelError,
        "the weights of a ResNet",
    ),
    "missing key": (
        _original_fault(lambda s: s.pop("network.q.weight") is None or s),
        ModelError,
        r"lacks 1 tensors of the network: network\.q\.weight",
    ),
    "extra key": (
        _original_fault(lambda s: s | {"network.x": torch.zeros(1)}),
        ModelError,
        r"has 1 tensors that no eomt model has: network\.x",
    ),
    "integers": (
        _original_fault(
            lambda s: {k: t.to(torch.int8) if "q.weight" in k else t for k, t in s.items()}
        ),
        ModelError,
        r"1 tensors hold no floating-point numbers: query\.weight",
    ),
    "delta without base": (_delta(), ModelError, "a delta"),
    "wrong base": (_delta({"num_hidden_layers": 2}), ModelError, "is not the base"),
    "pickle payload": (_pickle_payload, ModelError, "refused, because reading it could run code"),
    "another size": (
        lambda t: _original_fault(dict)(t) | {"input_size": 640},
        ModelError,
        "for an input of 64 pixels",
    ),
    "too few names": (
        lambda t: _original_fault(dict)(t) | {"category_names": ["a"]},
        ModelError,
        "trained with 4 categories, but 1 names",
    ),
    "too many ids": (
        lambda t: _original_fault(dict)(t) | {"sidecar": Sidecar(category_ids=range(5))},
        ModelError,
        "trained with 4 categories, but 5 ids",
    ),
    "stuff that is none": (
        lambda t: _original_fault(dict)(t) | {"sidecar": Sidecar(stuff=(1, 4))},
        ModelError,
        r"stuff labels \[4\] are not among",
    ),
    "disk full": (_full_disk, OutputError, "cannot be written.*No space left"),
    "disk full, says safetensors": (_full_disk_of_safetensors, OutputError, "No space left"),
    "disk full, seen late": (_full_disk_when_flushed, OutputError, "No space left"),
    "read-only": (_read_only, OutputError, "cannot be written.*Permission denied"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_one_clear_error_and_leave_nothing(tmp_path, monkeypatch, fault):
    make, kind, message = FAULTS[fault]
    takes_patch = "monkeypatch" in make.__code__.co_varnames
    options = make(tmp_path, monkeypatch) if takes_patch else make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(EomtError, match=message) as caught:
        to_transformers(tmp_path / "m.pth", tmp_path / "out", **options)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_disk_that_is_full_indeed(tmp_path, checkpoint):
    resource = pytest.importorskip("resource")
    path = checkpoint("dinov2")
    to_transformers(path, tmp_path / "whole")
    before = sorted(tmp_path.rglob("*"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A file that may not grow fails as a full disk does, in the writer of safetensors itself.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OutputError, match=r"out: the folder cannot be written"):
            to_transformers(path, tmp_path / "out")
        for name in ("back.pth", "back.safetensors"):
            with pytest.raises(OutputError, match=rf"{name}: cannot be written"):
                to_original(tmp_path / "whole", tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(tmp_path.rglob("*")) == before


def test_ctrl_c_leaves_nothing(tmp_path, checkpoint, monkeypatch):
    path = checkpoint("dinov2")

    def stop(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(convert, "save_folder", stop)
    with pytest.raises(KeyboardInterrupt):
        to_transformers(path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_there_is_replaced_only_when_asked(tmp_path, checkpoint):
    path, out = checkpoint("dinov2"), tmp_path / "out"
    out.mkdir()
    to_transformers(path, out)  # an empty folder
    with pytest.raises(OutputError, match="is there already and not empty"):
        to_transformers(path, out)
    to_transformers(checkpoint("giant"), out, overwrite=True)
    assert json.loads((out / "config.json").read_text())["use_swiglu_ffn"]
    to_original(out, tmp_path / "m.pth")
    with pytest.raises(OutputError, match="is there already"):
        to_original(out, tmp_path / "m.pth")
    to_original(out, tmp_path / "m.pth", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.pth", "m_64_eomt.pth", "out"]


def test_a_failed_replacement_keeps_what_was_there(tmp_path, checkpoint, monkeypatch):
    path, out = checkpoint("dinov2"), tmp_path / "out"
    to_transformers(path, out)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    _full_disk_when_flushed(tmp_path, monkeypatch)
    with pytest.raises(OutputError):
        to_transformers(path, out, overwrite=True)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_folders_that_are_not_a_models_are_never_replaced(tmp_path, checkpoint):
    path = checkpoint("dinov2")
    home = tmp_path / "home"
    (home / "photos").mkdir(parents=True)
    (home / "config.json").write_text("{}")
    with pytest.raises(OutputError, match="is not the folder of a model alone"):
        to_transformers(path, home, overwrite=True)
    with pytest.raises(OutputError, match="is a file"):
        to_transformers(path, path, overwrite=True)
    to_transformers(path, tmp_path / "a")
    with pytest.raises(OutputError, match="holds a, which is read"):
        to_transformers(tmp_path / "a", tmp_path / "a", overwrite=True)
    with pytest.raises(OutputError, match="lies in the folder that is read"):
        to_original(tmp_path / "a", tmp_path / "a" / "model.safetensors", overwrite=True)
    assert sorted(p.name for p in home.iterdir()) == ["config.json", "photos"]


def test_faults_of_the_way_back(tmp_path, checkpoint):
    with pytest.raises(OutputError, match=r"is one file. Give it a name that ends in"):
        to_original(tmp_path, tmp_path / "folder")
    to_transformers(checkpoint("dinov3"), tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    for key, value, message in (
        ("layer_norm_eps", 1e-6, "its layer_norm_eps is 1e-06, but the original code takes 1e-05"),
        ("num_queries", 6, r"query\.weight is \(5, 128\) for \(6, 128\)"),
        ("num_hidden_layers", 4, r"lacks 17 tensors of the network: layers\.3\."),
        ("num_hidden_layers", "many", "does not describe a model"),
        ("model_type", "vit", "says model_type 'vit', expected one of"),
    ):
        (tmp_path / "m" / "config.json").write_text(json.dumps(config | {key: value}))
        with pytest.raises(ModelError, match=message) as caught:
            to_original(tmp_path / "m", tmp_path / "m.pth")
        assert "\n" not in str(caught.value)
    (tmp_path / "m" / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        to_original(tmp_path / "m", tmp_path / "m.pth")
    assert not (tmp_path / "m.pth").exists()


def test_the_original_nesting_is_that_of_the_repository(tmp_path, checkpoint):
    for kind, is_nested in (("dinov2", False), ("video", True)):
        to_transformers(checkpoint(kind), tmp_path / kind)
        to_original(tmp_path / kind, tmp_path / f"{kind}.pth")
        content = torch.load(tmp_path / f"{kind}.pth", weights_only=True)
        assert (list(content) == ["model"]) is is_nested


def test_what_the_original_code_cannot_express_is_refused(tmp_path):
    """The bundled model has no registers and heads of another size."""
    folder = find_model("nuclei-nano").folder
    with pytest.raises(ModelError, match="no register tokens"):
        to_original(folder, tmp_path / "out.bin")
    assert list(tmp_path.iterdir()) == []
