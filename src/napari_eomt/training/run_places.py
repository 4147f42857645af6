"""Where runs are that are given no folder. No torch, and light: the window asks as it opens."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path

import platformdirs

RUNS_DIR_VARIABLE = "NAPARI_EOMT_RUNS_DIR"

_UNFIT = re.compile(r"[^\w.-]+")
_LONGEST = 40


def runs_dir() -> Path:
    """Return the folder of runs; NAPARI_EOMT_RUNS_DIR names another."""
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
