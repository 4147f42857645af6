"""Images that are there twice: none learns and checks."""

import json
import os
import shutil

import numpy as np
import pytest
from tests.training.drawn import params, save_model, save_nuclei
from tests.training.drawn_panoptic import save_panoptic_set

from napari_eomt.errors import DataError
from napari_eomt.formats.copies import find_shared, join_copies
from napari_eomt.training.copies import check_apart
from napari_eomt.training.setup import set_up


def written(folder, contents):
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {path.name: path for path in sorted(folder.iterdir())}


def test_files_that_differ_anywhere_are_apart(tmp_path):
    """At their ends, where nothing but the whole file tells it, and of one size."""
    noise = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8).tobytes()
    learn = written(tmp_path / "learn", {"a": noise, "b": b"", "c": b"short"})
    other = {"a": b"\0" + noise[1:], "d": noise[:-1] + b"\0", "e": noise[:150_000] + bytes(150_000)}
    check = written(tmp_path / "check", other | {"f": b"shore"})
    check_apart(learn, check, tmp_path)
    both = {f"learn {k}": p for k, p in learn.items()} | {f"check {k}": p for k, p in check.items()}
    own = {key: key for key in both}
    assert join_copies(own, both) == own


def test_a_copy_a_link_and_the_file_itself_are_the_same(tmp_path):
    names = ("a", "b", "c", "d", "e")
    learn = written(tmp_path / "learn", {name: name.encode() * 200_000 for name in names})
    check = written(tmp_path / "check", {"mine": b"m" * 200_000, "other": b"z"})
    shutil.copy(learn["a"], tmp_path / "check" / "copy")
    os.link(learn["b"], tmp_path / "check" / "hard")
    (tmp_path / "check" / "soft").symlink_to(learn["c"])
    check = {path.name: path for path in sorted((tmp_path / "check").iterdir())}
    check["itself"] = learn["d"]
    with pytest.raises(DataError) as caught:
        check_apart(learn, check, tmp_path / "check.json")
    words = str(caught.value)
    assert words.startswith("4 of the 6 images that check are learnt from as well: ")
    shown = [
        (tmp_path / "check" / n, learn[p]) for n, p in (("copy", "a"), ("hard", "b"), ("soft", "c"))
    ]
    assert ", ".join(f"{one} is {other}" for one, other in shown) + ", and 1 more" in words
    assert f"with --leave-out-copies, or take them out of {tmp_path / 'check.json'}" in words
    shared = find_shared(learn, check)
    assert shared.learn == {"a": "copy", "b": "hard", "c": "soft", "d": "itself"}
    assert shared.check == {other: key for key, other in shared.learn.items()}
    assert shared.left_of(("a", "e", "b")) == ("e",)
    with pytest.raises(DataError, match="All 2 images that learn check as well"):
        shared.left_of(("a", "b"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


def test_images_that_are_learnt_from_do_not_check(tmp_path, tiny):
    """In another JSON beside it, and as copies of other names, also of another kind of dataset."""
    dataset = save_nuclei(tmp_path / "set")
    path = dataset / "annotations.json"
    content = json.loads(path.read_text())
    content["images"] = content["images"][1:3]
    ids = {record["id"] for record in content["images"]}
    content["annotations"] = [r for r in content["annotations"] if r["image_id"] in ids]
    (dataset / "check.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"^2 of the 2 images that check are learnt from as well"):
        set_up(dataset, params(), tiny, device="cpu", val_dataset=dataset / "check.json")
    check = save_nuclei(tmp_path / "check", n_images=3, first_seed=3)
    with pytest.raises(DataError, match=r"1 of the 3 .*check/images/drawn3\.png is .*drawn3\.png"):
        set_up(dataset, params(), tiny, device="cpu", val_dataset=check)
    panoptic = save_panoptic_set(tmp_path / "panoptic")
    shutil.copy(dataset / "images" / "drawn0.png", panoptic.parent / "images" / "im2.png")
    content = json.loads(panoptic.read_text())
    content["images"][2].update(height=96, width=96)
    panoptic.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"1 of the 4 .*im2\.png is .*drawn0\.png"):
        set_up(dataset, params(), tiny, device="cpu", val_dataset=panoptic)
    # Whoever wants that leaves them out of what is learnt, and is told of it.
    setup = set_up(dataset, params(), tiny, device="cpu", val_dataset=check, leave_out_copies=True)
    assert [setup.split.names[key] for key in setup.split.train] == [
        f"drawn{k}.png" for k in range(3)
    ]
    assert len(setup.split.val) == 3
    (note,) = [note for note in setup.notes if "left out" in note]
    assert note.startswith("Of 4 images that were to learn 1 is the same as one that checks")
    whole = shutil.copytree(dataset, tmp_path / "whole")
    with pytest.raises(DataError, match="All 4 images that learn check as well"):
        set_up(dataset, params(), tiny, device="cpu", val_dataset=whole, leave_out_copies=True)


def add_copies(dataset, n):
    """Add to a dataset images that are copies of its own, as somebody has annotated them."""
    path = dataset / "annotations.json"
    content = json.loads(path.read_text())
    for record in content["images"][:n]:
        name = f"copy of {record['file_name']}"
        shutil.copy(dataset / "images" / record["file_name"], dataset / "images" / name)
        image_id = 100 + record["id"]
        copy = record | {"id": image_id, "file_name": name}
        copy.pop("source", None)  # by which both would be of one stack
        content["images"].append(copy)
        content["annotations"] += [
            one | {"id": 1000 + one["id"], "image_id": image_id}
            for one in content["annotations"]
            if one["image_id"] == record["id"]
        ]
    path.write_text(json.dumps(content))


def test_copies_in_a_dataset_learn_together_or_check(tmp_path, tiny):
    dataset = save_nuclei(tmp_path / "set", n_images=4)
    add_copies(dataset, 4)
    setup = set_up(dataset, params(val_fraction=0.5), tiny, device="cpu")
    names = setup.split.names
    parts = [
        {names[key].rpartition(" ")[2] for key in keys}
        for keys in (setup.split.train, setup.split.val)
    ]
    assert parts[0] | parts[1] == {f"drawn{k}.png" for k in range(4)}
    assert not parts[0] & parts[1]
    assert len(setup.split.train) == len(setup.split.val) == 4
    assert not [note for note in setup.notes if "left out" in note]


def test_groups_of_copies_keep_what_has_checked(tmp_path):
    """A copy that comes goes where its image is; stacks of which a file is missing stay alone."""
    contents = {name: name[0].encode() for name in ("a1", "a2", "a3", "b1", "b2", "c1", "c2")}
    files = written(tmp_path / "images", contents)
    groups = {name: name for name in files} | {"b1": "stack", "b3": "stack"}
    joined = join_copies(groups, files)
    assert joined == {"a1": "a1", "a2": "a1", "a3": "a1", "c1": "c1", "c2": "c1"} | {
        "stack": "stack",
        "b2": "b2",
    }


def test_frames_of_stacks_that_are_the_same_do_not_learn_and_check(tmp_path, tiny):
    dataset = save_nuclei(tmp_path / "set", n_images=4)
    add_copies(dataset, 1)
    path = dataset / "annotations.json"
    content = json.loads(path.read_text())
    for k, record in enumerate(content["images"]):
        # Two stacks, with the copy and what it is of in different ones.
        record["source"] = {"stem": "one" if k in (0, 1) else "two"}
    path.write_text(json.dumps(content))
    setup = set_up(dataset, params(val_fraction=0.5), tiny, device="cpu")
    both = {setup.split.names[key] for key in (*setup.split.train, *setup.split.val)}
    same = {"drawn0.png", "copy of drawn0.png"}
    assert len(both & same) == 1
    assert both & same <= {setup.split.names[key] for key in setup.split.val}
    assert len([note for note in setup.notes if "left out" in note]) == 1
