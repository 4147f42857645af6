"""A progress bar on stderr, where a person looks at it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_eomt.inference.progress import Progress
    from napari_eomt.models.hub_watch import Progress as DownloadProgress


@contextmanager
def progress_bar(name: str, wanted: bool) -> Iterator[Callable[[Progress], None]]:
    """Yield a function that shows progress while the block runs; it vanishes afterwards.

    Without a terminal, or if not wanted, nothing is shown.
    """
    bar = RichProgress(
        TextColumn("{task.fields[name]}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[what]} {task.completed:.0f} of {task.total:.0f}"),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
        disable=not (wanted and sys.stderr.isatty()),
        # stdout may be a pipe: it must not be drawn on the terminal with the bar.
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with bar:
        task = bar.add_task("", total=1, name=name, what="")

        def show(progress: Progress) -> None:
            bar.update(task, completed=progress.done, total=progress.total, what=progress.what)

        yield show


@contextmanager
def download_bar(name: str, wanted: bool) -> Iterator[Callable[[DownloadProgress], None]]:
    """Yield a function that shows a download while the block runs; see `progress_bar`."""
    from napari_eomt.models.hub_watch import size_text

    bar = RichProgress(
        TextColumn("{task.fields[name]}", markup=False),
        BarColumn(bar_width=20),
        DownloadColumn(),
        TextColumn("{task.fields[speed]}", markup=False),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[what]}", markup=False),
        console=Console(stderr=True),
        transient=True,
        disable=not (wanted and sys.stderr.isatty()),
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with bar:
        task = bar.add_task("", total=None, name=name, what="", speed="")

        def show(progress: DownloadProgress) -> None:
            bar.update(
                task,
                completed=progress.done,
                total=progress.total,
                what=f"{progress.what} {progress.file}",
                speed=f"{size_text(speed)}/s" if (speed := progress.bytes_per_second) else "",
            )

        yield show
