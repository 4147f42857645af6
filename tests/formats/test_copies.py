"""Equal images of a dataset on disk: in one part, and they move nothing when they come."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_eomt.errors import DataError
from napari_eomt.formats import copies as copies_module
from napari_eomt.formats.coco_file import load_coco
from napari_eomt.formats.copies import find_shared, join_copies
from napari_eomt.formats.dataset import load_dataset
from napari_eomt.formats.slices import Slice
from napari_eomt.formats.splits import MANY

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZE = 4
fractions = st.floats(0.05, 0.95)
kinds = st.sampled_from(["file", "hard link", "link"])
images = st.lists(st.tuples(st.integers(0, 7), kinds), min_size=1, max_size=12)


def put(folder: Path, name: str, content: int, kind: str = "file") -> str:
    """Write an image of some content, or link to one; return its name."""
    path, first = folder / "images" / name, folder / "images" / "drawn" / f"{content}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not first.exists():
        first.parent.mkdir(exist_ok=True)
        # Of one size in bytes, so that only what is in them tells them apart.
        Image.fromarray(np.full((SIZE, SIZE), content, np.uint8)).save(first)
    if kind == "file":
        shutil.copy(first, path)
    elif kind == "link":
        path.symlink_to(first)
    else:
        os.link(first, path)
    return name


def record(image_id: int, name: str, **more: object) -> dict:
    return {"id": image_id, "file_name": name, "height": SIZE, "width": SIZE, **more}


def put_all(folder: Path, drawn: list[tuple[int, str]], numbers: Sequence[int]) -> list[dict]:
    """Write images of some contents and kinds, named by these numbers; return their records."""
    return [
        record(k, put(folder, f"im {number}.png", content, kind))
        for k, ((content, kind), number) in enumerate(zip(drawn, numbers, strict=True), start=1)
    ]


def write(folder: Path, records: list[dict], **more: object) -> Path:
    """Write a COCO file, or other images into one that is there; return it."""
    path = folder / "annotations.json"
    content = json.loads(path.read_text()) if path.exists() else {"annotations": []}
    content["categories"] = [{"id": 1, "name": "cell"}]
    path.write_text(json.dumps(content | {"images": records} | more))
    return path


def parts_of(path: Path, key: str = "images") -> dict[str, set[int]]:
    """Return the ids of what is in each part on disk."""
    found = {}
    for part in ("train", "val"):
        file = load_coco(path.with_name(f"{path.stem}_{part}.json"))
        found[part] = {r["id"] for r in getattr(file, key)}
    return found


def split(path: Path, fraction: float) -> dict[str, set[int]]:
    with load_dataset(path) as dataset:
        counts = dataset.save(val_fraction=fraction)
    found = parts_of(path)
    assert counts == {part: len(ids) for part, ids in found.items()}
    return found


@settings(max_examples=25, deadline=None)
@given(images, fractions, st.permutations(range(12)))
def test_no_two_equal_images_are_parted_and_none_is_lost(
    drawn: list[tuple[int, str]], fraction: float, numbers: list[int]
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        records = put_all(folder, drawn, numbers[: len(drawn)])
        found = split(write(folder, records), fraction)
        assert found["train"] | found["val"] == {r["id"] for r in records}
        in_part = {part: {drawn[i - 1][0] for i in ids} for part, ids in found.items()}
        assert not in_part["train"] & in_part["val"]
        assert found["train"]
        assert bool(found["val"]) == (len({content for content, _ in drawn}) > 1)


@settings(max_examples=25, deadline=None)
@given(images, st.lists(st.tuples(st.integers(0, 11), kinds), max_size=6), fractions)
def test_copies_that_come_go_where_their_image_is_and_move_none(
    drawn: list[tuple[int, str]], added: list[tuple[int, str]], fraction: float
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        records = put_all(folder, drawn, range(len(drawn)))
        path = write(folder, records)
        before = split(path, fraction)
        contents = dict(enumerate((content for content, _ in drawn), start=1))
        for k, (which, kind) in enumerate(added):
            contents[100 + k] = drawn[which % len(drawn)][0]
            new = put(folder, f"new {k}.png", contents[100 + k], kind)
            records.append(record(100 + k, new))
        write(folder, records)
        load_dataset(path)  # which makes parts again that are stale
        after = parts_of(path)
        for part, ids in before.items():
            there = {contents[i] for i in ids}
            assert after[part] == {i for i, content in contents.items() if content in there}


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), kinds), min_size=1, max_size=9))
def test_whatever_comes_to_many_moves_none(added: list[tuple[int, str]]) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        records = [record(k + 1, put(folder, f"im {k}.png", k)) for k in range(MANY)]
        path = write(folder, records)
        before = split(path, 0.4)
        for k, (content, kind) in enumerate(added):
            records.append(record(100 + k, put(folder, f"new {k}.png", content, kind)))
        write(folder, records)
        load_dataset(path)
        after = parts_of(path)
        assert all(before[part] <= after[part] for part in before)
        assert sum(map(len, after.values())) == len(records)


def stacks(folder: Path, contents: dict[str, list[int]]) -> Path:
    """Write stacks whose frames are files of their own."""
    records: list[dict] = []
    for stem, frames in contents.items():
        for k, content in enumerate(frames):
            name = put(folder, f"{stem}_{k}.png", content)
            records.append(record(len(records) + 1, name, source={"stem": stem, "frame": k}))
    return write(folder, records)


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.8])
def test_equal_stacks_are_in_one_part(tmp_path: Path, fraction: float) -> None:
    path = stacks(tmp_path, {"a": [1, 2, 3], "b": [1, 2, 3], "c": [4, 5, 6], "d": [1, 2, 3]})
    found = split(path, fraction)
    assert {frozenset(ids) for ids in found.values()} == {
        frozenset({1, 2, 3, 4, 5, 6, 10, 11, 12}),
        frozenset({7, 8, 9}),
    }
    assert load_dataset(path).split_notes == ()


def test_frames_that_stacks_have_in_common_do_not_learn_if_they_check(tmp_path: Path) -> None:
    path = stacks(tmp_path, {"a": [0, 1, 2], "c": [3, 4, 0], "b": [5, 6, 7]})
    with load_dataset(path) as dataset:
        dataset.save(val_fraction=0.3)
        notes = dataset.split_notes
    found = parts_of(path)
    blank = {1, 6}
    in_val = found["val"] & blank
    assert len(in_val) == 1, "choose names of which one of both stacks checks"
    assert found["train"] | found["val"] == set(range(1, 10)) - (blank - in_val)
    (left,) = blank - in_val
    name = load_coco(path).image_by_id[left]["file_name"]
    assert notes == (
        "Of 6 images that were to learn 1 is the same as one that checks, left out: " + name + ".",
    )


def test_equal_videos_are_in_one_part(tmp_path: Path) -> None:
    videos = []
    for k, contents in enumerate(([1, 2], [3, 4], [1, 2], [2, 1])):
        names = [put(tmp_path, f"v{k}/{t}.png", content) for t, content in enumerate(contents)]
        size = {"height": SIZE, "width": SIZE, "length": 2}
        videos.append({"id": k + 1, "file_names": names, **size})
    path = write(tmp_path, [], videos=videos)
    for fraction in (0.2, 0.4, 0.6, 0.8):
        with load_dataset(path) as dataset:
            assert sum(dataset.save(val_fraction=fraction).values()) == 4
        found = parts_of(path, "videos")
        assert any({1, 3} <= ids for ids in found.values())
        assert all(found.values())


def test_files_that_are_not_there_or_not_of_the_dataset_are_no_copies(tmp_path: Path) -> None:
    names = [put(tmp_path, "a.png", 1), put(tmp_path, "b.png", 1), "gone.png", "../out.png"]
    path = write(tmp_path, [record(k, name) for k, name in enumerate(names, start=1)])
    shutil.copy(tmp_path / "images" / "a.png", tmp_path.parent / "out.png")
    found = split(path, 0.5)
    assert found["train"] | found["val"] == {1, 2, 3, 4}
    assert any({1, 2} <= ids for ids in found.values())


def test_what_cannot_be_read_is_told_and_the_dataset_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        tmp_path, [record(k, put(tmp_path, f"{k}.png", k)) for k in (1, 2)], info={"year": 1}
    )

    def refuse(place: Path, n_bytes: int) -> bytes:
        raise PermissionError(13, "Permission denied", str(place))

    monkeypatch.setattr(copies_module, "_glance", refuse)
    refused = pytest.raises(DataError, match=r"1\.png cannot be read \(Permission denied\)")
    with load_dataset(path) as dataset, refused:
        dataset.save(val_fraction=0.5)
    monkeypatch.undo()
    assert load_dataset(path).val_fraction == 0.5
    assert sum(map(len, parts_of(path).values())) == 2


def test_rows_of_files_are_equal_one_by_one(tmp_path: Path) -> None:
    """Also where files are slices of stacks, the same files, or all in one."""
    a, b, c = (tmp_path / f"{name}.tif" for name in "abc")
    tifffile.imwrite(a, np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    shutil.copy(a, b)
    tifffile.imwrite(c, np.ones((3, 8, 8), np.uint8), photometric="minisblack")
    rows = {
        "a": [Slice(a, 0), Slice(a, 1)],
        "b": [b, Slice(b, 1)],
        "b later": [Slice(b, 1), Slice(b, 2)],
        "b turned": [Slice(b, 1), Slice(b, 0)],
        "c": [Slice(c, 0), Slice(c, 1)],
        "video a": [a, a, a],
        "video b": [b, b],
        "both": [a, c],
        "both again": [b, c],
        "other both": [c, a],
    }
    groups = {f"{group} {k}": group for group, places in rows.items() for k in range(len(places))}
    files = {f"{group} {k}": place for group, row in rows.items() for k, place in enumerate(row)}
    own = {group: group for group in rows}
    wanted = {"b": "a", "video b": "video a", "both again": "both"}
    assert join_copies(groups, files) == own | wanted
    del files["b 1"]
    assert join_copies(groups, files) == own | wanted | {"b": "b"}


def test_nothing_is_read_where_no_two_sizes_are_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of long videos that differ in their first frame only that one is looked into."""
    files, read = {}, []
    for video in "abc":
        for t in range(50):
            path = tmp_path / f"{video}{t}"
            path.write_bytes(video.encode() * (1 + t + (100 if video == "c" else 0)))
            files[f"{video}:{t}"] = path
    glance = copies_module._glance

    def told(path: Path, n_bytes: int) -> bytes:
        read.append(path.name)
        return glance(path, n_bytes)

    monkeypatch.setattr(copies_module, "_glance", told)
    groups = {key: key[0] for key in files}
    assert join_copies(groups, files) == {"a": "a", "b": "b", "c": "c"}
    assert read == ["a0", "b0"]
    read.clear()
    left = {key: video for key, video in groups.items() if video != "b"}
    assert join_copies(left, files) == {"a": "a", "c": "c"}
    assert not find_shared({"a": files["a:0"]}, {"c": files["c:0"]}).learn
    assert read == []
