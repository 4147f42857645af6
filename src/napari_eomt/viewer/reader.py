"""Opens annotated images in napari: COCO, YouTube-VIS, panoptic datasets, tracks, documents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_eomt.errors import DataError
from napari_eomt.viewer.dataset_kind import Found, Kind, find_annotations

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.types import LayerDataTuple


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerDataTuple]] | None:
    """Return what reads a path; None if it is none of ours, which a glance tells."""
    if not isinstance(path, str | Path):
        return None  # several files are a stack of images
    try:
        return None if find_annotations(Path(path)) is None else read
    except DataError:
        return read  # which says what is wrong


def read(path: str) -> list[LayerDataTuple]:
    """Read a dataset, or a document, as an image and its objects.

    Images of one size and kind become a stack; of others the first is opened, and it is said how
    to come to the next. The objects' layer carries what a session needs.

    Parameters
    ----------
    path : str
        A JSON file, a table of tracks, or the folder of a dataset or document.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    # Here, not above: napari asks for a reader before anyone wants to wait.
    from napari.utils.notifications import show_info

    from napari_eomt.viewer.dataset_layers import document_layers, item_layers, track_layers
    from napari_eomt.viewer.dataset_open import OpenDataset

    found = find_annotations(Path(path))
    if found is None:
        raise DataError(
            f"{path} holds no annotations: a COCO, YouTube-VIS or panoptic JSON, tracks of the "
            "Cell Tracking Challenge, or a document NAME.eomt was expected."
        )
    if found.kind in (Kind.DOCUMENT, Kind.TRACKS):
        open_layers = document_layers if found.kind is Kind.DOCUMENT else track_layers
        layers, note = open_layers(found.path)
        if note:
            show_info(note)
        return layers
    dataset = OpenDataset(found)
    item = dataset.stack() or dataset.items[0]
    if len(dataset.items) > 1 and item == dataset.items[0]:
        show_info(_more(dataset.path, len(dataset.items), found))
    return item_layers(dataset, item)


def _more(path: Path, n: int, found: Found) -> str:
    return (
        f"This is the first of {n:,} images of {path.name}. To go through all of them, open "
        f"{found.path.parent.name} in the EoMT dock under Folder of images; O opens the next one."
    )
