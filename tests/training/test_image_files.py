"""Files of images: those that are not there are counted, and none learns and checks."""

import json

import pytest
from tests.training.drawn import params, save_model, save_nuclei
from tests.training.drawn_panoptic import save_panoptic_set
from tests.training.images import saved

import napari_eomt as ne
from napari_eomt.errors import DataError
from napari_eomt.evaluation.report import Report
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


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


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
