"""Runs of equal values in a part of an image: small, immutable, quick to make and to undo."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from napari_eomt.structures.segments import Box

_LEVEL = 1  # runs are short already: more effort costs ten times the time for a tenth of the bytes


@dataclass(frozen=True)
class Runs:
    """An integer image, or the part of one inside a box, as runs of equal values, row by row.

    Not COCO's run lengths: those go column by column, know 0 and 1 only, and cover the image.

    Parameters
    ----------
    box : (y0, x0, y1, x1)
        Which part, in pixels.
    data : bytes
        Compressed: where each run starts (uint32), then its value (uint32).
    n_runs : int
    """

    box: Box
    data: bytes
    n_runs: int

    @classmethod
    def of(cls, values: npt.NDArray[Any], origin: tuple[int, int] = (0, 0)) -> Runs:
        """Encode an image, or a part of one.

        Parameters
        ----------
        values : (h, w) unsigned int or bool
        origin : (y, x)
            Where its first pixel lies.
        """
        height, width = values.shape
        flat = np.ascontiguousarray(values).ravel()
        starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        if flat.size:
            starts = np.concatenate(([0], starts))
        packed = np.concatenate((starts.astype("<u4"), flat[starts].astype("<u4")))
        y, x = origin
        box = (y, x, y + height, x + width)
        return cls(box, zlib.compress(packed.tobytes(), _LEVEL), len(starts))

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w) in pixels."""
        y0, x0, y1, x1 = self.box
        return y1 - y0, x1 - x0

    @property
    def nbytes(self) -> int:
        """Memory of the runs, in bytes."""
        return len(self.data)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the part in the whole image."""
        y0, x0, y1, x1 = self.box
        return slice(y0, y1), slice(x0, x1)

    def array(self) -> npt.NDArray[np.uint32]:
        """Decode the part: (h, w) uint32.

        Raises
        ------
        ValueError
            If the bytes are damaged.
        """
        height, width = self.shape
        n = self.n_runs
        try:
            packed = np.frombuffer(zlib.decompress(self.data), "<u4")
        except zlib.error as error:
            raise ValueError(f"The runs of the box {self.box} are damaged: {error}.") from error
        if len(packed) != 2 * n or (n == 0) != (height * width == 0):
            raise ValueError(
                f"The runs of the box {self.box} are damaged: {len(packed)} numbers, not {2 * n}."
            )
        ends = np.append(packed[1:n], height * width)
        lengths = np.diff(ends, prepend=0) if n else ends[:0]
        if n and (packed[0] != 0 or (lengths.astype(np.int64) <= 0).any()):
            raise ValueError(f"The runs of the box {self.box} are damaged: they do not follow.")
        return np.repeat(packed[n:], lengths).astype(np.uint32).reshape(height, width)
