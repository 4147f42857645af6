"""The work on an image that was just opened: restored, read, or begun with what was proposed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from psygnal import Signal

from napari_eomt.annotation.operations import add_categories
from napari_eomt.annotation.review_order import carried_over
from napari_eomt.annotation.sessions import look, restore, session_folder
from napari_eomt.viewer.image_source import LayerSource, guess_roles

if TYPE_CHECKING:
    from pathlib import Path

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.image_ref import ImageRef
    from napari_eomt.annotation.image_store import ImageStore
    from napari_eomt.structures.categories import Category
    from napari_eomt.structures.segments import Segmentation
    from napari_eomt.structures.uncertainty import Uncertainty
    from napari_eomt.viewer.dataset_open import Item, OpenDataset
    from napari_eomt.viewer.image_rows import ImageRow
    from napari_eomt.viewer.results import Result, Results


@dataclass(frozen=True, eq=False)
class Ready:
    """Proposals for the first frame of an image that were made before it was opened.

    Parameters
    ----------
    key : str
        Under which the worker keeps its proposals.
    segmentation : Segmentation
    categories : tuple of Category
        Of the model.
    uncertainty : tuple of (Uncertainty or None)
        One for each segment; empty if the model did not say.
    """

    key: str
    segmentation: Segmentation
    categories: tuple[Category, ...]
    uncertainty: tuple[Uncertainty | None, ...] = ()


class Keeper(Protocol):
    """Saves the work while it goes on, and knows what is in a file."""

    def adopt(self, document: Document, layer: Image, folder: Path | None = None) -> Result:
        """Show a document over its image, and go on saving it in a session's folder."""

    def mark_saved(self, result: Result, path: Path) -> None:
        """Take down that a result's document is in a file."""


class ImageWork:
    """Shows what was done about an image, or else what was proposed for it.

    Parameters
    ----------
    viewer : ViewerModel
    results : Results
    keeper : Keeper
    """

    doubted = Signal(str, int, dict)
    """What the model says of the objects in a frame: key of the result, frame, by object."""
    noted = Signal(str)
    """What people should know, such as that there is work on other pixels of this name."""

    def __init__(self, viewer: ViewerModel, results: Results, keeper: Keeper) -> None:
        self._viewer, self._results, self._keeper = viewer, results, keeper

    def show(
        self,
        row: ImageRow,
        layer: Image,
        ref: ImageRef,
        ready: Ready | None,
        store: ImageStore | None,
        dataset: OpenDataset | None,
    ) -> Result | None:
        """Show what there is for an image.

        Parameters
        ----------
        row : ImageRow
        layer : napari.layers.Image
            Of its pixels.
        ref : ImageRef
            Of its pixels.
        ready : Ready or None
            Shown where nobody has done anything.
        store : ImageStore or None
            Where work is kept.
        dataset : OpenDataset or None
            Where the row comes from, if it is a dataset.

        Returns
        -------
        Result or None
            One of which there is nothing to keep: its document is on the disk as it is here.

        Raises
        ------
        EomtError
            If the work cannot be read, or does not fit the image.
        """
        folder = session_folder(ref)
        lost = look(folder)
        if lost is not None and not lost.problem:
            # The program ended before this was kept.
            self._keeper.adopt(restore(folder), layer, folder)
            return None
        document = None if store is None else store.load(ref)
        if document is not None:
            result = self._keeper.adopt(document, layer)
            self._show_first_frame(result)
            return result
        if dataset is not None and row.item is not None:
            return self._show_annotations(dataset, row.item, layer, ready)
        note = "" if store is None else store.outdated(row.name, ref)
        if note:
            self.noted.emit(note)
        if ready is not None:
            roles = guess_roles(layer)
            source = LayerSource(layer, roles)
            result = self._results.create(ready.key, layer, roles, source, ready.categories)
            self._propose(result, ready)
            self._show_first_frame(result)
        return None

    def _show_annotations(
        self, dataset: OpenDataset, item: Item, layer: Image, ready: Ready | None
    ) -> Result | None:
        """Show what a dataset knows of an image; of one without objects, what was proposed."""
        document = dataset.document(item)
        kept = None
        if ready is None or any(document.segments(f) for f in range(document.n_frames)):
            # There is nothing to keep yet.
            result = kept = self._keeper.adopt(document, layer)
            self._keeper.mark_saved(result, dataset.path)
        else:
            result = self._results.adopt(ready.key, layer, guess_roles(layer), document)
            result.session.do(add_categories(document, ready.categories))
            self._propose(result, ready)
        self._show_first_frame(result)
        return kept

    def _propose(self, result: Result, ready: Ready) -> None:
        result.propose(0, ready.segmentation, "Segment ahead")
        result.view.show_table()
        if ready.uncertainty:
            doubts = carried_over(result.document, 0, ready.segmentation, ready.uncertainty)
            self.doubted.emit(result.key, 0, doubts)

    def _show_first_frame(self, result: Result) -> None:
        """Show the first frame of a stack; napari begins with the one in the middle."""
        layer, dims = result.image, self._viewer.dims
        world = np.asarray(layer.data_to_world((0,) * layer.ndim))
        for axis in result.roles.frames:
            dims.set_point(dims.ndim - layer.ndim + axis, float(world[axis]))
