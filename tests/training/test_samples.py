"""Samples: what the model learns from is what was annotated, the same whoever asks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.training.images import (
    NUCLEUS,
    card,
    nuclei,
    sample_set,
    segments_of,
    still,
    whole_card,
)

from napari_eomt.errors import DataError
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.plan import make_plan
from napari_eomt.inference.preprocess import resize, to_rgb8
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation, Status
from napari_eomt.structures.tiles import Tile
from napari_eomt.training.augment import oriented, restored
from napari_eomt.training.feed import iter_ahead
from napari_eomt.training.image_cache import ReadyImage
from napari_eomt.training.labels import match_categories
from napari_eomt.training.params import full
from napari_eomt.training.samples import make_sample
from napari_eomt.training.truth import truth_of
from napari_eomt.training.views import View, cut_nearest


def same(one, other):
    arrays = ("pixels", "id_map", "labels", "ids", "ignore")
    for name in arrays:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    return (one.key, one.view, one.geometry) == (other.key, other.view, other.geometry)


def epoch(samples, number=0):
    return [samples.sample(number, k) for k in range(len(samples))]


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 1000),
    st.tuples(st.integers(20, 300), st.integers(20, 300)),
    st.sampled_from(["none", "horizontal", "both", "rotations"]),
    st.booleans(),
)
def test_the_tiles_of_a_grid_put_together_are_the_truth(seed, shape, flips, has_crowd):
    rng = np.random.default_rng(seed)
    id_map = np.zeros(shape, np.uint16)
    for i in range(1, 30):
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        id_map[y : y + rng.integers(1, 40), x : x + rng.integers(1, 40)] = i
    segments = segments_of(id_map)
    if has_crowd:
        crowd = segments_of(id_map, is_crowd=True)
        segments = segments[:-1] + crowd[-1:] if len(segments) > 1 else segments
    image = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    params = still(object_size="as_is", flips=flips, contrast="none")
    samples = sample_set({"a": (image, Segmentation(id_map, segments))}, params)
    truth_ids = np.full(shape, -1)
    ignored, seen = np.zeros(shape, bool), np.zeros((*shape, 3), np.uint8)
    for sample in epoch(samples, seed):
        tile = sample.view.tile
        part = np.s_[tile.y0 : tile.y1, tile.x0 : tile.x1]
        turn = sample.view.orientation
        height, width = oriented(np.zeros((tile.height, tile.width)), turn).shape
        ids = np.concatenate(([0], sample.ids))[sample.id_map]
        assert not sample.id_map[height:].any()
        assert not sample.pixels[:, width:].any()
        truth_ids[part] = restored(ids[:height, :width], turn)
        seen[part] = restored(sample.pixels[:height, :width], turn)
        if sample.ignore is not None:
            ignored[part] = restored(sample.ignore[:height, :width], turn)
            assert not sample.ignore[height:].any()
    crowds = [s.id for s in segments if s.is_crowd]
    np.testing.assert_array_equal(ignored, np.isin(id_map, crowds))
    np.testing.assert_array_equal(truth_ids, np.where(ignored, 0, id_map))
    np.testing.assert_array_equal(seen, image)


def test_a_grid_is_what_prediction_cuts():
    images = {"a": nuclei((230, 310), 40), "b": nuclei((90, 100), 8, seed=1)}
    samples = sample_set(images, still())
    found = epoch(samples)
    n_tiles = 0
    for key, (image, segmentation) in images.items():
        size = float(np.median(np.sqrt(np.bincount(segmentation.id_map.ravel())[1:])))
        look = PredictParams()
        plan = make_plan(image.shape, card(), look, size)
        canvas = resize(to_rgb8(image, look, card()), plan.canvas)
        mine = [s for s in found if s.key == key]
        assert {s.view.tile for s in mine} == set(plan.tiles)
        n_tiles += len(plan.tiles)
        for sample in mine:
            tile = sample.view.tile
            expected = canvas[tile.y0 : tile.y1, tile.x0 : tile.x1].astype(int)
            given_pixels = sample.pixels[: tile.height, : tile.width]
            assert np.abs(given_pixels - expected).max() <= 1
    assert len(samples) == n_tiles


def test_a_sample_tells_of_each_object_that_can_be_seen_and_of_no_other():
    other = Category(8, "other")
    image, segmentation = nuclei((300, 300), 60)
    segments = tuple(
        s if s.id % 3 else Segment(s.id, 8, status=Status.DRAWN) for s in segmentation.segments
    )
    images = {"a": (image, Segmentation(segmentation.id_map, segments))}
    samples = sample_set(images, full(), categories=(NUCLEUS, other))
    for sample in epoch(samples):
        n = len(sample.labels)
        assert set(np.unique(sample.id_map)) - {0} == set(range(1, n + 1))
        np.testing.assert_array_equal(sample.labels, (sample.ids % 3 == 0).astype(int))
        view = cut_nearest(segmentation.id_map, sample.view)
        view = oriented(view, sample.view.orientation)
        height, width = view.shape
        ids = np.concatenate(([0], sample.ids))
        np.testing.assert_array_equal(ids[sample.id_map[:height, :width]], view)


def test_the_same_for_any_number_of_threads_and_wherever_one_begins():
    images = {f"{k}": nuclei((150, 170), 15, seed=k) for k in range(4)}
    params = full(seed=3)
    alone = [sample_set(images, params).at(k) for k in range(25)]
    many = sample_set(images, params, cache_bytes=60_000)
    ahead = list(iter_ahead(many.at, range(25), n_threads=4, n_ahead=9))
    later = sample_set(images, params)
    backwards = [later.at(k) for k in reversed(range(25))][::-1]
    for one, two, three in zip(alone, ahead, backwards, strict=True):
        assert same(one, two)
        assert same(one, three)
    other = sample_set(images, full(seed=4))
    assert not all((one.pixels == other.at(k).pixels).all() for k, one in enumerate(alone))


def test_an_epoch_has_every_view_once_in_another_order():
    images = {f"{k}": nuclei((150, 170), 15, seed=k) for k in range(5)}
    samples = sample_set(images, still())
    orders = []
    for number in range(3):
        orders.append([(s.key, s.view) for s in epoch(samples, number)])
    assert orders[0] != orders[1] != orders[2]
    assert set(orders[0]) == set(orders[1]) == set(orders[2])
    assert len(set(orders[0])) == len(samples)
    n = len(samples)
    assert same(samples.at(n + 2), samples.sample(1, 2))


def test_images_are_read_once_an_epoch_though_memory_is_short():
    images = {f"{k}": nuclei((64, 64), 3, seed=k) for k in range(130)}
    one = 64 * 64 * (3 + 2)
    samples = sample_set(images, still(flips="none", object_size=5.0), cache_bytes=64 * one)
    source = samples._source
    assert len(samples) > 3 * len(images)
    source.n_read = 0
    epoch(samples)
    assert source.n_read == len(images)


def test_only_views_that_come_again_have_a_geometry():
    images = {"a": nuclei()}
    fixed = epoch(sample_set(images, still(flips="horizontal")))
    assert all(s.geometry is not None for s in fixed)
    assert len({tuple(s.geometry) for s in fixed}) == len(fixed)
    assert all(s.geometry is None for s in epoch(sample_set(images, full())))
    assert all(s.geometry is None for s in epoch(sample_set(images, still(brightness=0.2))))
    other = sample_set({"a": nuclei(seed=9)}, still()).at(0)
    assert other.content != fixed[0].content


def test_equal_geometry_and_content_are_equal_pixels():
    samples = sample_set({"a": nuclei()}, still(flips="rotations"))
    seen = {}
    for number in range(6):
        for sample in epoch(samples, number):
            name = (sample.content, *sample.geometry)
            if name in seen:
                np.testing.assert_array_equal(seen[name], sample.pixels)
            seen[name] = sample.pixels
    assert len(seen) > 2 * len(samples)


def test_objects_come_at_the_size_that_the_model_knows():
    image, segmentation = nuclei((120, 120), 8)
    large = np.kron(segmentation.id_map, np.ones((5, 5), np.uint16))
    enlarged = np.kron(image, np.ones((5, 5), np.uint8))
    whole = Segmentation(large, segments_of(large))
    samples = sample_set({"a": (enlarged, whole)}, full(scale_jitter=(1, 1), views_per_image=40))
    sides = []
    for sample in epoch(samples):
        tile = sample.view.tile
        inside = oriented(np.ones((tile.height, tile.width)), sample.view.orientation)
        ids = sample.id_map[: inside.shape[0], : inside.shape[1]]
        edge = np.unique(np.concatenate([ids[0], ids[-1], ids[:, 0], ids[:, -1]]))
        areas = np.bincount(ids.ravel())
        sides += [area**0.5 for i, area in enumerate(areas) if i and i not in edge and area]
    assert 18 < np.median(sides) < 22


def test_scale_jitter_of_tiles_is_about_the_object_size():
    image, segmentation = nuclei((400, 400), 60)
    images = {"a": (image, segmentation)}
    samples = sample_set(images, full(scale_jitter=(0.5, 2), views_per_image=300))
    zooms = np.array([s.view.canvas[0] / 400 for s in epoch(samples)])
    centre = 20 / samples.survey.object_size
    assert 0.49 * centre < zooms.min() < 0.6 * centre
    assert 1.7 * centre < zooms.max() < 2.02 * centre
    assert 0.35 < (zooms < centre).mean() < 0.65  # as often half as twice the size


def test_whole_images_are_fitted_and_jittered_as_published():
    images = {"a": nuclei((100, 160), 12)}
    model = whole_card(input_size=96)
    samples = sample_set(images, full(views_per_image=400), model)
    found = epoch(samples)
    scales = np.array([s.view.canvas[1] / 96 for s in found])
    assert 0.09 < scales.min() < 0.2
    assert 1.9 < scales.max() <= 2.0
    # Evenly, but that views without objects were drawn again.
    assert 0.35 < (scales < 1.05).mean() < 0.62
    assert {s.view.orientation for s in found} == {0, 4}
    for sample in found:
        assert sample.pixels.shape == (96, 96, 3)
        height, width = sample.view.canvas
        assert not sample.pixels[min(height, 96) :].any()
        assert not sample.pixels[:, min(width, 96) :].any()
    assert len(sample_set(images, full(), model)) == 1


def test_views_of_nothing_are_rare_where_there_is_something():
    id_map = np.zeros((900, 900), np.uint16)
    id_map[440:460, 100:120] = 1
    images = {"a": (np.full((900, 900), 9, np.uint8), Segmentation(id_map, segments_of(id_map)))}
    samples = sample_set(images, full(views_per_image=200))
    empty = np.mean([not len(s.labels) for s in epoch(samples)])
    assert 0.02 < empty < 0.2
    never = sample_set(images, full(views_per_image=200, empty_views=0))
    assert all(len(s.labels) for s in epoch(never))


def test_an_image_without_objects_is_background():
    empty = np.zeros((100, 120), np.uint16)
    images = {"a": nuclei(), "b": (empty.astype(np.uint8) + 7, Segmentation(empty, ()))}
    for params in (still(), full()):
        samples = sample_set(images, params)
        found = [s for s in epoch(samples) if s.key == "b"]
        assert found
        for sample in found:
            assert len(sample.labels) == 0
            assert sample.ignore is None
            # At the size of the other images' objects.
            zoom = sample.view.canvas[0] / 100 / (20 / samples.survey.object_size)
            assert 0.5 < zoom < 1.7
        assert any("1 of 2 images have no objects" in note for note in samples.notes)


def test_more_objects_than_queries_are_seen_from_nearer_or_ignored():
    image, segmentation = nuclei((300, 300), 90)
    model = card(n_queries=10)
    images = {"a": (image, segmentation)}
    near = epoch(sample_set(images, full(views_per_image=40, scale_jitter=(0.5, 0.5)), model))
    assert all(len(s.labels) <= 10 for s in near)
    assert sum(s.n_surplus for s in near) == 0
    grid = epoch(sample_set(images, still(object_size=40.0), model))
    crowded = [s for s in grid if s.n_surplus]
    assert crowded
    for sample in crowded:
        assert len(sample.labels) == 10
        view = cut_nearest(segmentation.id_map, sample.view)
        height, width = view.shape
        surplus = view[sample.ignore[:height, :width]]
        assert len(np.unique(surplus)) == sample.n_surplus
        assert not sample.id_map[sample.ignore].any()
        # Those that are learnt are the largest.
        areas = np.bincount(view.ravel())
        assert areas[np.unique(surplus)].max() <= areas[sample.ids].min()


def test_more_objects_in_one_spot_than_queries_end_in_some_ignored():
    id_map = np.arange(1, 401, dtype=np.uint16).reshape(20, 20)
    images = {"a": (np.zeros((20, 20), np.uint8), Segmentation(id_map, segments_of(id_map)))}
    for sample in epoch(sample_set(images, full(views_per_image=5), card(n_queries=3))):
        assert len(sample.labels) == 3
        assert sample.n_surplus > 0


def test_crowds_and_proposals_are_ignored_in_views():
    image, segmentation = nuclei((128, 128), 12)
    kinds = [{"is_crowd": True}, {"status": Status.PROPOSED}, {}]
    segments = tuple(
        Segment(s.id, 1, **({"status": Status.ACCEPTED} | kinds[s.id % 3]))
        for s in segmentation.segments
    )
    whole = Segmentation(segmentation.id_map, segments)
    samples = sample_set({"a": (image, whole)}, still(object_size="as_is"))
    (sample,) = epoch(samples)
    ids = segmentation.id_map
    np.testing.assert_array_equal(sample.ignore, (ids > 0) & (ids % 3 != 2))
    np.testing.assert_array_equal(sample.id_map > 0, (ids > 0) & (ids % 3 == 2))
    assert "ignored" in samples.notes[-1]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("n_channels", [0, 1, 2, 3, 4])
def test_images_of_any_kind(dtype, n_channels):
    image, segmentation = nuclei((60, 70), 3)
    image = image > 60 if dtype is bool else image.astype(dtype)
    if n_channels:
        image = np.repeat(image[:, :, None], n_channels, axis=2)
    images = {"a": (image, segmentation), "b": nuclei((200, 90), 9, seed=4)}
    for sample in epoch(sample_set(images, full())):
        assert sample.pixels.dtype == np.uint8
        assert sample.pixels.shape == (128, 128, 3)


def test_what_cannot_be_learnt_is_told():
    image, segmentation = nuclei((60, 70), 3)
    empty = Segmentation(np.zeros((60, 70), np.uint16), ())
    with pytest.raises(DataError, match=r"None of the 1 images .* Annotate some"):
        sample_set({"a": (image, empty)})
    proposed = nuclei((60, 70), 3, status=Status.PROPOSED)
    with pytest.raises(DataError, match="crowds or undecided"):
        sample_set({"a": proposed})
    stuff = Category(1, "nucleus", is_thing=False)
    with pytest.raises(DataError, match="all categories are stuff"):
        sample_set({"a": (image, segmentation)}, categories=(stuff,))
    samples = sample_set({"a": (image[:50], segmentation)}, still())
    with pytest.raises(DataError, match=r"a\.png: the image has 50 × 70 pixels, its annotations"):
        samples.at(0)
    with pytest.raises(DataError, match=r"a\.png: .*empty|a\.png: .*shape"):
        sample_set({"a": (image[None, None], segmentation)}, still()).at(0)
    notes = sample_set(
        {"a": (image, segmentation)}, categories=(NUCLEUS, Category(2, "debris"))
    ).notes
    assert any("has 'debris'" in note for note in notes)


def test_stuff_is_background_where_objects_are_learnt_one_by_one():
    image, segmentation = nuclei((60, 70), 3)
    id_map = np.where(segmentation.id_map == 0, 9, segmentation.id_map).astype(np.uint16)
    segments = (*segmentation.segments, Segment(9, 2, status=Status.DRAWN))
    sky = Category(2, "sky", is_thing=False)
    images = {"a": (image, Segmentation(id_map, segments))}
    samples = sample_set(images, still(), categories=(NUCLEUS, sky))
    assert all(9 not in s.ids for s in epoch(samples))
    assert any("stuff, 'sky', is background" in note for note in samples.notes)
    panoptic = card(tasks=("panoptic",))
    samples = sample_set(images, still(), panoptic, categories=(NUCLEUS, sky))
    assert any(9 in s.ids for s in epoch(samples))


def test_a_view_can_be_made_by_itself():
    image, segmentation = nuclei((128, 128), 12)
    labels = match_categories([], [NUCLEUS])
    truth = truth_of(segmentation, labels, "instance")
    rgb = np.repeat(image[:, :, None], 3, axis=2)
    sample = make_sample(
        ReadyImage.of(rgb, truth), View((128, 128), Tile(0, 0, 128, 128), 1), card()
    )
    np.testing.assert_array_equal(sample.pixels, np.rot90(rgb))
    np.testing.assert_array_equal(
        np.concatenate(([0], sample.ids))[sample.id_map], np.rot90(segmentation.id_map)
    )
