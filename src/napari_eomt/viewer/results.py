"""The sessions of a viewer's images, each with the Labels layer that shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_eomt.annotation.document import Document
from napari_eomt.annotation.operations import propose
from napari_eomt.annotation.session import Session
from napari_eomt.viewer.result_layer import ResultLayer
from napari_eomt.viewer.selection import SelectionOutline

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_eomt.annotation.track_run import TrackRun
    from napari_eomt.structures.axes import AxisRoles
    from napari_eomt.structures.categories import Category
    from napari_eomt.structures.segments import Segmentation
    from napari_eomt.viewer.image_source import LayerSource


class Result:
    """An image's session, its layer, and the key under which the worker keeps its proposals."""

    def __init__(self, key: str, image: Image, roles: AxisRoles, document: Document) -> None:
        self.key = key
        self.image = image
        self.roles = roles
        self.document = document
        self.session = Session(self.document)
        self.view = ResultLayer(image, roles, self.session)
        self.outline = SelectionOutline(self.view)

    def close(self) -> None:
        """Let go of the layer, which stays as it is."""
        self.outline.close()
        self.view.close()

    def propose(
        self,
        frame: int,
        proposed: Segmentation,
        name: str,
        merge_with: Hashable = None,
        tracks: TrackRun | None = None,
    ) -> None:
        """Replace what is merely proposed in a frame; a stroke under way is not lost.

        The table of objects is left to `ResultLayer.show_table`: of many frames, once.

        Parameters
        ----------
        frame : int
        proposed : Segmentation
        name : str
            Of the step.
        merge_with : hashable, optional
            See `Session.do`.
        tracks : TrackRun, optional
            Takes up the frames of a run that tracks, so that a track has one id.
        """
        self.view.flush()
        if tracks is None:
            edit = propose(self.document, frame, proposed, name)
        else:
            edit = tracks.propose(frame, proposed, name)
        with self.view.table_later():
            self.session.do(edit, merge_with=merge_with)


class Results:
    """Finds or makes the result of an image layer.

    A result ends when its Labels layer is deleted, or when something else puts other data into
    it; the layer is then nobody's but the user's, and the next run makes a new one.

    Parameters
    ----------
    viewer : ViewerModel
    """

    changed = Signal()
    """A result has come or has ended."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._results: list[Result] = []
        viewer.layers.events.removed.connect(self._on_removed)

    def close(self) -> None:
        """Let go of the viewer; its layers stay."""
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        for result in self._results:
            result.view.layer.events.data.disconnect(self._on_data)
            result.close()

    def __iter__(self) -> Iterator[Result]:
        """Return the results that are still bound to their layers."""
        return iter([result for result in self._results if result.view.is_intact])

    def find(self, image: Image, roles: AxisRoles) -> Result | None:
        """Return the latest result of an image, if its axes are still taken the same way."""
        for result in reversed(self._results):
            if result.image is image and result.roles == roles and result.view.is_intact:
                return result
        return None

    def latest(self, image: Image | None) -> Result | None:
        """Return the latest result of an image, however its axes were taken."""
        for result in reversed(self._results):
            if result.image is image and result.view.is_intact:
                return result
        return None

    def of_layer(self, layer: Any) -> Result | None:
        """Return the result that a layer shows, if it still does."""
        for result in self._results:
            if result.view.layer is layer and result.view.is_intact:
                return result
        return None

    def by_key(self, key: str) -> Result | None:
        """Return the result whose proposals are kept under a key, if it still is one."""
        for result in self._results:
            if result.key == key and result.view.is_intact:
                return result
        return None

    def create(
        self,
        key: str,
        image: Image,
        roles: AxisRoles,
        source: LayerSource,
        categories: Iterable[Category],
    ) -> Result:
        """Make a new result, and show its layer."""
        document = Document(source.frame_shape, source.image_shape, categories)
        return self.adopt(key, image, roles, document)

    def adopt(self, key: str, image: Image, roles: AxisRoles, document: Document) -> Result:
        """Make a result of a document that was saved, and show its layer."""
        result = Result(key, image, roles, document)
        self._results.append(result)
        active = self._viewer.layers.selection.active
        self._viewer.add_layer(result.view.layer)
        # The image stays selected: the dock follows it, and W segments the next frame.
        if active is not None:
            self._viewer.layers.selection.active = active
        result.view.layer.events.data.connect(self._on_data)
        self.changed.emit()
        return result

    def _on_removed(self, event: Any) -> None:
        for result in [r for r in self._results if r.view.layer is event.value]:
            result.view.layer.events.data.disconnect(self._on_data)
            result.close()
            self._results.remove(result)
            self.changed.emit()

    def _on_data(self, event: Any) -> None:
        # The session's own change of the data, to a wider dtype, ends nothing.
        if any(not result.view.is_intact for result in self._results):
            self.changed.emit()
