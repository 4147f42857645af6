from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer

from napari_eomt.viewer import sample_data


@pytest.mark.parametrize(
    ("sample", "shape"),
    [
        (sample_data.nuclei_fluorescence, (520, 696)),
        (sample_data.nuclei_fluorescence_large, (520, 696)),
        (sample_data.nuclei_stained, (256, 320, 3)),
        (sample_data.moving_discs, (24, 256, 256)),
    ],
)
def test_sample_becomes_an_image_layer(sample, shape):
    viewer = ViewerModel()
    for layer_data in sample():
        viewer.add_layer(Layer.create(*layer_data))
    (layer,) = viewer.layers
    assert layer._type_string == "image"
    assert layer.data.shape == shape
    assert layer.data.dtype == np.uint8
    assert layer.rgb == (shape[-1] == 3)
    assert np.ptp(layer.data) > 100


def test_every_bundled_image_is_named_in_the_note_on_its_origin():
    note = (sample_data.SAMPLES / "README.md").read_text(encoding="utf-8")
    files = sorted(path.name for path in sample_data.SAMPLES.glob("*.png"))
    assert len(files) == 3
    for name in files:
        assert f"`{name}`" in note
    assert "CC0" in note
