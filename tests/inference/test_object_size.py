from __future__ import annotations

import json

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from scipy import ndimage

from napari_eomt.inference.forward import Forward
from napari_eomt.inference.object_size import (
    FIRST_ZOOMS,
    MOST_ZOOMS,
    SIDE,
    iter_measure,
    typical_side,
)
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.predict import predict, propose
from napari_eomt.inference.preprocess import to_rgb8
from napari_eomt.models.load import load_segmenter
from napari_eomt.structures.id_maps import areas
from napari_eomt.structures.segments import Segment
from napari_eomt.synthetic import drawn_nuclei


def measure(image, segmenter, **params):
    steps = iter_measure(as_rgb(image), Forward(segmenter), PredictParams(**params))
    while True:
        try:
            assert next(steps).what == "object size"
        except StopIteration as stop:
            return stop.value


def as_rgb(image):
    return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)


def zoomed(zoom):
    image, truth = drawn_nuclei((150, 150), n=20, seed=7)
    drawn = ndimage.zoom(image, zoom, order=1)
    return drawn, float(np.median(areas(truth)[1:]) ** 0.5) * zoom


@pytest.mark.parametrize("zoom", [0.7, 1, 2, 4])
def test_the_size_of_drawn_nuclei_is_found(nano, zoom):
    image, side = zoomed(zoom)
    assert measure(image, nano) == pytest.approx(side, rel=0.2)


def segments(*sides_and_scores):
    return [
        Segment(i, 0, score, area=side**2)
        for i, (side, score) in enumerate(sides_and_scores, start=1)
    ]


def test_a_typical_side_counts_what_is_sure_and_large():
    assert typical_side(segments((20, 0.9))) == 20
    assert typical_side(segments((30, 0.9), (10, 0.9), (20, 0.9))) == 20
    grain = [(8, 0.55)] * 60
    assert typical_side(segments(*grain, *[(32, 0.98)] * 5)) == 32
    pieces = [(4, 0.9)] * 5
    assert typical_side(segments(*pieces, *[(25, 0.9)] * 4)) == 25
    run_together = [(80, 0.9)]
    assert typical_side(segments(*run_together, *[(20, 0.9)] * 6)) == 20


def test_nothing_has_no_typical_side():
    assert typical_side([]) is None
    assert typical_side([Segment(1, 0, None, area=9)]) is None


def test_objects_of_the_size_the_model_knows_are_looked_at_once(nano):
    image, side = zoomed(1)
    ratio = nano.card.object_size / side
    image = ndimage.zoom(image, ratio, order=1)
    assert looks(image, nano) == [0]
    assert len(looks(ndimage.zoom(image, 4, order=1), nano)) > 1


def test_it_looks_a_few_times_at_most(nano):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200)).astype(np.uint8)
    for image in (noise, np.zeros((90, 70), np.uint8)):
        assert len(looks(image, nano)) <= MOST_ZOOMS


def looks(image, segmenter):
    """Return the numbers of the looks, as progress tells them."""
    steps = iter_measure(as_rgb(image), Forward(segmenter), PredictParams())
    return sorted({step.done for step in steps})


def test_sizes_of_real_nuclei(nano, data_dir):
    """Were every object counted alike, grain would make one of these four times too small."""
    nuclei = data_dir / "dsb2018/val"
    errors = []
    for entry in json.loads((nuclei / "instances.json").read_text())["images"]:
        if entry["type"] == "fluo_large":
            truth = areas(tifffile.imread(nuclei / entry["label_file"]))[1:]
            side = float(np.median(np.sqrt(truth[truth > 0])))
            image = iio.imread(nuclei / entry["file_name"])
            errors.append(
                abs(
                    np.log2((measure(to_rgb8(image, PredictParams(), nano.card), nano) or 1) / side)
                )
            )
    assert len(errors) == 13
    assert max(errors) < 1


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
    seen = round(SIDE * nano.card.input_size / min(FIRST_ZOOMS))
    side = seen + 2 * 160
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
