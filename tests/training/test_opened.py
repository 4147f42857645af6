"""COCO panoptic datasets to learn from: what is read, what is refused, and trainings by task."""

import json

import numpy as np
import pytest
from tests.tiny_models import save_tiny
from tests.training.drawn_panoptic import (
    CROWD,
    GLASS,
    MEDIUM,
    SIZE,
    VOID_ROWS,
    drawn_ids,
    pixels_of,
    save_panoptic_set,
)

import napari_eomt as ne
from napari_eomt.errors import DataError
from napari_eomt.formats.coco_panoptic import load_panoptic
from napari_eomt.training.labels import match_categories
from napari_eomt.training.opened import open_dataset
from napari_eomt.training.params import TrainParams
from napari_eomt.training.setup import set_up
from napari_eomt.training.truth import truth_of


@pytest.fixture
def path(tmp_path):
    return save_panoptic_set(tmp_path / "set")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return save_tiny(folder, "eomt", 1, tasks=["panoptic", "instance", "semantic"])


def change(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_the_pngs_are_what_is_learnt(path):
    source = open_dataset(path).source
    assert [c.name for c in source.categories] == ["cell", "glass", "medium"]
    assert [e.name for e in source.entries] == [f"im{k}.png" for k in range(4)]
    labels = match_categories([], source.categories)
    for k, entry in enumerate(source.entries):
        ids = drawn_ids(k)
        np.testing.assert_array_equal(source.frame(entry.key), pixels_of(ids))
        found = source.segmentation(entry.key)
        png_ids = np.zeros(len(found.segments) + 1, np.int64)
        for segment in found.segments:
            png_ids[segment.id] = segment.annotation_id
        np.testing.assert_array_equal(png_ids[found.id_map], ids)
        is_cell = ids % 65_536 == 1001
        for task, regions in (("instance", ()), ("panoptic", (GLASS, MEDIUM))):
            truth = truth_of(found, labels, task)
            np.testing.assert_array_equal(truth.ignore, ids == CROWD)
            learnt = is_cell | np.isin(ids, regions)
            np.testing.assert_array_equal(truth.rows > 0, learnt)
            assert len(truth) == len(np.unique(ids[learnt]))
        semantic = truth_of(found, labels, "semantic")
        by_label = np.append(-1, semantic.labels)[semantic.rows]
        expected = np.select([is_cell, ids == GLASS, ids == MEDIUM], [0, 1, 2], -1)
        np.testing.assert_array_equal(by_label, expected)
        assert not semantic.rows[:VOID_ROWS].any()
        assert found.shape == (SIZE, SIZE)


def test_a_folder_a_path_and_an_open_file_are_the_same(path):
    entries = open_dataset(path).source.entries
    assert open_dataset(path.parent).source.entries == entries
    assert open_dataset(load_panoptic(path)).source.entries == entries
    assert open_dataset(str(path)).path == path


def test_an_image_without_a_png_was_not_annotated(path):
    change(path, lambda content: content["annotations"].pop(1))
    assert [e.key for e in open_dataset(path).source.entries] == ["10", "12", "13"]
    change(path, lambda content: content["annotations"].clear())
    with pytest.raises(DataError, match="no annotated image"):
        open_dataset(load_panoptic(path))


def test_a_png_that_is_not_the_json_s_is_told(path, tiny):
    change(path, lambda content: content["annotations"][0]["segments_info"].pop())
    params = TrainParams(task="panoptic", val_fraction=0)
    with pytest.raises(DataError, match="'segments_info' does not list"):
        set_up(path, params, tiny, device="cpu")


def test_a_file_that_is_two_images_is_refused(path):
    change(path, lambda content: content["images"][2].update(file_name="im0.png"))
    with pytest.raises(DataError, match=r"the first is im0\.png, as the images 10, 12"):
        open_dataset(path)


@pytest.mark.parametrize("task", ["instance", "semantic", "panoptic"])
def test_each_task_is_learnt_and_checked(path, tiny, tmp_path, task):
    run = ne.train(
        path,
        model=tiny,
        out=tmp_path / "run",
        device="cpu",
        task=task,
        steps=3,
        batch_size=2,
        validation_interval=3,
    )
    assert run.status() == "finished"
    checks = [row for row in run.rows() if row["kind"] == "check"]
    metric = {"instance": "ap", "semantic": "miou", "panoptic": "pq"}[task]
    assert len(checks) == 2
    assert all(isinstance(row[metric], float) for row in checks)
    model = ne.load_segmenter(run.model_folder, "cpu")
    assert model.card.tasks[0] == task
    assert [c.name for c in model.card.categories] == ["class 0", "cell", "glass", "medium"]
    assert [c.is_thing for c in model.card.categories] == [True, True, False, False]
    report = ne.evaluate(path, model, task=task)
    assert report.total.n_images == 4
    assert (report.total.pq is None) == (task == "semantic")
