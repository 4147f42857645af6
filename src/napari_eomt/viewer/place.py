"""Where an action happens: a viewer, a result, the frame that is shown, and what is meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from napari_eomt.errors import DataError
from napari_eomt.structures.segments import Status
from napari_eomt.viewer.image_source import current_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.components import ViewerModel

    from napari_eomt.annotation.edits import Edit
    from napari_eomt.annotation.session import Key
    from napari_eomt.viewer.results import Result

Order: TypeAlias = "Callable[[Result, int], Sequence[Key]]"
"""Given a result and the frame that is shown, what is to be reviewed, the next one first."""


def ids_in_frame(result: Result, frame: int) -> list[Key]:
    """Return what is still to be reviewed in a frame, by id: the order of review by default."""
    segments = result.document.segments(frame).values()
    return [(frame, s.id) for s in sorted(segments, key=lambda s: s.id) if not s.is_locked]


@dataclass(frozen=True)
class Place:
    """Where an action happens.

    Parameters
    ----------
    viewer : ViewerModel
    result : Result
    order : callable
        Given the result and the frame that is shown, which objects are to be reviewed, the next
        one first.
    """

    viewer: ViewerModel
    result: Result
    order: Order = ids_in_frame

    @property
    def frame(self) -> int:
        """The frame that the viewer shows."""
        result = self.result
        return current_frame(result.image, result.roles, self.viewer.dims.point)

    def pixel(self, world: Sequence[float] | None = None) -> tuple[float, float]:
        """Return (y, x) in pixels of the frame at a place in the world, by default the cursor."""
        at = self.viewer.cursor.position if world is None else world
        y, x = self.result.view.layer.world_to_data(tuple(at))[-2:]
        return float(y), float(x)

    def middle_of(self, key: Key) -> tuple[float, float]:
        """Return the pixel of an object that is nearest to its middle, (y, x) of the frame."""
        document = self.result.document
        y0, x0, y1, x1 = document.segments(key[0])[key[1]].bbox
        y, x = np.nonzero(document.id_map(key[0])[y0:y1, x0:x1] == key[1])
        if not len(y):
            raise DataError(f"Object {key[1]} has no pixels in frame {key[0]}.")
        nearest = np.argmin(np.hypot(y - y.mean(), x - x.mean()))
        return float(y0 + y[nearest]), float(x0 + x[nearest])

    def under(self, point: tuple[float, float]) -> int:
        """Return the id of the object at (y, x), in pixels of the frame; 0 if there is none."""
        y, x = (int(np.floor(value + 0.5)) for value in point)
        height, width = self.result.document.image_shape
        if not (0 <= y < height and 0 <= x < width):
            return 0
        return int(self.result.document.id_map(self.frame)[y, x])

    def meant(self) -> list[Key]:
        """Return the selected objects, and if there are none that under the cursor.

        Raises
        ------
        DataError
            If there is none of either.
        """
        session, frame = self.result.session, self.frame
        keys = [(f, s.id) for f, s in session.selected if s.status is not Status.REJECTED]
        # What is selected in a frame that is not shown would change unseen.
        here = [key for key in keys if key[0] == frame]
        if here:
            return here
        i = self.under(self.pixel()) if len(self.viewer.cursor.position) >= 2 else 0
        if i and i in self.result.document.segments(frame):
            return [(frame, i)]
        raise DataError(
            "No object is meant. Select one (click it, or its row), or point at it with the mouse."
        )

    def do(self, edit: Edit) -> str:
        """Make an edit, and return what was done."""
        self.result.view.flush()
        return edit.name if self.result.session.do(edit) else "Nothing to change."

    def show_frame(self, frame: int) -> None:
        """Move the viewer's sliders to a frame."""
        result, dims = self.result, self.viewer.dims
        if not result.document.frame_shape or frame == self.frame:
            return
        layer = result.image
        steps = np.unravel_index(frame, result.document.frame_shape)
        # Where the viewer stands now, but for the axes that are stepped through.
        data = np.array(layer.world_to_data(tuple(dims.point)), float)[-layer.ndim :]
        for axis, step in zip(result.roles.frames, steps, strict=True):
            data[axis] = step
        world = np.asarray(layer.data_to_world(tuple(data)))
        first = dims.ndim - layer.ndim
        for axis in result.roles.frames:
            dims.set_point(first + axis, float(world[axis]))

    def centre_on(self, key: Key) -> None:
        """Select an object, and bring it into view if it is not."""
        frame, i = key
        self.show_frame(frame)
        result = self.result
        result.session.select([key])
        segment = result.document.segments(frame)[i]
        y0, x0, y1, x1 = segment.bbox
        camera, layer = self.viewer.scene.camera, result.view.layer
        data = np.array(layer.world_to_data(tuple(self.viewer.dims.point)), float)[-layer.ndim :]
        data[-2:] = (y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2
        world = np.asarray(layer.data_to_world(tuple(data)))[list(self._displayed)]
        before = np.array(camera.center, float)
        offset = np.abs(world - before[-len(world) :])
        half = np.array(self.viewer.canvas.size) / 2 / camera.zoom
        if (offset > 0.8 * half).any():
            before[-len(world) :] = world
            camera.center = tuple(before)

    @property
    def _displayed(self) -> tuple[int, ...]:
        first = self.viewer.dims.ndim - self.result.view.layer.ndim
        return tuple(axis - first for axis in self.viewer.dims.displayed)
