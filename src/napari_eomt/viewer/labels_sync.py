"""Follow what a person paints in a Labels layer. The only file that reads napari's history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari.layers import Labels


@dataclass(frozen=True, eq=False)
class Touched:
    """A part of a layer's data that was painted.

    Parameters
    ----------
    region : tuple of slice
        One for each axis.
    difference : unsigned int
        The exclusive or of the ids before and now, of the shape of the region; 0 where nothing
        changed.
    """

    region: tuple[slice, ...]
    difference: npt.NDArray[np.unsignedinteger[Any]]


class PaintTracker:
    """Tells which pixels a stroke, a fill or a polygon has changed, and takes over undo and redo.

    napari's own history holds pixels alone, and knows nothing of what else has changed meanwhile:
    here it is emptied after each edit, and the layer's `undo` and `redo` are the ones given.

    Parameters
    ----------
    layer : napari.layers.Labels
        The layer itself, not a proxy.
    callback : callable
        Called with what was painted, after each edit; the pixels are in the data by then. Says
        whether it has taken the edit over, so that napari's own history shall forget it.
    undo, redo : callable
        For the layer's own.
    """

    def __init__(
        self,
        layer: Labels,
        callback: Callable[[list[Touched]], bool],
        undo: Callable[[], object],
        redo: Callable[[], object],
    ) -> None:
        self._layer = layer
        self._callback = callback
        self._unwritten: list[Any] = []
        # What napari's keys, and whatever program edits the layer, call.
        layer.undo, layer.redo = undo, redo
        layer.events.paint.connect(self._on_paint)
        layer.events.set_data.connect(self._on_written)
        layer.events.labels_update.connect(self._on_written)

    def close(self) -> None:
        """Stop following, and give napari its own undo back."""
        layer = self._layer
        vars(layer).pop("undo", None)
        vars(layer).pop("redo", None)
        layer.events.paint.disconnect(self._on_paint)
        layer.events.set_data.disconnect(self._on_written)
        layer.events.labels_update.disconnect(self._on_written)

    @property
    def is_stroke(self) -> bool:
        """Whether a stroke is under way."""
        return bool(self._layer._block_history)

    def flush(self) -> None:
        """Tell of the stroke that is under way, as far as it has come; the rest is another one."""
        layer = self._layer
        is_stroke, staged = layer._block_history, layer._staged_history
        layer._reset_history()
        layer._block_history = is_stroke
        self._unwritten += staged
        self._on_written()

    def _on_paint(self, event: Any) -> None:
        self._unwritten += event.value
        # A stroke of the mouse is told when it is over, a single edit before its pixels are there.
        if _is_written(self._layer.data, event.value[-1]):
            self._on_written()

    def _on_written(self, event: Any = None) -> None:
        if not self._unwritten:
            return
        atoms, self._unwritten = self._unwritten, []
        if self._callback(list(_touched(atoms, self._layer.data.shape))):
            self._layer._undo_history.clear()
            self._layer._redo_history.clear()


def _is_written(data: Any, atom: Any) -> bool:
    """Whether an edit's pixels are in the data already."""
    if hasattr(atom, "slice_key"):
        now = np.asarray(data[atom.slice_key])
        return bool((now[_mask(atom, now.shape)] == atom.new_value).all())
    where, _, new = atom
    return bool((np.asarray(data[where]) == new).all())


def _mask(atom: Any, shape: tuple[int, ...]) -> Any:
    return ... if atom.mask is None else np.reshape(atom.mask, shape)


def _touched(atoms: list[Any], shape: tuple[int, ...]) -> Iterator[Touched]:
    """Read a history item: a list of atoms, of either of napari's two forms."""
    for atom in atoms:
        if hasattr(atom, "slice_key"):
            region = tuple(
                slice(*part.indices(side)[:2]) if isinstance(part, slice) else slice(part, part + 1)
                for part, side in zip(atom.slice_key, shape, strict=True)
            )
            sides = [part.stop - part.start for part in region]
            old = np.asarray(atom.old_values)
            difference = np.zeros(sides, old.dtype)
            mask = ... if atom.mask is None else np.reshape(atom.mask, sides)
            # With a mask the old values are those under it, else those of the whole region.
            values = old.ravel() if atom.mask is not None else old.reshape(sides)
            difference[mask] = values ^ old.dtype.type(atom.new_value)
        else:
            where, old, new = atom
            arrays = np.broadcast_arrays(*(np.atleast_1d(part) for part in where))
            points = [array.ravel() % side for array, side in zip(arrays, shape, strict=True)]
            if not points[0].size:
                continue
            region = tuple(slice(int(p.min()), int(p.max()) + 1) for p in points)
            old = np.asarray(old)
            values = np.broadcast_to(old ^ np.asarray(new, old.dtype), arrays[0].shape).ravel()
            difference = np.zeros([part.stop - part.start for part in region], old.dtype)
            difference[tuple(p - part.start for p, part in zip(points, region, strict=True))] = (
                values
            )
        yield Touched(region, difference)
