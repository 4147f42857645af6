"""The selected objects in the canvas: outlined, picked by a click, and brought into view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_eomt.structures.segments import Status
from napari_eomt.viewer.outlines import Outline, Outlines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari.components import ViewerModel

    from napari_eomt.annotation.edits import Edit
    from napari_eomt.annotation.session import Key
    from napari_eomt.structures.segments import IdMap
    from napari_eomt.viewer.result_layer import ResultLayer
    from napari_eomt.viewer.results import Result

OVERLAY = "selection"

CLICK_PX = 4
"""A hand that clicks moves the mouse less than this; more is a drag."""

CLOSE_PART = 0.25
"""How much of the canvas an object fills when it is looked at close up."""

_ONE_BY_ONE = 64
"""So many objects are outlined one by one; more than that, the whole frame at once."""


class SelectionOutline:
    """Outlines what is selected in the frame that is shown.

    Parameters
    ----------
    view : ResultLayer
    """

    def __init__(self, view: ResultLayer) -> None:
        self._view = view
        self._session = view.session
        self._frame: int | None = None
        self.outlines = Outlines(view.layer, OVERLAY)
        self._session.selection_changed.connect(self._on_selection)
        self._session.changed.connect(self._on_changed)
        view.layer.events.set_data.connect(self._on_slice)
        self._show()

    def close(self) -> None:
        """Take the outlines away."""
        self._session.selection_changed.disconnect(self._on_selection)
        self._session.changed.disconnect(self._on_changed)
        self._view.layer.events.set_data.disconnect(self._on_slice)
        self.outlines.close()

    def _on_selection(self, selection: frozenset[Key]) -> None:
        self._show()

    def _on_changed(self, edit: Edit) -> None:
        # Those that are gone are no longer selected, which is told by itself.
        selection = self._session.selection
        if edit.pixels and any((change.frame, change.id) in selection for change in edit.segments):
            self._show()

    def _on_slice(self, event: Any = None) -> None:
        if self._session.selection and self._view.frame_shown != self._frame:
            self._show()

    def _show(self) -> None:
        self._frame = frame = self._view.frame_shown
        # Not `session.selected`, which sorts: of 50,000 that takes longer than to outline them.
        there = {} if frame is None else self._view.document.segments(frame)
        found = [there[i] for at, i in self._session.selection if at == frame and i in there]
        segments = [segment for segment in found if segment.status is not Status.REJECTED]
        if frame is None or not segments:
            if self.outlines.shown:
                self.outlines.show(Outline())
            return
        id_map = self._view.document.id_map(frame)
        if len(segments) > _ONE_BY_ONE:
            is_selected = np.zeros(self._view.document.next_id, np.bool_)
            is_selected[[segment.id for segment in segments]] = True
            boxes = np.array([segment.bbox for segment in segments])
            (y0, x0), (y1, x1) = boxes[:, :2].min(0).tolist(), boxes[:, 2:].max(0).tolist()
            part = id_map[y0:y1, x0:x1]
            self.outlines.show(outline_of(np.where(is_selected[part], part, 0), (y0, x0)))
            return
        pieces = []
        for segment in segments:
            y0, x0, y1, x1 = segment.bbox
            mask = id_map[y0:y1, x0:x1] == segment.id
            pieces.append(outline_of(mask.view(np.uint8), (y0, x0)))
        self.outlines.show(Outline.all_of(pieces))


def outline_of(id_map: IdMap, origin: tuple[int, int] = (0, 0)) -> Outline:
    """Return the outline of every id, with the inside to the right.

    Parameters
    ----------
    id_map : (h, w) int
        0 is void, and has no outline.
    origin : (y, x)
        Where the first pixel lies in the frame.

    Returns
    -------
    Outline
        Of as few edges as there are straight pieces: of thousands of objects, half as many as
        they have pixels on their border.
    """
    padded = np.pad(id_map, 1)
    height, width = padded.shape
    edges = []
    for is_upright in (False, True):
        # An edge lies between two pixels: below the one and above the other, or beside them.
        pairs = (padded[:, :-1], padded[:, 1:]) if is_upright else (padded[:-1], padded[1:])
        differs = pairs[0] != pairs[1]
        for is_after, inside in enumerate(pairs):
            y, x = np.divmod(np.flatnonzero(differs & (inside != 0)), differs.shape[1])
            # Which line of the grid, and where on it; never on its last step, which is void.
            line, step, length = (x, y, height) if is_upright else (y, x, width)
            flat = line * length + step
            if is_upright:
                flat.sort()
            is_start = np.diff(flat, prepend=-2) > 1
            is_stop = np.append(is_start[1:], True)[: len(flat)]
            line, first = np.divmod(flat[is_start], length)
            last = flat[is_stop] % length
            # The padding has moved all by one pixel, of which the middle is a whole number.
            across, ends = line - 0.5, [first - 1.5, last - 0.5]
            if bool(is_after) == is_upright:
                ends.reverse()
            pair = np.stack([np.stack((across, end), 1) for end in ends], 1)
            edges.append(pair[:, :, ::-1] if is_upright else pair)
    found = np.concatenate(edges) + np.array(origin)
    return Outline(found.astype(np.float32))


class ClickSelection:
    """Selects the object that is clicked on; Shift adds or takes away, the empty clears.

    Where nothing is painted: while the result's layer, or its image, is the selected layer and the
    mouse moves the view.

    Parameters
    ----------
    viewer : ViewerModel
    result : callable
        Gives the result that is worked on, if there is one.
    """

    def __init__(self, viewer: ViewerModel, result: Callable[[], Result | None]) -> None:
        self._viewer, self._result = viewer, result
        viewer.mouse_drag_callbacks.append(self._on_press)

    def close(self) -> None:
        """Let go of the viewer."""
        if self._on_press in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._on_press)

    def _on_press(self, viewer: ViewerModel, event: Any) -> Iterator[None]:
        result = self._picks(event)
        if result is None:
            return
        start = np.array(event.pos, float)
        yield
        while event.type == "mouse_move":
            if np.abs(np.array(event.pos, float) - start).max() > CLICK_PX:
                return  # the view is dragged
            yield
        key = result.view.key_at(event.position, event.view_direction, list(event.dims_displayed))
        selection = result.session.selection
        if "Shift" in event.modifiers:
            result.session.select(selection if key is None else selection ^ {key})
        else:
            result.session.select([] if key is None else [key])

    def _picks(self, event: Any) -> Result | None:
        result = self._result()
        active = self._viewer.layers.selection.active
        active = getattr(active, "__wrapped__", active)
        if result is None or active not in (result.view.layer, result.image):
            return None
        others = {str(getattr(m, "name", m)) for m in event.modifiers} - {"Shift"}
        if event.button != 1 or others or not result.view.layer.visible:
            return None
        return result if str(active.mode) == "pan_zoom" else None


def show_segment(viewer: ViewerModel, result: Result, key: Key, *, close: bool = False) -> None:
    """Bring an object into the middle of the canvas, and its frame into view.

    Parameters
    ----------
    viewer : ViewerModel
    result : Result
    key : (frame, segment id)
    close : bool
        Also zoom, so that it fills a quarter of the canvas.
    """
    frame, i = key
    segment = result.document.segments(frame).get(i)
    if segment is None or segment.bbox[2] <= segment.bbox[0]:
        return
    y0, x0, y1, x1 = segment.bbox
    corners = [result.view.world(frame, y, x) for y in (y0, y1 - 1) for x in (x0, x1 - 1)]
    middle = result.view.world(frame, (y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2)
    offset = viewer.dims.ndim - len(middle)
    for axis in result.view.frame_axes:
        if viewer.dims.point[axis + offset] != middle[axis]:
            viewer.dims.set_point(axis + offset, middle[axis])
    # Of axes that only other layers have, the view stays where it is.
    displayed = [axis - offset for axis in viewer.dims.displayed if axis >= offset]
    if len(displayed) < len(viewer.dims.displayed):
        return
    camera = viewer.scene.camera
    center = [middle[axis] for axis in displayed]
    camera.center = tuple([0.0] * (3 - len(center)) + center)
    if close:
        extent = np.ptp(np.array(corners)[:, displayed], axis=0).max()
        pixel = np.linalg.norm(
            np.subtract(result.view.world(frame, 1, 1), result.view.world(frame, 0, 0))
        )
        camera.zoom = CLOSE_PART * min(viewer.canvas.size) / max(extent, 8 * pixel)
