from __future__ import annotations

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QWidget

from napari_eomt.models.catalog import catalog, entry_card, find_model
from napari_eomt.models.input_size import input_sizes
from napari_eomt.widgets.model_options import ModelOptions, RunChoice
from napari_eomt.worker.messages import ModelRef

LARGE = "eomt-large-coco-panoptic-640"


@pytest.fixture
def options(qtbot):
    widget = QWidget()
    options = ModelOptions(QGridLayout(widget), {}, widget)
    options.show_model(LARGE, entry_card(catalog()[LARGE]))
    qtbot.addWidget(widget)
    widget.show()
    options.widget = widget  # keeps it alive
    options.count = []
    options.changed.connect(lambda: options.count.append(options.ref(LARGE)))
    return options


def pick(options, size):
    options.detail.setCurrentIndex(options.detail.findData(size))
    options.detail.activated.emit(options.detail.currentIndex())


def texts(options):
    return [options.detail.itemText(k) for k in range(options.detail.count())]


def test_sizes_are_offered_with_what_they_cost(options):
    card = entry_card(catalog()[LARGE])
    assert options.detail.currentText() == "640 px (as trained)"
    assert [options.detail.itemData(k) for k in range(options.detail.count() - 1)] == [
        choice.size for choice in input_sizes(card)
    ]
    (small,) = [text for text in texts(options) if text.startswith("480 px")]
    cost = next(choice.cost for choice in input_sizes(card) if choice.size == 480)
    assert small == f"480 px · {cost:.2g}× the time"
    assert 0.3 < cost < 0.8


def test_a_size_goes_into_what_the_worker_gets(options):
    assert options.ref(LARGE) == ModelRef(LARGE)
    pick(options, 480)
    assert options.count == [ModelRef(LARGE, input_size=480)]
    assert options.detail.currentData() == 480
    pick(options, 640)
    assert options.count[1:] == [ModelRef(LARGE)], "as trained is no choice to keep"
    assert options.chosen == {}


def test_typed_sizes_are_checked_at_once(options, qtbot):
    assert options.size.isHidden()
    pick(options, -1)
    assert options.size.isVisible()
    options.size.setValue(650)
    assert "expected a multiple of 16" in options.refusal.text()
    assert options.refusal.isVisible()
    assert options.count == []
    options.size.selectAll()
    qtbot.keyClicks(options.size, "800")
    assert options.count == [], "not while it is being typed"
    qtbot.keyClick(options.size, Qt.Key.Key_Return)
    assert options.count == [ModelRef(LARGE, input_size=800)]
    assert options.refusal.isHidden()
    options.show_model(LARGE, entry_card(catalog()[LARGE]))
    assert options.detail.currentText() == "800 px"


def test_each_model_has_its_own(options):
    pick(options, 960)
    options.compiled.setChecked(True)
    options.show_model("nuclei-nano", find_model("nuclei-nano"))
    assert options.detail.currentText() == "128 px (as trained)"
    assert not options.compiled.isChecked()
    assert options.ref("nuclei-nano") == ModelRef("nuclei-nano")
    options.show_model(LARGE, entry_card(catalog()[LARGE]))
    assert options.detail.currentData() == 960
    assert options.compiled.isChecked()
    assert options.chosen == {LARGE: RunChoice(960, True)}
    options.rename(LARGE, "new")
    assert options.ref("new") == ModelRef("new", input_size=960, compiled=True)


def test_a_remembered_size_that_cannot_be_is_dropped(qtbot):
    widget = QWidget()
    options = ModelOptions(QGridLayout(widget), {"nuclei-nano": RunChoice(100, True)}, widget)
    qtbot.addWidget(widget)
    options.show_model("nuclei-nano", find_model("nuclei-nano"))
    assert options.ref("nuclei-nano") == ModelRef("nuclei-nano", compiled=True)


def test_measured_seconds_stand_beside_their_size(options):
    options.show_seconds(ModelRef(LARGE), 0.8123)
    assert options.detail.currentText() == "640 px (as trained) · 0.81 s a view"
    assert sum("s a view" in text for text in texts(options)) == 1
    pick(options, 480)
    options.show_seconds(ModelRef(LARGE, input_size=480), 0.4)
    assert "0.4 s a view" in options.detail.currentText()
    # On another device it is not known.
    options.device.setCurrentIndex(options.device.findData("cuda"))
    assert not any("s a view" in text for text in texts(options))
