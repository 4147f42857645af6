from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_eomt.inference.forward import Forward
from napari_eomt.inference.object_size import SIDE, iter_measure
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.predict import predict, propose
from napari_eomt.models.load import load_segmenter
from napari_eomt.structures.id_maps import areas
from napari_eomt.synthetic import drawn_nuclei


@pytest.fixture(scope="module")
def nano():
    return load_segmenter("nuclei-nano", "cpu")


def measure(image, segmenter, **params):
    rgb = np.repeat(image[:, :, None], 3, axis=2)
    steps = iter_measure(rgb, Forward(segmenter), PredictParams(**params))
    while True:
        try:
            assert next(steps).what == "object size"
        except StopIteration as stop:
            return stop.value


def zoomed(zoom):
    image, truth = drawn_nuclei((150, 150), n=20, seed=7)
    drawn = ndimage.zoom(image, zoom, order=1)
    return drawn, float(np.median(areas(truth)[1:]) ** 0.5) * zoom


@pytest.mark.parametrize("zoom", [0.7, 1, 2])
def test_the_size_of_drawn_nuclei_is_found(nano, zoom):
    image, side = zoomed(zoom)
    assert measure(image, nano) == pytest.approx(side, rel=0.2)


def test_thresholds_for_the_result_do_not_change_the_measure(nano):
    image, _ = zoomed(1)
    expected = measure(image, nano)
    assert measure(image, nano, score_threshold=0.95, mask_threshold=0.8, min_area=9000) == expected


def test_nothing_found_is_no_size(nano):
    assert measure(np.zeros((90, 70), np.uint8), nano) is None
    found = propose(np.zeros((90, 70), np.uint8), nano)
    assert found.object_size is None
    assert found.plan.canvas == (90, 70)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 2)])
def test_tiny_images_can_be_measured(nano, shape):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    assert predict(image, nano).shape == shape


def test_only_the_middle_of_a_large_image_is_looked_at(nano):
    """The nuclei in the corner would give a size."""
    size = nano.card.input_size
    side = 2 * SIDE * size + 2 * 160
    image = np.full((side, side), 20, np.uint8)
    image[:150, :150] = zoomed(1)[0]
    assert measure(image, nano) is None
    middle = side // 2
    image[middle - 75 : middle + 75, middle - 75 : middle + 75] = zoomed(1)[0]
    assert measure(image, nano) == pytest.approx(zoomed(1)[1], rel=0.2)


def test_the_size_sets_the_zoom(nano):
    image, side = zoomed(2)
    auto, given = propose(image, nano), propose(image, nano, object_size=side)
    as_is = propose(image, nano, object_size="as_is")
    assert as_is.plan.canvas == image.shape
    assert given.plan.canvas == tuple(round(n * 20 / side) for n in image.shape)
    assert auto.plan.canvas[0] == pytest.approx(given.plan.canvas[0], rel=0.25)
    assert auto.object_size == pytest.approx(side, rel=0.2)
    assert (given.object_size, as_is.object_size) == (side, None)
    whole = propose(image, nano, tiling="whole")
    assert whole.object_size is None
    assert whole.plan.kind == "padded"


def test_a_model_that_was_taught_objects_of_one_size_expects_them(nano, monkeypatch):
    image, side = zoomed(2)
    taught = load_segmenter("nuclei-nano", "cpu")
    taught.card = nano.card.model_copy(update={"typical_size": side})
    monkeypatch.setattr("napari_eomt.inference.predict.iter_measure", None)  # is not called
    expected = predict(image, nano, PredictParams(object_size=side))
    found = predict(image, taught)
    np.testing.assert_array_equal(found.id_map, expected.id_map)
    given = predict(image, taught, PredictParams(object_size=side / 2))
    halved = predict(image, nano, PredictParams(object_size=side / 2))
    np.testing.assert_array_equal(given.id_map, halved.id_map)
