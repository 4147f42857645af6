"""What is said of the model that has learnt."""

import os

import pytest
import torch
from tests.training.images import card

from napari_eomt.models.transformers_folder import save_tensors
from napari_eomt.training.params import TrainParams
from napari_eomt.training.result import result_sidecar
from napari_eomt.training.start import Learner
from napari_eomt.training.survey import Survey


def sidecar(sizes, *, model=None, **given):
    known = [size for size in sizes if size]
    median = sorted(known)[len(known) // 2] if known else None
    by_key = {str(k): size for k, size in enumerate(sizes)}
    survey = Survey(len(sizes), (9,), by_key, median, 0, 0)
    known_card = model or card()
    learner = Learner(None, known_card, known_card.categories, {}, has_lora=False)
    params = TrainParams(**{"task": "instance"} | given)
    return result_sidecar(learner, params, survey, name="run", keys=list(by_key))


@pytest.mark.parametrize(
    ("sizes", "given", "expected"),
    [
        ((21.0, 22.0, 30.0), {}, 22.0),
        ((21.0, None, 22.0), {}, 22.0),
        ((12.0, 22.0, 30.0), {}, None),  # of the model's size in no one zoom
        ((None,), {}, None),
        ((12.0, 22.0, 30.0), {"object_size": 15.0}, 15.0),
    ],
)
def test_objects_of_one_size_are_expected_again(sizes, given, expected):
    said = sidecar(sizes, **given)
    assert said.typical_size == expected
    assert said.object_size == 20  # of the input, as before


def test_images_taken_as_they_are_set_both_sizes():
    said = sidecar((30.0, 33.0, 90.0), object_size="as_is")
    assert (said.typical_size, said.object_size) == (33.0, 33.0)


def test_whole_images_have_no_object_size():
    said = sidecar((30.0,), model=card(object_size=None), tiling="whole")
    assert (said.typical_size, said.object_size) == (None, None)


def test_what_was_expected_before_is_forgotten():
    said = sidecar((10.0, 40.0), model=card(typical_size=20.0))
    assert said.typical_size is None


def test_it_is_said_how_many_images_or_videos_were_learnt():
    assert "Learnt from 2 images" in sidecar((10.0, 40.0)).description
    survey = Survey(3, (9,), {}, None, 0, 0)
    learner = Learner(None, card(), card().categories, {}, has_lora=False)
    keys = ["a:0", "a:1", "b:0"]
    params = TrainParams(task="instance")
    said = result_sidecar(learner, params, survey, name="run", keys=keys)
    assert "Learnt from 2 videos" in said.description


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
@pytest.mark.parametrize("mode", [0o755, 0o775, 0o700])
def test_who_may_read_the_folder_may_read_the_weights(tmp_path, mode):
    tmp_path.chmod(mode)
    save_tensors({"a": torch.zeros(2)}, tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == mode & 0o666
