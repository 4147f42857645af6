"""Which images learn and which check."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_eomt.errors import DataError
from napari_eomt.formats.splits import split_groups
from napari_eomt.training.split import split_images

names = st.text(max_size=8)


def own(*keys):
    return {key: key for key in keys}


@given(
    st.dictionaries(names, names, min_size=1, max_size=12),
    st.floats(0, 0.99),
    st.dictionaries(names, st.sampled_from(["train", "val", "none"]), max_size=3),
)
def test_no_stack_is_on_both_sides(groups, fraction, choices):
    try:
        split = split_images(groups, fraction, choices)
    except DataError:
        chosen = {choices[key] for key in groups if key in choices}
        assert chosen & {"val", "none"}  # never without a choice
        return
    used = [key for key in groups if choices.get(key) != "none"]
    assert sorted(split.train + split.val) == sorted(used)
    assert not {groups[k] for k in split.train} & {groups[k] for k in split.val}
    assert split.train
    n_groups = len({groups[key] for key in used})
    if fraction > 0 and not choices:
        assert bool(split.val) == (n_groups > 1) == (not split.notes)
    for key, choice in choices.items():
        if key in groups and choice != "none":
            assert key in getattr(split, choice)


def test_the_split_is_that_of_the_dataset_on_disk():
    groups = own(*(f"image {k}" for k in range(200)))
    split = split_images(groups, 0.2)
    parts = split_groups(dict.fromkeys(groups, 1), 0.2)
    assert set(split.val) == {k for k in groups if parts[k] == "val"}
    assert 20 < len(split.val) < 60


@pytest.mark.parametrize("n", range(2, 20))
def test_few_images_are_split_in_proportion(n):
    for k in range(20):
        split = split_images(own(*(f"set {k}, {i}.tif" for i in range(n))), 0.2)
        assert len(split.val) == max(1, int(0.2 * n + 0.5))


def test_an_image_that_comes_to_many_moves_no_other():
    before = split_images(own(*(f"image {k}" for k in range(50))), 0.3)
    after = split_images(own(*(f"image {k}" for k in range(60))), 0.3)
    assert set(before.val) <= set(after.val)
    assert set(before.train) <= set(after.train)


def test_what_is_left_out_does_not_count():
    groups = own(*map(str, range(18)))
    split = split_images(groups, 0.5, {str(k): "none" for k in range(8)})
    assert (len(split.train), len(split.val)) == (5, 5)


def test_what_is_chosen_for_one_image_moves_no_other():
    groups = own(*map(str, range(10)))
    before = split_images(groups, 0.3)
    for key in before.train:
        assert split_images(groups, 0.3, {key: "val"}).train == tuple(
            k for k in before.train if k != key
        )


def test_a_row_that_stands_for_many_images_weighs_as_many():
    sizes = {"stack": 60, "a": 1, "b": 1, "c": 1}
    groups = own(*sizes)
    assert "stack" in split_images(groups, 0.1, sizes=sizes).train
    frames = {f"{group} {k}": group for group, n in sizes.items() for k in range(n)}
    whole = split_images(frames, 0.1)
    assert {frames[k] for k in whole.val} == set(split_images(groups, 0.1, sizes=sizes).val)


@pytest.mark.parametrize("fraction", [0.001, 0.2, 0.5, 0.99])
def test_two_images_are_one_for_each(fraction):
    for k in range(20):
        split = split_images(own(f"a {k}", f"b {k}"), fraction)
        assert (len(split.train), len(split.val)) == (1, 1)
        assert not split.notes


def test_a_single_image_learns_and_the_user_is_told():
    for name in map(str, range(10)):
        split = split_images(own(name), 0.9)
        assert split.train == (name,)
        assert not split.val
        assert "One image" in split.notes[0]


def test_a_single_stack_learns_and_the_user_is_told():
    split = split_images({f"t {t}": "stack" for t in range(5)}, 0.5)
    assert len(split.train) == 5
    assert "one stack" in split.notes[0]


def test_a_choice_for_a_frame_is_for_its_stack():
    groups = {"t 0": "stack", "t 1": "stack", "other": "other"}
    split = split_images(groups, 0.5, {"t 0": "val"})
    assert split.val == ("t 0", "t 1")
    assert split.train == ("other",)
    split = split_images(groups, 0.5, {"t 0": "train", "other": "train", "t 1": "none"})
    assert split.train == ("t 0", "other")
    assert "chosen to learn" in split.notes[0]


def test_what_cannot_be():
    with pytest.raises(DataError, match="no images"):
        split_images({}, 0.2)
    with pytest.raises(DataError, match="No image is left"):
        split_images(own("a"), 0.2, {"a": "none"})
    with pytest.raises(DataError, match="No image is left"):
        split_images(own("a", "b"), 0.2, {"a": "val", "b": "val"})
    with pytest.raises(DataError, match="nearly the same"):
        split_images({"t 0": "s", "t 1": "s"}, 0.2, {"t 0": "val", "t 1": "train"})


def test_nothing_checks_if_that_is_wanted():
    split = split_images(own(*map(str, range(30))), 0)
    assert len(split.train) == 30
    assert not split.notes
    assert split_images(own("a", "b"), 0, {"a": "val"}).val == ("a",)


def test_keys_stay_in_their_order():
    keys = [str(k) for k in np.random.default_rng(0).permutation(40)]
    split = split_images(own(*keys), 0.4)
    assert list(split.train) == [k for k in keys if k in split.train]
    assert list(split.val) == [k for k in keys if k in split.val]


def test_copies_of_one_image_all_learn_and_it_is_said_why():
    groups = own("a", "b", "c")
    split = split_images(groups, 0.5, copies={"b": "a", "c": "a"})
    assert (split.train, split.val) == (("a", "b", "c"), ())
    assert split.notes[0].startswith("All 3 images are equal: none is left to check")
    with pytest.raises(DataError, match="chosen to learn, and others to check"):
        split_images(groups, 0.5, {"a": "train", "b": "val"}, copies={"b": "a"})
    # What is left out counts no more, and its copies go where they went.
    left = split_images(own("a", "b", "c"), 0.5, {"a": "none"}, copies={"b": "a"})
    assert sorted(left.train + left.val) == ["b", "c"]
    assert left.train
    assert left.val
