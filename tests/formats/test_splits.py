import pytest

from napari_eomt.formats.splits import group_of, part_of, split


def images(n: int) -> list[dict]:
    return [{"id": k, "file_name": f"image_{k}.png"} for k in range(n)]


def test_a_split_is_near_its_fraction_and_images_that_come_move_none() -> None:
    few, many = split(images(500), 0.2), split(images(2000), 0.2)
    assert 0.15 < len(many["val"]) / 2000 < 0.25
    assert {r["id"] for r in many["val"] if r["id"] < 500} == {r["id"] for r in few["val"]}
    assert sorted(r["id"] for part in few.values() for r in part) == list(range(500))


def test_a_larger_fraction_takes_images_from_those_that_learn_only() -> None:
    small, large = split(images(300), 0.1), split(images(300), 0.4)
    assert {r["id"] for r in small["val"]} < {r["id"] for r in large["val"]}


def test_the_part_depends_on_nothing_but_the_name() -> None:
    # Written down: another version, machine or hash seed must not move an image. The first byte of
    # a name's SHA-256 is 0x3e for "b", 0x61 for "image", 0xae for "nuclei", 0xca for "a".
    assert [part_of(name, 0.3) for name in ("b", "image", "nuclei", "a")] == [
        "val", "train", "train", "train",
    ]  # fmt: skip
    assert [part_of(name, 0.7) for name in ("b", "image", "nuclei", "a")] == [
        "val", "val", "val", "train",
    ]  # fmt: skip


def test_frames_of_a_stack_stay_together() -> None:
    stack = [
        {"id": k, "file_name": f"s_t{k:04d}.png", "source": {"stem": "s", "frame": k}}
        for k in range(50)
    ]
    assert sorted(len(part) for part in split(stack, 0.5).values()) == [0, 50]
    assert {group_of({"id": k, "video_id": 3, "file_name": f"{k}.png"}) for k in range(9)} == {
        "video 3"
    }


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 2, float("nan")])
def test_a_fraction_that_is_none_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        split(images(3), fraction)
