import pytest

from napari_eomt.errors import DataError
from napari_eomt.evaluation.categories import category_map
from napari_eomt.structures.categories import Category


def named(*names, first=1):
    return [Category(k, name) for k, name in enumerate(names, first)]


@pytest.mark.parametrize(
    ("pred", "truth", "expected", "n_notes"),
    [
        (named("a", "b"), named("b", "a", first=5), {1: 6, 2: 5}, 0),
        (named("Traffic_light"), named("traffic light", first=3), {1: 3}, 0),
        (named("a", "b", "c"), named("b"), {2: 1}, 1),
        (named("a"), named("a", "b"), {1: 1}, 1),
        (named("nucleus"), named("cell", first=8), {1: 8}, 1),
        (named("x", "x"), named("x", "x"), {1: 1, 2: 2}, 0),
        ([], named("a"), {}, 1),
    ],
)
def test_names_tell(pred, truth, expected, n_notes):
    notes = []
    assert category_map(pred, truth, notes=notes) == expected
    assert len(notes) == n_notes


def test_no_common_name_is_an_error_unless_categories_are_ignored():
    pred, truth = named("a", "b"), named("c", "d", first=4)
    with pytest.raises(DataError, match="ignore categories"):
        category_map(pred, truth)
    assert category_map(pred, truth, any_category=True) == {1: 4, 2: 4}
