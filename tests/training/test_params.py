"""Parameters: presets, what makes no sense, and what "auto" means."""

import json
import subprocess
import sys

import pytest
from pydantic import ValidationError
from tests.training.images import card, whole_card
from transformers import EomtConfig

from napari_eomt.cli.options import parse_params
from napari_eomt.errors import DataError
from napari_eomt.training.params import TrainParams, full, lora, quick
from napari_eomt.training.resolve import flips, resolve, resolve_for_network, scale_jitter


@pytest.mark.parametrize("preset", [quick, lora, full])
def test_a_preset_is_what_its_name_alone_gives(preset):
    assert preset() == TrainParams(preset=preset.__name__)
    assert preset() == parse_params(TrainParams, {"preset": preset.__name__, "steps": None})
    again = TrainParams.model_validate_json(preset(steps=7).model_dump_json())
    assert again == preset(steps=7)


def test_what_is_given_goes_before_the_preset():
    assert quick().views == "grid"
    assert quick(views="random").views == "random"
    assert not quick().has_color_jitter
    assert quick(hue=0.1).has_color_jitter
    assert full().frozen_blocks == 0
    assert lora(lora_rank=4).lora_rank == 4


def test_every_field_says_what_it_is():
    for name, field in TrainParams.model_fields.items():
        assert field.title, name
        assert field.description, name
        assert field.description.endswith("."), name


def test_every_default_can_be_typed():
    for name, value in full().model_dump().items():
        if value is None:
            continue
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        given = {"preset": "full", name: text}
        assert getattr(parse_params(TrainParams, given), name) == value, name


@pytest.mark.parametrize(
    "wrong",
    [
        {"preset": "slow"},
        {"steps": 0},
        {"steps": "many"},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"layer_decay": 0.0},
        {"layer_decay": 1.1},
        {"learning_rate": float("nan")},
        {"scale_jitter": (2.0, 1.0)},
        {"scale_jitter": (0.0, 1.0)},
        {"object_size": -3.0},
        {"val_fraction": 1.0},
        {"frozen_blocks": -1},
        {"lora_blocks": 0},
        {"percentiles": (99.0, 1.0)},
        {"contrast": "limits"},
        {"channels": (0, 1)},
        {"speed": 3},
    ],
)
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValidationError):
        TrainParams(**wrong)


def test_parameters_do_not_change():
    with pytest.raises(ValidationError):
        quick().steps = 3


def test_prediction_looks_at_images_in_the_same_way():
    look = TrainParams(channels=(2,), contrast="percentile", percentiles=(1, 99), object_size=31.0)
    shown = look.look()
    assert (shown.channels, shown.percentiles, shown.object_size) == ((2,), (1, 99), 31.0)


def test_auto_is_the_published_recipe_where_the_training_is_as_long():
    dinov2 = resolve(full(steps=88_692), whole_card(), 118_287)
    assert (dinov2.learning_rate, dinov2.head_warm_up, dinov2.backbone_warm_up) == (1e-4, 500, 1000)
    dinov3 = resolve(full(steps=88_692), whole_card(architecture="eomt_dinov3"), 118_287)
    assert (dinov3.learning_rate, dinov3.head_warm_up, dinov3.backbone_warm_up) == (
        2e-4,
        2000,
        3000,
    )
    assert dinov2.clip_norm == 0.01
    assert dinov2.layer_decay == 0.8
    assert dinov2.weight_decay == 0.05
    assert scale_jitter(full(), whole_card(input_size=640), (480, 640)) == (0.1, 2.0)
    semantic = whole_card(tasks=("semantic",), input_size=640)
    assert scale_jitter(full(), semantic, (480, 640)) == (0.5, 2.0)
    assert flips(full(), whole_card()) == "horizontal"


def test_auto_of_a_short_training():
    few = resolve(quick(), card(), 10)
    assert (few.steps, few.head_warm_up, few.backbone_warm_up) == (100, 5, 10)
    assert few.validation_interval == 17  # six checks; of presets that take longer, ten
    assert resolve(full(), card(), 10).validation_interval == 10
    assert (few.task, few.metric) == ("instance", "ap")
    assert few.layer_decay == 1.0
    assert resolve(quick(), card(depth=12), 10).layer_decay == 0.8
    assert resolve(quick(layer_decay=0.9), card(), 10).layer_decay == 0.9
    assert [resolve(quick(), card(depth=n), 10).frozen_blocks for n in (6, 12)] == [0, "trunk"]
    assert resolve(quick(frozen_blocks="trunk"), card(depth=6), 10).frozen_blocks == "trunk"
    more = resolve(quick(), card(), 200)
    assert more.steps == 600  # every view twelve times
    assert resolve(quick(), card(), 10**6).steps == 2000
    given = quick(steps=77, head_warm_up=3, learning_rate=0.5, metric="pq", validation_interval=9)
    kept = resolve(given, card(), 10)
    for name in ("steps", "head_warm_up", "learning_rate", "metric", "validation_interval"):
        assert getattr(kept, name) == getattr(given, name)


def test_models_of_tiles_are_turned_and_enlarged_less():
    low, high = scale_jitter(full(), card(), (200, 200))
    assert 0.5 < low < 1 < high < 2
    assert flips(full(), card()) == "rotations"
    assert flips(quick(), card(depth=6)) == "rotations"
    # Of a trunk that is frozen what it makes of a view is kept.
    assert flips(quick(), card(depth=12)) == "none"
    assert flips(quick(frozen_blocks="trunk"), card(depth=6)) == "none"
    for change in ({"hue": 0.1}, {"views": "random"}, {"lora_rank": 4}, {"frozen_blocks": 0}):
        assert flips(quick(**change), card(depth=12)) == "rotations"
    assert flips(quick(flips="both"), card(depth=12)) == "both"
    # A large image is seen tile by tile by every model.
    assert scale_jitter(full(), whole_card(), (4000, 4000)) == (low, high)
    assert scale_jitter(full(scale_jitter=(1, 1)), card(), (200, 200)) == (1, 1)


def test_a_task_that_the_model_does_not_serve():
    with pytest.raises(DataError, match="does not serve"):
        resolve(quick(task="semantic"), card(), 10)


def test_neither_parameters_nor_samples_need_torch():
    code = (
        "import json, sys, napari_eomt.training.params, napari_eomt.training.samples, "
        "napari_eomt.training.feed, napari_eomt.training.split; "
        "print(json.dumps([m for m in ('torch', 'napari', 'qtpy', 'pandas') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_narrow_models_take_larger_steps_in_short_trainings():
    narrow = resolve(full(), card(width=128), 100)
    assert narrow.learning_rate == pytest.approx(8e-4)
    assert resolve(full(), card(width=1024), 100).learning_rate == 1e-4
    assert resolve(full(), card(width=1536), 100).learning_rate == 1e-4
    assert resolve(full(steps=50_000), card(width=128), 100).learning_rate == 1e-4
    assert resolve(full(learning_rate=3e-4), card(width=128), 100).learning_rate == 3e-4


@pytest.mark.parametrize(
    ("size", "patch", "n_upscale", "asked", "expected"),
    [
        (640, 16, 2, "auto", 12_544),
        (1280, 16, 2, "auto", 12_544),
        (512, 16, 2, "auto", 8_192),
        (128, 8, 1, "auto", 2_048),
        (128, 8, 1, 99, 99),
    ],
)
def test_small_masks_are_compared_at_fewer_points(size, patch, n_upscale, asked, expected):
    config = EomtConfig(image_size=size, patch_size=patch, num_upscale_blocks=n_upscale)
    assert resolve_for_network(full(points=asked), config, (0.0,)).points == expected


@pytest.mark.parametrize(
    ("asked", "probabilities", "expected"),
    [
        ("auto", (1.0, 1.0), "anneal"),
        ("auto", (0.0, 0.2), "anneal"),
        ("auto", (0.0, 0.0), "none"),
        ("none", (1.0, 1.0), "none"),
        ("anneal", (0.0, 0.0), "anneal"),
    ],
)
def test_masked_attention_is_for_models_that_are_held_to_it(asked, probabilities, expected):
    params = full(masked_attention=asked)
    assert resolve_for_network(params, EomtConfig(), probabilities).masked_attention == expected
