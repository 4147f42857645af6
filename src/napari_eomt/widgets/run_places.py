"""Where runs are. No torch."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_eomt.training.runs import Run

RUNS_DIR_VARIABLE = "NAPARI_EOMT_RUNS_DIR"

_UNFIT = re.compile(r"[^\w.-]+")
_LONGEST = 40


def runs_dir() -> Path:
    """Return the folder of runs; the same as `napari_eomt.training.train`'s, which needs torch."""
    chosen = os.environ.get(RUNS_DIR_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_data_path("napari-eomt", appauthor=False) / "runs"


def new_run_folder(what: str) -> Path:
    """Return a folder for a run of today that is not there, named after what is learnt from."""
    stem = _UNFIT.sub("-", what).strip("-.")[:_LONGEST] or "run"
    start = f"{stem}-{datetime.now().astimezone():%Y-%m-%d}"
    folder, number = runs_dir() / start, 1
    while folder.exists():
        number += 1
        folder = runs_dir() / f"{start}-{number}"
    return folder


def find_runs(others: Iterable[Path] = ()) -> list[Run]:
    """Return the runs in the folder of runs and in some other places, the newest first.

    Parameters
    ----------
    others : iterable of Path
        Runs that were opened from elsewhere; those that are gone are left out.
    """
    from napari_eomt.errors import DataError
    from napari_eomt.training.runs import list_runs, load_run

    found = {run.folder.resolve(): run for run in list_runs(runs_dir())}
    for folder in others:
        try:
            found.setdefault(folder.resolve(), load_run(folder))
        except DataError:
            continue
    return sorted(found.values(), key=lambda run: run.plan.created, reverse=True)
