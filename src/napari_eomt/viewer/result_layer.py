"""The Labels layer in which a session is shown and painted, bound to its image layer."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import label_colormap
from psygnal import Signal

from napari_eomt.annotation.canvas import around
from napari_eomt.annotation.edits import joined
from napari_eomt.annotation.operations import painted
from napari_eomt.viewer.colormaps import (
    CategoryColors,
    by_category,
    by_uncertainty,
    shows_ids_to,
)
from napari_eomt.viewer.features import FeatureTable
from napari_eomt.viewer.image_source import layer_array
from napari_eomt.viewer.labels_sync import PaintTracker, Touched

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari.layers import Image

    from napari_eomt.annotation.edits import Edit
    from napari_eomt.annotation.session import Key, Session
    from napari_eomt.structures.axes import AxisRoles
    from napari_eomt.viewer.colormaps import Rgb

METADATA_KEY = "napari_eomt"


class ResultLayer:
    """Shows a session's document in a Labels layer, and tells the session what is painted there.

    Parameters
    ----------
    image : napari.layers.Image
        The source. Name, scale, translation, rotation, shear and units are taken from it.
    roles : AxisRoles
        Which axis of the image's array is what.
    session : Session
    """

    category_changed = Signal(int)
    """What is drawn next is of another category: its id."""

    def __init__(self, image: Image, roles: AxisRoles, session: Session) -> None:
        self.session = session
        self.document = session.document
        self.image = image
        self._category_id = next(iter(self.document.categories))
        self._roles = roles
        self._colors = CategoryColors()
        self._by_category = self._needs_colors = False
        self._uncertainties: Mapping[int, float] | None = None
        self._is_recording = self._is_batch = self._is_stale = self._is_closed = False
        # A channel axis between others must stay, or the axes before it would move.
        self._channel_axis = (
            roles.channel
            if roles.channel is not None
            and roles.channel < roles.y
            and any(axis < roles.channel for axis in roles.frames)
            else None
        )
        self.layer = Labels(
            self._shown(),
            name=f"{image.name} segments",
            metadata={METADATA_KEY: {"image": str(image.name)}},
            **self._transforms(),
        )
        self._table = FeatureTable(self.document)
        self._tracker = PaintTracker(self.layer, self._on_painted, self.undo, self.redo)
        session.changed.connect(self._on_changed)
        self._show_table()

    def close(self) -> None:
        """Let go of the layer, which stays as it is."""
        if not self._is_closed:
            self._is_closed = True
            self._tracker.close()
            self.session.changed.disconnect(self._on_changed)

    def undo(self) -> None:
        """Take the last step back, whatever it was; not within a stroke."""
        if not self.is_intact:
            self.close()  # the data are somebody else's, and so is their history
            self.layer.undo()
        elif not self._tracker.is_stroke:
            self.session.undo()

    def redo(self) -> None:
        """Do the step again that was taken back last; not within a stroke."""
        if not self.is_intact:
            self.close()
            self.layer.redo()
        elif not self._tracker.is_stroke:
            self.session.redo()

    def flush(self) -> None:
        """Let the session know of a stroke that is under way: call it before making an edit."""
        self._tracker.flush()

    @property
    def category_colors(self) -> dict[int, Rgb]:
        """The colour of each category, by its id; it stays the same, whatever else is removed."""
        return self._colors.of(self.document.categories.values())

    @property
    def category_id(self) -> int:
        """The category of what is drawn next."""
        return self._category_id

    @category_id.setter
    def category_id(self, category_id: int) -> None:
        if category_id != self._category_id:
            self._category_id = category_id
            if self._by_category:
                self._color()  # what is drawn next is shown in it while it is drawn
            self.category_changed.emit(category_id)

    @property
    def is_intact(self) -> bool:
        """Whether the layer still shows the document, not data that something else put there."""
        data = self.layer.data
        # The same pixels in the same order: a part of them, or their transpose, is other data.
        return (
            isinstance(data, np.ndarray)
            and data.__array_interface__ == self._shown().__array_interface__
        )

    @property
    def frame_shown(self) -> int | None:
        """The frame that the sliders show; None where they show more than one."""
        shape = self.document.frame_shape
        steps = [float(self.layer._data_slice.point[axis]) for axis in self.frame_axes]
        if not np.isfinite(steps).all():
            return None
        at = np.clip(np.round(steps), 0, np.array(shape) - 1).astype(int)
        return int(np.ravel_multi_index(tuple(at), shape)) if shape else 0

    @property
    def frame_axes(self) -> list[int]:
        """The axes of the layer that are stepped through."""
        return [axis for axis in range(self._layer_ndim - 2) if axis != self._layer_channel_axis]

    def world(self, frame: int, y: float, x: float) -> tuple[float, ...]:
        """Return where a pixel of a frame lies in the world, an entry an axis of the layer."""
        shape = self.document.frame_shape
        steps = np.unravel_index(frame, shape) if shape else ()
        index = [0.0] * (self._layer_ndim - 2) + [y, x]
        for axis, step in zip(self.frame_axes, steps, strict=True):
            index[axis] = float(step)
        return tuple(float(part) for part in self.layer.data_to_world(index))

    def key_at(
        self, position: Sequence[float], view_direction: Any, dims_displayed: list[int]
    ) -> Key | None:
        """Return the object that the viewer shows at a point of the world, as (frame, id).

        Parameters
        ----------
        position : sequence of float
            An entry an axis of the viewer, as in a mouse event.
        view_direction : (3,) float or None
            Of the event: in 3-D the object that is seen first is meant.
        dims_displayed : list of int
        """
        i = self.layer.get_value(
            position, view_direction=view_direction, dims_displayed=dims_displayed, world=True
        )
        if not i:
            return None
        frame = self.frame_shown
        frames = self.document.frames_of(int(i)) if frame is None else [frame]
        # Through several frames at once, that of the first one.
        return (
            (frames[0], int(i)) if frames and int(i) in self.document.segments(frames[0]) else None
        )

    def _on_changed(self, edit: Edit) -> None:
        """Show an edit."""
        if not self._is_recording and edit.pixels:
            if not self.is_intact:
                # The ids have outgrown their dtype.
                self.layer.data = self._shown()
            shown = self.frame_shown
            if shown is None or shown in {change.frame for change in edit.pixels}:
                self.layer.refresh(extent=False)
        if edit.categories:
            if self._category_id not in self.document.categories:
                self.category_id = next(iter(self.document.categories))
            self._table.rebuild()
        elif edit.segments:
            self._table.update({change.id for change in edit.segments})
        if edit.categories or edit.segments:
            self._is_stale = True
            self._needs_colors = self._needs_colors or self._recolors(edit)
            if not self._is_batch:
                self._show_table()

    @contextmanager
    def table_later(self) -> Iterator[None]:
        """Leave the table as it is within the block; `show_table` brings it up to date."""
        before, self._is_batch = self._is_batch, True
        try:
            yield
        finally:
            self._is_batch = before

    def show_table(self) -> None:
        """Show the table of objects, and their colours, if they have changed."""
        if self._is_stale:
            self._show_table()

    def _show_table(self) -> None:
        self._is_stale = False
        self.layer.features = self._table.frame()
        if self._by_category and self._needs_colors and self._uncertainties is None:
            self._color()

    def color_by_category(self, by: bool) -> None:
        """Colour the objects by their category, or each by itself."""
        self._by_category = by
        self._color()

    def color_by_uncertainty(self, values: Mapping[int, float] | None) -> None:
        """Colour the objects by how unsure a model is of them, whatever else is chosen.

        Parameters
        ----------
        values : mapping of int to float, optional
            By id, 0 to 1; other ids are grey. None: as it was before.
        """
        self._uncertainties = values
        self._color()

    def _recolors(self, edit: Edit) -> bool:
        """Whether an id is of another category than its colour says.

        An id that is not known yet has the colour of what is drawn next: after a stroke nothing
        is to be done, which takes 50 ms in a layer of 4096².
        """
        return bool(edit.categories) or any(
            change.after is not None
            and change.after.category_id
            != (self._category_id if change.before is None else change.before.category_id)
            for change in edit.segments
        )

    def _color(self) -> None:
        self._needs_colors = False
        can_choose = shows_ids_to(self.document.next_id - 1)
        if self._uncertainties is not None and can_choose:
            self.layer.colormap = by_uncertainty(self._uncertainties)
        elif self._by_category and can_choose:
            segments = (segment for _, segment in self.document.iter_segments())
            self.layer.colormap = by_category(segments, self.category_colors, self._category_id)
        else:
            self.layer.colormap = label_colormap(49, 0.5, background_value=0)

    def _on_painted(self, touched: list[Touched]) -> bool:
        if not self.is_intact:
            return False
        parts: dict[int, list[tuple[tuple[int, int], np.ndarray[Any, Any]]]] = {}
        for place in touched:
            for frame, origin, difference in self._by_frame(place):
                parts.setdefault(frame, []).append((origin, difference))
        document = self.document
        edits = []
        for frame, of_frame in parts.items():
            difference, origin = _sum(of_frame)
            edits.append(painted(document, frame, difference, origin, self.category_id))
        if edits:
            self._is_recording = True
            try:
                self.session.record(joined(edits[0].name, edits))
            finally:
                self._is_recording = False
        return True

    def _by_frame(
        self, place: Touched
    ) -> Iterator[tuple[int, tuple[int, int], np.ndarray[Any, Any]]]:
        """Yield frame, (y, x) of the first pixel, and (h, w) difference of what was painted."""
        axes, document = self.frame_axes, self.document
        origin = place.region[-2].start, place.region[-1].start
        ranges = [range(place.region[axis].start, place.region[axis].stop) for axis in axes]
        for steps in product(*ranges):
            index: list[Any] = [0] * (len(place.region) - 2)
            for axis, step in zip(axes, steps, strict=True):
                index[axis] = step - place.region[axis].start
            difference = place.difference[tuple(index)]
            if difference.any():
                shape = document.frame_shape
                yield int(np.ravel_multi_index(steps, shape)) if shape else 0, origin, difference

    @property
    def _layer_channel_axis(self) -> int | None:
        if self._channel_axis is None:
            return None
        return self._channel_axis - (self._image_ndim - self._layer_ndim)

    @property
    def _image_ndim(self) -> int:
        return int(layer_array(self.image).ndim) - int(self.image.rgb)

    @property
    def _layer_ndim(self) -> int:
        return len(self.document.frame_shape) + 2 + (self._channel_axis is not None)

    def _shown(self) -> np.ndarray[Any, Any]:
        """Return the id maps with the axes of the layer; a view, so that painting writes there."""
        shape = list(self.document.id_maps.shape)
        axis = self._layer_channel_axis
        if axis is not None:
            shape.insert(axis, 1)
        return self.document.id_maps.reshape(shape)

    def _transforms(self) -> dict[str, Any]:
        image, n, skip = self.image, self._layer_ndim, self._image_ndim - self._layer_ndim
        scale, translate = np.array(image.scale)[skip:], np.array(image.translate)[skip:]
        axis = self._layer_channel_axis
        if axis is not None:
            # One slab as thick as all channels: it shows wherever the channel slider stands.
            n_channels = layer_array(image).shape[axis + skip]
            translate[axis] += scale[axis] * (n_channels - 1) / 2
            scale[axis] *= n_channels
        shear = np.eye(self._image_ndim)
        shear[np.triu_indices(self._image_ndim, 1)] = np.asarray(image.shear)
        return {
            "scale": scale,
            "translate": translate,
            "rotate": np.asarray(image.rotate)[skip:, skip:],
            "shear": shear[skip:, skip:][np.triu_indices(n, 1)],
            "affine": np.asarray(image.affine.affine_matrix)[skip:, skip:],
            "units": tuple(image.units)[skip:],
            "axis_labels": tuple(image.axis_labels)[skip:],
        }


def _sum(
    parts: list[tuple[tuple[int, int], np.ndarray[Any, Any]]],
) -> tuple[np.ndarray[Any, Any], tuple[int, int]]:
    """Return several differences of a frame as one, and where its first pixel lies."""
    if len(parts) == 1:
        return parts[0][1], parts[0][0]
    box = around((y, x, y + d.shape[0], x + d.shape[1]) for (y, x), d in parts)
    total = np.zeros((box[2] - box[0], box[3] - box[1]), parts[0][1].dtype)
    for (y, x), difference in parts:
        rows = slice(y - box[0], y - box[0] + difference.shape[0])
        columns = slice(x - box[1], x - box[1] + difference.shape[1])
        total[rows, columns] ^= difference
    return total, (box[0], box[1])
