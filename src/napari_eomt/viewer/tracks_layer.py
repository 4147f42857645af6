"""The paths of a result's tracks as a Tracks layer of napari, kept in step with the document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Tracks

from napari_eomt.structures.tracks import centroids

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari.components import ViewerModel

    from napari_eomt.annotation.edits import Edit
    from napari_eomt.annotation.track_live import LiveTracks
    from napari_eomt.viewer.result_layer import ResultLayer
    from napari_eomt.viewer.results import Result

MAX_PIXELS = 2**22
"""Pixels of frames that are looked at in one go: some 30 ms."""

_COLOR_BY = "segment"

_TAIL = 30
"""Frames before the one that is shown of which the path is drawn."""


@dataclass(frozen=True, eq=False)
class _Rows:
    """What a frame has to show: of each object track, segment id, category and score."""

    numbers: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    middles: npt.NDArray[np.float64]
    categories: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]


class TracksLayer:
    """Shows where each thing has been; an edit has the frames looked at again that it changes.

    Parameters
    ----------
    viewer : ViewerModel
    result : Result
    tracks : LiveTracks
        Of the result's document; up to date when this is told of an edit.
    """

    def __init__(self, viewer: ViewerModel, result: Result, tracks: LiveTracks) -> None:
        self._viewer, self._result, self._tracks = viewer, result, tracks
        self.layer: Tracks | None = None
        self.n_looked = 0
        """How often a frame's pixels were looked at."""
        self._middles: dict[int, Mapping[int, tuple[float, float, int]]] = {}
        self._rows: dict[int, _Rows] = {}
        self._waiting = sorted({f for f, _ in tracks.index.numbers}, reverse=True)
        self._is_stale = True
        result.view.layer.events.colormap.connect(self._on_colors)

    def close(self, *, keep: bool = False) -> None:
        """Take the layer away, or leave it as it is."""
        self._result.view.layer.events.colormap.disconnect(self._on_colors)
        layer, self.layer = self.layer, None
        if layer is not None and not keep and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def follow(self, tracks: LiveTracks) -> None:
        """Follow the same document's tracks anew, after edits that were not told."""
        self._tracks = tracks
        self._middles, self._rows = {}, {}
        self._waiting = sorted({f for f, _ in tracks.index.numbers}, reverse=True)
        self._is_stale = True

    def note(self, edit: Edit, touched: Iterable[int] = ()) -> None:
        """Take up an edit.

        Parameters
        ----------
        edit : Edit
        touched : iterable of int
            The tracks that `LiveTracks` found touched by it.
        """
        frames = set(edit.frames)
        for number in touched:
            frames.update(self._tracks.index.members.get(number, ()))
        for frame in {change.frame for change in edit.pixels}:
            self._middles.pop(frame, None)
        for frame in frames:
            self._rows.pop(frame, None)
        self._waiting = sorted({*self._waiting, *frames}, reverse=True)
        self._is_stale = self._is_stale or bool(frames)

    def take(self, n_pixels: int = MAX_PIXELS) -> bool:
        """Look at frames, about so many pixels of them; return whether more are left."""
        document = self._tracks.document
        per_frame = max(1, document.image_shape[0] * document.image_shape[1])
        left = n_pixels
        while self._waiting and left > 0:
            frame = self._waiting.pop()
            if not document.segments(frame):
                self._middles.pop(frame, None)
                continue
            if frame not in self._middles:
                self._middles[frame] = centroids(document.id_map(frame))
                self.n_looked += 1
                left -= per_frame
            self._rows[frame] = self._rows_of(frame)
        return bool(self._waiting)

    def show(self) -> None:
        """Bring the layer up to date with what was looked at; without tracks there is none."""
        if not self._is_stale or self._waiting:
            return
        self._is_stale = False
        data, properties = self._data()
        if not len(data) or not self._tracks.has_tracks:
            if self.layer is not None and self.layer in self._viewer.layers:
                layer, self.layer = self.layer, None
                self._viewer.layers.remove(layer)
            return
        known = set(np.unique(data[:, 0]).astype(int).tolist())
        parents = {n: self._tracks.parent(n) for n in known}
        graph = {n: [p] for n, p in parents.items() if p in known}
        if self.layer is None:
            self._add(data, properties, graph)
            return
        # With new data napari forgets what the old were coloured by, and says so.
        self.layer.color_by = "track_id"
        self.layer.data = data
        self.layer.properties = properties
        self.layer.graph = graph
        self.layer.color_by = _COLOR_BY

    @property
    def is_removed(self) -> bool:
        """Whether somebody has deleted the layer."""
        return self.layer is not None and self.layer not in self._viewer.layers

    def _add(
        self, data: npt.NDArray[np.float64], properties: dict[str, Any], graph: dict[int, Any]
    ) -> None:
        labels = self._result.view.layer
        self.layer = Tracks(
            data,
            properties=properties,
            graph=graph,
            color_by=_COLOR_BY,
            colormaps_dict={_COLOR_BY: _LabelColors(self._result.view)},
            name=f"{self._result.image.name} tracks",
            tail_length=_TAIL,
            # Added to a bright image, colours would be white.
            blending="translucent",
            scale=labels.scale,
            translate=labels.translate,
            rotate=labels.rotate,
            shear=labels.shear,
            affine=labels.affine,
            units=labels.units,
            axis_labels=labels.axis_labels,
        )
        active = self._viewer.layers.selection.active
        self._viewer.add_layer(self.layer)
        if active is not None:
            self._viewer.layers.selection.active = active

    def _rows_of(self, frame: int) -> _Rows:
        numbers, segments = self._tracks.index.numbers, self._tracks.document.segments(frame)
        middles = self._middles[frame]
        found = [i for i in middles if (frame, i) in numbers and segments[i].is_thing]
        scores = [segments[i].score for i in found]
        return _Rows(
            np.array([numbers[frame, i] for i in found], np.int64),
            np.array(found, np.int64),
            np.array([middles[i][:2] for i in found], np.float64).reshape(-1, 2),
            np.array([segments[i].category_id for i in found], np.int64),
            np.array([np.nan if score is None else score for score in scores], np.float64),
        )

    def _data(self) -> tuple[npt.NDArray[np.float64], dict[str, npt.NDArray[Any]]]:
        """Return rows of track, axes of frames, y and x, by track and frame; and what they are."""
        frames = sorted(frame for frame, rows in self._rows.items() if len(rows.ids))
        rows = [self._rows[frame] for frame in frames]
        view, shape = self._result.view, self._tracks.document.frame_shape
        data = np.zeros((sum(len(r.ids) for r in rows), view.layer.ndim + 1))
        if not len(data):
            return data, {}
        of_row = np.repeat(frames, [len(r.ids) for r in rows])
        numbers = np.concatenate([r.numbers for r in rows])
        order = np.lexsort((of_row, numbers))
        data[:, 0] = numbers
        for axis, steps in zip(view.frame_axes, np.unravel_index(of_row, shape), strict=True):
            data[:, 1 + axis] = steps
        data[:, -2:] = np.concatenate([r.middles for r in rows])
        properties = {
            _COLOR_BY: np.concatenate([r.ids for r in rows]),
            "category_id": np.concatenate([r.categories for r in rows]),
            "score": np.concatenate([r.scores for r in rows]),
        }
        return data[order], {name: values[order] for name, values in properties.items()}

    def _on_colors(self, event: Any = None) -> None:
        if self.layer is not None and not self._is_stale:
            self.layer.color_by = _COLOR_BY


class _LabelColors:
    """Stands where napari wants a colormap: gives ids the colours that the objects have."""

    name = "objects"

    def __init__(self, view: ResultLayer) -> None:
        self._view = view

    def map(self, values: Any) -> npt.NDArray[np.float32]:
        """Return (N, 4) colours of segment ids."""
        ids, inverse = np.unique(np.asarray(values).astype(np.int64), return_inverse=True)
        colors = np.atleast_2d(self._view.layer.colormap.map(ids.astype(np.uint32)))
        shown: npt.NDArray[np.float32] = colors[inverse.ravel()].astype(np.float32)
        return shown
