"""Equal videos learn together or check, whatever they are called and however they are stored."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.training.drawn_documents import save_stack
from tests.training.drawn_videos import params, save_ctc, save_model, save_videos

from napari_eomt.formats import copies as copies_module
from napari_eomt.formats.copies import find_shared, join_copies
from napari_eomt.training.opened import open_dataset
from napari_eomt.training.setup import set_up
from napari_eomt.training.video_choice import frame_key, frame_of, video_of
from napari_eomt.training.video_split import frames_apart, split_in_time, split_videos
from napari_eomt.viewer.train_dataset import parts_of
from napari_eomt.viewer.train_videos import open_learn_source


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


def add_copy(folder, video, how=shutil.copy, frames=slice(None)):
    """Add a video that is a copy of another one, or of some frames of it; return its id."""
    path = folder / "annotations.json"
    content = json.loads(path.read_text())
    record = content["videos"][video]
    new = len(content["videos"]) + 1
    names = [f"again{new}/{k}.png" for k in range(len(record["file_names"]))][frames]
    (folder / f"again{new}").mkdir()
    for name, other in zip(names, record["file_names"][frames], strict=True):
        how(folder / other, folder / name)
    content["videos"].append(record | {"id": new, "file_names": names, "length": len(names)})
    content["annotations"] += [
        one
        | {
            "id": 1000 * new + one["id"],
            "video_id": new,
            "segmentations": one["segmentations"][frames],
        }
        for one in content["annotations"]
        if one["video_id"] == record["id"]
    ]
    path.write_text(json.dumps(content))
    return new


def videos_in(setup):
    return [{video_of(key) for key in part} for part in (setup.split.train, setup.split.val)]


def check_apart_in(path, setup):
    """Check that no file that checks is learnt from."""
    files = open_dataset(path).files
    learn, check = ({k: files[k] for k in p} for p in (setup.split.train, setup.split.val))
    assert not find_shared(learn, check).learn


@pytest.mark.parametrize("how", [shutil.copy, os.link, os.symlink])
def test_copies_of_a_video_are_in_its_part(tmp_path, tiny, how):
    path = save_videos(tmp_path / "set", n_videos=2, n_frames=6)
    before = videos_in(set_up(path, params(val_fraction=0.5), tiny, device="cpu"))
    assert sorted(map(len, before)) == [1, 1]
    for video in (0, 1, 0):
        new = add_copy(path, video, how)
        setup = set_up(path, params(val_fraction=0.5), tiny, device="cpu")
        now = videos_in(setup)
        part = next(part for part in before if str(video + 1) in part)
        part.add(str(new))
        assert now == before
        check_apart_in(path, setup)
    assert not [note for note in setup.notes if "left out" in note]


def test_a_video_and_its_copy_alone_are_split_at_the_same_frames(tmp_path, tiny):
    path = save_videos(tmp_path / "set", n_videos=1, n_frames=10)
    alone = set_up(path, params(clip_length=2), tiny, device="cpu")
    add_copy(path, 0)
    both = set_up(path, params(clip_length=2), tiny, device="cpu")
    for one, two in ((alone.split.train, both.split.train), (alone.split.val, both.split.val)):
        assert set(two) == set(one) | {f"2:{frame_of(key)}" for key in one}
    check_apart_in(path, both)
    assert [note for note in both.notes if note.startswith("One video: its first 6 frames learn")]
    source = open_learn_source(path)
    found = parts_of(source.rows, 0.2, {}, gap=2)
    assert found.in_time
    assert found.notes[0] in both.notes


def test_frames_of_a_shorter_copy_are_left_out_of_what_is_learnt(tmp_path, tiny):
    path = save_videos(tmp_path / "set", n_videos=1, n_frames=8)
    add_copy(path, 0, frames=slice(2, 5))
    setup = set_up(path, params(val_fraction=0.3), tiny, device="cpu")
    learn, check = videos_in(setup)
    assert not learn & check
    check_apart_in(path, setup)
    (note,) = [note for note in setup.notes if "left out" in note]
    # Were it the whole one that checks, nothing would be left.
    assert note.startswith("Of 8 images that were to learn 3 are the same as ones that check")
    assert (len(setup.split.train), len(setup.split.val)) == (5, 3)


def test_sequences_of_the_challenge_that_are_equal_are_in_one_part(tmp_path):
    path = save_ctc(tmp_path / "set", n_videos=3)
    shutil.copytree(path / "02", path / "04")
    shutil.copytree(path / "02_GT", path / "04_GT")
    check_rows(path, "02", "04")


def test_documents_of_equal_stacks_are_in_one_part(tmp_path):
    """Also where other frames of them were decided."""
    for k, (name, n) in enumerate((("one", 8), ("two", 6), ("three", 8))):
        save_stack(tmp_path / "set", name, k, n_decided=n)
    save_stack(tmp_path / "set", "again", 1, n_decided=3)
    path = tmp_path / "set"
    assert (path / "two.tif").read_bytes() == (path / "again.tif").read_bytes()
    check_rows(path, "two", "again")


def check_rows(path, one, other):
    """Check that the page shows two videos in one part, and the command puts them there."""
    opened, source = open_dataset(path), open_learn_source(path)
    groups = {entry.key: entry.group for entry in opened.source.entries}
    copies = join_copies(groups, opened.files)
    assert copies[one] == copies[other]
    assert len(set(copies.values())) == len(copies) - 1
    for fraction in (0.2, 0.4, 0.6, 0.8):
        found = parts_of(source.rows, fraction, {})
        split = split_videos(groups, fraction, 3, copies)
        assert {k for k, part in found.of.items() if part == "val"} == set(map(video_of, split.val))
        assert found.of[one] == found.of[other]
        assert set(found.of.values()) == {"train", "val"}
    # One is chosen: the other goes with it, and is left out where it is chosen for the other part.
    assert parts_of(source.rows, 0.4, {other: "val"}).of[one] == "val"
    found = parts_of(source.rows, 0.4, {other: "val", one: "train"})
    assert (found.of[other], found.of[one]) == ("val", "none")
    (note,) = found.notes
    assert "that were to learn 1 is the same as one that checks, left out: " in note


def test_frames_of_a_stack_in_one_file_are_not_told_apart_by_it(tmp_path):
    save_stack(tmp_path / "set", "one", 0)
    assert frames_apart(open_dataset(tmp_path / "set").files) == {}
    path = save_videos(tmp_path / "videos", n_videos=2)
    files = open_dataset(path).files
    assert frames_apart(files) == files


def test_videos_of_other_sizes_are_not_read(tmp_path, monkeypatch):
    path = save_videos(tmp_path / "set", n_videos=3, n_frames=6)
    opened = open_dataset(path)
    firsts = {opened.files[frame_key(k, 0)].stat().st_size for k in (1, 2, 3)}
    assert len(firsts) == 3, "choose drawn videos whose first files differ in size"

    def refuse(*_, **__):
        raise AssertionError("a file is read")

    monkeypatch.setattr(copies_module, "_glance", refuse)
    monkeypatch.setattr(copies_module, "_digest", refuse)
    groups = {entry.key: entry.group for entry in opened.source.entries}
    assert set(join_copies(groups, opened.files).values()) == set(groups.values())


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 12)), min_size=1, max_size=8),
    st.floats(0, 0.95),
    st.integers(1, 4),
)
def test_no_frame_of_equal_videos_is_on_both_sides(drawn, fraction, gap):
    """Of the same content, with other frames of it annotated."""
    groups = {
        frame_key(f"v{k}", t): f"v{k}"
        for k, (_, n_frames) in enumerate(drawn)
        for t in range(n_frames)
    }
    first: dict[int, str] = {}
    copies = {f"v{k}": first.setdefault(content, f"v{k}") for k, (content, _) in enumerate(drawn)}
    split = split_videos(groups, fraction, gap, copies)
    seen = [
        {(copies[video_of(key)], frame_of(key)) for key in part}
        for part in (split.train, split.val)
    ]
    assert not seen[0] & seen[1]
    assert split.train
    if len(first) > 1:
        assert sorted(split.train + split.val) == sorted(groups)
        assert not {v for v, _ in seen[0]} & {v for v, _ in seen[1]}
        assert bool(split.val) == (fraction > 0)
    else:
        found = split_in_time(max(n for _, n in drawn), fraction, gap)
        assert bool(split.val) == (found is not None)


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=8),
    st.lists(st.integers(0, 7), max_size=8),
    st.floats(0.05, 0.95),
)
def test_copies_of_videos_that_come_move_none(lengths, added, fraction):
    videos = {f"v{k}": n for k, n in enumerate(lengths)}
    copies = {video: video for video in videos}

    def split():
        groups = {frame_key(v, t): v for v, n in videos.items() for t in range(n)}
        found = split_videos(groups, fraction, 2, copies)
        return set(found.train), set(found.val)

    before = split()
    for k, which in enumerate(added):
        copies[f"new{k}"] = f"v{which % len(lengths)}"
        videos[f"new{k}"] = videos[copies[f"new{k}"]]
    after = split()
    for old, new in zip(before, after, strict=True):
        assert new == {
            frame_key(v, frame_of(key))
            for key in old
            for v, first in copies.items()
            if first == video_of(key)
        }
