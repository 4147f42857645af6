"""LoRA: small additions to the weights of frozen blocks, through peft."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from napari_eomt.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_eomt.models.original import Tensors

CONFIG, WEIGHTS, LEARNT = "adapter_config.json", "adapter_model.safetensors", "learnt.safetensors"
"""Of an adapter's folder: peft's own two files, and the weights that learnt beside them."""

_ADAPTER = "default"
_PREFIX = "base_model.model."  # that peft gives names in files


def add_lora(model: nn.Module, blocks: range, *, rank: int, alpha: float, seed: int = 0) -> None:
    """Add to all linear layers of some blocks, in place; what is added begins as 0.

    Parameters
    ----------
    model : EomtForUniversalSegmentation or EomtDinov3ForUniversalSegmentation
        Afterwards only what was added requires gradients.
    blocks : range
    rank : int
        Of what is added.
    alpha : float
        It is scaled by alpha / rank.
    seed : int
        Of its first factor.
    """
    wanted = re.compile(rf"layers\.({'|'.join(map(str, blocks))})\.(attention|mlp)\.")
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and wanted.match(name)
    ]
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=names, lora_dropout=0.0)  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model, adapter_name=_ADAPTER)


def is_added(name: str) -> bool:
    """Whether a parameter is one that was added."""
    return ".lora_" in name


def merged(model: nn.Module, tensors: Tensors) -> dict[str, torch.Tensor]:
    """Return the tensors of a model with what was added in them, under the names of before.

    Parameters
    ----------
    model : nn.Module
        That `add_lora` has added to.
    tensors : mapping of str to torch.Tensor
        Its state, or another one of the same names.
    """
    added = {name: each for name, each in model.named_modules() if isinstance(each, Linear)}
    result: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if is_added(name):
            continue
        owner, _, rest = name.rpartition(".base_layer.")
        if not owner:
            result[name] = tensor
            continue
        value = tensor
        if rest == "weight":
            first = tensors[f"{owner}.lora_A.{_ADAPTER}.weight"].float()
            second = tensors[f"{owner}.lora_B.{_ADAPTER}.weight"].float()
            scale = added[owner].scaling[_ADAPTER]
            value = tensor + (scale * (second @ first)).to(tensor.device, tensor.dtype)
        result[f"{owner}.{rest}"] = value
    return result


def save_adapter(model: nn.Module, folder: Path, base: str) -> None:
    """Write what was added as peft does, and the other weights that learnt, into a folder.

    Together they are small, and with the model that the training started from make the one that
    it led to; see `load_adapter`.

    Parameters
    ----------
    model : nn.Module
        That `add_lora` has added to.
    folder : Path
        That is there.
    base : str
        Name of the model that the training started from.
    """
    peft: Any = model
    config = peft.peft_config[_ADAPTER]
    config.base_model_name_or_path, config.inference_mode = base, True
    try:
        config.save_pretrained(folder)
    finally:
        config.inference_mode = False
    adapter, learnt = {}, {}
    for name, parameter in model.named_parameters():
        value = parameter.detach().cpu().contiguous()
        if is_added(name):
            adapter[_PREFIX + name.replace(f".{_ADAPTER}.", ".")] = value
        elif parameter.requires_grad:
            learnt[name.replace(".base_layer.", ".")] = value
    save_file(adapter, folder / WEIGHTS, metadata={"format": "pt"})
    save_file(learnt, folder / LEARNT, metadata={"format": "pt"})


def load_adapter(model: nn.Module, folder: Path) -> None:
    """Add to a model what a training has learnt, in place.

    Parameters
    ----------
    model : nn.Module
        As the training started from; its class head has to have the rows of the training's.
    folder : Path
        That `save_adapter` has written.

    Raises
    ------
    ModelError
        If the folder is damaged, or of another model.
    """
    try:
        config: Any = LoraConfig.from_pretrained(str(folder))
        inject_adapter_in_model(config, model, adapter_name=_ADAPTER)
        adapter, learnt = load_file(folder / WEIGHTS), load_file(folder / LEARNT)
        own = dict(model.named_parameters())
        named = {
            re.sub(r"(lora_[AB])\.", rf"\1.{_ADAPTER}.", name.removeprefix(_PREFIX)): value
            for name, value in adapter.items()
        }
        for name, value in {**named, **learnt}.items():
            with torch.no_grad():
                own[name].copy_(value)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        first = (str(error).splitlines() or [repr(error)])[0]
        raise ModelError(
            f"{folder}: the adapter cannot be added to this model ({first}). Choose the model that "
            "the training started from."
        ) from error
