"""The model that a command runs, where and how precisely; imports torch."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from napari_eomt.cli.progress import download_bar
from napari_eomt.inference.plan import task_of
from napari_eomt.models.catalog import DEFAULT_MODEL
from napari_eomt.models.load import load_segmenter
from napari_eomt.models.locate import locate
from napari_eomt.settings import load_settings
from napari_eomt.worker.threads import default_threads

if TYPE_CHECKING:
    from napari_eomt.inference.params import PredictParams
    from napari_eomt.models.card import DTypeName
    from napari_eomt.models.segmenter import Segmenter


def open_segmenter(
    model: str | None,
    device: str | None,
    dtype: DTypeName | None,
    params: PredictParams,
    *,
    quiet: bool,
    input_size: int | None = None,
    compiled: bool = False,
) -> Segmenter:
    """Load a model, which is downloaded first if need be; the settings say what is None.

    Raises
    ------
    EomtError
        If there is no such model, or it does not serve the task: said before it is loaded.
    """
    settings = load_settings()
    name = model or settings.model or DEFAULT_MODEL
    with download_bar(name, not quiet) as show:
        card = locate(name, on_progress=show)
    task_of(params, card)
    torch.set_num_threads(default_threads())
    return load_segmenter(
        name,
        device or settings.device,
        dtype or settings.dtype,
        input_size=input_size,
        compiled=compiled,
    )


def quiet_tifffile() -> None:
    """Keep tifffile's log off the terminal: what matters is raised as an error."""
    logger = logging.getLogger("tifffile")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
