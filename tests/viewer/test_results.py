from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_eomt.structures.axes import AxisRoles
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation
from napari_eomt.viewer.image_source import LayerSource, guess_roles
from napari_eomt.viewer.results import Results


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def results(viewer):
    return Results(viewer)


def create(results, image, key="k", roles=None):
    roles = roles or guess_roles(image)
    return results.create(key, image, roles, LayerSource(image, roles), [Category(1, "cell")])


def fill(result, segment_id=1):
    id_map = np.full(result.document.image_shape, segment_id, np.uint16)
    segment = Segment(segment_id, 1, area=id_map.size, bbox=(0, 0, *id_map.shape))
    result.propose(0, Segmentation(id_map, (segment,)), "Segment")
    result.view.show_table()


def test_a_result_is_found_by_its_image_and_by_its_key(viewer, results):
    one = viewer.add_image(np.zeros((10, 12)), name="one")
    two = viewer.add_image(np.zeros((5, 6)), name="two")
    assert results.find(one, guess_roles(one)) is None
    first, second = create(results, one, "a"), create(results, two, "b")
    assert results.find(one, guess_roles(one)) is first
    assert results.find(two, guess_roles(two)) is second
    assert (results.by_key("a"), results.by_key("b"), results.by_key("c")) == (first, second, None)
    fill(first)
    assert first.view.layer.data.all()
    assert not second.view.layer.data.any()
    second.view.layer.paint((2, 2), 4)
    assert set(second.document.segments(0)) == {4}
    assert set(first.document.segments(0)) == {1}


def test_the_image_stays_selected(viewer, results):
    image = viewer.add_image(np.zeros((10, 12)))
    result = create(results, image)
    assert viewer.layers.selection.active is image
    assert list(viewer.layers) == [image, result.view.layer]


def test_the_latest_of_two_results_is_the_one(viewer, results):
    image = viewer.add_image(np.zeros((10, 12)))
    first, second = create(results, image, "a"), create(results, image, "b")
    assert results.find(image, guess_roles(image)) is second
    viewer.layers.remove(second.view.layer)
    assert results.find(image, guess_roles(image)) is first


def test_axes_taken_otherwise_are_another_result(viewer, results):
    image = viewer.add_image(np.zeros((3, 10, 12)))
    channels = AxisRoles((), 1, 2, 0)
    stack = create(results, image, "a")
    assert results.find(image, channels) is None
    single = create(results, image, "b", channels)
    assert results.find(image, channels) is single
    assert results.find(image, guess_roles(image)) is stack
    assert single.view.layer.data.shape == (10, 12)


def test_renaming_changes_nothing(viewer, results):
    image = viewer.add_image(np.zeros((10, 12)), name="image")
    result = create(results, image)
    image.name, result.view.layer.name = "other", "mine"
    viewer.layers.move(0, 2)
    assert results.find(image, guess_roles(image)) is result
    fill(result)
    assert result.view.layer.name == "mine"
    assert result.view.layer.data.all()


def test_other_data_in_the_layer_ends_the_result(viewer, results):
    image = viewer.add_image(np.zeros((10, 12)))
    result = create(results, image)
    fill(result)
    result.view.layer.data = np.zeros((10, 12), np.uint16)
    assert not result.view.is_intact
    assert results.find(image, guess_roles(image)) is None
    assert results.by_key("k") is None
    again = create(results, image, "new")
    assert results.find(image, guess_roles(image)) is again
    assert not result.view.layer.data.any()


def test_a_deleted_layer_is_forgotten(viewer, results):
    image = viewer.add_image(np.zeros((10, 12)))
    result = create(results, image)
    document = result.document
    layer = result.view.layer
    viewer.layers.remove(layer)
    assert results.find(image, guess_roles(image)) is None
    assert results.by_key("k") is None
    layer.paint((5, 5), 3)
    assert not document.segments(0)
    # The id maps of a large stack are not held on to.
    gone = weakref.ref(document)
    del result, document, layer
    gc.collect()
    assert gone() is None


def test_deleting_other_layers_leaves_it(viewer, results):
    image = viewer.add_image(np.zeros((10, 12)))
    result = create(results, image)
    viewer.layers.remove(viewer.add_labels(np.zeros((10, 12), int)))
    viewer.layers.remove(image)
    assert results.by_key("k") is result
    viewer.layers.clear()
    assert results.by_key("k") is None


def test_a_layer_undeleted_is_the_users(viewer, results):
    """Put back into the viewer it is shown as it was, and is nobody's result."""
    image = viewer.add_image(np.zeros((10, 12)))
    result = create(results, image)
    fill(result)
    layer = viewer.layers.pop(1)
    viewer.add_layer(layer)
    assert results.find(image, guess_roles(image)) is None
    layer.paint((5, 5), 3)
    assert set(result.document.segments(0)) == {1}


def test_closing_leaves_the_layers(viewer, results):
    image = viewer.add_image(np.zeros((10, 12)))
    result = create(results, image)
    results.close()
    result.view.layer.paint((5, 5), 3)
    assert not result.document.segments(0)
    viewer.layers.remove(result.view.layer)
    assert list(viewer.layers) == [image]
