"""The Labels layer in which a document is shown and painted, bound to its image layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import label_colormap

from napari_eomt.structures.segments import Status
from napari_eomt.viewer.colormaps import by_category, category_colors, shows_ids_to
from napari_eomt.viewer.image_source import layer_array
from napari_eomt.viewer.labels_sync import PaintTracker, Touched

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Image

    from napari_eomt.annotation.document import Document
    from napari_eomt.structures.axes import AxisRoles

METADATA_KEY = "napari_eomt"


class ResultLayer:
    """Shows a document in a Labels layer, and tells the document what is painted there.

    Parameters
    ----------
    image : napari.layers.Image
        The source. Name, scale, translation, rotation, shear and units are taken from it.
    roles : AxisRoles
        Which axis of the image's array is what.
    document : Document
    """

    def __init__(self, image: Image, roles: AxisRoles, document: Document) -> None:
        self.document = document
        self.image = image
        self._roles = roles
        self._by_category = False
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
        self._tracker = PaintTracker(self.layer, self._on_painted)
        self.update_features()

    def close(self) -> None:
        """Let go of the layer, which stays as it is."""
        self._tracker.close()

    @property
    def is_intact(self) -> bool:
        """Whether the layer still shows the document, not data that something else put there."""
        data = self.layer.data
        # The same pixels in the same order: a part of them, or their transpose, is other data.
        return (
            isinstance(data, np.ndarray)
            and data.__array_interface__ == self._shown().__array_interface__
        )

    def show(self, frames: Iterable[int]) -> None:
        """Redraw after the document's id maps of these frames have changed."""
        if not self.is_intact:
            # The ids have outgrown their dtype.
            self.layer.data = self._shown()
        self._tracker.forget_history()
        shown = self._frame_shown()
        if shown is None or shown in set(frames):
            self.layer.refresh(extent=False)

    def _frame_shown(self) -> int | None:
        """Return the frame that the sliders show; None where they show more than one."""
        shape = self.document.frame_shape
        steps = [float(self.layer._data_slice.point[axis]) for axis in self._frame_axes]
        if not np.isfinite(steps).all():
            return None
        at = np.clip(np.round(steps), 0, np.array(shape) - 1).astype(int)
        return int(np.ravel_multi_index(tuple(at), shape)) if shape else 0

    def _frames_at(self, where: tuple[Any, ...]) -> list[int]:
        """Return the frames that an index into the layer's data touches."""
        frames = np.arange(self.document.n_frames).reshape(self.document.frame_shape)
        return [int(i) for i in np.unique(frames[tuple(where[axis] for axis in self._frame_axes)])]

    def update_features(self) -> None:
        """Bring the table of objects, and their colours, up to date."""
        # Here, not above: it takes a fifth of a second, and napari itself waits for a layer.
        import pandas as pd

        document = self.document
        names = {i: category.name for i, category in document.categories.items()}
        rows = [
            (s.id, names[s.category_id], s.score, s.status.value, s.area, frame)
            for frame, s in document.iter_segments()
        ]
        table = pd.DataFrame(
            rows, columns=["index", "category", "score", "status", "area", "frame"]
        )
        table["score"] = table["score"].astype(float).round(3)
        # An id drawn in several frames has one row: that of the first frame where it is locked.
        order = table["status"].eq(Status.PROPOSED.value).sort_values(kind="stable").index
        table = table.loc[order].drop_duplicates("index").sort_values("index", ignore_index=True)
        if not document.frame_shape:
            table = table.drop(columns="frame")
        self.layer.features = table
        if self._by_category:
            self._color()

    def color_by_category(self, by: bool) -> None:
        """Colour the objects by their category, or each by itself."""
        self._by_category = by
        self._color()

    def _color(self) -> None:
        segments = [segment for _, segment in self.document.iter_segments()]
        if self._by_category and shows_ids_to(max((s.id for s in segments), default=0)):
            colors = category_colors(self.document.categories.values())
            self.layer.colormap = by_category(segments, colors)
        else:
            self.layer.colormap = label_colormap(49, 0.5, background_value=0)

    def _on_painted(self, touched: list[Touched]) -> None:
        if not self.is_intact:
            return
        ids_in: dict[int, set[int]] = {}
        for where, ids in touched:
            for frame in self._frames_at(where):
                ids_in.setdefault(frame, set()).update(ids)
        category_id = next(iter(self.document.categories))
        changed = [
            self.document.repainted(frame, sorted(ids), category_id)
            for frame, ids in ids_in.items()
        ]
        if any(changed):
            self.update_features()

    @property
    def _frame_axes(self) -> list[int]:
        """The axes of the layer that are stepped through."""
        return [axis for axis in range(self._layer_ndim - 2) if axis != self._layer_channel_axis]

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
