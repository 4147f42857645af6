"""Samples made ahead by threads, in order. No torch."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from napari_eomt.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

T = TypeVar("T")

_MAX_LOADERS = 8


def loader_count(wanted: int | str = "auto") -> int:
    """Return how many threads prepare samples: by default half of the processor's, at most 8."""
    if isinstance(wanted, int):
        return max(1, wanted)
    return max(1, min(_MAX_LOADERS, (os.cpu_count() or 2) // 2))


def step_numbers(step: int, batch_size: int, rank: int = 0, n_ranks: int = 1) -> range:
    """Return the numbers of the samples that a rank learns from in a step.

    All ranks together take `batch_size` samples, each its share, whatever their number: so a
    training goes on with another number of devices where it stopped.

    Parameters
    ----------
    step : int
        From 0.
    batch_size : int
        Of all ranks together.
    rank, n_ranks : int

    Raises
    ------
    DataError
        If the batch cannot be shared out evenly.
    """
    if batch_size % n_ranks:
        raise DataError(
            f"A batch of {batch_size} views cannot be shared evenly by {n_ranks} devices. Choose a "
            f"multiple of {n_ranks}."
        )
    share = batch_size // n_ranks
    start = step * batch_size + rank * share
    return range(start, start + share)


def iter_ahead(
    make: Callable[[int], T],
    numbers: Iterable[int],
    *,
    n_threads: int = 1,
    n_ahead: int = 32,
) -> Generator[T, None, None]:
    """Yield what is made of each number, in order, while the next ones are being made.

    Threads, not processes as of torch's DataLoader: decoding, resizing and counting leave Python's
    lock, and threads share the images in memory, start at once, work beside a GPU on every
    platform and keep no random state. An error comes where its number would have come.

    Parameters
    ----------
    make : callable
        Such as `SampleSet.at`; called by several threads.
    numbers : iterable of int
        May be endless.
    n_threads : int
    n_ahead : int
        So many are made, or being made, at most.
    """
    rest = iter(numbers)
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="sample")
    waiting: deque[Future[T]] = deque()
    try:
        waiting.extend(pool.submit(make, number) for number in islice(rest, max(1, n_ahead)))
        while waiting:
            made = waiting.popleft().result()
            waiting.extend(pool.submit(make, number) for number in islice(rest, 1))
            yield made
    finally:
        # Also when who asks has stopped, or a sample could not be made.
        pool.shutdown(wait=True, cancel_futures=True)
