"""What the pages work on: the result of the chosen image, its session, and the shown frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_eomt.errors import EomtError
from napari_eomt.viewer.image_source import current_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.edits import Edit
    from napari_eomt.annotation.session import Session
    from napari_eomt.structures.axes import AxisRoles
    from napari_eomt.viewer.results import Result, Results


class Current(QObject):
    """Follows the image, its axes, the viewer's results, and the sliders.

    Of several results of one image it is the one whose layer was selected last, else the latest.

    Parameters
    ----------
    viewer : ViewerModel
    results : Results
    parent : QObject, optional
    """

    result_changed = Signal()
    """Another result, or none: the session, the document and the frame may all be others."""
    frame_changed = Signal(int)
    """The sliders show another frame of the same result."""
    selection_changed = Signal()
    """Other segments of the session are selected."""
    document_changed = Signal(object)
    """The document has changed by this Edit; the layer shows it already."""
    refused = Signal(str)
    """Something cannot be done: why, and what to do."""

    def __init__(
        self, viewer: ViewerModel, results: Results, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer, self._results = viewer, results
        self._image: Image | None = None
        self._roles: AxisRoles | None = None
        self._result: Result | None = None
        self._preferred: Result | None = None
        self._frame = 0
        results.changed.connect(self._update)
        viewer.dims.events.point.connect(self._on_dims)
        viewer.layers.selection.events.active.connect(self._on_active)

    def close(self) -> None:
        """Let go of the viewer and the session."""
        self._results.changed.disconnect(self._update)
        self._viewer.dims.events.point.disconnect(self._on_dims)
        self._viewer.layers.selection.events.active.disconnect(self._on_active)
        self._leave()

    @property
    def image(self) -> Image | None:
        """The chosen image."""
        return self._image

    @property
    def result(self) -> Result | None:
        """The result that the pages work on; None before the first run."""
        return self._result

    @property
    def session(self) -> Session | None:
        """The result's session."""
        return None if self._result is None else self._result.session

    @property
    def document(self) -> Document | None:
        """The result's document."""
        return None if self._result is None else self._result.document

    @property
    def frame(self) -> int:
        """The frame that the viewer shows."""
        return self._frame

    def follow(self, image: Image | None, roles: AxisRoles | None) -> None:
        """Work on another image, or on one whose axes are taken in another way."""
        self._image, self._roles = image, roles
        self._update()

    def edit(self, operation: Callable[..., Edit], *args: Any, **options: Any) -> bool:
        """Make an operation's edit of the document; a stroke under way is a step before it.

        Parameters
        ----------
        operation : callable
            Of `annotation.operations` or `annotation.shapes`: takes the document and what follows.

        Returns
        -------
        bool
            Whether anything changed; `refused` says why not, where there is a reason.
        """
        if self._result is None:
            return False
        self._result.view.flush()
        try:
            return self._result.session.do(operation(self._result.document, *args, **options))
        except EomtError as error:
            self.refused.emit(str(error))
            return False

    def _update(self) -> None:
        result = self._find()
        if result is not self._result:
            self._leave()
            self._result = result
            if result is not None:
                result.session.changed.connect(self._on_document)
                result.session.selection_changed.connect(self._on_selection)
            self._frame = self._shown_frame()
            self.result_changed.emit()
        else:
            self._on_dims()

    def _find(self) -> Result | None:
        if self._image is None or self._roles is None:
            return None
        preferred = self._preferred
        if (
            preferred is not None
            and preferred.image is self._image
            and preferred.roles == self._roles
            # Not one whose layer was deleted, or holds other data by now.
            and self._results.of_layer(preferred.view.layer) is preferred
        ):
            return preferred
        return self._results.find(self._image, self._roles)

    def _leave(self) -> None:
        if self._result is not None:
            self._result.session.changed.disconnect(self._on_document)
            self._result.session.selection_changed.disconnect(self._on_selection)
            self._result = None

    def _shown_frame(self) -> int:
        if self._image is None or self._roles is None:
            return 0
        return current_frame(self._image, self._roles, self._viewer.dims.point)

    def _on_active(self, event: Any = None) -> None:
        active = self._viewer.layers.selection.active
        result = self._results.of_layer(getattr(active, "__wrapped__", active))
        if result is not None:
            self._preferred = result
            self._update()

    def _on_dims(self, event: Any = None) -> None:
        frame = self._shown_frame()
        if frame != self._frame:
            self._frame = frame
            self.frame_changed.emit(frame)

    def _on_document(self, edit: Edit) -> None:
        self.document_changed.emit(edit)

    def _on_selection(self, selection: object) -> None:
        self.selection_changed.emit()
