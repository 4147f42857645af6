from __future__ import annotations

import pytest
from qtpy.QtCore import Qt

from napari_eomt.inference.params import PredictParams
from napari_eomt.structures.categories import Category
from napari_eomt.widgets.category_filter import CategoryFilter
from napari_eomt.widgets.params_form import ParamsForm

CATEGORIES = [Category(7, "cat"), Category(3, "dog"), Category(9, "catfish", is_thing=False)]


@pytest.fixture
def button(qtbot):
    button = CategoryFilter()
    qtbot.addWidget(button)
    button.offer(CATEGORIES)
    return button


def test_all_are_kept_to_begin_with(button):
    assert button.chosen() is None
    assert button.text() == "all 3"


def test_what_is_cleared_is_not_kept(button, qtbot):
    with qtbot.waitSignal(button.changed):
        button.list.item(1).setCheckState(Qt.CheckState.Unchecked)
    assert button.chosen() == (7, 9)
    assert button.text() == "2 of 3"
    button.list.item(1).setCheckState(Qt.CheckState.Checked)
    assert button.chosen() is None


def test_all_and_none_are_about_what_is_found(button, qtbot):
    button.search.setText("CAT")
    assert [button.list.item(row).isHidden() for row in range(3)] == [False, True, False]
    with qtbot.waitSignals([button.changed]):
        button.none.click()
    assert button.chosen() == (3,)
    button.search.setText("")
    button.none.click()
    assert button.chosen() == ()
    button.all.click()
    assert button.chosen() is None


def test_the_same_categories_again_change_nothing(button):
    button.list.item(0).setCheckState(Qt.CheckState.Unchecked)
    button.offer(CATEGORIES)
    assert button.chosen() == (3, 9)
    button.offer([*CATEGORIES, Category(1, "owl")])
    assert button.chosen() is None


def test_the_form_shows_it_where_there_is_a_choice(qtbot):
    form = ParamsForm(PredictParams())
    qtbot.addWidget(form)
    form.show()
    form.offer_categories(CATEGORIES[:1])
    assert not form.categories.isVisible()
    form.offer_categories(CATEGORIES)
    assert form.categories.isVisible()
    assert form.params().categories is None
    with qtbot.waitSignal(form.changed):
        form.categories.list.item(2).setCheckState(Qt.CheckState.Unchecked)
    assert form.params().categories == (7, 3)
