"""An image file as a layer that reads a frame when it is shown."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from napari.layers import Image
from napari.layers._source import layer_source

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_eomt.inference.sources import FileSource

_STACK_LABELS = {1: ("t",), 2: ("t", "z")}


def image_layer(source: FileSource) -> Image:
    """Return a layer of an image file: frames, then channels, then rows and columns.

    RGB of 8 bits is shown in colour; other channels get a slider. The layer knows the file.

    Parameters
    ----------
    source : FileSource

    Raises
    ------
    DataError
        If the file is damaged at its first frame.
    """
    first = source.frame(0)
    is_rgb = (
        first.ndim == 3
        and first.shape[-1] in (3, 4)
        and first.dtype == np.uint8
        and source.roles.channel == len(source.shape) - 1
    )
    channels_first = first.ndim == 3 and not is_rgb
    frames = _Frames(source, first.dtype, np.shape(_turned(first, channels_first)), channels_first)
    data: Any
    if source.n_frames == 1:
        data = _turned(first, channels_first).reshape(frames.shape)
        source.close()
    else:
        chunks = (*(1,) * len(source.stack_shape), *frames.shape[len(source.stack_shape) :])
        # Readers seek in their file: one at a time.
        data = da.from_array(  # type: ignore[no-untyped-call]
            frames, chunks=chunks, lock=True, asarray=False, fancy=False
        )
    n_stack = len(source.stack_shape)
    names = [name.lower() for name in source.stack_names]
    stack = names or _STACK_LABELS.get(n_stack, tuple(f"axis {k}" for k in range(n_stack)))
    labels = (*stack, *(("c",) if channels_first else ()), "y", "x")
    with layer_source(path=str(source.path)):
        return Image(data, name=source.name, rgb=is_rgb, axis_labels=labels)


def _turned(frame: npt.NDArray[Any], channels_first: bool) -> npt.NDArray[Any]:
    return np.moveaxis(frame, -1, 0) if channels_first else frame


class _Frames:
    """What dask needs of an array: the frames along their axes, read when asked for."""

    def __init__(
        self,
        source: FileSource,
        dtype: np.dtype[Any],
        frame_shape: tuple[int, ...],
        channels_first: bool,
    ) -> None:
        self._source, self._channels_first = source, channels_first
        self.shape = (*source.stack_shape, *frame_shape)
        self.ndim = len(self.shape)
        self.dtype = dtype

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        index = (*index, *(slice(None),) * (self.ndim - len(index)))
        n = len(self._source.stack_shape)
        steps = [
            range(length)[i] if isinstance(i, slice) else [int(i)]
            for i, length in zip(index[:n], self._source.stack_shape, strict=True)
        ]
        frames = [
            self._frame(int(np.ravel_multi_index(at, self._source.stack_shape)))
            for at in product(*steps)
        ]
        stacked = np.stack(frames).reshape(*(len(s) for s in steps), *self.shape[n:])
        # Axes that one number was given for are left out, as numpy does.
        kept = tuple(slice(None) if isinstance(i, slice) else 0 for i in index[:n])
        wanted = (*kept, *index[n:])
        result: npt.NDArray[Any] = stacked[wanted]
        return result

    def _frame(self, index: int) -> npt.NDArray[Any]:
        return _turned(self._source.frame(index), self._channels_first)
