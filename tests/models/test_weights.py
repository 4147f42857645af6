from __future__ import annotations

import json
import os
import pickle
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file

from napari_eomt.errors import ModelError
from napari_eomt.models.weights import find_weights, load_weights

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(3, dtype=torch.half)}


class Payload:
    """When unpickled, writes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (exec, (f"open({self.path!r}, 'w').write('ran')",))


class OsPayload(Payload):
    def __reduce__(self):
        return (os.system, (f"echo ran > '{self.path}'",))


def _nested(state):
    return {
        "state_dict": state,
        "epoch": 3,
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}, "lr": 1e-4}],
        "hyper_parameters": {"lr": 1e-4, "steps": (1, 2), "name": "x"},
    }


@pytest.mark.parametrize("suffix", [".bin", ".pth", ".pt", ".ckpt", ".safetensors", ".odd"])
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        OrderedDict,
        _nested,
        lambda state: {"model": state, "iteration": 7, "optimizer": {"lr": 1.0}},
        lambda state: {"state_dict": {"model": state}, "epoch": 1},
    ],
)
def test_torch_files_of_any_format_name_and_nesting(tmp_path, suffix, legacy, wrap):
    path = tmp_path / f"model{suffix}"
    torch.save(wrap(STATE), path, _use_new_zipfile_serialization=not legacy)
    loaded = load_weights(path)
    assert list(loaded) == list(STATE)
    for name, tensor in STATE.items():
        assert torch.equal(loaded[name], tensor)
        assert loaded[name].dtype is tensor.dtype


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_safetensors_of_any_name(tmp_path, suffix):
    save_file(STATE, tmp_path / f"model{suffix}")
    loaded = load_weights(tmp_path / f"model{suffix}")
    assert all(torch.equal(loaded[name], tensor) for name, tensor in STATE.items())


def test_large_torch_files_are_mapped_not_copied(tmp_path):
    torch.save({"w": torch.zeros(4_000_000)}, tmp_path / "m.pth")
    before = _resident()
    loaded = load_weights(tmp_path / "m.pth")
    assert _resident() - before < 8_000_000  # of 16 MB
    assert float(loaded["w"].sum()) == 0


def _resident():
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pytest.skip("This system does not tell the memory of a process.")


def test_parameters_come_as_plain_tensors(tmp_path):
    module = torch.nn.Linear(2, 2)
    torch.save(dict(module.named_parameters()), tmp_path / "m.pth")
    assert not any(tensor.requires_grad for tensor in load_weights(tmp_path / "m.pth").values())


def _shards(folder):
    save_file({"a.weight": STATE["a.weight"]}, folder / "model-1.safetensors")
    save_file({"a.bias": STATE["a.bias"]}, folder / "model-2.safetensors")
    index = {"weight_map": {"a.weight": "model-1.safetensors", "a.bias": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder / "model.safetensors.index.json"


def test_shards_by_folder_and_by_index(tmp_path):
    index = _shards(tmp_path)
    for path in (tmp_path, index):
        loaded = load_weights(path)
        assert sorted(loaded) == sorted(STATE)
        assert torch.equal(loaded["a.weight"], STATE["a.weight"])


@pytest.mark.parametrize("name", ["../outside.safetensors", "/outside.safetensors", "gone.bin"])
def test_shards_out_of_the_folder_are_refused(tmp_path, name):
    (tmp_path / "m").mkdir()
    save_file(STATE, tmp_path / "outside.safetensors")
    index = _shards(tmp_path / "m")
    name = name.replace("/outside", f"{tmp_path}/outside") if name[0] == "/" else name
    index.write_text(json.dumps({"weight_map": {"a.weight": name}}))
    with pytest.raises(ModelError, match="names the file"):
        load_weights(tmp_path / "m")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "yt_2019_vit_small_52.8.pth"])
def test_folder_with_one_file_of_weights(tmp_path, name):
    torch.save(STATE, tmp_path / name)
    (tmp_path / "README.md").write_text("a model")
    assert find_weights(tmp_path) == tmp_path / name
    assert sorted(load_weights(tmp_path)) == sorted(STATE)


@pytest.mark.parametrize("payload", [Payload, OsPayload])
@pytest.mark.parametrize("kind", ["zip", "legacy", "bare pickle", "beside the weights"])
def test_code_in_a_pickle_does_not_run(tmp_path, payload, kind):
    mark, path = tmp_path / "mark", tmp_path / "model.pth"
    content = {"model": {"a": payload(mark)}}
    if kind == "bare pickle":
        path.write_bytes(pickle.dumps(content))
    elif kind == "beside the weights":
        torch.save({"model": STATE, "hyper_parameters": payload(mark)}, path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(ModelError, match=r"model\.pth: refused, because reading it could run code"):
        load_weights(path)
    assert not mark.exists()
    # The same file does run its payload where it is let: the test above can fail.
    torch.load(path, weights_only=False) if kind != "bare pickle" else pickle.loads(
        path.read_bytes()
    )
    assert mark.exists()


def _cut(path, to):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * to)])


def _write(content):
    return lambda path: path.write_bytes(content)


def _save(content, **options):
    return lambda path: torch.save(content, path, **options)


def _saved_and_cut(to, **options):
    def fault(path):
        torch.save({"a": torch.randn(500, 50)}, path, **options)
        _cut(path, to)

    return fault


def _safetensors_and_cut(to):
    def fault(path):
        save_file({"a": torch.randn(50, 50)}, path)
        _cut(path, to)

    return fault


LEGACY = {"_use_new_zipfile_serialization": False}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
FAULTS = {
    "zip cut short": (_saved_and_cut(0.5), "damaged or cut short"),
    "zip cut near its end": (_saved_and_cut(0.99), "damaged or cut short"),
    "legacy cut short": (_saved_and_cut(0.5, **LEGACY), "damaged or cut short"),
    "legacy cut near its start": (_saved_and_cut(0.0005, **LEGACY), "damaged or cut short"),
    "safetensors cut short": (_safetensors_and_cut(0.5), "damaged or cut short"),
    "safetensors cut in its header": (_safetensors_and_cut(0.004), "damaged or cut short"),
    "empty": (_write(b""), "the file is empty"),
    "text": (_write(b"weights: none\n"), "is a text file, expected weights"),
    "JSON": (_write(b'{"a": [1, 2, 3]}'), "is a text file, expected weights"),
    "web page": (_write(b"\n<!DOCTYPE html><html>Sign in</html>"), "is a web page"),
    "git-lfs pointer": (_write(POINTER), "git-lfs pointer.*git lfs pull"),
    "noise": (_write(bytes(range(7, 200))), "of an unknown format"),
    "image": (_write(b"\x89PNG\r\n\x1a\n" + bytes(99)), "of an unknown format"),
    "pickle of noise": (_write(b"\x80\x02" + bytes(range(200))), "refused.*operand 0"),
    "a tensor alone": (_save(torch.zeros(3)), "holds a Tensor, expected a model's weights"),
    "a list": (_save([torch.zeros(3)]), "holds a list, expected"),
    "nothing": (_save({}), "holds nothing, expected"),
    "nested nothing": (_save({"state_dict": {}}), "holds nothing, expected"),
    "no tensors": (_save({"epoch": 3, "a": torch.zeros(1)}), r"no tensors: epoch \(int\)"),
    "names that are numbers": (_save({0: torch.zeros(1)}), r"no tensors: 0 \(Tensor\)"),
    "sparse tensors": (_save({"a": torch.eye(3).to_sparse()}), r"no tensors: a \(Tensor\)"),
}


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_one_clear_error(tmp_path, fault, suffix):
    make, message = FAULTS[fault]
    path = tmp_path / f"model{suffix}"
    make(path)
    with pytest.raises(ModelError, match=message) as caught:
        load_weights(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_or_not_one_file(tmp_path):
    with pytest.raises(ModelError, match="There is no file"):
        load_weights(tmp_path / "gone.bin")
    with pytest.raises(ModelError, match=r"expected a folder with one file of weights.*found none"):
        load_weights(tmp_path)
    for name in ("a.pth", "b.pth"):
        torch.save(STATE, tmp_path / name)
    with pytest.raises(ModelError, match=r"found the files a\.pth, b\.pth"):
        load_weights(tmp_path)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "m.pth"
    torch.save(STATE, path)

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    # As root no mode keeps a file from being read.
    monkeypatch.setattr(type(path), "open", refuse)
    with pytest.raises(ModelError, match=r"m\.pth: cannot be read \(Permission denied\)"):
        load_weights(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_program_is_not_weights(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "m.pt"))
    with pytest.raises(ModelError, match="TorchScript program"):
        load_weights(tmp_path / "m.pt")
