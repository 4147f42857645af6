"""How much memory there is to learn in."""

from __future__ import annotations

from pathlib import Path

import psutil  # type: ignore[import-untyped]
import torch

_LIMIT, _USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on a device, or in the computer."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch has taken and does not use is free as well.
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + unused)
    available = int(psutil.virtual_memory().available)
    try:
        # Of a container, which the system's own numbers do not know.
        limit = _LIMIT.read_text(encoding="ascii").strip()
        if limit != "max":
            available = min(available, int(limit) - int(_USED.read_text(encoding="ascii")))
    except (OSError, ValueError):
        return max(0, available)
    return max(0, available)
