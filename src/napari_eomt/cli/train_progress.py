"""A training's progress bar on stderr, where a person looks at it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_eomt.training.train_progress import TrainProgress


@contextmanager
def train_bar(name: str, wanted: bool) -> Iterator[Callable[[TrainProgress], None]]:
    """Yield a function that shows progress while the block runs; it vanishes afterwards.

    Without a terminal, or if not wanted, nothing is shown.
    """
    bar = Progress(
        TextColumn("{task.fields[name]}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:.0f} of {task.total:.0f}"),
        TextColumn("{task.fields[what]}", markup=False),
        console=Console(stderr=True),
        transient=True,
        disable=not (wanted and sys.stderr.isatty()),
        # stdout may be a pipe: it must not be drawn on the terminal with the bar.
        redirect_stdout=False,
    )
    with bar:
        task = bar.add_task("", total=1, name=name, what="")

        def show(progress: TrainProgress) -> None:
            bar.update(
                task, completed=progress.step, total=progress.n_steps, what=said_of(progress)
            )

        yield show


def said_of(progress: TrainProgress) -> str:
    """Return in a few words how a training goes."""
    parts: list[str] = []
    if progress.check is not None:
        parts.append(f"checking {progress.check.done} of {progress.check.total}")
    if progress.losses is not None:
        losses = progress.losses
        parts.append(
            f"loss {losses.loss:.2f} (mask {losses.mask:.2f}, dice {losses.dice:.2f}, class "
            f"{losses.classes:.2f})"
        )
    if progress.best is not None:
        parts.append(f"best {progress.best:.3f}")
    if progress.seconds > 0:
        parts.append(f"{time_text((progress.n_steps - progress.step) * progress.seconds)} left")
    return " · ".join(parts)


def time_text(seconds: float) -> str:
    """Say a duration: 40 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
