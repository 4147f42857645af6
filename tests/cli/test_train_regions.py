"""Trainings for regions, from instances and from label images with categories."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from tests.cli.drawn_input import SHAPE, Draft, picture, square
from tests.tiny_models import save_tiny
from typer.testing import CliRunner

import napari_eomt as ne
from napari_eomt.cli.main import app
from napari_eomt.training.params import TrainParams
from napari_eomt.training.setup import set_up

TASKS = ["semantic", "panoptic", "instance"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", "eomt", 1, tasks=TASKS)


def train(dataset, tiny, out, *args):
    options = ["--model", tiny, "--out", out, "--device", "cpu", "--batch-size", "2", *args]
    result = CliRunner().invoke(app, ["train", str(dataset), *map(str, options)])
    assert result.exit_code == 0, result.output
    return ne.load_run(out), " ".join(result.stderr.split())


def names(model):
    return [category.name for category in ne.load_segmenter(model, "cpu").card.categories]


def scores(run, name):
    return [row[name] for row in run.rows() if row["kind"] == "check"]


def test_regions_of_instances_leave_the_rest_to_the_background(tmp_path, tiny):
    """A model of one category would find it everywhere: each pixel gets the likeliest one."""
    dataset = Draft(tmp_path / "set", 4).save()
    options = ["--preset", "full", "--learning-rate", "0.001", "--validation-interval", "30"]
    run, said = train(dataset, tiny, tmp_path / "run", *options, "--steps", "30")
    assert "What is not annotated is learnt as 'background'" in said
    assert names(run.model_folder) == ["class 0", "cell", "background"]
    # Annotated are 340 of the 3,072 pixels of an image: what finds them everywhere gets 0.11.
    assert scores(run, "miou")[-1] > 0.2
    # What has learnt goes on with the same labels.
    params = TrainParams(val_fraction=0, task="semantic")
    again = set_up(dataset, params, run.model_folder, device="cpu")
    assert [c.name for c in again.learner.categories] == ["class 0", "cell", "background"]
    assert {2} < set(again.samples.at(0).labels.tolist()) == {1, 2}


def test_objects_and_both_have_no_background(tmp_path, tiny):
    dataset = Draft(tmp_path / "set").save()
    for task in ("instance", "panoptic"):
        run, said = train(dataset, tiny, tmp_path / task, "--steps", "1", "--task", task)
        assert names(run.model_folder) == ["class 0", "cell"]
        assert "'background'" not in said


def test_nothing_annotated_is_no_region_to_learn(tmp_path, tiny):
    draft = Draft(tmp_path / "set")
    draft.content["annotations"].clear()
    args = [draft.save(), "--model", tiny, "--out", tmp_path / "run", "--device", "cpu"]
    result = CliRunner().invoke(app, ["train", *map(str, args)])
    assert result.exit_code == 2
    assert "has an object that can be learnt. Annotate some" in result.stderr


def test_a_category_called_background_is_the_dataset_s_own(tmp_path, tiny):
    draft = Draft(tmp_path / "set")
    draft.content["categories"].append({"id": 2, "name": "background", "isthing": 0})
    for image_id in (1, 2, 3):
        draft.annotate(image_id, [[0, 40, 64, 40, 64, 48, 0, 48]], 2)
    run, said = train(draft.save(), tiny, tmp_path / "run", "--steps", "1")
    assert names(run.model_folder) == ["class 0", "cell", "background"]
    assert "is learnt as" not in said


@pytest.mark.parametrize("task", TASKS)
def test_label_images_with_categories(tmp_path, tiny, task):
    """Images and label images of the same names, a table beside each: converted, then learnt."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    categories = [
        {"id": 4, "name": "cell"},
        {"id": 8, "name": "glass", "isthing": 0},
    ]
    for k in range(3):
        cells = [square(SHAPE, 5 + k, 8, 12), square(SHAPE, 25, 30 + k, 14)]
        ids = np.full(SHAPE, 300, np.uint16)  # every pixel is something
        ids[cells[0]], ids[cells[1]] = 7, 9
        tifffile.imwrite(tmp_path / "images" / f"im{k}.tif", picture(cells, seed=k))
        tifffile.imwrite(tmp_path / "labels" / f"im{k}.tif", ids)
        segments = [{"frame": 0, "id": i, "category_id": 8 if i == 300 else 4} for i in (7, 9, 300)]
        table = {"format": "napari-eomt labels", "version": 1, "segments": segments}
        path = tmp_path / "labels" / f"im{k}.json"
        path.write_text(json.dumps(table | {"categories": categories}))
    json_path = tmp_path / "annotations.json"
    args = ["convert", str(tmp_path / "labels"), "--out", str(json_path)]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0, result.output
    run, said = train(tmp_path, tiny, tmp_path / "run", "--steps", "2", "--task", task)
    assert names(run.model_folder) == ["class 0", "cell", "glass"]
    assert "is learnt as 'background'" not in said
    assert ("stuff, 'glass', is background" in said) == (task == "instance")
    params = TrainParams(val_fraction=0, task=task)
    samples = set_up(json_path, params, tiny, device="cpu").samples
    expected = {"semantic": [1, 2], "panoptic": [1, 1, 2], "instance": [1, 1]}[task]
    assert all(sorted(samples.at(k).labels.tolist()) == expected for k in range(3))
