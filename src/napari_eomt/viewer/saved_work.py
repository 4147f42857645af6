"""Saves the work on a viewer's results while it goes on, and brings it back after a crash."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from psygnal import Signal

from napari_eomt.annotation.autosave import Autosave
from napari_eomt.annotation.image_ref import ImageRef
from napari_eomt.annotation.sessions import session_folder
from napari_eomt.errors import DataError, EomtError
from napari_eomt.viewer.image_source import LayerSource, guess_roles, layer_array

if TYPE_CHECKING:
    from pathlib import Path

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_eomt.annotation.document import Document
    from napari_eomt.structures.axes import AxisRoles
    from napari_eomt.viewer.results import Result, Results


def image_ref(layer: Image) -> ImageRef:
    """Return what tells an image layer's data from another's: of lazy data, a few chunks."""
    return ImageRef.of(layer_array(layer), str(layer.name), layer.source.path)


class SavedWork:
    """Writes every step of each result's session to the disk, within a second.

    Parameters
    ----------
    viewer : ViewerModel
    results : Results
    """

    problem_changed = Signal(str)
    """Why the work on an image is not being saved; "" once it is. Emitted in any thread."""
    saved_changed = Signal()
    """Some work has become unsaved, or has been saved in a file of the person's."""

    def __init__(self, viewer: ViewerModel, results: Results) -> None:
        self._viewer, self._results = viewer, results
        self._autosaves: dict[str, Autosave] = {}
        self._restoring: Path | None = None
        results.changed.connect(self._on_results)

    def close(self) -> None:
        """Stop saving; work that is in no file is kept, and offered the next time."""
        self._results.changed.disconnect(self._on_results)
        for key in list(self._autosaves):
            self._autosaves.pop(key).close()

    @property
    def unsaved(self) -> list[tuple[Result, int]]:
        """The results with work that is in no file of the person's, and how many steps it is."""
        found = ((r, self._autosaves.get(r.key)) for r in self._results)
        return [(r, a.n_unsaved) for r, a in found if a is not None and not a.is_saved]

    def mark_saved(self, result: Result, path: Path) -> None:
        """Take down that a result's document is in a file of the person's."""
        autosave = self._autosaves.get(result.key)
        if autosave is not None:
            autosave.mark_saved(path)

    def image_like(self, image: ImageRef) -> Image | None:
        """Return the viewer's image layer that has the pixels of a saved session's image."""
        for layer in self._viewer.layers:
            if hasattr(layer, "rgb") and image_ref(layer).shows_the_same(image):
                image_layer: Image = getattr(layer, "__wrapped__", layer)
                return image_layer
        return None

    def adopt(self, document: Document, layer: Image, folder: Path | None = None) -> Result:
        """Show a document over its image, and go on with it.

        Parameters
        ----------
        document : Document
        layer : napari.layers.Image
        folder : Path, optional
            Of the session that it was restored from; None for a document that was opened.

        Raises
        ------
        DataError
            If the document does not fit the image.
        """
        roles = _roles_for(document, layer)
        self._restoring = folder
        try:
            return self._results.adopt(uuid4().hex, layer, roles, document)
        finally:
            self._restoring = None

    def _on_results(self) -> None:
        there = {result.key: result for result in self._results}
        for key in [key for key in self._autosaves if key not in there]:
            self._drop(key)
        for key, result in there.items():
            if key in self._autosaves:
                continue
            if self._restoring is not None:
                self._follow(result, self._restoring, goes_on=True)
            else:
                self._follow(result, session_folder(image_ref(result.image)))

    def _follow(self, result: Result, folder: Path, *, goes_on: bool = False) -> None:
        image = image_ref(result.image)
        result.view.flush()  # saving begins between two steps, not in the midst of one
        try:
            autosave = Autosave(result.session, folder, image, goes_on=goes_on)
        except DataError as error:
            # Somebody else works on this image, or older work waits there to be restored: this
            # work gets a place of its own.
            own = folder.with_name(f"{folder.name}-{uuid4().hex[:6]}")
            try:
                autosave = Autosave(result.session, own, image)
            except EomtError as failure:
                self.problem_changed.emit(str(failure))
                return
            self.problem_changed.emit(f"{error} The work here is saved apart from it.")
        except EomtError as error:
            self.problem_changed.emit(str(error))
            return
        autosave.problem_changed.connect(self._on_problem)
        autosave.saved_changed.connect(self._on_saved)
        self._autosaves[result.key] = autosave

    def _drop(self, key: str) -> None:
        autosave = self._autosaves.pop(key, None)
        if autosave is not None:
            autosave.close()

    def _on_problem(self, problem: str) -> None:
        self.problem_changed.emit(problem)

    def _on_saved(self, is_saved: bool) -> None:
        self.saved_changed.emit()


def _roles_for(document: Document, layer: Image) -> AxisRoles:
    """Return the axes of an image that a document's frames go along."""
    roles = guess_roles(layer)
    source = LayerSource(layer, roles)
    if (source.frame_shape, source.image_shape) != (document.frame_shape, document.image_shape):
        raise DataError(
            f"The document has frames {document.frame_shape} of {document.image_shape} px, but "
            f"{layer.name} has {source.frame_shape} of {source.image_shape} px. Select the image "
            "that it belongs to."
        )
    return roles
