"""Steps with a frozen trunk: what it makes of a view is computed once."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_eomt.inference.trunk_cache import TrunkCache
    from napari_eomt.training.network import TrainingNetwork


def trunk_fingerprint(network: TrainingNetwork, precision: torch.dtype = torch.float32) -> str:
    """Tell trunks apart: two of one fingerprint make the same of the same pixels.

    Parameters
    ----------
    network : TrainingNetwork
    precision : torch.dtype
        That the trunk is run in.

    Returns
    -------
    str
        Of the weights and of all settings that they are used with.
    """
    config: Any = network.model.config
    names = ("patch_size", "num_attention_heads", "layer_norm_eps", "hidden_act", "rope_parameters")
    settings: list[object] = [type(network.model).__name__, network.input_size, str(precision)]
    settings += [getattr(config, name, None) for name in names]
    digest = hashlib.sha256(json.dumps(settings, default=str).encode())
    for part in network.trunk_modules():
        for name, tensor in part.state_dict().items():
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
            digest.update(memoryview(tensor.detach().cpu().contiguous().view(torch.uint8).numpy()))
    return digest.hexdigest()


def view_key(fingerprint: str, image_id: str, view: object) -> str:
    """Name what a trunk makes of a view.

    Parameters
    ----------
    fingerprint : str
        Of the trunk.
    image_id : str
        Of the image's content: a file's path says nothing of what has been written to it since.
    view : object
        Everything that turns the image into pixels, as json takes it: crop, size, flip, contrast.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    text = json.dumps([fingerprint, image_id, view], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def trunk_tokens(
    network: TrainingNetwork,
    keys: Sequence[str],
    make_pixels: Callable[[Sequence[int]], torch.Tensor],
    cache: TrunkCache,
    *,
    precision: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Return what the frozen trunk makes of some views, computing only what is not kept.

    Parameters
    ----------
    network : TrainingNetwork
        With a frozen trunk.
    keys : sequence of B str
        Of `view_key`.
    make_pixels : callable
        Takes indices in `keys`, and returns these views' pixels, (m, 3, S, S) float. Not called
        when all are kept, so that no image need be read.
    cache : TrunkCache
    precision : torch.dtype
        float32, or the half precision to run the trunk in.

    Returns
    -------
    (B, P + G², C) float32
        On the network's device.

    Raises
    ------
    ValueError
        If the trunk is not frozen: what it makes would change from step to step.
    """
    if not network.is_trunk_frozen:
        raise ValueError("The trunk learns: what it makes of a view cannot be kept. Freeze it.")
    device = network.model.query.weight.device
    kept = [cache.get(key) for key in keys]
    missing = [i for i, tokens in enumerate(kept) if tokens is None]
    found = [(i, tokens) for i, tokens in enumerate(kept) if tokens is not None]
    parts: dict[int, torch.Tensor] = {}
    if found:
        stacked = torch.stack([tokens for _, tokens in found]).to(device).float()
        parts.update(zip((i for i, _ in found), stacked, strict=True))
    if missing:
        pixels = make_pixels(missing).to(device)
        half = precision != torch.float32
        with torch.autocast(device.type, dtype=precision, enabled=half):
            made = network.trunk(pixels)
        for i, tokens in zip(missing, made, strict=True):
            cache.put(keys[i], tokens)
            # As it would come back from the cache, so that a step does not depend on it.
            parts[i] = tokens.to(cache.dtype).float()
    return torch.stack([parts[i] for i in range(len(keys))])
