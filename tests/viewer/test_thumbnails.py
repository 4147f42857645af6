from __future__ import annotations

import numpy as np

from napari_eomt.models.catalog import find_model
from napari_eomt.viewer.thumbnails import COLORS, thumbnail


def test_objects_have_outlines_in_their_colours_and_nothing_else_changes():
    frame = np.tile(np.arange(40, dtype=np.uint8) * 6, (40, 1))
    ids = np.zeros((40, 40), np.uint16)
    ids[5:15, 5:15] = 1
    ids[5:15, 15:25] = 2
    card = find_model("nuclei-nano")
    plain = thumbnail(frame, None, card, 100)
    drawn = thumbnail(frame, ids, card, 100)
    assert plain.shape == (40, 40, 3)
    np.testing.assert_array_equal(drawn[5, 5:15], np.tile(COLORS[1], (10, 1)))
    np.testing.assert_array_equal(drawn[5, 15:25], np.tile(COLORS[2], (10, 1)))
    np.testing.assert_array_equal(drawn[7:13, 7:13], plain[7:13, 7:13])
    np.testing.assert_array_equal(drawn[ids == 0], plain[ids == 0])


def test_large_images_of_any_kind_become_small():
    frame = np.random.default_rng(0).normal(size=(500, 901, 4)).astype(np.float32)
    small = thumbnail(frame, np.ones((500, 901), np.int32), find_model("nuclei-nano"), 300)
    assert max(small.shape[:2]) <= 301
    assert small.dtype == np.uint8
