"""Files of images: those that are not there are counted, and none learns and checks."""

import json
import os
import shutil

import numpy as np
import pytest
from tests.training.drawn import params, save_model, save_nuclei
from tests.training.drawn_panoptic import save_panoptic_set
from tests.training.images import saved

import napari_eomt as ne
from napari_eomt.errors import DataError
from napari_eomt.evaluation.report import Report
from napari_eomt.training.image_files import check_apart
from napari_eomt.training.loop import iter_train
from napari_eomt.training.opened import open_dataset
from napari_eomt.training.setup import set_up
from napari_eomt.training.train import begin_run


@pytest.mark.parametrize(
    ("save", "name", "folder", "image_id"),
    [
        (lambda folder: saved(folder) and folder, "image {}.png", "images", 2),
        (lambda folder: save_panoptic_set(folder).parent, "im{}.png", "images", 11),
        (lambda folder: save_panoptic_set(folder).parent, "im{}.png", "panoptic", 11),
    ],
)
def test_missing_files_are_told_in_the_same_words(tmp_path, save, name, folder, image_id):
    there = save(tmp_path / "set")
    for k in (1, 3):
        (there / folder / name.format(k)).unlink()
    first = name.format(1).replace(".", r"\.")
    words = (
        rf"^The files of 2 of 4 images cannot be found\. The first: Image {image_id}: there is no "
        rf"file '{first}' in \S*{folder}.*\. Put the .* there\.$"
    )
    with pytest.raises(DataError, match=words):
        open_dataset(there)


def written(folder, contents):
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return sorted(folder.iterdir())


def test_files_that_differ_anywhere_are_apart(tmp_path):
    """At their ends, where nothing but the whole file tells it, and of one size."""
    noise = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8).tobytes()
    learn = written(tmp_path / "learn", {"a": noise, "b": b"", "c": b"short"})
    other = {"a": b"\0" + noise[1:], "d": noise[:-1] + b"\0", "e": noise[:150_000] + bytes(150_000)}
    check_apart(learn, written(tmp_path / "check", other | {"f": b"shore"}), tmp_path)


def test_a_copy_a_link_and_the_file_itself_are_the_same(tmp_path):
    names = ("a", "b", "c", "d", "e")
    learn = written(tmp_path / "learn", {name: name.encode() * 200_000 for name in names})
    check = written(tmp_path / "check", {"mine": b"m" * 200_000, "other": b"z"})
    shutil.copy(learn[0], tmp_path / "check" / "copy")
    os.link(learn[1], tmp_path / "check" / "hard")
    (tmp_path / "check" / "soft").symlink_to(learn[2])
    check = [*sorted((tmp_path / "check").iterdir()), learn[3]]
    with pytest.raises(DataError) as caught:
        check_apart(learn, check, tmp_path / "check.json")
    words = str(caught.value)
    assert words.startswith("4 of the 6 images that check are learnt from as well: ")
    shown = [
        (tmp_path / "check" / n, p)
        for n, p in zip(("copy", "hard", "soft"), learn[:3], strict=True)
    ]
    assert ", ".join(f"{one} is {other}" for one, other in shown) + ", and 1 more" in words
    assert f"Take them out of {tmp_path / 'check.json'}" in words


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


def test_a_run_names_the_images_of_the_other_dataset(tmp_path, tiny):
    """Its keys are another dataset's too: each finds its own name, in the run and in reports."""
    dataset = save_nuclei(tmp_path / "set", n_images=2)
    check = save_nuclei(tmp_path / "check", n_images=3, first_seed=10)
    setup = set_up(dataset, params(steps=4), tiny, device="cpu", val_dataset=check)
    run = begin_run(tmp_path / "run", setup)
    split = run.split
    assert set(split.train) & set(split.val)
    assert [split.names[key] for key in split.train] == ["drawn0.png", "drawn1.png"]
    names = ["drawn10.png", "drawn11.png", "drawn12.png"]
    assert [split.val_name(key) for key in split.val] == names
    steps = iter_train(setup, run)
    next(item for item in steps if item.what == "step" and item.step == 2)
    steps.close()
    report = Report.load(run.folder / "reports" / "before.json")
    assert [image.name for image in report.images] == names
    path = check / "annotations.json"
    whole = path.read_text()
    content = json.loads(whole)
    for record in content["images"]:
        record["id"] += 1
    for record in content["annotations"]:
        record["image_id"] += 1
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"^3 of the 3 images that the run checks on.*drawn10\.png"):
        ne.train(dataset, out=run.folder, resume=True)
    path.write_text(whole)
    assert ne.train(dataset, out=run.folder, resume=True).status() == "finished"
