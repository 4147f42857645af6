from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_eomt.errors import DataError
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.plan import LARGE, MAX_CANVAS, is_tiled, make_plan, task_of
from napari_eomt.models.card import ModelCard
from napari_eomt.structures.categories import Category
from napari_eomt.structures.tiles import Tile

SIZE = 64


def make_card(object_size=None, tasks=("instance", "panoptic"), tile_overlap=16):
    return ModelCard(
        name="m",
        folder=Path("m"),
        architecture="eomt",
        title="m",
        description="",
        licence="",
        tasks=tasks,
        categories=(Category(1, "thing"),),
        input_size=SIZE,
        patch_size=16,
        n_queries=10,
        image_mean=(0.485, 0.456, 0.406),
        image_std=(0.229, 0.224, 0.225),
        object_size=object_size,
        percentiles=None,
        tile_overlap=tile_overlap,
        n_parameters=1,
        n_bytes=4,
    )


def plan(shape, object_size=None, card=None, **params):
    return make_plan(shape, card or make_card(), PredictParams(**params), object_size)


def test_the_task_is_the_one_asked_for_else_the_models_first():
    assert task_of(PredictParams(), make_card()) == "instance"
    assert task_of(PredictParams(task="panoptic"), make_card()) == "panoptic"
    with pytest.raises(DataError, match="'semantic'; it serves instance, panoptic"):
        task_of(PredictParams(task="semantic"), make_card())


@pytest.mark.parametrize(
    ("shape", "object_size", "tiling", "expected"),
    [
        ((LARGE * SIZE, 10), None, "auto", False),
        ((10, LARGE * SIZE + 1), None, "auto", True),
        ((10, 10), 20.0, "auto", True),  # the model knows one size of objects
        ((10, 10), None, "tiles", True),
        ((10, 9000), 20.0, "whole", False),
    ],
)
def test_what_is_tiled(shape, object_size, tiling, expected):
    assert is_tiled(shape, make_card(object_size), PredictParams(tiling=tiling)) == expected


@pytest.mark.parametrize("shape", [(1, 1), (30, 40), (200, 10), (256, 256)])
def test_a_whole_image_is_one_padded_view(shape):
    found = plan(shape)
    (tile,) = found.tiles
    assert found.kind == "padded"
    assert tile == Tile(0, 0, *found.canvas)
    assert max(found.canvas) <= SIZE
    assert found.region(tile) == Tile(0, 0, *shape)


def test_semantic_models_look_through_windows():
    card = make_card(tasks=("panoptic", "semantic"))
    found = plan((50, 120), card=card, task="semantic")
    assert found.kind == "windows"
    assert found.canvas == (SIZE, 153)
    assert len(found.tiles) == 3
    assert plan((50, 120), card=card).kind == "padded"
    # Without a short side of the input's size there are no such windows.
    assert plan((50, 120), card=card, task="semantic", tiling="tiles").kind == "tiles"


@pytest.mark.parametrize(("object_size", "zoom"), [(20.0, 1), (10.0, 2), (50.0, 0.4), (None, 1)])
def test_objects_are_brought_to_the_size_that_the_model_knows(object_size, zoom):
    found = plan((100, 250), object_size, make_card(20.0))
    assert found.canvas == (100 * zoom, 250 * zoom)


def test_a_model_that_knows_no_object_size_is_not_zoomed():
    assert plan((100, 900), 5.0).canvas == (100, 900)


@pytest.mark.parametrize("given", [None, 0, 40])
def test_tiles_overlap_as_given_else_as_the_model_says(given):
    found = plan((SIZE, 1000), tile_overlap=given)
    starts = [tile.x0 for tile in found.tiles]
    assert SIZE - np.diff(starts).max() >= (16 if given is None else given)
    assert {tile.width for tile in found.tiles} == {SIZE}


@pytest.mark.parametrize("zoom_to", [3.0, 7.7, 20.0, 33.0, 400.0])
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (1, 333), (90, 7), (131, 77)])
def test_regions_cover_the_image_and_are_never_empty(shape, zoom_to):
    found = plan(shape, zoom_to, make_card(20.0))
    seen = np.zeros(shape, bool)
    for tile in found.tiles:
        region = found.region(tile)
        assert 0 <= region.y0 < region.y1 <= shape[0]
        assert 0 <= region.x0 < region.x1 <= shape[1]
        seen[region.y0 : region.y1, region.x0 : region.x1] = True
    assert seen.all()


def test_an_overlap_as_large_as_a_tile_is_refused():
    with pytest.raises(DataError, match=r"Tiles of 64 px cannot overlap by 64 px"):
        plan((100, 900), tile_overlap=SIZE)


def test_an_image_is_not_enlarged_past_what_indices_hold():
    side = round(MAX_CANVAS**0.5 / 20) + 1
    with pytest.raises(DataError, match="Give a larger object size"):
        plan((side, side), 1.0, make_card(20.0))
