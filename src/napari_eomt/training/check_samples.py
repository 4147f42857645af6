"""What a check finds on a few of its images, kept small to be looked at. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from napari_eomt.atomic import replacing
from napari_eomt.errors import DataError, OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_eomt.structures.segments import Segmentation

MAX_SAMPLES = 6
"""Images of a check that are kept: people look at a few."""

SIDE_PX = 512
"""Most pixels of a side; of larger images each so many-th is kept."""

SAMPLES = "-samples.npz"
"""End of the name of their file, beside the report of the check."""

_COUNT = "n_objects:"


@dataclass(frozen=True, eq=False)
class CheckSample:
    """What was found on an image, made smaller if need be.

    Parameters
    ----------
    id_map : (h, w) int
        Every `step`-th pixel of every `step`-th row.
    step : int
    n_objects : int
        In the whole image.
    """

    id_map: npt.NDArray[np.integer]
    step: int
    n_objects: int

    @classmethod
    def of(cls, found: Segmentation) -> CheckSample:
        """Make a result smaller."""
        step = sample_step(found.id_map.shape)
        return cls(found.id_map[::step, ::step].copy(), step, len(found.segments))


def sample_step(shape: tuple[int, ...]) -> int:
    """Return each how many-th pixel of an image is kept."""
    return max(1, ceil(max(shape[:2]) / SIDE_PX))


def save_samples(path: Path, samples: Mapping[str, CheckSample]) -> None:
    """Write what a check has found, whole or not at all.

    Parameters
    ----------
    path : Path
        Ends in ".npz".
    samples : mapping of str to CheckSample
        By the keys of the images.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    arrays: dict[str, Any] = {}
    for key, sample in samples.items():
        arrays[key] = sample.id_map
        arrays[_COUNT + key] = np.array([sample.n_objects, sample.step])
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}). Free the disk; `--resume` "
            "goes on from the last state."
        ) from error


def load_samples(path: Path) -> dict[str, CheckSample]:
    """Read what a check has found; nothing if there is no file.

    Raises
    ------
    DataError
        If the file is damaged, or cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {
                name: CheckSample(file[name], int(counts[1]), int(counts[0]))
                for name in file.files
                if not name.startswith(_COUNT)
                for counts in [file[_COUNT + name]]
            }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, IndexError, EOFError, BadZipFile) as error:
        raise DataError(
            f"{path}: cannot be read ({error}). The next check of the run writes it anew."
        ) from error
