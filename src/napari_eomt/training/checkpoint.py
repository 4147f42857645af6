"""The state of a run on disk: all that it takes to go on as if nothing had happened.

A state is a folder `step-00000120` in the run's `state/`, written beside it, flushed and renamed;
the one before is kept. It holds the model in transformers' layout with what is being learnt
in it, the optimiser, and numbers. Of random numbers nothing has to be kept: those of a step follow
from the seed and the number of its samples, as do the samples themselves.
"""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from napari_eomt.errors import DataError, OutputError
from napari_eomt.folder_swap import TEMPORARY, swapping
from napari_eomt.models.transformers_folder import save_folder, save_tensors
from napari_eomt.training.result import is_disk_error, reason_of

if TYPE_CHECKING:
    from pathlib import Path

    from napari_eomt.training.start import Learner

INDEX, OPTIMIZER, AVERAGED = "state.json", "optimizer.pt", "averaged.safetensors"
N_KEPT = 2

_NAME = re.compile(r"step-(\d{8,})")
_BLOCK = 1 << 24


class Progressed(BaseModel):
    """How far a run has come.

    Parameters
    ----------
    step : int
        That are done, which is also the place in the row of samples.
    micro_batch : int
        Views in memory at a time.
    best : float or None
        Best value of the measure until now.
    best_step : int or None
    n_worse : int
        Checks in a row without a better one.
    n_bad : int
        Steps in a row that changed nothing because a gradient was not finite.
    checked : int or None
        Step of the last check.
    n_averaged : int
        Steps that the running average is of.
    """

    model_config = ConfigDict(extra="forbid")

    step: int = 0
    micro_batch: int = 1
    best: float | None = None
    best_step: int | None = None
    n_worse: int = 0
    n_bad: int = 0
    checked: int | None = None
    n_averaged: int = 0


@dataclass(frozen=True, eq=False)
class State:
    """A state that was read.

    Parameters
    ----------
    folder : Path
        In which the model is; see `start.restore_learner`.
    progressed : Progressed
    optimizer : dict
        What `torch.optim.Optimizer.state_dict` said, under "optimizer", and GradScaler's under
        "scaler".
    averaged : dict of str to torch.Tensor or None
        The running average of the weights, if there is one.
    notes : tuple of str
        What the user should know.
    """

    folder: Path
    progressed: Progressed
    optimizer: dict[str, Any]
    averaged: dict[str, torch.Tensor] | None
    notes: tuple[str, ...] = ()


def save_state(
    states: Path,
    learner: Learner,
    optimizer: dict[str, Any],
    progressed: Progressed,
    averaged: dict[str, torch.Tensor] | None = None,
) -> Path:
    """Write a state; those before the last are deleted when it is there.

    Parameters
    ----------
    states : Path
        Folder of the run's states; made if it is not there.
    learner : Learner
    optimizer : dict
        See `State`.
    progressed : Progressed
    averaged : dict of str to torch.Tensor, optional

    Returns
    -------
    Path
        Its folder.

    Raises
    ------
    OutputError
        If it cannot be written; those of before are whole.
    """
    out = states / f"step-{progressed.step:08d}"
    try:
        for pattern in (f"{TEMPORARY}*", ".step-*.before"):  # of a process that was killed
            for left in states.glob(pattern):
                shutil.rmtree(left, ignore_errors=True)
        with swapping(out) as folder:
            tensors = {
                name: tensor.detach().cpu()
                for name, tensor in learner.network.model.state_dict().items()
            }
            config = copy.deepcopy(learner.config)
            save_folder(folder, tensors, config, learner.processor, learner.sidecar())
            torch.save(optimizer, folder / OPTIMIZER)
            if averaged is not None:
                save_tensors({k: v.cpu() for k, v in averaged.items()}, folder / AVERAGED)
            digests = {path.name: _digest(path) for path in sorted(folder.iterdir())}
            index: dict[str, Any] = {"progressed": progressed.model_dump(), "blake2b": digests}
            index["index"] = _digest_of(index)
            (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    except Exception as error:
        if not is_disk_error(error):
            raise
        before = find_states(states)
        kept = f"The state of step {_step_of(before[0])} is kept. " if before else ""
        raise OutputError(
            f"{out}: the state of the training cannot be written ({reason_of(error)}). {kept}"
            "Free the disk, then resume."
        ) from error
    for old in find_states(states)[N_KEPT:]:
        with suppress(OSError):
            shutil.rmtree(old)
    return out


def find_states(states: Path) -> list[Path]:
    """Return the folders of a run's states, the last first."""
    if not states.is_dir():
        return []
    found = [path for path in states.iterdir() if _NAME.fullmatch(path.name)]
    return sorted(found, key=_step_of, reverse=True)


def load_state(states: Path) -> State:
    """Read the last state that is whole.

    Parameters
    ----------
    states : Path
        Folder of the run's states.

    Raises
    ------
    DataError
        If there is none.
    """
    found = find_states(states)
    problems: list[str] = []
    for folder in found:
        try:
            state = _read_state(folder)
        except DataError as error:
            problems.append(str(error))
            continue
        notes = [f"{problem} The state before it is used." for problem in problems]
        return State(folder, state.progressed, state.optimizer, state.averaged, notes=tuple(notes))
    if problems:
        raise DataError(" ".join((*problems, "No whole state is left: begin a new run.")))
    raise DataError(
        f"{states} has no state to go on from: the run ended before its first. Begin a new run."
    )


def _read_state(folder: Path) -> State:
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        said = index.pop("index", None)
        if said is not None and said != _digest_of(index):
            raise DataError(f"{folder.name}: {INDEX} is damaged.")
        for name, digest in index["blake2b"].items():
            if _digest(folder / name) != digest:
                raise DataError(f"{folder.name}: {name} is damaged.")
        progressed = Progressed(**index["progressed"])
        optimizer = torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True)
        averaged = load_file(folder / AVERAGED) if AVERAGED in index["blake2b"] else None
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
        ValidationError,
        SafetensorError,
    ) as error:
        raise DataError(f"{folder.name}: the state is damaged ({reason_of(error)}).") from error
    return State(folder, progressed, optimizer, averaged)


def _step_of(folder: Path) -> int:
    match = _NAME.fullmatch(folder.name)
    return int(match[1]) if match else -1


def _digest_of(index: dict[str, Any]) -> str:
    """Return the digest of what `INDEX` says, whose numbers a turned bit would change unseen."""
    text = json.dumps(index, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
