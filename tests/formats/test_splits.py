from hypothesis import given
from hypothesis import strategies as st

from napari_eomt.formats.splits import MANY, group_of, rank_of, split_groups

names = st.text(max_size=6)
singles = st.sets(names, min_size=1, max_size=MANY - 1)
fractions = st.floats(0, 0.99)


def val_of(sizes: dict[str, int], fraction: float) -> set[str]:
    parts = split_groups(sizes, fraction)
    assert list(parts) == list(sizes)
    return {group for group, part in parts.items() if part == "val"}


@given(singles, fractions)
def test_the_fraction_is_met_by_the_first_of_the_order(groups: set[str], fraction: float) -> None:
    val = val_of(dict.fromkeys(groups, 1), fraction)
    n = len(groups)
    if n == 1 or not fraction:
        assert not val
        return
    assert 1 <= len(val) <= n - 1
    assert abs(len(val) - min(max(fraction * n, 1), n - 1)) <= 0.5
    assert val == set(sorted(groups, key=rank_of)[: len(val)])


@given(st.sets(names, min_size=1, max_size=MANY - 2), names, fractions)
def test_an_image_that_comes_moves_at_most_one_other(
    groups: set[str], new: str, fraction: float
) -> None:
    before = val_of(dict.fromkeys(groups - {new}, 1), fraction)
    after = val_of(dict.fromkeys(groups | {new}, 1), fraction)
    assert len(before ^ (after - {new})) <= 1


@given(singles, st.lists(fractions, min_size=2, max_size=2))
def test_a_larger_fraction_takes_images_from_those_that_learn_only(
    groups: set[str], both: list[float]
) -> None:
    small, large = (val_of(dict.fromkeys(groups, 1), fraction) for fraction in sorted(both))
    assert small <= large


@given(st.dictionaries(names, st.integers(1, 60), min_size=1, max_size=MANY - 1), fractions)
def test_stacks_are_whole_and_the_fraction_is_met_where_they_allow(
    sizes: dict[str, int], fraction: float
) -> None:
    val = val_of(sizes, fraction)
    if len(sizes) == 1 or not fraction:
        assert not val
        return
    assert 1 <= len(val) < len(sizes)
    off = fraction * sum(sizes.values()) - sum(sizes[group] for group in val)
    learn = [n for group, n in sizes.items() if group not in val]
    # Too few check: each of the others is too large. Too many: without one they would be too few.
    if off > 0:
        assert off <= min(learn) / 2 or len(learn) == 1
    else:
        assert -off <= max(sizes[group] for group in val) / 2 or len(val) == 1


def image_names(n: int) -> dict[str, int]:
    return {f"image_{k}.png": 1 for k in range(n)}


def test_a_split_of_many_is_near_its_fraction_and_images_that_come_move_none() -> None:
    few, many = val_of(image_names(500), 0.2), val_of(image_names(2000), 0.2)
    assert 0.15 < len(many) / 2000 < 0.25
    assert many & set(image_names(500)) == few
    assert val_of(image_names(MANY), 0.2) == many & set(image_names(MANY))


def test_a_larger_fraction_of_many_takes_images_from_those_that_learn_only() -> None:
    assert val_of(image_names(300), 0.1) < val_of(image_names(300), 0.4)


def test_both_parts_of_many_have_an_image() -> None:
    for k in range(200):
        for fraction in (0.02, 0.98):
            sizes = {f"set {k}, image {i}": 1 for i in range(MANY)}
            assert 0 < len(val_of(sizes, fraction)) < MANY


def test_few_images_are_split_evenly() -> None:
    for n in range(2, 20):
        for k in range(30):
            val = val_of({f"set {k}, image {i}": 1 for i in range(n)}, 0.2)
            assert len(val) == max(1, int(0.2 * n + 0.5))


def test_the_order_depends_on_nothing_but_the_names() -> None:
    # Written down: another version, machine or hash seed must not move an image. The first byte of
    # a name's SHA-256 is 0x3e for "b", 0x61 for "image", 0xae for "nuclei", 0xca for "a".
    assert sorted(["a", "b", "image", "nuclei"], key=rank_of) == ["b", "image", "nuclei", "a"]
    assert rank_of("b") >> 56 == 0x3E
    assert val_of(dict.fromkeys(["a", "nuclei", "image", "b"], 1), 0.5) == {"b", "image"}


def test_frames_of_a_stack_stay_together() -> None:
    stack = [
        {"id": k, "file_name": f"s_t{k:04d}.png", "source": {"stem": "s", "frame": k}}
        for k in range(50)
    ]
    assert {group_of(record) for record in stack} == {"s"}
    assert {group_of({"id": k, "video_id": 3, "file_name": f"{k}.png"}) for k in range(9)} == {
        "video 3"
    }
    assert val_of({"s": 50, "one": 1, "two": 1}, 0.1) == {"one", "two"}
