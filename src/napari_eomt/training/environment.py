"""What a run ran on, for whoever wants to repeat it."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from napari_eomt import __version__

_PACKAGES = ("torch", "transformers", "accelerate", "peft", "numpy", "pillow")


def describe_environment(
    device: torch.device, precision: torch.dtype, n_processes: int
) -> dict[str, Any]:
    """Return versions, the device and the number of threads."""
    found: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    is_cuda = device.type == "cuda"
    return {
        "napari_eomt": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": found,
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if is_cuda else platform.machine(),
        "precision": str(precision).removeprefix("torch."),
        "n_processes": n_processes,
        "n_threads": torch.get_num_threads(),
        "n_cores": os.cpu_count(),
    }
