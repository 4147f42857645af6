"""What the form of a prediction's parameters shows of a model, and gives back."""

from __future__ import annotations

import pytest
from tests.tiny_models import save_tiny

from napari_eomt.inference.params import PredictParams
from napari_eomt.models.card import MOST_LOOKS, read_card
from napari_eomt.widgets.params_form import ParamsForm


@pytest.fixture
def form(qtbot):
    form = ParamsForm(PredictParams())
    qtbot.addWidget(form)
    return form


def test_looks_are_the_models_until_somebody_sets_them(form, tmp_path, qtbot):
    form.offer_looks(read_card(save_tiny(tmp_path / "m", looks=4)))
    assert form.looks.text() == "auto: 4"
    assert form.params().looks is None
    with qtbot.waitSignal(form.changed):
        form.looks.setValue(2)
    assert form.params().looks == 2
    assert form.looks.text() == "2"
    form.offer_looks(read_card(save_tiny(tmp_path / "other")))
    assert form.params().looks == 2, "another model changes nothing that somebody has set"
    form.looks.setValue(99)
    assert form.params().looks == MOST_LOOKS


def test_a_model_of_videos_offers_no_looks(form, tmp_path):
    form.offer_looks(read_card(save_tiny(tmp_path / "video", "videomt")))
    assert not form.looks.isEnabled()
    assert form.looks.text() == "auto: 1"
    assert "from frame to frame" in form.looks.toolTip()
    form.offer_looks(read_card(save_tiny(tmp_path / "image")))
    assert form.looks.isEnabled()
    assert "test-time augmentation" in form.looks.toolTip()


@pytest.mark.parametrize("looks", [None, 1, 5])
def test_a_form_begins_with_what_was_remembered(qtbot, looks):
    form = ParamsForm(PredictParams(looks=looks))
    qtbot.addWidget(form)
    assert form.params().looks == looks
