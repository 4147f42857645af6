"""Arrays through memory files."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

from napari_eomt.worker.arrays import Slots


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        np.arange(24, dtype=">u2").reshape(4, 6)[::-1, ::2],
        np.asfortranarray(np.random.default_rng(0).normal(size=(5, 7))),
        np.zeros((0, 4), np.float32),
        np.ones((3, 3), bool),
        np.array([[1 + 2j]]),
    ],
    ids=["bytes", "strided", "fortran", "empty", "boolean", "complex"],
)
def test_what_comes_out_is_what_went_in(array):
    slots = Slots.create(2)
    slots.write(1, np.full((100, 100), 7.0))  # something larger was there before
    stored = slots.write(1, array)
    read = slots.read(stored)
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype
    assert read.flags.owndata
    assert read.flags.writeable
    slots.close()


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are POSIX")
def test_the_other_side_reads_by_descriptor():
    slots = Slots.create(1)
    other = Slots([os.dup(handle) for handle in slots.handles])
    array = np.arange(10.0)
    for _ in range(2):  # the position in the file is shared
        np.testing.assert_array_equal(other.read(slots.write(0, array)), array)
        np.testing.assert_array_equal(slots.read(other.write(0, array + 1)), array + 1)
    slots.clear(0)
    assert os.fstat(other.handles[0]).st_size == 0
    slots.close()
    with pytest.raises(ValueError, match="closed"):
        slots.write(0, array)
    other.close()
