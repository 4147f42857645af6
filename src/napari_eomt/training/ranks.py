"""The processes of a training: one, or several that `accelerate launch` has started."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch
from accelerate import PartialState

_PATIENCE = timedelta(hours=12)  # the others wait while the first checks


def ranks() -> Any:
    """Return accelerate's state of this process among the others.

    Without a GPU accelerate takes a process for the only one unless it is told to use the CPU.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return PartialState()
    is_cpu = not (torch.cuda.is_available() or torch.backends.mps.is_available())
    return PartialState(cpu=is_cpu, timeout=_PATIENCE)
