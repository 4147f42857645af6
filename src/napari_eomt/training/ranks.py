"""The processes of a training: one, or several that `accelerate launch` has started."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch
from accelerate import PartialState
from torch import distributed

_PATIENCE = timedelta(hours=12)  # the others wait while the first checks
# torchrun, and the MPI programs that accelerate starts: each has a name of its own for it.
_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def ranks() -> Any:
    """Return accelerate's state of this process among the others.

    Without a GPU accelerate takes a process for the only one unless it is told to use the CPU.
    """
    if _world_size() < 2:
        return PartialState()
    # Apple's GPUs exchange no gradients.
    is_cpu = _is_cpu_wanted() or not torch.cuda.is_available()
    return PartialState(cpu=is_cpu, timeout=_PATIENCE)


def missing_ranks() -> str | None:
    """Say that several processes were wanted and one was started; None if all are there.

    ``accelerate launch --num_processes 2`` starts a single process, without a word, with --cpu or
    where there is one GPU.
    """
    is_launched = "ACCELERATE_USE_CPU" in os.environ and "MASTER_PORT" in os.environ
    if not is_launched or any(name in os.environ for name in _SIZES):
        return None
    return (
        "accelerate has started one process alone, and it learns alone. For several on CPUs say "
        "--multi_gpu in place of --cpu: they are started, find no GPU, and take the CPU."
    )


def any_rank(wanted: bool, here: Any, device: torch.device) -> bool:
    """Whether one of the processes wants something.

    Parameters
    ----------
    wanted : bool
        Whether this one does.
    here : PartialState
        As `ranks` returns it.
    device : torch.device
        Of this process.
    """
    if here.num_processes == 1:
        return wanted
    flag = torch.tensor(int(wanted), device=device)
    distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
    return bool(flag)


def said_by_first(values: dict[str, Any], here: Any) -> dict[str, Any]:
    """Wait for all processes, and return what the first one calls with."""
    if here.num_processes == 1:
        return values
    here.wait_for_everyone()
    box = [values]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def _world_size() -> int:
    return max(int(os.environ.get(name) or 1) for name in _SIZES)


def _is_cpu_wanted() -> bool:
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
