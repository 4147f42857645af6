"""Follow what a person paints in a Labels layer. The only file that reads napari's history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari.layers import Labels

Touched: TypeAlias = tuple[tuple[Any, ...], frozenset[int]]
"""Where in the layer's data (an index for each axis: slices, or arrays of positions), and the ids
that were there before or are there now."""


class PaintTracker:
    """Tells which ids a stroke, a fill, a polygon, an undo or a redo has touched, and where.

    napari tells of painting by the event `paint`, but of undo and redo only that the layer is to
    be redrawn; which of them it was is read from the lengths of its histories.

    Parameters
    ----------
    layer : napari.layers.Labels
        The layer itself, not a proxy.
    callback : callable
        Called with the touched places after each edit.
    """

    def __init__(self, layer: Labels, callback: Callable[[list[Touched]], None]) -> None:
        self._layer = layer
        self._callback = callback
        self._n_steps = self._lengths()
        self._unwritten: list[Touched] = []
        layer.events.paint.connect(self._on_paint)
        layer.events.set_data.connect(self._on_redrawn)
        layer.events.labels_update.connect(self._on_written)

    def close(self) -> None:
        """Stop following."""
        self._layer.events.paint.disconnect(self._on_paint)
        self._layer.events.set_data.disconnect(self._on_redrawn)
        self._layer.events.labels_update.disconnect(self._on_written)

    def forget_history(self) -> None:
        """Drop napari's undo steps: they hold pixels that are no longer what they were.

        A stroke that is under way goes on, as another one.
        """
        layer = self._layer
        is_stroke, staged = layer._block_history, list(_touched(layer._staged_history))
        layer._reset_history()
        layer._block_history = is_stroke
        self._n_steps = self._lengths()
        if staged:
            self._callback(staged)

    def _lengths(self) -> tuple[int, int]:
        return len(self._layer._undo_history), len(self._layer._redo_history)

    def _on_paint(self, event: Any) -> None:
        self._n_steps = self._lengths()
        self._unwritten += _touched(event.value)
        # A stroke of the mouse is told when it is over, a single edit before its pixels are there.
        if _is_written(self._layer.data, event.value[-1]):
            self._on_written()

    def _on_written(self, event: Any = None) -> None:
        if self._unwritten:
            touched, self._unwritten = self._unwritten, []
            self._callback(touched)

    def _on_redrawn(self, event: Any = None) -> None:
        self._on_written()
        undo, redo = self._layer._undo_history, self._layer._redo_history
        n_undo, n_redo = self._n_steps
        self._n_steps = self._lengths()
        # A step undone or redone has moved from one history to the other. Where only one has
        # changed, a stroke has begun after an undo, or napari has dropped its steps.
        n = len(redo) - n_redo
        if n == 0 or len(undo) != n_undo - n:
            return
        source = redo if n > 0 else undo
        items = [source[k] for k in range(len(source) - abs(n), len(source))]
        touched = [place for item in items for place in _touched(item)]
        if touched:
            self._callback(touched)


def _is_written(data: Any, atom: Any) -> bool:
    """Whether an edit's pixels are in the data already."""
    if hasattr(atom, "slice_key"):
        now = np.asarray(data[atom.slice_key])
        return bool((now[_mask(atom, now.shape)] == atom.new_value).all())
    where, _, new = atom
    return bool((np.asarray(data[where]) == new).all())


def _mask(atom: Any, shape: tuple[int, ...]) -> Any:
    return ... if atom.mask is None else np.reshape(atom.mask, shape)


def _touched(item: Any) -> Iterator[Touched]:
    """Read one history item: a list of atoms, of either of napari's two forms."""
    for atom in item:
        if hasattr(atom, "slice_key"):
            where, old, new = atom.slice_key, atom.old_values, atom.new_value
        else:
            where, old, new = atom
        ids = {int(i) for i in np.unique(old)} | {int(i) for i in np.unique(new)}
        yield tuple(where), frozenset(ids - {0})
