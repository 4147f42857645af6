"""From an image to segments: against transformers' whole pipeline, and against drawn truth."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tests.tiny_models import N_QUERIES, SIZE, save_tiny
from transformers import EomtForUniversalSegmentation
from transformers.models.eomt.image_processing_pil_eomt import EomtImageProcessorPil

from napari_eomt.errors import DataError
from napari_eomt.inference import predict as predict_module
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.plan import make_plan
from napari_eomt.inference.predict import iter_predict, predict
from napari_eomt.inference.progress import Progress
from napari_eomt.models.load import load_segmenter
from napari_eomt.models.segmenter import QueryOutput, Segmenter
from napari_eomt.structures.id_maps import areas
from napari_eomt.synthetic import drawn_nuclei

if TYPE_CHECKING:
    from napari_eomt.structures.tiles import Tile

STUFF = (2, 3)
AS_THEIRS = {"contrast": "none", "tiling": "whole", "overlap": "query_order"}
ODD = [(37, 91), (130, 77), (64, 64), (5, 200), (301, 263)]


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory):
    tasks = ["panoptic", "instance", "semantic"]
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", tasks=tasks, stuff=list(STUFF))


@pytest.fixture(scope="module")
def tiny(tiny_folder):
    return load_segmenter(tiny_folder, "cpu")


def noise(*shape):
    return np.random.default_rng(sum(shape)).integers(0, 256, shape).astype(np.uint8)


def run(steps):
    """Return what a generator returns, and what it yields."""
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as stop:
            return stop.value, seen


# Against transformers' image processor, model and post-processing.


def their_run(folder, image, task, **thresholds):
    """Return transformers' own id map and the segments in it."""
    longest = None if task == "semantic" else SIZE
    processor = EomtImageProcessorPil(
        size={"shortest_edge": SIZE, "longest_edge": longest},
        do_split_image=task == "semantic",
        do_pad=task != "semantic",
    )
    model = EomtForUniversalSegmentation.from_pretrained(folder).eval()
    # A fresh model masks attention, which a trained one has annealed away.
    model.attn_mask_probs.zero_()
    inputs = processor(image, return_tensors="pt", input_data_format="channels_last")
    with torch.inference_mode():
        out = model(**inputs)
    # Ours decides from what it keeps for the thresholds' sliders: mask logits in half precision.
    out.masks_queries_logits = out.masks_queries_logits.half().float()
    shape = [image.shape[:2]]
    if task == "semantic":
        out.patch_offsets = inputs["patch_offsets"]
        labels = processor.post_process_semantic_segmentation(out, shape)[0].numpy()
        return labels + 1, [{"id": int(k) + 1, "label_id": int(k)} for k in np.unique(labels)]
    if task == "panoptic":
        thresholds["stuff_classes"] = list(STUFF)
    post_process = getattr(processor, f"post_process_{task}_segmentation")
    theirs = post_process(out, shape, **thresholds)[0]
    return theirs["segmentation"].numpy().astype(int), theirs["segments_info"]


@pytest.mark.parametrize("shape", ODD)
@pytest.mark.parametrize("task", ["instance", "panoptic", "semantic"])
def test_predict_equals_transformers(tiny, tiny_folder, shape, task):
    image = noise(*shape, 3)
    thresholds = {} if task == "semantic" else {"threshold": 0.5}
    params = {"task": task, "score_threshold": 0.5, **AS_THEIRS}
    if task == "panoptic":
        thresholds["overlap_mask_area_threshold"] = params["overlap_threshold"] = 0.05
    if task == "instance":
        params["overlap_threshold"] = 0.0
    theirs, infos = their_run(tiny_folder, image, task, **thresholds)
    ours = predict(image, tiny, **params)
    visible = [info for info in infos if (theirs == info["id"]).any()]
    assert len(visible) >= 2, "the image says nothing"
    assert len(ours.segments) == len(visible)
    # Ids may be numbered in another order: each segment of theirs is one of ours, pixel for pixel.
    assert np.array_equal(ours.id_map > 0, np.isin(theirs, [info["id"] for info in visible]))
    categories = tiny.card.categories
    for info in visible:
        (i,) = np.unique(ours.id_map[theirs == info["id"]])
        segment = ours.by_id()[i]
        np.testing.assert_array_equal(ours.id_map == i, theirs == info["id"])
        assert segment.category_id == categories[info["label_id"]].id
        assert segment.is_thing == (task != "semantic" and info["label_id"] not in STUFF)
        assert segment.source == tiny.card.name
        if task != "semantic":
            assert segment.score == pytest.approx(info["score"], abs=2e-6)


# Against the definition.


@pytest.mark.parametrize("tiling", ["whole", "tiles"])
@pytest.mark.parametrize("task", ["instance", "panoptic", "semantic"])
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 40), (300, 1), (2, 3), (9, 5, 4), (20, 30, 2), (4 * SIZE + 1, 3)]
)
def test_segments_and_id_map_agree_at_every_size(tiny, shape, task, tiling):
    found = predict(noise(*shape), tiny, task=task, tiling=tiling)
    assert found.shape == shape[:2]
    assert found.id_map.dtype == np.uint16
    ids = [segment.id for segment in found.segments]
    assert ids == list(range(1, len(ids) + 1))
    np.testing.assert_array_equal(np.unique(found.id_map[found.id_map > 0]), ids)
    for segment in found.segments:
        rows, columns = np.nonzero(found.id_map == segment.id)
        assert segment.area == len(rows)
        assert segment.bbox == (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)


@pytest.mark.parametrize(("factor", "n_tiles"), [(4, 1), (4.02, 36)])
def test_images_over_four_inputs_are_tiled(tiny, factor, n_tiles):
    image = noise(round(factor * SIZE), round(factor * SIZE))
    prediction, _ = run(iter_predict(image, tiny, PredictParams(task="instance")))
    assert prediction.n_tiles == n_tiles


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2)])
def test_tiny_images_enlarged_past_a_tile(nano, shape):
    found = predict(noise(*shape), nano, object_size=0.1)
    assert found.shape == shape


class SeesBright(Segmenter):
    """Finds the bright part of what it is shown, with one query."""

    def __init__(self, card):
        super().__init__(card, torch.device("cpu"), torch.float32)

    def forward(self, pixels):
        bright = torch.nn.functional.avg_pool2d(pixels[:, :1], 4) > 0
        class_logits = torch.full((len(pixels), N_QUERIES, len(self.card.categories) + 1), -9.0)
        class_logits[:, 0, 0] = 9.0
        class_logits[:, 1:, -1] = 9.0
        masks = torch.full((len(pixels), N_QUERIES, *bright.shape[-2:]), -9.0)
        masks[:, :1][bright] = 9.0
        return QueryOutput(class_logits, masks)

    def to(self, device, dtype):
        raise AssertionError("memory is enough")


def test_an_object_larger_than_tiles_is_kept_by_its_whole_area(tiny):
    image = np.zeros((SIZE, 4 * SIZE), np.uint8)
    image[16:48, 16:240] = 255
    params = {"task": "instance", "tiling": "tiles", "tile_overlap": 16, "contrast": "none"}
    (segment,) = predict(image, SeesBright(tiny.card), **params).segments
    assert segment.area == pytest.approx(32 * 224, rel=0.05)
    assert segment.area > 3 * 32 * SIZE, "a tile sees all of it"
    for min_area, n in ((segment.area, 1), (segment.area + 1, 0)):
        found = predict(image, SeesBright(tiny.card), **params, min_area=min_area)
        assert len(found.segments) == n


# Nuclei, with the model that comes with the package.


def matched(found, truth):
    """Return how many nuclei have a segment of their own with IoU above 0.5."""
    n_found, n_truth = found.max() + 1, truth.max() + 1
    pairs = np.bincount(
        found.ravel().astype(int) * n_truth + truth.ravel(), minlength=n_found * n_truth
    ).reshape(n_found, n_truth)[1:, 1:]
    union = areas(found)[1:, None] + areas(truth)[None, 1:] - pairs
    return int((pairs / union > 0.5).sum())


def painted_tile_by_tile(image, segmenter, object_size):
    """Segment each tile by itself, and paint one over the other."""
    params = PredictParams(object_size=object_size)
    plan = make_plan(image.shape, segmenter.card, params, object_size)
    painted = np.zeros(image.shape, np.int64)
    for tile in plan.tiles:
        part: Tile = plan.region(tile)
        where = slice(part.y0, part.y1), slice(part.x0, part.x1)
        found = predict(image[where], segmenter, params).id_map.astype(np.int64)
        painted[where][found > 0] = found[found > 0] + painted.max()
    _, ids = np.unique(painted, return_inverse=True)
    return ids.reshape(image.shape)


def test_nuclei_cut_by_seams_are_one_object(nano):
    image, truth = drawn_nuclei((300, 400), n=90, seed=1)
    found = predict(image, nano, object_size=14).id_map
    assert matched(found, truth) >= 88
    assert abs(int(found.max()) - 90) <= 2
    naive = painted_tile_by_tile(image, nano, 14)
    assert naive.max() > found.max() + 5, "the seams cut nothing: the image proves nothing"


def test_how_the_tiles_lie_hardly_matters(nano):
    image, truth = drawn_nuclei((260, 300), n=60, seed=2)
    counts = []
    for overlap in (24, 48, 80):
        found = predict(image, nano, object_size=14, tile_overlap=overlap).id_map
        assert matched(found, truth) >= 58
        counts.append(int(found.max()))
    assert max(counts) - min(counts) <= 1


def test_more_image_around_changes_no_object(nano):
    """A larger image around the same nuclei moves the tiles, not the result."""
    image, truth = drawn_nuclei((160, 200), n=30, seed=4)
    inside = slice(40, 200), slice(70, 270)
    around = np.full((250, 330), int(np.median(image)), np.uint8)
    around[inside] = image
    alone = predict(image, nano, object_size=14).id_map
    within = predict(around, nano, object_size=14).id_map
    assert matched(alone, truth) == matched(within[inside], truth) == 30
    assert within.max() == 30


def test_full_tiles_are_counted(tiny):
    """Random queries claim pixels nearly all: few thresholds leave a tile with room."""
    image = noise(SIZE, 5 * SIZE)
    params = {"task": "instance", "tiling": "tiles", "tile_overlap": 0, "overlap_threshold": 0.0}
    for score_threshold, is_any in ((0.0, True), (1.0, False)):
        prediction, _ = run(
            iter_predict(image, tiny, PredictParams(**params, score_threshold=score_threshold))
        )
        assert prediction.n_tiles == 5
        n_used = [
            len(
                predict(
                    image[:, x : x + SIZE], tiny, **params, score_threshold=score_threshold
                ).segments
            )
            for x in range(0, 5 * SIZE, SIZE)
        ]
        n_full = sum(n > 0.8 * N_QUERIES for n in n_used)
        assert prediction.n_full_tiles == n_full
        assert bool(n_full) == is_any


# Tasks, parameters, progress.


def test_a_task_that_is_not_served_is_an_error(nano):
    with pytest.raises(DataError, match="does not serve the task 'panoptic'; it serves instance"):
        predict(noise(20, 20), nano, task="panoptic")


def test_the_first_task_is_the_default(tiny):
    image = noise(70, 50)
    np.testing.assert_array_equal(
        predict(image, tiny).id_map, predict(image, tiny, task="panoptic").id_map
    )


def test_every_step_is_a_place_to_stop(nano):
    image = drawn_nuclei((200, 260), n=30, seed=5)[0]
    params = PredictParams()
    prediction, steps = run(iter_predict(image, nano, params))
    assert {step.what for step in steps} == {"object size", "tile"}
    tiles = [step for step in steps if step.what == "tile"]
    assert tiles[0] == Progress(0, prediction.n_tiles)
    assert tiles[-1] == Progress(prediction.n_tiles, prediction.n_tiles)
    assert [t.done for t in tiles] == sorted(t.done for t in tiles)
    for n in {0, 1, len(steps) // 2, len(steps) - 1, len(steps)}:
        frame = image.copy()
        released = weakref.ref(frame)
        work = iter_predict(frame, nano, params)
        for _ in range(n):
            next(work)
        work.close()
        del frame
        gc.collect()
        assert released() is None
        with pytest.raises(StopIteration):
            next(work)


def test_proposals_that_take_too_much_are_not_kept(tiny):
    image = noise(100, 300)
    params = PredictParams(task="instance", tiling="tiles")
    kept, _ = run(iter_predict(image, tiny, params))
    assert kept.proposals is not None
    for keep_bytes, is_kept in ((kept.proposals.nbytes, True), (kept.proposals.nbytes - 1, False)):
        again, _ = run(iter_predict(image, tiny, params, keep_bytes=keep_bytes))
        assert (again.proposals is not None) == is_kept
        np.testing.assert_array_equal(again.segmentation.id_map, kept.segmentation.id_map)


def test_what_was_measured_in_another_frame_is_taken(nano, monkeypatch):
    image = drawn_nuclei((150, 150), n=12, seed=5)[0]

    def fail(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr(predict_module, "iter_measure", fail)
    auto, _ = run(iter_predict(image, nano, PredictParams(), object_size=14.0))
    assert auto.object_size == 14.0
    given, _ = run(iter_predict(image, nano, PredictParams(object_size=17), object_size=14.0))
    assert given.object_size == 17
    as_is, _ = run(iter_predict(image, nano, PredictParams(object_size="as_is"), object_size=14.0))
    assert as_is.object_size is None
    assert as_is.proposals.plan.canvas == (150, 150)
