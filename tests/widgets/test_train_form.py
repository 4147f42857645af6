"""The form of `TrainParams`: all fields, and what the command line gets."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from napari_eomt.cli.options import parse_params
from napari_eomt.models.catalog import find_model
from napari_eomt.training.params import TrainParams, full, lora, quick
from napari_eomt.widgets.train_form import _GROUPS, ELSEWHERE, TrainForm

PRESETS = {"quick": quick(), "lora": lora(), "full": full()}
CHANGES = {
    "task": "semantic",
    "steps": 30,
    "micro_batch": 2,
    "learning_rate": 0.002,
    "gradient_checkpointing": True,
    "frozen_blocks": 3,
    "lora_blocks": 2,
    "object_size": 31.5,
    "scale_jitter": (0.5, 1.5),
    "channels": (2, 1, 0),
    "contrast": "limits",
    "contrast_limits": (0.0, 300.0),
    "tile_overlap": 40,
    "flips": "both",
    "ema_decay": 0.5,
}


@pytest.fixture
def make(qtbot):
    def make(saved=None):
        form = TrainForm(saved or {})
        qtbot.addWidget(form)
        form.show()
        return form

    return make


def as_the_command_reads(form):
    """Read the form's arguments as the command line does."""
    words = form.arguments()
    given = dict(zip(words[::2], words[1::2], strict=True))
    names = {f"--{name.replace('_', '-')}": name for name in TrainParams.model_fields}
    return parse_params(TrainParams, {names[word]: value for word, value in given.items()})


def test_every_field_is_somewhere():
    shown = [name for _, names in _GROUPS for name in names]
    assert len(shown) == len(set(shown))
    assert set(shown) | ELSEWHERE == set(TrainParams.model_fields)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_those_of_the_class(make, preset):
    form = make()
    form.advanced.set_open(True)
    form.presets[preset].click()
    assert form.params() == PRESETS[preset]
    assert as_the_command_reads(form) == PRESETS[preset]
    for name, field in form._fields.items():
        # What is shown is what would be read of it again.
        form._on_field(name)
        assert form.params() == PRESETS[preset], name
        assert field.widget.toolTip()
        assert field.widget.accessibleName()


def test_changes_reach_the_command_and_the_settings(make):
    form = make({"preset": "lora", **CHANGES, "unknown": 3})
    expected = lora(**CHANGES)
    assert form.params() == expected
    assert as_the_command_reads(form) == expected
    assert make(form.values()).params() == expected
    form.advanced.set_open(True)
    assert f"{len(CHANGES)} changed" in form.advanced.head.text()
    for name in form._fields:
        form._on_field(name)  # reads what it shows
    assert form.params() == expected
    # Another preset keeps what was changed by hand.
    form.presets["full"].click()
    assert form.params() == full(**CHANGES)
    form.reset.click()
    assert form.params() == full()


def test_values_that_make_no_sense_any_more_are_left(make):
    assert make({"preset": "quick", "steps": -3}).params() == quick()


def test_a_wrong_value_says_so(make):
    form = make()
    form.advanced.set_open(True)
    field = form._fields["batch_size"]
    field._text.setText("0")
    field._text.editingFinished.emit()
    assert form.problem.isVisible()
    assert "Batch" in form.problem.text()
    with pytest.raises(ValidationError):
        form.arguments()
    field._text.setText("8")
    field._text.editingFinished.emit()
    assert not form.problem.isVisible()


def test_what_learns_is_said_of_the_model(make):
    form = make()
    assert "weights" not in form._costs["quick"].text()
    form.show_model(find_model("nuclei-nano"))
    texts = {name: label.text() for name, label in form._costs.items()}
    assert all(" M weights" in text and " GB" in text for text in texts.values())
    assert texts["full"] != texts["quick"]
