"""Steps with a frozen trunk: what it makes of a view is computed once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_eomt.models import trunk_fingerprint as fingerprint
from napari_eomt.models.trunk_fingerprint import run_as

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_eomt.inference.trunk_cache import TrunkCache
    from napari_eomt.training.network import TrainingNetwork


def trunk_fingerprint(
    network: TrainingNetwork,
    precision: torch.dtype = torch.float32,
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] = ((), ()),
) -> str:
    """Tell trunks apart: two of one fingerprint make the same of the same pixels.

    In float32 it is that of a model that predicts with the same trunk on the same kind of device.

    Parameters
    ----------
    network : TrainingNetwork
    precision : torch.dtype
        That the trunk is run in.
    normalisation : (mean, std)
        Of 8-bit pixels, divided by 255.
    """
    device = network.model.query.weight.device
    how = run_as(device, precision, is_autocast=True)
    return fingerprint.trunk_fingerprint(network.model, network.input_size, how, normalisation)


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


@dataclass(frozen=True, eq=False)
class Shared:
    """What prediction keeps of the same trunk, for the views at hand.

    Parameters
    ----------
    cache : TrunkCache
        Prediction's.
    key_of : callable
        Takes an index of a view and names it as prediction does.
    is_same : callable
        Whether prediction sees the view at an index, so that it should be kept for it.
    """

    cache: TrunkCache
    key_of: Callable[[int], str]
    is_same: Callable[[int], bool]


def trunk_tokens(
    network: TrainingNetwork,
    keys: Sequence[str],
    make_pixels: Callable[[Sequence[int]], torch.Tensor],
    cache: TrunkCache,
    *,
    precision: torch.dtype = torch.float32,
    shared: Shared | None = None,
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
    shared : Shared, optional
        Asked for what is not in `cache`.

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
    kept = [_kept(i, key, cache, shared) for i, key in enumerate(keys)]
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
            if shared is not None and shared.is_same(i):
                shared.cache.put(shared.key_of(i), tokens)
            # As it would come back from the cache, so that a step does not depend on it.
            parts[i] = tokens.to(cache.dtype or tokens.dtype).float()
    return torch.stack([parts[i] for i in range(len(keys))])


def _kept(i: int, key: str, cache: TrunkCache, shared: Shared | None) -> torch.Tensor | None:
    tokens = cache.get(key)
    if tokens is None and shared is not None:
        tokens = shared.cache.get(shared.key_of(i))
        if tokens is not None:
            cache.put(key, tokens)
    return tokens
