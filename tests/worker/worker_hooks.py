"""What the worker calls with each model it loads; the model's name says what goes wrong."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from typing import Any

import torch


def misbehave(segmenter: Any) -> Any:
    sys.stdout.write("noise\n" * 20_000)  # more than a pipe holds
    name, forward = segmenter.card.name, segmenter.forward
    n_calls = 0

    def misbehaving(pixels: torch.Tensor) -> Any:
        nonlocal n_calls
        n_calls += 1
        if name == "slow":
            time.sleep(0.2)
        elif name == "very-slow":
            # Work inside torch, not sleep: the thread that watches must get its turn.
            end = time.monotonic() + 60
            while time.monotonic() < end:
                torch.randn(1500, 1500) @ torch.randn(1500, 1500)
        elif (name == "oom-twice" and n_calls <= 2) or name == "oom-always":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        elif name == "moved":
            segmenter.dtype = torch.float64  # as if memory had run out; computes as before
        elif name == "wrong":
            raise KeyError("blocks.0")
        elif name == "killed":
            os.kill(os.getpid(), 9)
        elif name == "segfault":
            ctypes.string_at(0)
        return forward(pixels)

    if name == "slow-to-load":
        time.sleep(0.5)
    if name == "oom-while-loading":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80.00 GiB.")
    segmenter.forward = misbehaving
    return segmenter
