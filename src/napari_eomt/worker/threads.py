"""How many threads the models may use without making the window wait."""

from __future__ import annotations

import os
import sys
from math import ceil
from pathlib import Path

MOST_THREADS = 8
"""More gained little for these models, and take memory bandwidth from everybody else."""


def default_threads() -> int:
    """Return a core less than there are for this process, 1 at least and 8 at most.

    Two torch threads ran ten times slower than one on a busy two-core machine, so counting too
    many costs far more than counting too few. OMP_NUM_THREADS lowers the count.
    """
    n = max(1, min(MOST_THREADS, _n_cores() - 1))
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(n, int(asked)) if asked.isdecimal() and int(asked) > 0 else n


def _n_cores() -> int:
    """Count the physical cores that this process may use, as far as the system tells."""
    if sys.platform != "linux":
        count: int | None = getattr(os, "process_cpu_count", os.cpu_count)()
        return count or 1
    # Two hyper-threads of a core share its arithmetic units, which a model fills alone.
    cores = {_siblings(cpu) for cpu in os.sched_getaffinity(0)}
    return max(1, min(len(cores), _quota() or len(cores)))


def _siblings(cpu: int) -> str:
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return str(cpu)


def _quota(path: Path = Path("/sys/fs/cgroup/cpu.max")) -> int | None:
    """Return how many cores a container may use; its affinity names all of the machine's."""
    try:
        quota, period = path.read_text(encoding="ascii").split()
        return None if quota == "max" else max(1, ceil(int(quota) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return None
