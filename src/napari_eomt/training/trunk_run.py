"""Whether, where and how much of what a frozen trunk makes is kept during a run."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

import torch

from napari_eomt.inference.trunk_cache import TrunkCache, open_trunk_cache
from napari_eomt.settings import load_settings
from napari_eomt.training.free_memory import free_memory
from napari_eomt.training.supply import Kept

if TYPE_CHECKING:
    from pathlib import Path

    from napari_eomt.training.params import TrainParams
    from napari_eomt.training.start import Learner

_SHARE_OF_MEMORY, _MAX_MEMORY = 0.25, 8 * 2**30
_SHARE_OF_DISK, _MAX_DISK = 0.25, 50 * 2**30


def keep_trunk(
    learner: Learner, params: TrainParams, precision: torch.dtype, folder: Path
) -> Kept | None:
    """Make room for what a frozen trunk makes, if the same views come again.

    Parameters
    ----------
    learner : Learner
        On its device.
    params : TrainParams
        Resolved.
    precision : torch.dtype
        That the trunk runs in; in half precision its tokens are kept in half precision.
    folder : Path
        For what does not fit into memory; made when it is needed.
    """
    network = learner.network
    if not network.is_trunk_frozen or params.views != "grid" or params.has_color_jitter:
        return None
    memory = min(_MAX_MEMORY, int(_SHARE_OF_MEMORY * free_memory(torch.device("cpu"))))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        disk = min(_MAX_DISK, int(_SHARE_OF_DISK * shutil.disk_usage(folder).free))
    except OSError:
        disk = 0
    cache = TrunkCache(memory, folder, disk, dtype=precision)
    predicted = None
    if precision == torch.float32:
        # In half precision prediction rounds the weights as well: it makes other tokens.
        bound = load_settings().trunk_bytes
        predicted = open_trunk_cache(bound, memory_bytes=0, may_replace=False)
    return Kept(network, learner.card, cache, precision, predicted)


def forget_trunk(folder: Path) -> None:
    """Delete what was kept in files."""
    with suppress(OSError):
        shutil.rmtree(folder)
