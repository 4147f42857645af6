"""Categories of a dataset and labels of a model."""

from napari_eomt.structures.categories import Category
from napari_eomt.training.labels import listed, match_categories, with_background

MODEL = [
    Category(1, "Nucleus"),
    Category(2, "cell"),
    Category(3, "Cell"),
    Category(4, "sky", is_thing=False),
]


def test_categories_are_found_by_name_and_not_by_id():
    labels = match_categories(
        MODEL, [Category(9, "nucleus "), Category(1, "Cell"), Category(30, "sky", is_thing=False)]
    )
    assert labels.label_of == {9: 0, 1: 2, 30: 3}
    assert labels.categories == tuple(MODEL)
    assert labels.new == ()
    assert labels.notes == ()


def test_new_ones_are_appended_with_a_free_id():
    labels = match_categories(MODEL, [Category(2, "debris"), Category(70, "dust", is_thing=False)])
    assert labels.label_of == {2: 4, 70: 5}
    assert labels.n_known == 4
    assert labels.new == (Category(5, "debris"), Category(70, "dust", is_thing=False))
    assert len({c.id for c in labels.categories}) == 6
    assert "'debris', 'dust'" in labels.notes[-1]


def test_several_of_one_name_are_one_label():
    labels = match_categories([], [Category(1, "a"), Category(2, "A "), Category(3, "b")])
    assert labels.label_of == {1: 0, 2: 0, 3: 1}
    assert any("one label" in note for note in labels.notes)


def test_the_dataset_says_what_is_a_thing():
    labels = match_categories(MODEL, [Category(1, "sky"), Category(2, "cell")])
    assert labels.categories[3] == Category(4, "sky", is_thing=True)
    assert labels.categories[:3] == tuple(MODEL[:3])
    assert any("'sky' is things" in note for note in labels.notes)


def test_what_nobody_has_annotated_may_have_a_label():
    cell = Category(4, "cell")
    labels = with_background(match_categories([Category(9, "sky", False)], [cell]))
    assert [c.name for c in labels.categories] == ["sky", "cell", "background"]
    assert (labels.background, labels.n_known) == (2, 1)
    assert not labels.categories[2].is_thing
    assert len({c.id for c in labels.categories}) == 3
    assert "learnt as 'background'" in labels.notes[-1]
    # A model that has learnt so knows it already.
    again = with_background(match_categories(labels.categories, [cell]))
    assert again.categories == labels.categories
    assert again.background == 2
    assert not again.new
    # Whoever has a category of that name says where it is.
    own = match_categories([], [cell, Category(5, "Background", False)])
    assert with_background(own) is own


def test_many_names_are_cut_short():
    assert listed("abcdefg") == "'a', 'b', 'c', 'd', 'e', 'f', 'g'"
    assert listed("abcdefghij") == "'a', 'b', 'c', 'd', 'e', 'f' and 4 others"
